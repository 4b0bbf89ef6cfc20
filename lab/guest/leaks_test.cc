#include "lab/guest/leaks.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace displif_cts::exerciser {
namespace {

using ::testing::EndsWith;
using ::testing::IsEmpty;
using ::testing::StartsWith;

TEST(Leaks, no_text_is_no_leak) { EXPECT_THAT(leak_records(""), IsEmpty()); }

TEST(Leaks, records_are_kept_whole) {
  const auto records = leak_records(
      "unreferenced object 0x1 (size 64):\n  comm \"kms\", pid 80, jiffies 1 (age 5.0s)\n"
      "  backtrace:\n    [<1>] kmalloc_trace+0x1/0x2\n"
      "unreferenced object 0x2 (size 32):\n  backtrace:\n    [<2>] kmemdup+0x1/0x2\n");
  ASSERT_EQ(records.size(), 2U);
  EXPECT_THAT(records[0], StartsWith("unreferenced object 0x1"));
  EXPECT_THAT(records[0], EndsWith("kmalloc_trace+0x1/0x2\n"));
  EXPECT_THAT(records[1], EndsWith("kmemdup+0x1/0x2\n"));
}

TEST(Leaks, what_comes_before_the_first_record_belongs_to_none) {
  EXPECT_THAT(leak_records("kmemleak: disabled\n"), IsEmpty());
}

}  // namespace
}  // namespace displif_cts::exerciser
