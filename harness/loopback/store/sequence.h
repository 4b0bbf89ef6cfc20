// Random requests of several clients, and what the store answers, as lines of text: the same seed
// asks the same of every store, so that two stores that behave alike print alike.
#pragma once

#include <cstdint>
#include <iosfwd>

#include "harness/loopback/store/world.h"

namespace displif_cts::loopback::store {

struct SequenceOptions {
  std::uint64_t seed = 1;
  unsigned steps = 400;
};

// Throws std::runtime_error where the store ends or breaks off.
void play_sequence(World& world, const SequenceOptions& options, std::ostream& out);

}  // namespace displif_cts::loopback::store
