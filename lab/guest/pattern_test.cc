#include "lab/guest/pattern.h"

#include <gtest/gtest.h>

#include <vector>

namespace displif_cts::pattern {
namespace {

// Whoever ports the exerciser compares with these.
TEST(Pattern, known_answers) {
  const std::uint64_t words[3] = {word(0, 0), word(1, 0), word(0xDEADBEEF, 4095)};
  EXPECT_EQ(words[0], 0x0D83B3E29A21487Au);
  EXPECT_EQ(words[1], 0x806132229CB46B5Du);
  EXPECT_EQ(words[2], 0x0D7EA145D7D0894Bu);
}

TEST(Pattern, every_octet_can_be_computed_alone) {
  std::vector<std::uint8_t> all(100);
  octets(7, 0, all);
  for (std::size_t i = 0; i < all.size(); ++i) EXPECT_EQ(all[i], octet(7, i)) << i;
}

TEST(Pattern, a_piece_is_the_same_as_in_the_whole) {
  std::vector<std::uint8_t> all(100);
  octets(9, 0, all);
  for (std::size_t offset = 0; offset < 20; ++offset)
    for (std::size_t size = 0; size < 20; ++size) {
      std::vector<std::uint8_t> piece(size);
      octets(9, offset, piece);
      EXPECT_TRUE(std::equal(piece.begin(), piece.end(), all.begin() + offset));
      EXPECT_EQ(first_difference(9, offset, piece), size);
    }
}

TEST(Pattern, a_single_wrong_octet_is_found) {
  for (const std::uint64_t offset : {5U, 8U}) {
    for (std::size_t wrong = 0; wrong < 43; ++wrong) {
      std::vector<std::uint8_t> all(43);
      octets(3, offset, all);
      all[wrong] ^= 0x10;
      EXPECT_EQ(first_difference(3, offset, all), wrong);
    }
  }
}

TEST(Pattern, seeds_and_pages_differ) {
  std::vector<std::uint8_t> a(4096), b(4096), c(4096);
  octets(1, 0, a);
  octets(2, 0, b);
  octets(1, 4096, c);
  EXPECT_LT(first_difference(1, 0, b), 16u);
  EXPECT_LT(first_difference(1, 0, c), 16u);
}

TEST(Pattern, bars_cover_the_width) {
  EXPECT_EQ(bar(0, 800), 0xFFFFFFu);
  EXPECT_EQ(bar(99, 800), 0xFFFFFFu);
  EXPECT_EQ(bar(100, 800), 0xFFFF00u);
  EXPECT_EQ(bar(799, 800), 0x000000u);
  EXPECT_EQ(bar(800, 800), 0u);
  EXPECT_EQ(bar(0, 0), 0u);
}

}  // namespace
}  // namespace displif_cts::pattern
