# What every folder's CMakeLists.txt shares: warnings, Xen's libraries, carried programs, unit tests.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(nlohmann_json 3.9 REQUIRED)
find_package(fmt REQUIRED)

# Xen's stable interfaces. libxenctrl is unstable (a soname per release) and never linked; see docs/harness.md.
foreach(lib store evtchn gnttab foreignmemory toolcore)
  pkg_check_modules(XEN_${lib} REQUIRED IMPORTED_TARGET xen${lib})
endforeach()

add_library(displif_cts_flags INTERFACE)
target_compile_options(
  displif_cts_flags INTERFACE -Wall -Wextra -Wshadow -Wconversion -Wno-sign-conversion
                              $<$<BOOL:${DISPLIF_CTS_WERROR}>:-Werror>)
target_include_directories(displif_cts_flags INTERFACE ${PROJECT_SOURCE_DIR})
link_libraries(displif_cts_flags)

# displif_cts_carried(TARGET): a program of the carried set. It must start in a dom0 that has Xen's
# libraries and libc, but no C++ runtime.
function(displif_cts_carried target)
  if(NOT DISPLIF_CTS_SANITIZED)
    target_link_options(${target} PRIVATE -static-libstdc++ -static-libgcc)
  endif()
  install(TARGETS ${target} RUNTIME DESTINATION bin COMPONENT carried)
endfunction()

# displif_cts_test(NAME SOURCES ... [LIBS ...]): one GoogleTest program, registered with CTest.
function(displif_cts_test name)
  if(NOT DISPLIF_CTS_TESTS)
    return()
  endif()
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  find_package(GTest REQUIRED)
  add_executable(${name} ${arg_SOURCES})
  # Test files are written one by one: their helpers may have the same names.
  set_target_properties(${name} PROPERTIES UNITY_BUILD OFF)
  target_link_libraries(${name} PRIVATE ${arg_LIBS} GTest::gtest_main GTest::gmock Threads::Threads)
  add_test(NAME ${name} COMMAND ${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 120)
endfunction()
