#include "fuzzers/input/engine.h"

#include <algorithm>
#include <cstring>

#include "fuzzers/input/codec.h"
#include "fuzzers/input/mutator.h"

namespace displif_cts::fuzz {
namespace {

constexpr std::size_t kMost = 96;  // actions of a mutated input

std::size_t store(Input& input, std::uint8_t* out, std::size_t room) {
  std::vector<std::uint8_t> octets = encode(input);
  while (octets.size() > room && !input.empty()) {
    input.resize(input.size() / 2);
    octets = encode(input);
  }
  if (octets.size() > room) return 0;
  std::memcpy(out, octets.data(), octets.size());
  return octets.size();
}

}  // namespace

std::size_t mutate_octets(unsigned roles, const std::uint8_t* octets, std::size_t size,
                          std::uint8_t* out, std::size_t room, std::uint64_t seed) {
  Mutator mutator(roles, seed);
  Input input;
  if (decode_into({octets, size}, input) != nullptr) input.clear();
  mutator.mutate(input, kMost);
  return store(input, out, room);
}

std::size_t cross_octets(unsigned roles, const std::uint8_t* one, std::size_t one_size,
                         const std::uint8_t* other, std::size_t other_size, std::uint8_t* out,
                         std::size_t room, std::uint64_t seed) {
  Mutator mutator(roles, seed);
  Input a;
  Input b;
  if (decode_into({one, one_size}, a) != nullptr) a.clear();
  if (decode_into({other, other_size}, b) != nullptr) b.clear();
  Input result = mutator.cross(a, b, kMost);
  return store(result, out, room);
}

}  // namespace displif_cts::fuzz
