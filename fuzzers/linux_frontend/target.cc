// The fuzz target: libFuzzer's entry points. Inputs may be in either form of input/codec.h.
#include <cstdio>
#include <cstdlib>

#include "fuzzers/input/codec.h"
#include "fuzzers/linux_frontend/director.h"
#include "fuzzers/linux_frontend/shim/findings.h"

// The quarantine of freed memory as small as one execution needs it, and short stacks of
// allocations: it is the cache that counts. `fuzz triage` replays with long ones.
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0:quarantine_size_mb=1:thread_local_quarantine_size_kb=64:malloc_context_"
         "size=2:"
         "max_malloc_fill_size=0:check_printf=0:detect_stack_use_after_return=0:allocator_may_"
         "return_null=1:"
         "handle_abort=1";
}
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  if (std::getenv("DISPLIF_FUZZ_LIST") != nullptr) {
    for (const auto& known : displif_cts::shim::known_findings()) {
      std::printf("%s\t%s\t%s\t%s\n", displif_cts::fuzz::name(known.known).data(),
                  known.what.data(), known.avoided.data(), known.seen.data());
    }
    std::exit(0);
  }
  displif_cts::shim::read_masks();
  displif_cts::shim::g_verbose = std::getenv("DISPLIF_FUZZ_VERBOSE") != nullptr;
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static displif_cts::fuzz::Input input;
  // Without actions the driver comes and goes.
  if (!displif_cts::fuzz::take_octets({data, size}, input)) return -1;
  displif_cts::linux_frontend::play(input);
  return 0;
}
