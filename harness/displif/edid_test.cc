#include "harness/displif/edid.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

namespace displif_cts::displif {
namespace {

std::vector<std::byte> edid_of(std::size_t blocks) {
  std::vector<std::byte> edid(128 * blocks);
  std::fill_n(edid.begin() + 1, 6, std::byte{0xff});
  edid[127] = std::byte{0x06};  // 6 x 0xff + 6 is a multiple of 256
  return edid;
}

TEST(Edid, of_whole_blocks_has_no_trouble) {
  EXPECT_EQ(edid_trouble(edid_of(1)), "");
  EXPECT_EQ(edid_trouble(edid_of(2)), "");
}

TEST(Edid, says_what_is_wrong) {
  EXPECT_EQ(edid_trouble({}), "0 octets");
  auto edid = edid_of(2);
  EXPECT_EQ(edid_trouble(std::span(edid).first(129)), "129 octets");
  edid[200] = std::byte{1};
  EXPECT_EQ(edid_trouble(edid), "block 1 sums up to 0x01");
  edid[3] = std::byte{0xfe};
  EXPECT_EQ(edid_trouble(edid), "octet 3 of the header is 0xfe");
}

}  // namespace
}  // namespace displif_cts::displif
