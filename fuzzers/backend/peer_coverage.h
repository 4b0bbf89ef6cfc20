// What a program of somebody's executes, as AFL++'s instrumentation writes it (afl-clang-fast, or
// afl-qemu-trace before the command) into a map that the environment names: started outside AFL++'s
// fork server it goes its own way and writes all the same. The engine looks at that map: AFL++'s
// own, or, under libFuzzer, counters of its extra kind.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "fuzzers/backend/program.h"

namespace displif_cts::fuzz_backend {

class PeerCoverage {
 public:
  // Null: nobody asked for it (DISPLIF_FUZZ_PEER_COVERAGE).
  static PeerCoverage* asked_for();

  Program::Environment environment() const;  // for the program
  // Has a program that has run written anything beside the mark of having begun?
  bool anything() const;
  // What was executed until now is no input's doing.
  void clear();

 private:
  PeerCoverage();
  void own_map();

  std::span<std::uint8_t> map_;
  int id_ = -1;  // of a map of our own; AFL++'s is in the environment already
};

}  // namespace displif_cts::fuzz_backend
