#include "harness/xen/chunks.h"

#include <gtest/gtest.h>

#include <array>
#include <stdexcept>

namespace displif_cts::xen {
namespace {

class Pieces : public testing::Test {
 protected:
  // Three pieces that do not lie side by side: 4, 4 and 2 octets.
  std::array<std::byte, 4> first_{};
  std::array<std::byte, 4> second_{};
  std::array<std::byte, 2> third_{};
  std::vector<std::span<std::byte>> chunks_{first_, second_, third_};

  std::vector<std::pair<std::size_t, std::size_t>> run(std::size_t offset, std::size_t size) {
    std::vector<std::pair<std::size_t, std::size_t>> calls;
    for_each_piece(chunks_, offset, size, [&](std::span<std::byte> piece, std::size_t at) {
      calls.emplace_back(at, piece.size());
    });
    return calls;
  }
};

TEST_F(Pieces, are_visited_in_order) {
  using Calls = std::vector<std::pair<std::size_t, std::size_t>>;
  EXPECT_EQ(run(0, 10), Calls({{0, 4}, {4, 4}, {8, 2}}));
  EXPECT_EQ(run(3, 2), Calls({{0, 1}, {1, 1}}));
  EXPECT_EQ(run(4, 4), Calls({{0, 4}}));
  EXPECT_EQ(run(9, 1), Calls({{0, 1}}));
  EXPECT_EQ(run(10, 0), Calls({}));
}

TEST_F(Pieces, end_where_the_memory_ends) {
  EXPECT_THROW(run(0, 11), std::out_of_range);
  EXPECT_THROW(run(11, 0), std::out_of_range);
  EXPECT_THROW(run(5, SIZE_MAX), std::out_of_range);
}

TEST(ParseLimit, takes_positive_numbers_only) {
  EXPECT_EQ(parse_limit("65536\n", 7), 65536U);
  EXPECT_EQ(parse_limit("1024", 7), 1024U);
  for (const char* text : {"", "\n", "0\n", "-1\n", "many\n", "12x\n"}) {
    EXPECT_EQ(parse_limit(text, 7), 7U) << text;
  }
}

TEST(DescribeRefs, names_one_or_the_range) {
  const std::array refs{GrantRef{8}, GrantRef{9}};
  EXPECT_EQ(describe_refs(DomId{1}, std::span(refs).first(1)), "domain 1, gref 8");
  EXPECT_EQ(describe_refs(DomId{1}, refs), "domain 1, 2 grefs from 8");
}

}  // namespace
}  // namespace displif_cts::xen
