// Two fuzz targets of one source: DISPLIF_FUZZ_WHOLE_CONNECTIONS is 0 (inputs share a connected
// device) or 1 (each has a connection of its own, through the real libxenstore).
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>

#include "fuzzers/backend/attacker.h"
#include "fuzzers/backend/own_backend.h"
#include "fuzzers/input/codec.h"

namespace {

using displif_cts::fuzz_backend::Attacker;
using displif_cts::fuzz_backend::OwnBackend;

// The fake's journals grow, and its cookies' memory: a new one now and then.
constexpr unsigned kInputsOfAMachine = 5000;

struct World {
  std::unique_ptr<OwnBackend> machine;
  std::unique_ptr<Attacker> attacker;
  unsigned inputs = 0;
  ~World() {
    attacker.reset();
    machine.reset();
  }
};

World& world() {
  static World instance;
  if (instance.machine != nullptr && instance.inputs++ < kInputsOfAMachine) return instance;
  const char* fault =
      std::getenv("DISPLIF_FUZZ_FAULT");  // the backend is a mutant, see `fuzz planted`
  instance.attacker.reset();
  instance.machine.reset();
  instance.machine = std::make_unique<OwnBackend>(fault == nullptr ? "" : fault);
  instance.attacker =
      std::make_unique<Attacker>(*instance.machine, DISPLIF_FUZZ_WHOLE_CONNECTIONS != 0);
  instance.inputs = 0;
  return instance;
}

}  // namespace

extern "C" const char* __asan_default_options() {
  return "detect_leaks=0:quarantine_size_mb=1:thread_local_quarantine_size_kb=64:"
         "malloc_context_size=0:max_malloc_fill_size=0:detect_stack_use_after_return=0:"
         "allocator_may_return_null=1:handle_abort=1";
}
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }

extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  if (std::getenv("DISPLIF_FUZZ_LIST") == nullptr) return 0;
  for (const auto& fault : displif_cts::fake_backend::all_faults())
    fmt::print("{}\t{}\n", fault.id, fault.title);
  std::exit(0);
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static displif_cts::fuzz::Input input;
  if (!displif_cts::fuzz::take_octets({data, size}, input)) return -1;
  try {
    world().attacker->play(input);
  } catch (const std::exception& error) {
    fmt::print(stderr, "FINDING exception: {}\n", error.what());
    std::abort();
  }
  return 0;
}
