# Cross-compiles for another of Debian's architectures: DISPLIF_CTS_TRIPLET by its cross compiler, against the tree of its
# packages in DISPLIF_CTS_SYSROOT (lab/sysroot.py makes one).
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES DISPLIF_CTS_TRIPLET DISPLIF_CTS_SYSROOT)
set(CMAKE_SYSTEM_NAME Linux)
string(REGEX REPLACE "-.*" "" CMAKE_SYSTEM_PROCESSOR "${DISPLIF_CTS_TRIPLET}")
set(CMAKE_C_COMPILER ${DISPLIF_CTS_TRIPLET}-gcc)
set(CMAKE_CXX_COMPILER ${DISPLIF_CTS_TRIPLET}-g++)
set(CMAKE_LIBRARY_ARCHITECTURE ${DISPLIF_CTS_TRIPLET})
set(CMAKE_SYSROOT ${DISPLIF_CTS_SYSROOT})
# Programs of this machine, libraries and headers of the other: the latter must never come from here.
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
foreach(what LIBRARY INCLUDE PACKAGE)
  set(CMAKE_FIND_ROOT_PATH_MODE_${what} ONLY)
endforeach()
set(ENV{PKG_CONFIG_SYSROOT_DIR} ${DISPLIF_CTS_SYSROOT})
set(ENV{PKG_CONFIG_LIBDIR}
    ${DISPLIF_CTS_SYSROOT}/usr/lib/${DISPLIF_CTS_TRIPLET}/pkgconfig:${DISPLIF_CTS_SYSROOT}/usr/share/pkgconfig)
