#include "harness/xen/poll.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>

#include "harness/xen/error.h"

namespace displif_cts::xen {
namespace {

using namespace std::chrono_literals;

TEST(PollTimeout, rounds_up_and_stays_in_range) {
  const Clock::time_point now = Clock::now();
  EXPECT_EQ(poll_timeout(now, now), 0);
  EXPECT_EQ(poll_timeout(now - 1h, now), 0);
  EXPECT_EQ(poll_timeout(now + 1ns, now), 1);
  EXPECT_EQ(poll_timeout(now + 3ms, now), 3);
  EXPECT_EQ(poll_timeout(now + 3ms + 1ns, now), 4);
  EXPECT_EQ(poll_timeout(now + 2h, now), 60000);
  EXPECT_EQ(poll_timeout(Deadline::max(), now), 60000);
  EXPECT_EQ(poll_timeout(Deadline::min(), now), 0);
}

class Pipe : public testing::Test {
 protected:
  void SetUp() override { ASSERT_EQ(pipe(ends_.data()), 0); }
  void TearDown() override {
    for (const int end : ends_) close(end);
  }
  std::array<int, 2> ends_{-1, -1};
};

TEST_F(Pipe, tells_readable_from_deadline) {
  EXPECT_FALSE(wait_readable(ends_[0], in(0ms)));
  const auto start = Clock::now();
  EXPECT_FALSE(wait_readable(ends_[0], in(20ms)));
  EXPECT_GE(Clock::now() - start, 20ms);
  ASSERT_EQ(write(ends_[1], "x", 1), 1);
  EXPECT_TRUE(wait_readable(ends_[0], in(0ms)));
  EXPECT_TRUE(wait_readable(ends_[0], Clock::now() - 1h));
}

TEST(WaitReadable, names_a_bad_descriptor) { EXPECT_THROW(wait_readable(999999, in(10ms)), Error); }

}  // namespace
}  // namespace displif_cts::xen
