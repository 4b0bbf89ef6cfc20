// What the mutators of inputs that are lists (lines, pieces) have in common.
#pragma once

#include <cstddef>
#include <random>
#include <string>
#include <utility>
#include <vector>

namespace displif_cts::fuzz_harness {

using Random = std::minstd_rand;

inline std::size_t below(Random& random, std::size_t limit) { return random() % limit; }

template <class Values>
const auto& one_of(Random& random, const Values& values) {
  return values[below(random, values.size())];
}

// Changes, adds or takes away an octet or a few.
inline void mutate_octets(Random& random, std::string& text) {
  const std::size_t at = below(random, text.size() + 1);
  const char octet = static_cast<char>(below(random, 256));
  if (at == text.size() || below(random, 3) == 0) {
    text.insert(at, 1, octet);
  } else if (below(random, 2) == 0) {
    text.erase(at, 1 + below(random, 4));
  } else {
    text[at] = octet;
  }
}

// One step: an item that `make` gives is added, one goes, is there twice, changes places, or is
// changed by `change`. No more than `most` items.
template <class Item, class Make, class Change>
void mutate_list(Random& random, std::vector<Item>& items, std::size_t most, const Make& make,
                 const Change& change) {
  const std::size_t at = below(random, items.size() + 1);
  const auto place = items.begin() + static_cast<std::ptrdiff_t>(at);
  if (at == items.size() || below(random, 3) == 0) {
    if (items.size() < most) items.insert(place, make());
  } else if (below(random, 4) == 0) {
    items.erase(place);
  } else if (below(random, 4) == 0) {
    if (items.size() < most) items.insert(place, Item(*place));
  } else if (below(random, 4) == 0) {
    std::swap(items[at], items[below(random, items.size())]);
  } else {
    change(*place);
  }
}

}  // namespace displif_cts::fuzz_harness
