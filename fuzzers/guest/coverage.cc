#include "fuzzers/guest/coverage.h"

#include <fmt/format.h>

#include <bit>
#include <sstream>
#include <vector>

#include "harness/displif/shared_memory.h"
#include "harness/xen/store.h"

namespace displif_cts::fuzz_guest {

std::optional<Coverage> Coverage::open(xen::DomId guest) {
  constexpr std::size_t kMostPages = 64;
  const xen::Store store = xen::Store::open();
  const auto text = store.read(store.domain_path(guest) + "/data/displif-cts-coverage");
  if (!text) return std::nullopt;
  std::vector<xen::GrantRef> refs;
  std::istringstream words(*text);
  for (std::uint32_t ref = 0; words >> ref && refs.size() < kMostPages;)
    refs.push_back(xen::GrantRef{ref});
  if (refs.empty()) return std::nullopt;
  return Coverage(xen::Grants::open().map(guest, refs, xen::Access::read_only));
}

Hits Coverage::read() const {
  Hits hits;
  for (std::size_t i = 0; i < table_.pages(); ++i) {
    const std::span<std::byte> page = table_.page(i);
    for (std::size_t at = 0; at < page.size(); at += 8) {
      const std::uint32_t place = displif::shared::load(page, at);
      if (place != 0) hits[place] += displif::shared::load(page, at + 4);
    }
  }
  return hits;
}

std::string difference(const Hits& before, const Hits& after) {
  std::string text;
  for (const auto& [place, count] : after) {
    const auto found = before.find(place);
    const std::uint32_t times = count - (found == before.end() ? 0 : found->second);
    if (times == 0) continue;
    if (!text.empty()) text += ' ';
    text += fmt::format("{:x}:{:x}", place, std::bit_width(times));
  }
  return text;
}

}  // namespace displif_cts::fuzz_guest
