// The fuzz target backend-command: somebody's backend, as a program (command_backend.h).
#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "fuzzers/backend/attacker.h"
#include "fuzzers/backend/command_backend.h"
#include "fuzzers/backend/finding.h"
#include "fuzzers/backend/history.h"
#include "fuzzers/backend/peer_coverage.h"
#include "fuzzers/input/codec.h"

namespace {

using namespace displif_cts::fuzz_backend;

// The attacker goes before the machine that it acts in.
struct World {
  CommandBackend machine;
  Attacker attacker{machine, false};
};

History& history() {
  static History instance([] {
    const char* path = std::getenv("DISPLIF_FUZZ_HISTORY");
    return std::string(path == nullptr ? "" : path);
  }());
  return instance;
}

std::optional<World>& world() {
  static std::optional<World> instance;
  if (instance) return instance;
  history().begin();
  try {
    instance.emplace();
  } catch (const NotStarted& error) {
    fmt::print(stderr, "displif-fuzz: the peer's command cannot be attacked: {}\n", error.what());
    std::_Exit(3);
  }
  return instance;
}

}  // namespace

// Before AFL++'s fork server says how large its map is.
extern "C" int LLVMFuzzerInitialize(int* /*argc*/, char*** /*argv*/) {
  try {
    PeerCoverage::asked_for();
  } catch (const std::exception& error) {
    fmt::print(stderr, "displif-fuzz: no map for the peer's coverage: {}\n", error.what());
    std::_Exit(3);
  }
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static displif_cts::fuzz::Input input;
  if (!displif_cts::fuzz::take_octets({data, size}, input)) return -1;
  try {
    std::optional<World>& now = world();
    history().add(input);
    now->attacker.play(input);
  } catch (const PassedOver&) {
    world().reset();  // nobody knows what it has now
  } catch (const std::exception& error) {
    fmt::print(stderr, "FINDING exception: {}\n", error.what());
    std::abort();
  }
  return 0;
}
