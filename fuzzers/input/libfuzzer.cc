// libFuzzer's hooks.
#include "fuzzers/input/engine.h"

namespace fuzz = displif_cts::fuzz;

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  return fuzz::mutate_octets(fuzz::target_roles(), data, size, data, max_size, seed);
}

extern "C" std::size_t LLVMFuzzerCustomCrossOver(const std::uint8_t* one, std::size_t one_size,
                                                 const std::uint8_t* other, std::size_t other_size,
                                                 std::uint8_t* out, std::size_t room,
                                                 unsigned seed) {
  return fuzz::cross_octets(fuzz::target_roles(), one, one_size, other, other_size, out, room,
                            seed);
}
