// displif.h, "Request page flip" and "Page flip complete event".
#include <fmt/format.h>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_pg_flip {
namespace {

using displif::PgFlip;
using displif::PgFlipEvent;
using displif::RequestBody;
using displif::Resolution;
using fake_frontend::ReceivedEvent;

constexpr FbCookie kNoFb{0x50DF};

std::string cookie_text(const ReceivedEvent& event) {
  const auto* flip = std::get_if<PgFlipEvent>(&event.event.body);
  return flip ? hex_text(raw(flip->fb_cookie)) : "no flip event";
}

BACKEND_CASE(Completes,
             {.id = "backend.pg-flip.completes",
              .title = "Each flip is completed by one event with the cookie of the "
                       "framebuffer that was flipped to.",
              .requirements = of(req::pg_flip_accepted, req::flip_event_follows,
                                 req::flip_event_cookie_of_flip, req::flip_one_event_per_flip)}) {
  constexpr std::size_t kFlips = 6;
  FakeFrontend& frontend = connect();
  const Picture first = show_picture(frontend);
  const Picture second = show_picture(frontend);
  Cursor cursor = frontend.event_cursor();
  const std::size_t start = cursor.next;
  for (std::size_t i = 0; i < kFlips; ++i) {
    const FbCookie fb = i % 2 == 0 ? first.fb : second.fb;
    const Reply reply = frontend.send(0, PgFlip{fb});
    require(check_done(req::pg_flip_accepted, reply, "the flip"));
    const auto event = frontend.await_event({}, event_limit(), cursor);
    require(check_awaited(req::flip_event_follows, event, "an event"));
    check_equal(req::flip_event_cookie_of_flip, "fb_cookie", hex_text(raw(fb)),
                cookie_text(*event));
  }
  frontend.none_until({}, quiet(), cursor);
  check_equal(req::flip_one_event_per_flip, "events", kFlips, frontend.events().size() - start);
}

BACKEND_CASE(OwnConnector,
             {.id = "backend.pg-flip.own-connector",
              .title = "With two connectors each flip's event comes on its own connector's page.",
              .requirements = of(req::flip_event_on_own_connector, req::ring_connector_of_ring)}) {
  SKIP_IF(lacks_connectors(2));
  FakeFrontend& frontend = connect(with_connectors(2));
  const Picture pictures[] = {show_picture(frontend, 0), show_picture(frontend, 1)};
  for (std::size_t i = 0; i < 6; ++i) {
    const std::size_t connector = i % 2;
    Cursor cursor = frontend.event_cursor();
    require(check_done(req::ring_connector_of_ring,
                       frontend.send(connector, PgFlip{pictures[connector].fb}), "the flip"));
    const auto event = frontend.await_event({}, event_limit(), cursor);
    require(check_awaited(req::flip_event_on_own_connector, event, "an event"));
    check_equal(req::flip_event_on_own_connector, "connector", connector, event->connector);
    check_equal(req::ring_connector_of_ring, "the flip of connector", connector, event->connector);
  }
}

BACKEND_CASE(SameFbTwoConnectors,
             {.id = "backend.pg-flip.one-framebuffer-two-connectors",
              .title = "Flips of two connectors to one framebuffer complete each on its own page.",
              .requirements = of(req::flip_event_on_own_connector, req::flip_one_event_per_flip)}) {
  SKIP_IF(lacks_connectors(2));
  FakeFrontend& frontend = connect(with_connectors(2));
  const Picture picture = show_picture(frontend, 0);
  require(check_done(req::set_config_accepted,
                     frontend.send(1, config_of(frontend.connectors().at(1), picture.fb)),
                     "the second connector"));
  Cursor cursor = frontend.event_cursor();
  frontend.submit(0, {RequestBody{PgFlip{picture.fb}}});
  frontend.submit(1, {RequestBody{PgFlip{picture.fb}}});
  std::size_t on[] = {0, 0};
  for (int i = 0; i < 2; ++i) {
    const auto event = frontend.await_event({}, event_limit(), cursor);
    require(check_awaited(req::flip_one_event_per_flip, event, "two events"));
    ++on[event->connector % 2];
  }
  check(req::flip_event_on_own_connector, on[0] == 1 && on[1] == 1, {"one event on each page"},
        fmt::format("{} and {}", on[0], on[1]));
  const auto more = frontend.none_until({}, quiet(), cursor);
  check(req::flip_one_event_per_flip, !more, {"no further event"},
        more ? "one more" : "no further event");
}

BACKEND_CASE(UnknownFb, {.id = "backend.pg-flip.unknown-fb",
                         .title = "A flip to a framebuffer that does not exist is refused, and has "
                                  "no event.",
                         .requirements = of(req::pg_flip_unknown_fb_rejected,
                                            req::flip_no_event_for_failed_flip)}) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  Cursor cursor = frontend.event_cursor();
  for (const FbCookie cookie :
       {kNoFb, FbCookie{}, FbCookie{raw(picture.fb) | std::uint64_t{1} << 40U}})
    check_refused(req::pg_flip_unknown_fb_rejected, frontend.send(0, PgFlip{cookie}),
                  hex_text(raw(cookie)));
  const auto event = frontend.none_until({}, quiet(), cursor);
  check(req::flip_no_event_for_failed_flip, !event, {"no event"},
        event ? "an event with " + cookie_text(*event) : "no event");
}

