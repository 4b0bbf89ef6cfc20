// The state of a port, operation by operation.
#include "harness/loopback/events.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace displif_cts::loopback {
namespace {

constexpr std::uint32_t kReader = 17;

class EventsTest : public testing::Test {
 protected:
  EventsTest() {
    EventMemory::renew(ours(), kReader, false);
    EventMemory::set_peer(events_.at(1, 5), {Link::interdomain, 0, 3});
  }
  PortWord& ours() { return events_.at(0, 3); }
  std::uint32_t notify() {
    const std::uint32_t reader = events_.notify(1, 5);
    events_.woken(1, 5);
    return reader;
  }

  EventMemory events_ = EventMemory::create();
};

TEST_F(EventsTest, first_event_queues_masks_and_wakes) {
  EXPECT_EQ(notify(), kReader);
  EXPECT_TRUE(EventMemory::queued(ours()));
  EXPECT_TRUE(EventMemory::masked(ours()));
  EXPECT_FALSE(EventMemory::pending(ours()));
}

TEST_F(EventsTest, second_event_is_pending_and_wakes_nobody) {
  notify();
  EXPECT_EQ(notify(), 0U);
  EXPECT_TRUE(EventMemory::pending(ours()));
  EXPECT_TRUE(EventMemory::take(ours()));
  EXPECT_FALSE(EventMemory::take(ours()));
  EXPECT_TRUE(events_.unmask(ours()));
  EXPECT_TRUE(EventMemory::take(ours()));
  EXPECT_FALSE(events_.unmask(ours()));
  EXPECT_FALSE(EventMemory::masked(ours()));
}

TEST_F(EventsTest, unmask_before_the_take_lets_a_second_event_queue) {
  notify();
  EXPECT_FALSE(events_.unmask(ours()));
  EXPECT_EQ(notify(), kReader);
  EXPECT_TRUE(EventMemory::take(ours()));
  EXPECT_TRUE(EventMemory::take(ours()));
  EXPECT_FALSE(EventMemory::take(ours()));
}

TEST_F(EventsTest, port_that_leads_nowhere_drops_the_event) {
  EXPECT_EQ(events_.notify(2, 2), 0U);
  EventMemory::set_peer(events_.at(2, 2), {.link = Link::unbound});
  EXPECT_EQ(events_.notify(2, 2), 0U);
}

TEST_F(EventsTest, renewed_port_has_no_events) {
  notify();
  notify();
  EventMemory::renew(ours(), 4, false);
  EXPECT_FALSE(EventMemory::queued(ours()));
  EXPECT_FALSE(EventMemory::pending(ours()));
  EXPECT_EQ(notify(), 4U);
}

TEST_F(EventsTest, order_is_that_of_the_events) {
  EventMemory::set_peer(events_.at(1, 6), {Link::interdomain, 0, 4});
  EventMemory::renew(events_.at(0, 4), kReader, false);
  events_.notify(1, 6);
  notify();
  EXPECT_LT(events_.at(0, 4).order.load(), ours().order.load());
}

TEST_F(EventsTest, wild_numbers_stay_inside) {
  EventMemory::set_peer(events_.at(1, 7), {Link::interdomain, 0xffff, 0xffffffff});
  events_.notify(0xffffffff, 0xffffffff);
  events_.notify(1, 7);
}

// Closing and binding while the peer notifies: an event reaches the port it was for, or none.
TEST_F(EventsTest, notification_under_way_misses_a_renewed_port) {
  std::atomic<bool> stop = false;
  std::thread notifier([&] {
    while (!stop) {
      notify();
      std::this_thread::yield();
    }
  });
  for (int i = 0; i < 500; ++i) {
    EventMemory::set_peer(events_.at(1, 5), {.link = Link::unbound});
    EventMemory::renew(ours(), kReader + 1, false);
    // From here on the port is another's.
    ASSERT_FALSE(EventMemory::queued(ours())) << i;
    std::this_thread::yield();
    ASSERT_FALSE(EventMemory::queued(ours())) << i;
    EventMemory::renew(ours(), kReader, false);
    EventMemory::set_peer(events_.at(1, 5), {Link::interdomain, 0, 3});
    std::this_thread::yield();
  }
  stop = true;
  notifier.join();
}

}  // namespace
}  // namespace displif_cts::loopback
