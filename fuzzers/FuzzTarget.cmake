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
  # Use after return is not looked for, as the targets' options say: then functions need not ask at run time.
  set(displif_cts_sanitizers "-fsanitize=${DISPLIF_CTS_FUZZ_SANITIZERS}" -fno-sanitize-recover=all
                             -fsanitize-address-use-after-return=never)
endif()

# displif_cts_fuzz_target(NAME SOURCES ... [ROLES FILE] [LIBS ...] [LINK ...] [DEFINITIONS ...]): the target NAME, and
# NAME-replay, the same with the smallest engine in the place of the fuzzer. ROLES says who acts in the target's inputs (see
# engine.h); where they are no actions there is none. AFL++'s mutator for the target is NAME-mutator.so.
function(displif_cts_fuzz_target name)
  cmake_parse_arguments(arg "" "ROLES" "SOURCES;LIBS;LINK;DEFINITIONS" ${ARGN})
  set(input ${PROJECT_SOURCE_DIR}/fuzzers/input)
  set(mutator)
  if(arg_ROLES)
    set(mutator ${input}/libfuzzer.cc ${arg_ROLES})
    list(PREPEND arg_LIBS displif_cts_fuzz_input)
    add_library(${name}-mutator MODULE EXCLUDE_FROM_ALL ${input}/aflpp.cc ${arg_ROLES})
    set_target_properties(${name}-mutator PROPERTIES PREFIX "" UNITY_BUILD OFF)
    target_compile_definitions(${name}-mutator PRIVATE ${arg_DEFINITIONS})
    target_link_libraries(${name}-mutator PRIVATE displif_cts_fuzz_input)
  endif()
  add_executable(${name} ${arg_SOURCES} ${mutator})
  target_link_libraries(${name} PRIVATE ${arg_LIBS} ${DISPLIF_CTS_FUZZ_ENGINE})
  add_executable(${name}-replay ${arg_SOURCES} ${input}/replay.cc)
  target_link_libraries(${name}-replay PRIVATE ${arg_LIBS})
  foreach(program ${name} ${name}-replay)
    set_target_properties(${program} PROPERTIES UNITY_BUILD OFF)
    target_compile_definitions(${program} PRIVATE ${arg_DEFINITIONS})
    target_compile_options(${program} PRIVATE -O2 -g ${displif_cts_sanitizers})
    target_link_options(${program} PRIVATE ${displif_cts_sanitizers} ${arg_LINK})
  endforeach()
endfunction()
