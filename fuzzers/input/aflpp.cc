// AFL++'s hooks, for a library named by AFL_CUSTOM_MUTATOR_LIBRARY.
#include <cstdlib>
#include <vector>

#include "fuzzers/input/engine.h"
#include "fuzzers/input/mutator.h"

namespace fuzz = displif_cts::fuzz;

namespace {

struct State {
  explicit State(unsigned seed) : random(seed) {}
  fuzz::Random random;
  std::vector<std::uint8_t> out;
};

}  // namespace

extern "C" void* afl_custom_init(void* /*afl*/, unsigned seed) { return new State(seed); }
extern "C" void afl_custom_deinit(void* data) { delete static_cast<State*>(data); }

// `other` is another input of the queue: one time in four the two are crossed.
extern "C" std::size_t afl_custom_fuzz(void* data, std::uint8_t* octets, std::size_t size,
                                       std::uint8_t** out, std::uint8_t* other,
                                       std::size_t other_size, std::size_t max_size) {
  auto& state = *static_cast<State*>(data);
  state.out.resize(max_size);
  const std::uint64_t seed = state.random.next();
  const bool crossing = other != nullptr && other_size != 0 && state.random.one_in(4);
  const std::size_t made = crossing
                               ? fuzz::cross_octets(fuzz::target_roles(), octets, size, other,
                                                    other_size, state.out.data(), max_size, seed)
                               : fuzz::mutate_octets(fuzz::target_roles(), octets, size,
                                                     state.out.data(), max_size, seed);
  *out = state.out.data();
  return made;
}
