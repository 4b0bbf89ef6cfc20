// The bound on loops that make no call of the shim: the driver's files are compiled with comparison
// tracing, so each turn of a loop over something that the other side chose passes here.
#include <sanitizer/common_interface_defs.h>

#include <atomic>
#include <cstdio>

#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::shim {
namespace {

// Linux's driver has loops over pages of a buffer and over slots of a ring: well below.
constexpr std::uint32_t kMostTurns = 1'000'000;

[[gnu::noinline]] void too_many(void* pc) {
  char where[512] = "";
  __sanitizer_symbolize_pc(pc, "%f at %S", where, sizeof(where));
  shim_progress.turns = 0;
  finding("endless-loop", "more than %u comparisons without a call of the kernel, the last in %s",
          kMostTurns, where);
}

// Some thousands of times in an execution: this file is compiled without sanitizers.
[[gnu::always_inline]] inline void turn(void* pc) {
  if (__builtin_expect(++shim_progress.turns > kMostTurns, 0)) too_many(pc);
}

}  // namespace

}  // namespace displif_cts::shim

// The linker leads the driver's calls here (-Wl,--wrap). They do not go on to libFuzzer: what was
// compared is of no use to a mutator that knows the protocol's values, and costs an eighth of the
// time.
#define DISPLIF_TRACE(name, type)                         \
  extern "C" void __wrap_##name(type, type) {             \
    displif_cts::shim::turn(__builtin_return_address(0)); \
  }
DISPLIF_TRACE(__sanitizer_cov_trace_cmp1, std::uint8_t)
DISPLIF_TRACE(__sanitizer_cov_trace_cmp2, std::uint16_t)
DISPLIF_TRACE(__sanitizer_cov_trace_cmp4, std::uint32_t)
DISPLIF_TRACE(__sanitizer_cov_trace_cmp8, std::uint64_t)
DISPLIF_TRACE(__sanitizer_cov_trace_const_cmp1, std::uint8_t)
DISPLIF_TRACE(__sanitizer_cov_trace_const_cmp2, std::uint16_t)
DISPLIF_TRACE(__sanitizer_cov_trace_const_cmp4, std::uint32_t)
DISPLIF_TRACE(__sanitizer_cov_trace_const_cmp8, std::uint64_t)
