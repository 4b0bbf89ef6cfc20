#include "harness/agent/kernel_log.h"

#include <gtest/gtest.h>

namespace displif_cts::agent {
namespace {

TEST(ParseKmsgRecord, takes_level_number_time_and_text) {
  KernelLogLine line;
  ASSERT_TRUE(parse_kmsg_record("4,1234,567890,-;a; b,c\n SUBSYSTEM=x\n", line));
  EXPECT_EQ(line.level, 4u);
  EXPECT_EQ(line.facility, 0u);
  EXPECT_EQ(line.seq, 1234u);
  EXPECT_EQ(line.us, 567890u);
  EXPECT_EQ(line.text, "a; b,c");
}

TEST(ParseKmsgRecord, knows_user_space_by_its_facility_and_ignores_further_fields) {
  KernelLogLine line;
  ASSERT_TRUE(parse_kmsg_record("14,1,2,c,caller=T1;hello\n", line));
  EXPECT_EQ(line.level, 6u);
  EXPECT_EQ(line.facility, 1u);
  EXPECT_EQ(line.text, "hello");
}

TEST(ParseKmsgRecord, refuses_what_is_none) {
  KernelLogLine line;
  for (const char* record : {"", "x", "4", "4,1", "4,1,2", "4,1,2,-", "-1,1,2,-;x", "4,,2,-;x"})
    EXPECT_FALSE(parse_kmsg_record(record, line)) << record;
}

}  // namespace
}  // namespace displif_cts::agent
