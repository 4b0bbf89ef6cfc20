#include "fuzzers/guest/masks.h"

#include <array>

namespace displif_cts::fuzz_guest {
namespace {

constexpr std::array<std::string_view, static_cast<std::size_t>(Mask::count)> kNames{
    "fb-status-below-errno",
    "response-index-far",
    "event-index-far",
    "event-before-connected",
    "event-while-disconnecting",
    "close-while-waiting",
    "reconnect-with-other-connectors",
    "removed-while-held",
    "zero-sized-buffer",
    "channels-leak",
    "buffer-freed-twice",
};

}  // namespace

Masks::Masks(std::string_view text) {
  for (std::size_t i = 0; i < kNames.size(); ++i) {
    if (text == "all") set_.insert(static_cast<Mask>(i));
  }
  while (!text.empty()) {
    const std::size_t end = text.find(',');
    const std::string_view name = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    for (std::size_t i = 0; i < kNames.size(); ++i) {
      if (kNames[i] == name) set_.insert(static_cast<Mask>(i));
    }
  }
}

}  // namespace displif_cts::fuzz_guest
