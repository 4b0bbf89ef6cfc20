#include "fuzzers/backend/peer_coverage.h"

#include <sys/ipc.h>
#include <sys/shm.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

// AFL++'s runtime, where it is linked (afl-compiler-rt.o): the map that this process writes, and
// how large the map is that the fork server asks for.
extern "C" {
extern std::uint8_t* __afl_area_ptr __attribute__((weak));
extern std::uint32_t __afl_map_size __attribute__((weak));
}

namespace displif_cts::fuzz_backend {
namespace {

constexpr const char* kMapName = "__AFL_SHM_ID";
// Edges that there is room for. AFL++'s own number is 65,536.
constexpr std::size_t kMap = std::size_t{1024} * 1024;
constexpr std::size_t kPage = 4096;

// libFuzzer takes what is counted here for features, and sets it to 0 before each input.
alignas(kPage) __attribute__((section("__libfuzzer_extra_counters"))) std::uint8_t counters[kMap];
// What this process itself executes, the model and the attacker, goes here instead of AFL++'s map.
std::uint8_t aside[kMap];

bool under_aflpp() { return &__afl_area_ptr != nullptr && std::getenv(kMapName) != nullptr; }

}  // namespace

PeerCoverage* PeerCoverage::asked_for() {
  static PeerCoverage* const instance =
      std::getenv("DISPLIF_FUZZ_PEER_COVERAGE") == nullptr ? nullptr : new PeerCoverage;
  return instance;
}

PeerCoverage::PeerCoverage() {
  if (!under_aflpp()) {
    own_map();
    return;
  }
  map_ = {__afl_area_ptr, kMap};
  __afl_area_ptr = aside;
  __afl_map_size = kMap;
}

void PeerCoverage::own_map() {
  id_ = shmget(IPC_PRIVATE, kMap, IPC_CREAT | 0600);
  if (id_ < 0) throw std::system_error(errno, std::generic_category(), "shmget");
  const void* at = shmat(id_, counters, SHM_REMAP);
  // It goes with the last process that has it; Linux lets others attach until then.
  shmctl(id_, IPC_RMID, nullptr);
  if (at != counters) throw std::system_error(errno, std::generic_category(), "shmat");
  map_ = counters;
}

Program::Environment PeerCoverage::environment() const {
  if (id_ < 0) return {};
  return {{kMapName, std::to_string(id_)}, {"AFL_MAP_SIZE", std::to_string(kMap)}};
}

bool PeerCoverage::anything() const {
  return std::ranges::any_of(map_.subspan(1), [](std::uint8_t octet) { return octet != 0; });
}

void PeerCoverage::clear() {
  std::ranges::fill(map_, std::uint8_t{0});
  map_[0] = 1;  // AFL++ takes an empty map for a program without instrumentation
}

}  // namespace displif_cts::fuzz_backend
