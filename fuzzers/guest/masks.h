// Known findings that a session keeps away from (fuzzers/guest/known.yaml says what it does not do
// then).
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "fuzzers/known.h"

namespace displif_cts::fuzz_guest {

using fuzz::Known;

class Masks {
 public:
  // "all", "none", or names with commas between; names of findings that no session can avoid say
  // nothing.
  explicit Masks(std::string_view text);
  bool operator[](Known known) const { return set_[static_cast<std::size_t>(known)]; }

 private:
  std::array<bool, fuzz::kKnownNames.size()> set_{};
};

}  // namespace displif_cts::fuzz_guest
