#include "fuzzers/guest/masks.h"

namespace displif_cts::fuzz_guest {

Masks::Masks(std::string_view text) {
  if (text == "all") set_.fill(true);
  while (!text.empty()) {
    const std::size_t end = text.find(',');
    const auto known = fuzz::known_by(text.substr(0, end));
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (known) set_[static_cast<std::size_t>(*known)] = true;
  }
}

}  // namespace displif_cts::fuzz_guest
