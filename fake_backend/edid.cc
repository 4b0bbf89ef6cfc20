#include "fake_backend/edid.h"

#include <algorithm>

#include "harness/displif/wire.h"

namespace displif_cts::fake_backend {

std::vector<std::byte> smallest_edid() {
  std::vector<std::byte> block(XENDISPL_EDID_BLOCK_SIZE);
  std::fill(block.begin() + 1, block.begin() + 7, std::byte{0xff});
  block[8] = std::byte{0x13};  // "DCT", five bits a letter
  block[9] = std::byte{0x74};
  block[18] = std::byte{1};  // version 1.4
  block[19] = std::byte{4};
  unsigned sum = 0;
  for (const std::byte octet : block) sum += std::to_integer<unsigned>(octet);
  block.back() = static_cast<std::byte>(256 - sum % 256);
  return block;
}

}  // namespace displif_cts::fake_backend