std::vector<std::pair<CaseSpec, bool>> unconfigured() {
  std::vector<std::pair<CaseSpec, bool>> list;
  for (const bool reset : {false, true}) {
    CaseSpec spec;
    spec.id = std::string("backend.pg-flip.unconfigured.") + (reset ? "after-reset" : "never");
    spec.title = fmt::format("A flip on a display that {} is answered, and does no harm.",
                             reset ? "was switched off" : "was never on");
    spec.requirements = of(req::pg_flip_unconfigured_survived);
    list.emplace_back(std::move(spec), reset);
  }
  return list;
}

BACKEND_CASES(Unconfigured, bool, unconfigured()) {
  FakeFrontend& frontend = connect();
  FbCookie fb{};
  if (param) {
    fb = show_picture(frontend).fb;
    require(check_done(req::set_config_reset_accepted, frontend.reset_config(0), "the reset"));
  } else {
    BufferSpec spec;
    spec.width = frontend.connectors().at(0).width;
    spec.height = frontend.connectors().at(0).height;
    fb = make_fb(frontend, make_buffer(frontend, spec));
  }
  check_answered(req::pg_flip_unconfigured_survived, frontend.send(0, PgFlip{fb}), "the flip");
  check_recovers(req::pg_flip_unconfigured_survived, frontend);
}

BACKEND_CASE(Outstanding,
             {.id = "backend.pg-flip.outstanding",
              .title = "Of flips that are asked for all at once each accepted one has an event.",
              .requirements = of(req::pg_flip_outstanding_survived,
                                 req::flip_one_event_per_flip)}) {
  constexpr std::size_t kFlips = 16;
  FakeFrontend& frontend = connect();
  const Picture first = show_picture(frontend);
  const Picture second = show_picture(frontend);
  const std::size_t start = frontend.event_cursor().next;
  std::vector<RequestBody> flips;
  for (std::size_t i = 0; i < kFlips; ++i)
    flips.emplace_back(PgFlip{i % 2 == 0 ? first.fb : second.fb});
  std::size_t accepted = 0;
  for (const std::size_t request : frontend.submit(0, flips)) {
    const Reply reply = frontend.await_reply(request, answer_limit());
    require(check_answered(req::pg_flip_outstanding_survived, reply, "a flip"));
    if (reply.ok()) ++accepted;
  }
  const bool all =
      await([&] { return frontend.events().size() - start >= accepted; }, event_limit());
  check_timed(req::pg_flip_outstanding_survived, all, {fmt::format("{} events", accepted)},
              fmt::format("{} events", frontend.events().size() - start));
  await([] { return false; }, quiet());  // for events that nobody asked for
  check_equal(req::flip_one_event_per_flip, "events", accepted, frontend.events().size() - start);
  check_recovers(req::pg_flip_outstanding_survived, frontend);
}

BACKEND_CASE(Many, {.id = "backend.pg-flip.many",
                    .title = "Two hundred flips, one after the other, all complete.",
                    .requirements = of(req::pg_flip_accepted, req::flip_event_follows),
                    .timeout = seconds(60)}) {
  FakeFrontend& frontend = connect();
  const Picture first = show_picture(frontend);
  const Picture second = show_picture(frontend);
  for (int i = 0; i < 200; ++i) {
    const Reply reply = frontend.page_flip(0, i % 2 == 0 ? first.fb : second.fb);
    require(check_done(req::pg_flip_accepted, reply, fmt::format("flip {}", i)));
    require(check_awaited(req::flip_event_follows, frontend.await_flip(0, event_limit()),
                          fmt::format("the event of flip {}", i)));
  }
}

BACKEND_CASE(Shown,
             {.id = "backend.pg-flip.shown",
              .title = "When a flip has completed, the new frame is on the screen, pixel for "
                       "pixel.",
              .requirements = of(req::pg_flip_framebuffer_shown),
              .timeout = seconds(60)}) {
  SKIP_IF(lacks_screen());
  // Every pixel crosses the agent's line: a small mode that every display has.
  FakeFrontend& frontend = connect({.connectors = {connector_of(640, 480, 0)}});
  const Resolution size = frontend.connectors().at(0);
  const Picture pictures[] = {show_picture(frontend), show_picture(frontend)};
  for (std::uint32_t frame = 1; frame <= 4; ++frame) {
    const Picture& picture = pictures[frame % 2];
    frontend.draw(picture.dbuf, drawing(size.width, size.height, frame));
    require(check_done(req::pg_flip_accepted, frontend.page_flip(0, picture.fb), "the flip"));
    require(
        check_awaited(req::flip_event_follows, frontend.await_flip(0, event_limit()), "its event"));
    std::string wrong;
    await(
        [&] {
          const auto seen = screen(0);
          wrong = seen ? difference(*seen, size.width, size.height, frame) : "no screen";
          return wrong.empty();
        },
        event_limit());
    check_timed(req::pg_flip_framebuffer_shown, wrong.empty(), {fmt::format("frame {}", frame)},
                wrong.empty() ? fmt::format("frame {}", frame) : wrong);
  }
}

}  // namespace
}  // namespace displif_cts::cases::backend_pg_flip
