# What the targets share: how they are instrumented, and what they are linked with.
#   DISPLIF_CTS_FUZZ_ENGINE  what is linked as the engine: libFuzzer, or e.g. OSS-Fuzz's $LIB_FUZZING_ENGINE
#   DISPLIF_CTS_FUZZ_SANITIZERS  for -fsanitize=, empty for none
#   DISPLIF_CTS_FUZZ_COVERAGE  what the code under test reports to the engine
set(DISPLIF_CTS_FUZZ_ENGINE "-fsanitize=fuzzer" CACHE STRING "The engine that fuzz targets are linked with")
set(DISPLIF_CTS_FUZZ_SANITIZERS "address,undefined" CACHE STRING "Sanitizers of the fuzz targets")
set(DISPLIF_CTS_FUZZ_COVERAGE "-fsanitize-coverage=inline-8bit-counters,pc-table,trace-cmp" CACHE STRING
    "Instrumentation of the code under test")
separate_arguments(displif_cts_fuzz_coverage UNIX_COMMAND "${DISPLIF_CTS_FUZZ_COVERAGE}")

option(DISPLIF_CTS_FUZZ_LINES "Count the lines of the code under test that are executed" OFF)
if(DISPLIF_CTS_FUZZ_LINES)
  list(APPEND displif_cts_fuzz_coverage -fprofile-instr-generate -fcoverage-mapping)
  add_link_options(-fprofile-instr-generate)
endif()

set(displif_cts_sanitizers)
if(DISPLIF_CTS_FUZZ_SANITIZERS)
  set(displif_cts_sanitizers "-fsanitize=${DISPLIF_CTS_FUZZ_SANITIZERS}" -fno-sanitize-recover=all)
endif()

# displif_cts_fuzz_target(NAME SOURCES ... [LIBS ...]): one target with the suite's mutator.
function(displif_cts_fuzz_target name)
  cmake_parse_arguments(arg "" "" "SOURCES;LIBS" ${ARGN})
  add_executable(${name} ${arg_SOURCES} ${PROJECT_SOURCE_DIR}/fuzzers/input/libfuzzer.cc)
  set_target_properties(${name} PROPERTIES UNITY_BUILD OFF)
  target_compile_options(${name} PRIVATE ${displif_cts_sanitizers})
  target_link_options(${name} PRIVATE ${displif_cts_sanitizers})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} displif_cts_fuzz_input ${DISPLIF_CTS_FUZZ_ENGINE})
endfunction()
