// displif.h, "Back to front events delivery": the event page, kept and broken.
#include "harness/displif/event_page.h"

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
  const Picture picture = show_picture(guest.connector(), "picture");
  // The event of another slot names another framebuffer.
  guest.add_fb("other-fb", picture.buffer);
  constexpr std::uint32_t kFlips = 60;  // the page has 63 slots
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
  for (unsigned flip = 0; flip < 8; ++flip) {
    const Result called =
        guest.page_flip(picture.connector, flip % 2 == 0 ? "other-fb" : picture.fb);
    const bool complete = called.ok && guest.wait_event(peer().flip_event / 2).arrived;
    require(check_timed(req::event_page_wraps, complete,
                        {fmt::format("flip {} completes by its event", kFlips + flip)},
                        complete ? fmt::format("flip {} completes by its event", kFlips + flip)
                                 : "no event: " + called.text()));
  }
  const auto indexes = expect_indexes(req::event_page_wraps, backend);
  check_equal(req::event_page_producer_untouched, "in_prod",
              static_cast<std::uint32_t>(backend.events().size()), indexes.in_prod);
  check(req::event_page_consumer_behind_producer, indexes.in_cons <= indexes.in_prod,
        {fmt::format("in_cons at most {}", indexes.in_prod)},
        fmt::format("in_cons {}", indexes.in_cons));
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
  const Picture picture = show_picture(guest.connector(), "picture");
  guest.page_flip(picture.connector, picture.fb);
  guest.wait_event(peer().flip_event + seconds(2));
  const auto indexes = expect_indexes(req::event_page_producer_beyond_ring, backend);
  backend.publish_evt_prod(0, indexes.in_prod + param.distance);
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

// --- events that the header leaves open ----------------------------------------------------------

FRONTEND_CASE(UnknownType, {.id = "frontend.event-page.unknown-type",
                            .title = "An event of an undefined type is passed over; the flip "
                                     "event behind it completes the flip.",
                            .requirements = of(req::event_page_unknown_type_ignored)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults(
      [](BackendFaults& faults) { faults.event_unknown_type = {.times = 3, .count = 1}; });
  for (int flip = 0; flip < 4; ++flip) {
    guest.page_flip(picture.connector, picture.fb);
    const FlipEvent event = guest.wait_event(peer().flip_event / 2);
    require(check_timed(req::event_page_unknown_type_ignored, event.arrived,
                        {"the flip completes by its event"},
                        event.arrived ? "it does" : "no event"));
  }
}

FRONTEND_CASE(Full, {.id = "frontend.event-page.full",
                     .title = "A page full of events that one notification announces is taken "
                              "whole: the flip event in its last slot completes the flip.",
                     .requirements = of(req::event_page_unknown_type_ignored,
                                        req::event_page_taken_to_producer),
                     .timeout = seconds(60)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  const auto flip_behind = [&](const Requirement& requirement, std::uint32_t others) {
    backend.set_faults(
        [&](BackendFaults& faults) { faults.event_unknown_type = {.times = 1, .count = others}; });
    const Result flip = guest.page_flip(picture.connector, picture.fb);
    const bool completed = flip.ok && guest.wait_event(before_flip_limit()).arrived;
    return check_timed(
        requirement, completed,
        {fmt::format("a flip whose event stands behind {} of an undefined type completes", others)},
        completed ? "it does"
        : flip.ok ? "no event"
                  : flip.text());
  };
  // Whoever stops at the first strange event is judged for that alone.
  require(flip_behind(req::event_page_unknown_type_ignored, 1));
  // Before and after the end of the page.
  for (int turn = 0; turn < 2; ++turn)
    require(flip_behind(req::event_page_taken_to_producer, displif::kEventSlots - 1));
}

FRONTEND_CASE(IdGap, {.id = "frontend.event-page.id-gap",
                      .title = "A flip event whose id is not the next number completes its flip.",
                      .requirements = of(req::event_page_id_not_required),
                      .timeout = seconds(30)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults([](BackendFaults& faults) { faults.event_id_gap = 1; });
  guest.page_flip(picture.connector, picture.fb);
  const FlipEvent event = guest.wait_event(peer().flip_event / 2);
  check_timed(req::event_page_id_not_required, event.arrived, {"the flip completes by its event"},
              event.arrived ? "it does" : "no event");
}

struct Cons {
  std::string name;
  std::int32_t distance;  // from the producer
};

std::vector<std::pair<CaseSpec, Cons>> cons_specs() {
  std::vector<std::pair<CaseSpec, Cons>> list;
  for (const Cons& cons : {Cons{"back", -70}, Cons{"ahead", 1}}) {
    CaseSpec spec;
    spec.id = "frontend.event-page.consumer-overwritten." + cons.name;
    spec.title = fmt::format(
        "The backend overwrites in_cons ({:+} from in_prod) and notifies: the guest neither "
        "stalls nor crashes, and a new connection works.",
        cons.distance);
    spec.requirements = of(req::event_page_consumer_index_kept);
    spec.timeout = seconds(45);
    list.emplace_back(std::move(spec), cons);
  }
  return list;
}

void reconnect(FakeBackend& backend) {
  backend.shutdown();
  backend.await_state(bus::State::initialising, xen::in(seconds(10)));
  backend.start();
}

FRONTEND_CASES(ConsumerOverwritten, Cons, cons_specs()) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  guest.page_flip(picture.connector, picture.fb);
  guest.wait_event(peer().flip_event + seconds(2));
  const auto indexes = expect_indexes(req::event_page_consumer_index_kept, backend);
  backend.write_evt_cons(0, indexes.in_prod + static_cast<std::uint32_t>(param.distance));
  backend.notify_events(0);
  require(check_timed(req::event_page_consumer_index_kept, guest_answers(), {"the guest answers"},
                      "the guest is silent"));
  guest.close();
  reconnect(backend);
  require(check_awaited(req::event_page_consumer_index_kept, backend.await_connected(soon()),
                        "Connected again"));
  check_usable(req::event_page_consumer_index_kept, backend);
}

FRONTEND_CASE(Storm, {.id = "frontend.event-page.storm",
                      .title = "Notifications that announce nothing, and more events than the "
                               "page has slots, leave the guest in working order.",
                      .requirements = of(req::event_page_storm_survived),
                      .timeout = seconds(60)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  for (int burst = 0; burst < 500; ++burst) {
    backend.notify_events(0);
    backend.notify_requests(0);
  }
  check_timed(req::event_page_storm_survived, guest_answers(), {"the guest answers"},
              "the guest is silent");
  const Result flip = guest.page_flip(picture.connector, picture.fb);
  const bool completed = flip.ok && guest.wait_event(before_flip_limit()).arrived;
  check_timed(req::event_page_storm_survived, completed, {"a flip completes by its event"},
              flip.ok ? "no event" : flip.text());
  if (flip.ok && !completed) guest.wait_event(peer().flip_event);  // released after all
  backend.set_faults(
      [](BackendFaults& faults) { faults.event_flood = {.times = 1, .count = 200}; });
  guest.page_flip(picture.connector, picture.fb);
  guest.wait_event(peer().flip_event + seconds(2));
  check_timed(req::event_page_storm_survived, guest_answers(), {"the guest answers"},
              "the guest is silent");
  guest.close();
  check_usable(req::event_page_storm_survived, backend);
}

}  // namespace
}  // namespace displif_cts::cases
