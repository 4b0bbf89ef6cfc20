// displif.h, "Back to front events delivery": the event page, kept and broken.
#include <fmt/format.h>

#include "cases/support/frontend_case.h"

namespace displif_cts::cases {
namespace {

FRONTEND_CASE(Wraps, {.id = "frontend.event-page.wraps",
                      .title = "Events are taken from the right slots beyond the end of the page, "
                               "and only the consumer index is the frontend's.",
                      .requirements = of(req::event_page_wraps, req::event_page_producer_untouched,
                                         req::event_page_consumer_behind_producer),
                      .timeout = seconds(60)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connectors().at(0), "picture");
  constexpr std::uint32_t kFlips = 70;  // the page has 63 slots
  // An event in a slot that the frontend does not look at is one that never comes.
  const Result flips = guest.call("flips",
                                  {{"fd", "card"},
                                   {"crtc", std::to_string(picture.connector.crtc)},
                                   {"fbs", picture.fb},
                                   {"count", std::to_string(kFlips)},
                                   {"timeout_ms", std::to_string(peer().flip_event.count() / 2)}},
                                  seconds(45));
  check(req::event_page_wraps, flips.ok, {fmt::format("{} flips complete by their events", kFlips)},
        fmt::format("{} after {} flips", flips.text(), flips.answer.value("done", 0)));
  const auto indexes = backend.indexes(0);
  ASSERT_TRUE(indexes);
  check_equal(req::event_page_producer_untouched, "in_prod",
              static_cast<std::uint32_t>(backend.events().size()), indexes->in_prod);
  check(req::event_page_consumer_behind_producer, indexes->in_cons <= indexes->in_prod,
        {fmt::format("in_cons at most {}", indexes->in_prod)},
        fmt::format("in_cons {}", indexes->in_cons));
}

struct Jump {
  std::string name;
  std::uint32_t distance;
  std::string words;
};

std::vector<std::pair<CaseSpec, Jump>> jump_specs() {
  std::vector<std::pair<CaseSpec, Jump>> list;
  for (const Jump& jump : {Jump{"page", 64, "by one more than the page has slots"},
                           Jump{"half-range", 1U << 31U, "by half of its range"}}) {
    CaseSpec spec;
    spec.id = "frontend.event-page.producer-beyond." + jump.name;
    spec.title = "An event producer that jumps ahead " + jump.words +
                 " neither stalls nor crashes the guest, and a new connection works.";
    spec.requirements = of(req::event_page_producer_beyond_ring);
    spec.timeout = seconds(45);
    list.emplace_back(std::move(spec), jump);
  }
  return list;
}

FRONTEND_CASES(ProducerBeyond, Jump, jump_specs()) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connectors().at(0), "picture");
  guest.page_flip(picture.connector, picture.fb);
  guest.wait_event(peer().flip_event + seconds(2));
  const auto indexes = backend.indexes(0);
  ASSERT_TRUE(indexes);
  backend.publish_evt_prod(0, indexes->in_prod + param.distance);
  backend.notify_events(0);
  require(check_timed(req::event_page_producer_beyond_ring, guest_answers(), {"the guest answers"},
                      "the guest is silent"));
  backend.shutdown();
  await_any_state(backend, {bus::State::reconfiguring, bus::State::initialising},
                  after_removal_limit());
  guest.close();
  backend.await_state(bus::State::initialising, after_removal_limit());
  backend.start();
  require(check_awaited(req::event_page_producer_beyond_ring, backend.await_connected(soon()),
                        "Connected again"));
  check_usable(req::event_page_producer_beyond_ring, backend);
}

}  // namespace
}  // namespace displif_cts::cases
