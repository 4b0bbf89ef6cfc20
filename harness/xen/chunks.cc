#include "harness/xen/chunks.h"

#include <charconv>
#include <stdexcept>

namespace displif_cts::xen {

void check_run(const std::vector<std::span<std::byte>>& chunks, std::size_t offset,
               std::size_t size) {
  std::size_t total = 0;
  for (const std::span<std::byte> chunk : chunks) total += chunk.size();
  if (offset > total || size > total - offset) {
    throw std::out_of_range(std::to_string(size) + " octets from " + std::to_string(offset) +
                            " on in a mapping of " + std::to_string(total));
  }
}

std::size_t parse_limit(std::string_view text, std::size_t fallback) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.remove_suffix(1);
  std::size_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value == 0) return fallback;
  return value;
}

std::string describe_refs(DomId domain, std::span<const GrantRef> refs) {
  std::string text = "domain " + std::to_string(raw(domain)) + ", ";
  if (refs.size() == 1) return text + "gref " + std::to_string(raw(refs.front()));
  text += std::to_string(refs.size()) + " grefs";
  if (!refs.empty()) text += " from " + std::to_string(raw(refs.front()));
  return text;
}

}  // namespace displif_cts::xen
