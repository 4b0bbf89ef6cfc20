#include "harness/displif/event_page.h"

#include <gtest/gtest.h>

#include <stdexcept>

namespace displif_cts::displif {
namespace {

struct alignas(64) Page {
  std::array<std::byte, kPageSize> memory{};
  std::span<std::byte> bytes() { return memory; }
};

Packet event(std::uint16_t id) { return encode_event(id, PgFlipEvent{FbCookie{id}}); }
std::uint16_t id_of(const Taken& taken) { return decode_event(taken.packet).id; }

class EventPage : public testing::TestWithParam<std::uint32_t> {
 protected:
  Page page_;
  EventConsumer front_{page_.bytes(), GetParam()};
  EventProducer back_{page_.bytes(), GetParam()};

  std::uint32_t start() const { return GetParam(); }
  void send(std::uint16_t id) {
    ASSERT_TRUE(back_.put(event(id)));
    back_.publish();
  }
};

INSTANTIATE_TEST_SUITE_P(Indices, EventPage,
                         testing::Values(0U, 62U, 63U, 0x7fffffffU, 0xffffff00U),
                         [](const auto& index) { return "from_" + std::to_string(index.param); });

TEST_P(EventPage, carries_events_in_order) {
  EXPECT_EQ(front_.take().result, Take::empty);
  ASSERT_TRUE(back_.put(event(1)));
  EXPECT_EQ(front_.take().result, Take::empty);  // not published yet
  back_.publish();
  send(2);
  const Taken first = front_.take();
  ASSERT_TRUE(first);
  EXPECT_EQ(first.index, start());
  EXPECT_EQ(id_of(first), 1);
  EXPECT_EQ(id_of(front_.take()), 2);
  EXPECT_EQ(front_.take().result, Take::empty);
  EXPECT_EQ(back_.unconfirmed(), 2U);
  front_.confirm();
  EXPECT_EQ(back_.unconfirmed(), 0U);
}

TEST_P(EventPage, goes_round_unconfirmed) {
  for (std::uint16_t i = 0; i < 200; ++i) {
    send(i);
    const Taken taken = front_.take();
    ASSERT_TRUE(taken);
    ASSERT_EQ(taken.index, start() + i);
    ASSERT_EQ(id_of(taken), i);
  }
}

TEST_P(EventPage, refuses_when_63_are_unconfirmed) {
  for (std::uint16_t i = 0; i < 63; ++i) ASSERT_TRUE(back_.put(event(i), WhenFull::refuse)) << i;
  EXPECT_FALSE(back_.put(event(63), WhenFull::refuse));
  back_.publish();
  for (std::uint16_t i = 0; i < 63; ++i) ASSERT_EQ(id_of(front_.take()), i);
  EXPECT_FALSE(back_.put(event(63), WhenFull::refuse));  // taken, but not confirmed
  front_.confirm();
  EXPECT_TRUE(back_.put(event(63), WhenFull::refuse));
}

TEST_P(EventPage, overwriting_gets_ahead_of_a_frontend_that_sleeps) {
  for (std::uint16_t i = 0; i < 63; ++i) send(i);
  EXPECT_TRUE(front_.take());
  send(63);
  EXPECT_TRUE(front_.take());
  send(64);
  send(65);
  EXPECT_EQ(front_.take().result, Take::overflow);
}

TEST_P(EventPage, impossible_producers_are_overflow) {
  for (const std::uint32_t ahead : {64U, 0x80000000U, 0xffffffffU}) {
    back_.shared().set_in_prod(start() + ahead);
    const Taken taken = front_.take();
    EXPECT_EQ(taken.result, Take::overflow) << ahead;
    EXPECT_EQ(taken.index, start());
  }
  EXPECT_EQ(front_.in_cons_pvt(), start());
  back_.shared().set_in_prod(start() + 63);
  EXPECT_TRUE(front_.take());
}

TEST_P(EventPage, impossible_consumers_are_seen) {
  front_.shared().set_in_cons(start() + 1);  // confirms what was never sent
  EXPECT_EQ(back_.unconfirmed(), std::nullopt);
  EXPECT_FALSE(back_.put(event(1), WhenFull::refuse));
  EXPECT_TRUE(back_.put(event(1), WhenFull::overwrite));
}

TEST_P(EventPage, faults_have_access) {
  back_.shared().write_slot(start() + 2, event(42));
  back_.shared().set_in_prod(start() + 3);
  EXPECT_TRUE(front_.take());
  EXPECT_TRUE(front_.take());
  EXPECT_EQ(id_of(front_.take()), 42);
  back_.set_private(start() + 10);
  EXPECT_EQ(back_.in_prod_pvt(), start() + 10);
  front_.set_private(start() + 10);
  back_.publish();
  EXPECT_EQ(front_.take().result, Take::empty);
}

// 63 does not divide 2^32: index 0xffffffff has slot 3, index 0 has slot 0.
TEST(EventPageWrap, both_sides_agree_across_it) {
  Page page;
  EventConsumer front(page.bytes(), 0xffffffd0U);
  EventProducer back(page.bytes(), 0xffffffd0U);
  for (std::uint16_t i = 0; i < 200; ++i) {
    ASSERT_TRUE(back.put(event(i), WhenFull::refuse)) << i;
    back.publish();
    const Taken taken = front.take();
    ASSERT_TRUE(taken);
    ASSERT_EQ(id_of(taken), i);
    front.confirm();
  }
  EXPECT_EQ(back.in_prod_pvt(), 0xffffffd0U + 200);
}

TEST(EventPageWrap, an_occupied_slot_is_refused_early) {
  Page page;
  EventConsumer front(page.bytes(), 0xfffffffcU);  // slots 0 1 2 3, then 0 again
  EventProducer back(page.bytes(), 0xfffffffcU);
  for (std::uint16_t i = 0; i < 4; ++i) ASSERT_TRUE(back.put(event(i), WhenFull::refuse));
  EXPECT_FALSE(back.put(event(4), WhenFull::refuse));
  back.publish();
  ASSERT_TRUE(front.take());
  front.confirm();
  EXPECT_TRUE(back.put(event(4), WhenFull::refuse));
}

TEST(SharedEventPage, has_the_headers_layout) {
  Page page;
  EventProducer back(page.bytes());
  ASSERT_TRUE(back.put(event(7)));
  back.publish();
  const auto* header = reinterpret_cast<const xendispl_event_page*>(page.memory.data());
  EXPECT_EQ(header->in_prod, 1U);
  EXPECT_EQ(XENDISPL_IN_RING_REF(page.memory.data(), 63).id, 7);
  EXPECT_EQ(back.shared().read_slot(63), event(7));
  EXPECT_EQ(kEventSlots, 63U);
  EXPECT_EQ(back.shared().reserved(), (std::array<std::byte, 56>{}));
  page.memory[8] = std::byte{1};
  EXPECT_EQ(back.shared().reserved()[0], std::byte{1});
}

TEST(SharedEventPage, wants_a_whole_aligned_page) {
  Page page;
  EXPECT_THROW(SharedEventPage(page.bytes().first(4032)), std::invalid_argument);
  alignas(8) std::array<std::byte, 4104> memory{};
  EXPECT_THROW(SharedEventPage(std::span(memory).subspan(4, 4096)), std::invalid_argument);
}

TEST(SharedEventPage, consumer_clears_it_all) {
  Page page;
  page.memory.fill(std::byte{0xff});
  const EventConsumer front(page.bytes());
  for (const std::byte value : page.memory) ASSERT_EQ(value, std::byte{0});
}

}  // namespace
}  // namespace displif_cts::displif
