// The one mutator and crossover of every target and engine. Works on actions and their fields, with
// values that lie at the protocol's edges; knows short sequences that belong together, among them
// one for each fault of the fakes that can be said in actions.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "fuzzers/input/action.h"

namespace displif_cts::fuzz {

// splitmix64: small, and quick to seed for every call of an engine.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next();
  // 0 to bound - 1; 0 when bound is 0.
  std::uint64_t below(std::uint64_t bound) { return bound == 0 ? 0 : next() % bound; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::uint64_t state_;
};

// A sequence that belongs together, as text of codec.h without its first line. `name` is a fault of
// the fakes where there is one.
struct Idiom {
  std::string_view name;
  unsigned roles = 0;  // all of these must be the target's
  std::string_view text;
};
std::span<const Idiom> idioms();

// A value at or near an edge of what the field means.
std::uint64_t interesting(const Field& field, std::uint64_t present, Random& random);

class Mutator {
 public:
  // `roles`: what the target takes, see Role.
  Mutator(unsigned roles, std::uint64_t seed);

  // An input of its own: a connection, and something on it.
  Input generate();
  // One to a few changes. The result has at most `most` actions (at least 1).
  void mutate(Input& input, std::size_t most);
  Input cross(const Input& one, const Input& other, std::size_t most);

 private:
  Action any_action();
  void change(Input& input);
  void change_field(Action& action);
  void insert_idiom(Input& input, std::size_t at);

  unsigned roles_;
  Random random_;
  std::vector<Kind> kinds_;
  std::vector<const Idiom*> idioms_;
};

}  // namespace displif_cts::fuzz
