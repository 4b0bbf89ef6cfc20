#include "cases/support/leaks.h"

#include <gtest/gtest.h>

namespace displif_cts::cases {
namespace {

using std::chrono::milliseconds;

constexpr const char* kLeak =
    "unreferenced object 0x1 (size 64):\n  comm \"kms\", pid 80, jiffies 1 (age 6.250s)\n"
    "  backtrace:\n    [<00000001>] kmalloc_trace+0x1/0x2\n    [<00000002>] "
    "known_function+0x3/0x4\n";

TEST(SiftLeaks, a_leak_is_told_in_a_line_with_who_allocated_it) {
  const FoundLeaks found = sift_leaks({kLeak}, milliseconds(6250), {});
  EXPECT_TRUE(found.known.empty());
  ASSERT_EQ(found.rest.size(), 1U);
  EXPECT_EQ(found.rest[0],
            "unreferenced object 0x1 (size 64), from kmalloc_trace < known_function");
}

TEST(SiftLeaks, a_known_one_is_set_apart) {
  const FoundLeaks found = sift_leaks({kLeak}, milliseconds(9000), {"known_function"});
  EXPECT_TRUE(found.rest.empty());
  EXPECT_EQ(found.known.size(), 1U);
}

TEST(SiftLeaks, what_is_older_than_the_case_is_not_the_cases) {
  const FoundLeaks found = sift_leaks({kLeak}, milliseconds(6249), {"known_function"});
  EXPECT_TRUE(found.rest.empty());
  EXPECT_TRUE(found.known.empty());
}

TEST(SiftLeaks, one_without_an_age_counts) {
  EXPECT_EQ(sift_leaks({"unreferenced object 0x1 (size 64):\n"}, milliseconds(1), {}).rest.size(),
            1U);
}

TEST(SiftLeaks, the_counts_in_the_log_are_taken_out_and_nothing_else) {
  EXPECT_EQ(without_leak_counts("a\nkmemleak: 3 new suspected memory leaks (see x)\nWARNING: b"),
            "a\nWARNING: b");
}

}  // namespace
}  // namespace displif_cts::cases
