#include "harness/displif/ring.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <thread>

namespace displif_cts::displif {
namespace {

struct alignas(64) Page {
  std::array<std::byte, kPageSize> memory{};
  std::span<std::byte> bytes() { return memory; }
};

Packet packet(std::uint16_t id) { return encode_request(id, PgFlip{FbCookie{id}}); }
std::uint16_t id_of(const Taken& taken) { return decode_request(taken.packet).id; }

// Indices at which everything is done: the start, and on both sides of the wrap.
class Ring : public testing::TestWithParam<std::uint32_t> {
 protected:
  Page page_;
  FrontRing front_{page_.bytes(), GetParam()};
  BackRing back_{page_.bytes(), GetParam()};

  std::uint32_t start() const { return GetParam(); }
  void request(std::uint16_t id) { ASSERT_TRUE(front_.put_request(packet(id))); }
};

INSTANTIATE_TEST_SUITE_P(Indices, Ring,
                         testing::Values(0U, 1U, 0x7fffffffU, 0x80000000U, 0xffffffe0U, 0xfffffff0U,
                                         0xffffffffU),
                         [](const auto& index) { return "from_" + std::to_string(index.param); });

TEST_P(Ring, starts_empty) {
  EXPECT_EQ(front_.size(), 32U);
  EXPECT_EQ(back_.size(), 32U);
  EXPECT_EQ(front_.free_requests(), 32U);
  EXPECT_EQ(back_.take_request().result, Take::empty);
  EXPECT_EQ(front_.take_response().result, Take::empty);
  EXPECT_EQ(front_.shared().indices(), (RingIndices{start(), start() + 1, start(), start() + 1}));
}

TEST_P(Ring, carries_requests_and_responses) {
  request(7);
  EXPECT_EQ(back_.take_request().result, Take::empty);  // not published yet
  EXPECT_TRUE(front_.publish_requests());
  EXPECT_EQ(back_.unconsumed(), 1U);
  const Taken taken = back_.take_request();
  ASSERT_TRUE(taken);
  EXPECT_EQ(taken.index, start());
  EXPECT_EQ(taken.prod, start() + 1);
  EXPECT_EQ(id_of(taken), 7);
  EXPECT_EQ(back_.unanswered(), 1);
  EXPECT_EQ(front_.free_requests(), 31U);

  back_.put_response(encode_response({7, XENDISPL_OP_PG_FLIP, -5, 0, {}}));
  EXPECT_EQ(front_.take_response().result, Take::empty);
  EXPECT_TRUE(back_.publish_responses());
  const Taken answer = front_.take_response();
  ASSERT_TRUE(answer);
  EXPECT_FALSE(answer.unsolicited);
  EXPECT_EQ(decode_response(answer.packet).status, -5);
  EXPECT_EQ(back_.unanswered(), 0);
  EXPECT_EQ(front_.free_requests(), 32U);
}

TEST_P(Ring, goes_round_many_times) {
  for (unsigned lap = 0; lap < 300; ++lap) {
    const auto id = static_cast<std::uint16_t>(lap);
    request(id);
    (void)front_.publish_requests();
    const Taken taken = back_.take_request();
    ASSERT_TRUE(taken);
    ASSERT_EQ(taken.index, start() + lap);
    ASSERT_EQ(id_of(taken), id);
    back_.put_response(encode_response({id, XENDISPL_OP_PG_FLIP, 0, 0, {}}));
    (void)back_.publish_responses();
    const Taken answer = front_.take_response();
    ASSERT_TRUE(answer);
    ASSERT_EQ(decode_response(answer.packet).id, id);
  }
}

TEST_P(Ring, is_full_with_32_requests) {
  for (std::uint16_t i = 0; i < 32; ++i) request(i);
  EXPECT_FALSE(front_.put_request(packet(99)));
  (void)front_.publish_requests();
  EXPECT_EQ(back_.unconsumed(), 32U);
  for (std::uint16_t i = 0; i < 32; ++i) EXPECT_EQ(id_of(back_.take_request()), i);
  EXPECT_EQ(back_.take_request().result, Take::empty);
  EXPECT_FALSE(front_.put_request(packet(99)));  // taken, but not answered
  back_.put_response(packet(0));
  (void)back_.publish_responses();
  EXPECT_FALSE(front_.put_request(packet(99)));  // answered, but not seen
  EXPECT_TRUE(front_.take_response());
  EXPECT_TRUE(front_.put_request(packet(99)));
}

TEST_P(Ring, producer_beyond_the_ring_is_overflow_and_consumes_nothing) {
  front_.shared().set_req_prod(start() + 33);
  EXPECT_TRUE(back_.overflowed());
  EXPECT_EQ(back_.unconsumed(), 0U);
  for (int i = 0; i < 3; ++i) {
    const Taken taken = back_.take_request();
    EXPECT_EQ(taken.result, Take::overflow);
    EXPECT_EQ(taken.index, start());
    EXPECT_EQ(taken.prod, start() + 33);
  }
  EXPECT_EQ(back_.req_cons(), start());
  front_.shared().set_req_prod(start() + 32);
  EXPECT_FALSE(back_.overflowed());
  EXPECT_TRUE(back_.take_request());
}

TEST_P(Ring, producer_that_goes_back_is_overflow) {
  request(1);
  (void)front_.publish_requests();
  ASSERT_TRUE(back_.take_request());
  front_.shared().set_req_prod(start());
  EXPECT_EQ(back_.take_request().result, Take::overflow);
  front_.shared().set_req_prod(start() + 0x80000000U);
  EXPECT_EQ(back_.take_request().result, Take::overflow);
}

TEST_P(Ring, unanswered_requests_count_against_the_producer) {
  for (std::uint16_t i = 0; i < 10; ++i) request(i);
  (void)front_.publish_requests();
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(back_.take_request());
  front_.shared().set_req_prod(start() + 32);  // the last one that can be
  EXPECT_EQ(back_.unconsumed(), 22U);
  front_.shared().set_req_prod(start() + 33);
  EXPECT_EQ(back_.take_request().result, Take::overflow);
  back_.put_response(packet(0));
  EXPECT_EQ(back_.unconsumed(), 23U);
}

TEST_P(Ring, answers_nobody_asked_for_do_not_confuse_the_backend) {
  back_.put_response(encode_response({900, XENDISPL_OP_PG_FLIP, 0, 0, {}}));
  back_.put_response(encode_response({901, XENDISPL_OP_PG_FLIP, 0, 0, {}}));
  EXPECT_TRUE(back_.publish_responses());
  EXPECT_EQ(back_.unanswered(), -2);
  const Taken answer = front_.take_response();
  ASSERT_TRUE(answer);
  EXPECT_TRUE(answer.unsolicited);
  EXPECT_EQ(decode_response(answer.packet).id, 900);
  EXPECT_EQ(front_.free_requests(), 32U);

  request(5);
  (void)front_.publish_requests();
  const Taken taken = back_.take_request();
  ASSERT_TRUE(taken);
  EXPECT_EQ(id_of(taken), 5);
  front_.shared().set_req_prod(start() + 34);
  EXPECT_TRUE(back_.overflowed());
}

TEST_P(Ring, response_producer_beyond_the_ring_is_overflow) {
  back_.shared().set_rsp_prod(start() + 33);
  EXPECT_TRUE(front_.overflowed());
  EXPECT_EQ(front_.unconsumed(), 0U);
  EXPECT_EQ(front_.take_response().result, Take::overflow);
  EXPECT_EQ(front_.rsp_cons(), start());
  back_.shared().set_rsp_prod(start() - 1);
  EXPECT_EQ(front_.take_response().result, Take::overflow);
  back_.shared().set_rsp_prod(start() + 32);
  EXPECT_TRUE(front_.take_response());
}

TEST_P(Ring, first_request_after_a_final_check_notifies) {
  EXPECT_FALSE(back_.final_check_for_requests());
  EXPECT_EQ(front_.shared().indices().req_event, start() + 1);
  request(1);
  EXPECT_TRUE(front_.publish_requests());
  request(2);
  EXPECT_FALSE(front_.publish_requests());        // the backend is awake
  EXPECT_TRUE(back_.final_check_for_requests());  // there is work: no event is asked for
  EXPECT_EQ(front_.shared().indices().req_event, start() + 1);
  ASSERT_TRUE(back_.take_request());
  ASSERT_TRUE(back_.take_request());
  EXPECT_FALSE(back_.final_check_for_requests());
  request(3);
  EXPECT_TRUE(front_.publish_requests());
}

TEST_P(Ring, hold_off_waits_for_the_batch) {
  EXPECT_FALSE(back_.final_check_for_requests(3));
  request(1);
  EXPECT_FALSE(front_.publish_requests());
  request(2);
  EXPECT_FALSE(front_.publish_requests());
  request(3);
  EXPECT_TRUE(front_.publish_requests());
}

TEST_P(Ring, batch_published_at_once_notifies_once) {
  for (std::uint16_t i = 0; i < 5; ++i) request(i);
  EXPECT_TRUE(front_.publish_requests());
  EXPECT_FALSE(front_.publish_requests());  // nothing new
}

TEST_P(Ring, responses_hold_off_alike) {
  for (std::uint16_t i = 0; i < 4; ++i) request(i);
  (void)front_.publish_requests();
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(back_.take_request());
  EXPECT_FALSE(front_.final_check_for_responses(2));
  back_.put_response(packet(0));
  EXPECT_FALSE(back_.publish_responses());
  back_.put_response(packet(1));
  EXPECT_TRUE(back_.publish_responses());
  EXPECT_TRUE(front_.final_check_for_responses());
  ASSERT_TRUE(front_.take_response());
  ASSERT_TRUE(front_.take_response());
  EXPECT_FALSE(front_.final_check_for_responses());
  back_.put_response(packet(2));
  EXPECT_TRUE(back_.publish_responses());
}

TEST_P(Ring, the_peer_changing_our_producer_changes_nothing_for_us) {
  front_.shared().set_rsp_prod(start() + 1000);  // the backend's index, written by the frontend
  request(1);
  (void)front_.publish_requests();
  ASSERT_TRUE(back_.take_request());
  back_.put_response(packet(1));
  EXPECT_TRUE(back_.publish_responses());
  EXPECT_EQ(back_.shared().indices().rsp_prod, start() + 1);
}

TEST_P(Ring, faults_have_access) {
  back_.shared().write_slot(start() + 3, packet(44));
  back_.shared().set_rsp_prod(start() + 4);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(front_.take_response());
  EXPECT_EQ(id_of(front_.take_response()), 44);
  EXPECT_EQ(front_.shared().read_slot(start() + 3 + 32), packet(44));
  back_.set_private(start() + 5, start() + 2);
  EXPECT_EQ(back_.unanswered(), 3);
  EXPECT_EQ(back_.req_cons(), start() + 5);
  front_.set_private(start() + 9, start() + 9);
  EXPECT_EQ(front_.free_requests(), 32U);
}

TEST(SharedRing, has_as_many_slots_as_fit_in_powers_of_two) {
  alignas(8) std::array<std::byte, 4096 + 64> memory{};
  const std::span<std::byte> all(memory);
  EXPECT_EQ(SharedRing(all.first(128)).size(), 1U);
  EXPECT_EQ(SharedRing(all.first(64 + 3 * 64)).size(), 2U);
  EXPECT_EQ(SharedRing(all.first(64 + 4 * 64)).size(), 4U);
  EXPECT_EQ(SharedRing(all.first(4096)).size(), 32U);
  EXPECT_THROW(SharedRing(all.first(127)), std::invalid_argument);
  EXPECT_THROW(SharedRing(all.subspan(1, 4096)), std::invalid_argument);
}

TEST(SharedRing, agrees_with_ring_h) {
  Page page;
  FrontRing front(page.bytes());
  auto* sring = reinterpret_cast<struct xen_displif_sring*>(page.memory.data());
  EXPECT_EQ(sring->req_event, 1U);
  EXPECT_EQ(sring->rsp_event, 1U);
  struct xen_displif_back_ring macros;
  // BACK_RING_INIT spelled out: it narrows a long under a sanitizer.
  macros.sring = sring;
  macros.nr_ents = static_cast<unsigned>(__RING_SIZE(sring, kPageSize));
  EXPECT_EQ(RING_SIZE(&macros), front.size());
  ASSERT_TRUE(front.put_request(packet(7)));
  EXPECT_TRUE(front.publish_requests());
  EXPECT_EQ(sring->req_prod, 1U);
  EXPECT_EQ(RING_GET_REQUEST(&macros, 0)->id, 7);
  sring->req_prod = 5;
  EXPECT_EQ(front.shared().indices().req_prod, 5U);
  sring->rsp_event = 9;
  EXPECT_EQ(front.shared().indices().rsp_event, 9U);
}

TEST(SharedRing, shows_padding_the_peer_wrote_to) {
  Page page;
  page.memory.fill(std::byte{0xff});
  FrontRing front(page.bytes());
  EXPECT_EQ(front.shared().padding(), (std::array<std::byte, 48>{}));
  page.memory[63] = std::byte{1};
  EXPECT_EQ(front.shared().padding()[47], std::byte{1});
  EXPECT_EQ(page.memory[64], std::byte{0xff});  // slots are left alone
}

// Two threads, every request answered, woken by what hold-off says and nothing else: a lost
// notification would leave one of them asleep.
TEST(RingThreads, exchange_with_hold_off_alone) {
  Page page;
  FrontRing front(page.bytes(), 0xffffff00U);
  BackRing back(page.bytes(), 0xffffff00U);
  constexpr unsigned kCount = 20000;
  std::atomic<unsigned> to_back{0};
  std::atomic<unsigned> to_front{0};
  const auto sleep_on = [](std::atomic<unsigned>& bell, unsigned& heard) {
    bell.wait(heard);
    heard = bell.load();
  };
  const auto ring_bell = [](std::atomic<unsigned>& bell) {
    bell.fetch_add(1);
    bell.notify_one();
  };

  std::thread backend([&] {
    unsigned heard = 0;
    unsigned served = 0;
    while (served < kCount) {
      while (const Taken taken = back.take_request()) {
        back.put_response(encode_response({id_of(taken), XENDISPL_OP_PG_FLIP, 0, 0, {}}));
        ++served;
        if (back.publish_responses()) ring_bell(to_front);
      }
      if (served < kCount && !back.final_check_for_requests()) sleep_on(to_back, heard);
    }
  });

  unsigned sent = 0;
  unsigned received = 0;
  unsigned heard = 0;
  while (received < kCount) {
    while (sent < kCount && front.put_request(packet(static_cast<std::uint16_t>(sent)))) ++sent;
    if (front.publish_requests()) ring_bell(to_back);
    while (const Taken taken = front.take_response()) {
      ASSERT_EQ(decode_response(taken.packet).id, static_cast<std::uint16_t>(received));
      ++received;
    }
    if (received < kCount && sent - received == front.size() &&
        !front.final_check_for_responses()) {
      sleep_on(to_front, heard);
    }
  }
  backend.join();
  EXPECT_EQ(received, kCount);
}

}  // namespace
}  // namespace displif_cts::displif
