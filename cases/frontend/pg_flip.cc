// displif.h, "Request page flip" and "Page flip complete event".
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"
#include "lab/guest/pattern.h"

namespace displif_cts::cases {
namespace {

using displif::FbAttach;
using displif::FbCookie;
using displif::Operation;
using displif::PgFlip;
using fake_backend::kAlways;

FRONTEND_CASE(FlipFields,
              {.id = "frontend.pg-flip.fields",
               .title = "A flip names the framebuffer that the guest flips to, and completes once, "
                        "by its event.",
               .requirements = of(req::pg_flip_cookie, req::pg_flip_completes_by_event,
                                  req::ring_response_matched_by_id)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  const auto shown = backend.visible(0);
  require(check(req::pg_flip_cookie, shown.has_value(), {"the picture is shown"}, "it is not"));
  Cursor requests = backend.request_cursor();
  const DumbBuffer other =
      guest.create_dumb("other", picture.connector.width, picture.connector.height);
  guest.add_fb("other-fb", other);
  const auto attach = expect_request(req::pg_flip_cookie, backend, Operation::fb_attach, requests);
  const FbCookie cookies[] = {attach.request.as<FbAttach>()->fb_cookie, shown->framebuffer.cookie};
  const std::string names[] = {"other-fb", picture.fb};
  for (int flip = 0; flip < 6; ++flip) {
    const Result called = guest.page_flip(picture.connector, names[flip % 2]);
    require(
        check(req::pg_flip_completes_by_event, called.ok, {"the flip is taken"}, called.text()));
    const auto request = expect_request(req::pg_flip_cookie, backend, Operation::pg_flip, requests);
    check_equal(req::pg_flip_cookie, "fb_cookie", hex_text(raw(cookies[flip % 2])),
                hex_text(raw(request.request.as<PgFlip>()->fb_cookie)));
    const FlipEvent event = guest.wait_event(before_flip_limit());
    check(req::pg_flip_completes_by_event, event.arrived, {"one event"}, "no event");
  }
  // A flip whose response was passed over has failed for the guest, event or not.
  check(req::ring_response_matched_by_id, guest.connector().connected,
        {"the connector reads connected: each flip was answered"}, "it reads disconnected");
  const FlipEvent more = guest.wait_event(quiet());
  check(req::pg_flip_completes_by_event, !more.arrived, {"one event for each flip"},
        more.arrived ? "one more" : "one for each");
}

FRONTEND_CASE(FlipContents,
              {.id = "frontend.pg-flip.contents",
               .title = "When the flip's request arrives, the new frame is in the pages, octet for "
                        "octet.",
               .requirements = of(req::pg_flip_contents_before_request),
               .timeout = seconds(40)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  Cursor requests = backend.request_cursor();
  const DumbBuffer other =
      guest.create_dumb("other", picture.connector.width, picture.connector.height);
  guest.add_fb("other-fb", other);
  backend.set_faults([this](BackendFaults& faults) {
    faults.response_late = {
        .times = kAlways, .operations = only(Operation::pg_flip), .delay = quiet()};
  });
  constexpr std::uint64_t last = 6;
  for (std::uint64_t frame = 1; frame <= last; ++frame) {
    const bool odd = frame % 2 == 1;
    guest.fill(odd ? other : picture.buffer, frame);
    // The answer is held back: what is shared only then comes too late.
    guest.start("flip", "page-flip",
                {{"fd", "card"},
                 {"crtc", std::to_string(picture.connector.crtc)},
                 {"fb", odd ? "other-fb" : picture.fb},
                 {"event", "1"}});
    const auto request =
        expect_request(req::pg_flip_contents_before_request, backend, Operation::pg_flip, requests);
    const fake_backend::Model model = backend.snapshot_model();
    const auto* flipped = model.framebuffer(request.request.as<PgFlip>()->fb_cookie);
    const auto pixels = flipped ? backend.pixels(flipped->dbuf_cookie) : std::nullopt;
    const std::size_t at =
        pixels
            ? pattern::first_difference(
                  frame, 0, {reinterpret_cast<const std::uint8_t*>(pixels->data()), pixels->size()})
            : 0;
    check(req::pg_flip_contents_before_request, pixels && at == pixels->size(),
          {fmt::format("frame {}", frame)},
          !pixels                ? "no buffer"
          : at == pixels->size() ? fmt::format("frame {}", frame)
                                 : fmt::format("octet {} is another", at));
    guest.finish("flip");
    guest.wait_event(peer().flip_event + seconds(2));
  }
  screenshot(backend, 0, last);
}

FRONTEND_CASE(NotBeforeEvent,
              {.id = "frontend.pg-flip.not-before-event",
               .title = "The response alone does not complete a flip; its event, some time later, "
                        "does.",
               .requirements = of(req::pg_flip_not_before_event,
                                  req::pg_flip_completes_by_event)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults([](BackendFaults& faults) { faults.flip_event_never = kAlways; });
  for (int flip = 0; flip < 3; ++flip) {
    Cursor requests = backend.request_cursor();
    guest.page_flip(picture.connector, picture.fb);
    const auto request =
        expect_request(req::pg_flip_not_before_event, backend, Operation::pg_flip, requests);
    const FlipEvent early = guest.wait_event(quiet());
    require(check(req::pg_flip_not_before_event, !early.arrived, {"not complete before the event"},
                  early.arrived ? "complete" : "not complete"));
    backend.send_flip_event(0, request.request.as<PgFlip>()->fb_cookie);
    const FlipEvent event = guest.wait_event(peer().flip_event / 2);
    check_timed(req::pg_flip_completes_by_event, event.arrived, {"complete after the event"},
                event.arrived ? "complete" : "not complete");
  }
}

FRONTEND_CASE(EventFirst,
              {.id = "frontend.pg-flip.event-before-response",
               .title = "A flip completes when its event comes before its response too.",
               .requirements = of(req::pg_flip_completes_by_event)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults([](BackendFaults& faults) { faults.flip_event_before_response = kAlways; });
  for (int flip = 0; flip < 5; ++flip) {
    const Result called = guest.page_flip(picture.connector, picture.fb);
    check(req::pg_flip_completes_by_event, called.ok, {"the flip is taken"}, called.text());
    const FlipEvent event = guest.wait_event(before_flip_limit());
    check(req::pg_flip_completes_by_event, event.arrived, {"an event"}, "no event");
  }
}

FRONTEND_CASE(AllConnectors,
              {.id = "frontend.pg-flip.connectors.4",
               .title = "Four connectors flip side by side; each flip completes by its own "
                        "connector's event.",
               .requirements = of(req::pg_flip_completes_by_event, req::pg_flip_not_before_event),
               .timeout = seconds(40)}) {
  if (peer().max_connectors < 4) GTEST_SKIP() << "the peer has fewer connectors";
  FakeBackend& backend = connect(small_connectors(4));
  guest.open();
  std::vector<Picture> pictures;
  for (const GuestConnector& connector : guest.all_connectors(4))
    pictures.push_back(show_picture(connector, fmt::format("picture{}", connector.id)));
  backend.set_faults([](BackendFaults& faults) { faults.flip_event_never = kAlways; });
  Cursor requests = backend.request_cursor();
  std::vector<ReceivedRequest> flips;
  for (const Picture& picture : pictures) {
    guest.page_flip(picture.connector, picture.fb);
    flips.push_back(
        expect_request(req::pg_flip_completes_by_event, backend, Operation::pg_flip, requests));
  }
  for (auto flip = flips.rbegin(); flip != flips.rend(); ++flip) {
    const FlipEvent early = guest.wait_event(quiet() / 4);
    check(req::pg_flip_not_before_event, !early.arrived, {"no event yet"},
          early.arrived ? "an event" : "no event yet");
    backend.send_flip_event(flip->connector, flip->request.as<PgFlip>()->fb_cookie);
    const FlipEvent event = guest.wait_event(peer().flip_event / 2);
    check_timed(
        req::pg_flip_completes_by_event, event.arrived,
        {fmt::format("connector {} completes", flip->connector)},
        event.arrived ? fmt::format("connector {} completes", flip->connector) : "no event");
  }
}

FRONTEND_CASE(WhileOff, {.id = "frontend.pg-flip.connector-off",
                         .title = "A flip that the guest asks for while the connector is off is "
                                  "not requested.",
                         .requirements = of(req::order_flip_when_configured)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  guest.crtc_off(picture.connector);
  Cursor requests = backend.request_cursor();
  guest.page_flip(picture.connector, picture.fb);
  const auto flip =
      backend.none_until(RequestFilter::op(Operation::pg_flip), xen::in(quiet()), requests);
  check(req::order_flip_when_configured, !flip, {"no request"}, flip ? "PG_FLIP" : "no request");
}

// --- refused and forgotten -----------------------------------------------------------------------

FRONTEND_CASE(FlipErrorStatus,
              {.id = "frontend.pg-flip.error-status",
               .title = "A flip that the backend refuses is seen by the guest, its client is "
                        "released, and a later configuration and flip work.",
               .requirements = of(req::pg_flip_error_visible, req::pg_flip_error_recoverable),
               .timeout = seconds(40)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {.times = 1, .operations = only(Operation::pg_flip), .status = -5};
  });
  Cursor requests = backend.request_cursor();
  const Result refused = guest.page_flip(picture.connector, picture.fb);
  expect_request(req::pg_flip_error_visible, backend, Operation::pg_flip, requests);
  const bool released = !refused.ok || guest.wait_event(peer().flip_event + seconds(2)).arrived;
  check_timed(req::pg_flip_error_visible, released, {"the client is released"},
              released ? "it is" : "it waits");
  const bool reads_connected = guest.connector().connected;
  check(req::pg_flip_error_visible, !refused.ok || !reads_connected,
        {"the call fails", "the connector reads disconnected"},
        refused.ok ? (reads_connected ? "success, connected" : "success, disconnected")
                   : refused.text());

  guest.crtc_off(picture.connector);
  const Result again = guest.set_crtc(picture.connector, picture.fb, picture.connector.width,
                                      picture.connector.height);
  check(req::pg_flip_error_recoverable, again.ok && backend.visible(0).has_value(),
        {"the next configuration is shown"},
        again.ok ? (backend.visible(0) ? "it is shown" : "nothing is shown") : again.text());
  const Result flip = guest.page_flip(picture.connector, picture.fb);
  check(req::pg_flip_error_recoverable, flip.ok, {"the next flip is taken"}, flip.text());
  const FlipEvent event = guest.wait_event(peer().flip_event + seconds(2));
  check(req::pg_flip_error_recoverable, event.arrived, {"it completes"}, "no event");
  guest.close();
  check_usable(req::pg_flip_error_recoverable, backend);
}

FRONTEND_CASE(
    TimerAfterRefusal,
    {.id = "frontend.pg-flip.error-status-then-flip",
     .title = "A flip after a refused one completes by its own event, and not by what the "
              "refused one left behind.",
     .requirements = of(req::pg_flip_not_before_event),
     .timeout = seconds(40)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {.times = 1, .operations = only(Operation::pg_flip), .status = -5};
    faults.flip_event_never = kAlways;
  });
  guest.page_flip(picture.connector, picture.fb);
  guest.wait_event(peer().flip_event + seconds(2));
  guest.crtc_off(picture.connector);
  guest.set_crtc(picture.connector, picture.fb, picture.connector.width, picture.connector.height);
  // Late enough that what the refused flip started ends first, by some time that can be told apart.
  guest.must("sleep", {{"ms", std::to_string((peer().flip_event / 2).count())}});
  Cursor requests = backend.request_cursor();
  guest.page_flip(picture.connector, picture.fb);
  expect_request(req::pg_flip_not_before_event, backend, Operation::pg_flip, requests);
  const milliseconds well_before = peer().flip_event * 3 / 4;
  const FlipEvent early = guest.wait_event(well_before);
  check(req::pg_flip_not_before_event, !early.arrived,
        {fmt::format("not complete within {} without its event", well_before)},
        early.arrived ? "complete" : "not complete");
}

FRONTEND_CASE(EventNever, {.id = "frontend.pg-flip.event-never",
                           .title = "A client whose flip's event never comes is released in time, "
                                    "and flips again.",
                           .requirements = of(req::pg_flip_lost_event_released),
                           .timeout = seconds(40)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults([](BackendFaults& faults) { faults.flip_event_never = 1; });
  Cursor requests = backend.request_cursor();
  guest.page_flip(picture.connector, picture.fb);
  expect_request(req::pg_flip_lost_event_released, backend, Operation::pg_flip, requests);
  const FlipEvent released = guest.wait_event(peer().flip_event + seconds(2));
  check_timed(req::pg_flip_lost_event_released, released.arrived,
              {fmt::format("released within {}", peer().flip_event + seconds(2))},
              released.arrived ? "released" : "it still waits");
  const Result flip = guest.page_flip(picture.connector, picture.fb);
  check(req::pg_flip_lost_event_released, flip.ok, {"the next flip is taken"}, flip.text());
  const FlipEvent event = guest.wait_event(before_flip_limit());
  check(req::pg_flip_lost_event_released, event.arrived, {"the next flip completes"}, "no event");
  guest.close();
  check_usable(req::pg_flip_lost_event_released, backend);
}

// --- events for something else -------------------------------------------------------------------

struct Stranger {
  std::string name;
  std::string words;
  bool attached;  // the cookie is that of a framebuffer, only not of the one being flipped to
};

std::vector<std::pair<CaseSpec, Stranger>> stranger_specs() {
  std::vector<std::pair<CaseSpec, Stranger>> list;
  for (const Stranger& each : {Stranger{"unknown", "no framebuffer has", false},
                               Stranger{"other", "another framebuffer has", true}}) {
    CaseSpec spec;
    spec.id = fmt::format("frontend.pg-flip.event-{}-cookie.pending", each.name);
    spec.title = "An event with a cookie that " + each.words +
                 " does not complete the flip that is pending; its own event does.";
    spec.requirements = of(req::pg_flip_other_cookie_ignored);
    list.emplace_back(std::move(spec), each);
  }
  return list;
}

FRONTEND_CASES(EventOfStranger, Stranger, stranger_specs()) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  Cursor requests = backend.request_cursor();
  guest.add_fb("other-fb", picture.buffer);
  const auto attach =
      expect_request(req::pg_flip_other_cookie_ignored, backend, Operation::fb_attach, requests);
  const FbCookie other = attach.request.as<FbAttach>()->fb_cookie;
  backend.set_faults([](BackendFaults& faults) { faults.flip_event_never = kAlways; });
  guest.page_flip(picture.connector, picture.fb);
  const auto flip =
      expect_request(req::pg_flip_other_cookie_ignored, backend, Operation::pg_flip, requests);
  const FbCookie flipped = flip.request.as<PgFlip>()->fb_cookie;
  backend.send_flip_event(0, param.attached ? other : FbCookie{raw(flipped) ^ 0xdead0000});
  const FlipEvent early = guest.wait_event(quiet());
  require(check(req::pg_flip_other_cookie_ignored, !early.arrived, {"the flip is still pending"},
                early.arrived ? "the flip completed" : "the flip is still pending"));
  backend.send_flip_event(0, flipped);
  const FlipEvent event = guest.wait_event(peer().flip_event / 2);
  check_timed(req::pg_flip_other_cookie_ignored, event.arrived,
              {"its own event completes the flip"}, event.arrived ? "it does" : "no event");
}

FRONTEND_CASE(EventOutOfTheBlue,
              {.id = "frontend.pg-flip.event-unknown-cookie.idle",
               .title = "Events for unknown cookies, with no flip pending and with no display on, "
                        "do no harm.",
               .requirements = of(req::pg_flip_unknown_cookie_survived)}) {
  FakeBackend& backend = connect();
  guest.open();
  for (std::uint64_t cookie = 0; cookie < 10; ++cookie)
    backend.send_flip_event(0, FbCookie{cookie * 0x1111111111111111U});
  const Picture picture = show_picture(guest.connector(), "picture");
  for (std::uint64_t cookie = 0; cookie < 10; ++cookie)
    backend.send_flip_event(0, FbCookie{cookie * 0x1111111111111111U});
  const FlipEvent early = guest.wait_event(quiet());
  check(req::pg_flip_unknown_cookie_survived, !early.arrived, {"no event for the guest"},
        early.arrived ? "an event" : "no event");
  guest.page_flip(picture.connector, picture.fb);
  const FlipEvent event = guest.wait_event(before_flip_limit());
  check(req::pg_flip_unknown_cookie_survived, event.arrived, {"the next flip completes"},
        "no event");
  guest.close();
  check_usable(req::pg_flip_unknown_cookie_survived, backend);
}

FRONTEND_CASE(EventBeforeConnected,
              {.id = "frontend.pg-flip.event-unknown-cookie.before-connected",
               .title = "Events that come before the frontend has gone to Connected do no harm.",
               .requirements = of(req::pg_flip_unknown_cookie_survived)}) {
  FakeBackend& backend = create_device();
  backend.start();
  const auto limit = soon();
  constexpr unsigned kEvents = 16;
  unsigned sent = 0;
  // A frontend that is quicker than this case is caught in one of the next connections.
  for (; sent == 0 && xen::Clock::now() < limit; backend.vanish(), backend.start()) {
    while (xen::Clock::now() < limit && backend.frontend_state() != bus::State::connected) {
      if (!backend.connected()) continue;
      if (sent < kEvents) {
        backend.send_flip_event(0, FbCookie{0x1111});
        ++sent;
      }
      // Whoever is not ready for events when they come finds them at the next notification.
      backend.notify_events(0);
    }
    if (sent != 0) break;
  }
  ASSERT_GT(sent, 0U) << "the frontend was connected before an event could be sent";
  require(check_timed(req::pg_flip_unknown_cookie_survived, guest_answers(), {"the guest answers"},
                      "the guest is silent"));
  require(check_awaited(req::pg_flip_unknown_cookie_survived, backend.await_connected(soon()),
                        "Connected"));
  check_usable(req::pg_flip_unknown_cookie_survived, backend);
}

FRONTEND_CASE(EventTwice, {.id = "frontend.pg-flip.event-twice",
                           .title = "A second event for a flip that is complete is not passed on.",
                           .requirements = of(req::pg_flip_completes_by_event)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults([](BackendFaults& faults) { faults.flip_event_duplicate = 1; });
  guest.page_flip(picture.connector, picture.fb);
  const FlipEvent first = guest.wait_event(before_flip_limit());
  check(req::pg_flip_completes_by_event, first.arrived, {"an event"}, "no event");
  const FlipEvent second = guest.wait_event(quiet());
  check(req::pg_flip_completes_by_event, !second.arrived, {"one event for the guest"},
        second.arrived ? "two" : "one");
}

}  // namespace
}  // namespace displif_cts::cases
