#include "harness/displif/edid.h"

#include <array>
#include <cstdio>

#include "harness/displif/wire.h"

namespace displif_cts::displif {
namespace {

constexpr std::array<unsigned, 8> kHeader{0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x00};

std::string octet_text(unsigned octet) {
  std::array<char, 5> text{};
  std::snprintf(text.data(), text.size(), "0x%02x", octet & 0xff);
  return text.data();
}

}  // namespace

std::string edid_trouble(std::span<const std::byte> edid) {
  if (edid.empty() || edid.size() % XENDISPL_EDID_BLOCK_SIZE != 0)
    return std::to_string(edid.size()) + " octets";
  for (std::size_t i = 0; i < kHeader.size(); ++i) {
    const auto octet = std::to_integer<unsigned>(edid[i]);
    if (octet != kHeader[i])
      return "octet " + std::to_string(i) + " of the header is " + octet_text(octet);
  }
  for (std::size_t at = 0; at < edid.size(); at += XENDISPL_EDID_BLOCK_SIZE) {
    unsigned sum = 0;
    for (const std::byte octet : edid.subspan(at, XENDISPL_EDID_BLOCK_SIZE))
      sum += std::to_integer<unsigned>(octet);
    if (sum % 256 != 0)
      return "block " + std::to_string(at / XENDISPL_EDID_BLOCK_SIZE) + " sums up to " +
             octet_text(sum);
  }
  return {};
}

}  // namespace displif_cts::displif
