// displif.h, "Request framebuffer detach".
#include <fmt/format.h>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_fb_detach {
namespace {

using displif::FbDetach;
using displif::PgFlip;

constexpr FbCookie kNoFb{0x50DF};

BACKEND_CASE(Detached,
             {.id = "backend.fb-detach.accepted",
              .title = "A detached framebuffer is answered with success, and is unknown "
                       "from then on.",
              .requirements = of(req::fb_detach_accepted, req::set_config_unknown_fb_rejected,
                                 req::pg_flip_unknown_fb_rejected)}) {
  FakeFrontend& frontend = connect();
  const Picture shown = show_picture(frontend);
  const FbCookie fb = make_fb(frontend, shown.dbuf);
  require(check_done(req::fb_detach_accepted, frontend.detach_fb(fb), "its end"));
  check_refused(req::pg_flip_unknown_fb_rejected, frontend.send(0, PgFlip{fb}),
                "a flip to it, afterwards");
  check_refused(req::set_config_unknown_fb_rejected,
                frontend.send(0, config_of(frontend.connectors().at(0), fb)),
                "its configuration, afterwards");
}

BACKEND_CASE(Others,
             {.id = "backend.fb-detach.others-kept",
              .title = "The end of a framebuffer leaves the others of its buffer as they are, "
                       "those made before and after it.",
              .requirements = of(req::fb_detach_others_kept)}) {
  FakeFrontend& frontend = connect();
  const Picture before = show_picture(frontend);
  const FbCookie fb = make_fb(frontend, before.dbuf);
  const FbCookie after = make_fb(frontend, before.dbuf);
  require(check_done(req::fb_detach_accepted, frontend.detach_fb(fb), "its end"));
  for (const auto& [other, what] : {std::pair{after, "a flip to one made after it"},
                                    std::pair{before.fb, "a flip to one made before it"}})
    check_flip(req::fb_detach_others_kept, frontend, 0, other, what);
  check_done(req::fb_detach_others_kept,
             frontend.send(0, config_of(frontend.connectors().at(0), after)),
             "a configuration with one made after it");
}

BACKEND_CASE(OthersShown,
             {.id = "backend.fb-detach.others-shown",
              .title = "What is on the screen stays there when another framebuffer is detached, "
                       "and its buffer destroyed.",
              .requirements = of(req::fb_detach_others_kept, req::dbuf_destroy_others_kept),
              .timeout = seconds(60)}) {
  SKIP_IF(lacks_screen());
  constexpr std::uint32_t kFrame = 5;
  // Every pixel crosses the agent's line: a small mode that every display has.
  FakeFrontend& frontend = connect({.connectors = {connector_of(640, 480, 0)}});
  const displif::Resolution size = frontend.connectors().at(0);
  const Picture shown = show_picture(frontend);
  frontend.draw(shown.dbuf, drawing(size.width, size.height, kFrame));
  require(check_flip(req::pg_flip_accepted, frontend, 0, shown.fb, "a flip to what was drawn"));
  const auto missing = [&] {
    const auto seen = screen(0);
    return seen ? difference(*seen, size.width, size.height, kFrame) : std::string("no screen");
  };
  const bool there = await([&] { return missing().empty(); }, event_limit());
  require(check_timed(req::pg_flip_framebuffer_shown, there, {"what was drawn is on the screen"},
                      there ? "it is" : missing()));
  const DbufCookie buffer = make_buffer(frontend);
  const FbCookie fb = make_fb(frontend, buffer);
  const auto check_shown = [&](const Requirement& requirement) {
    const std::string trouble = missing();
    check(requirement, trouble.empty(), {"the picture that was there"},
          trouble.empty() ? "the picture that was there" : trouble);
  };
  require(check_done(req::fb_detach_accepted, frontend.detach_fb(fb), "the other's end"));
  check_shown(req::fb_detach_others_kept);
  require(check_done(req::dbuf_destroy_accepted, frontend.destroy_buffer(buffer), "its buffer's"));
  check_shown(req::dbuf_destroy_others_kept);
}

BACKEND_CASE(UnknownCookie, {.id = "backend.fb-detach.unknown-cookie",
                             .title = "The end of a framebuffer that does not exist is refused.",
                             .requirements = of(req::fb_detach_unknown_cookie_rejected)}) {
  FakeFrontend& frontend = connect();
  const DbufCookie buffer = make_buffer(frontend);
  const FbCookie fb = make_fb(frontend, buffer);
  for (const FbCookie cookie : {kNoFb, FbCookie{}, FbCookie{raw(fb) | std::uint64_t{1} << 40U}})
    check_refused(req::fb_detach_unknown_cookie_rejected, frontend.send(0, FbDetach{cookie}),
                  hex_text(raw(cookie)));
}

BACKEND_CASE(Twice, {.id = "backend.fb-detach.twice",
                     .title = "The second end of a framebuffer is refused.",
                     .requirements = of(req::fb_detach_unknown_cookie_rejected,
                                        req::backend_stays_responsive)}) {
  FakeFrontend& frontend = connect();
  const DbufCookie buffer = make_buffer(frontend);
  const FbCookie fb = make_fb(frontend, buffer);
  require(check_done(req::fb_detach_accepted, frontend.send(0, FbDetach{fb}), "its end"));
  check_refused(req::fb_detach_unknown_cookie_rejected, frontend.send(0, FbDetach{fb}),
                "its end again");
  check_recovers(req::backend_stays_responsive, frontend);
}

std::vector<std::pair<CaseSpec, bool>> while_shown() {
  std::vector<std::pair<CaseSpec, bool>> list;
  for (const bool flipping : {false, true}) {
    CaseSpec spec;
    spec.id = std::string("backend.fb-detach.") + (flipping ? "flipping" : "shown");
    spec.title = fmt::format("A framebuffer that is detached while {} does no harm.",
                             flipping ? "a flip to it is under way" : "it is shown");
    spec.requirements = of(req::fb_detach_shown_survived);
    list.emplace_back(std::move(spec), flipping);
  }
  return list;
}

BACKEND_CASES(WhileShown, bool, while_shown()) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  if (param)
    frontend.submit(
        0, {displif::RequestBody{PgFlip{picture.fb}}, displif::RequestBody{PgFlip{picture.fb}}});
  check_answered(req::fb_detach_shown_survived, frontend.send(0, FbDetach{picture.fb}), "its end");
  check_answered(req::fb_detach_shown_survived, frontend.send(0, PgFlip{picture.fb}),
                 "a flip to it, afterwards");
  check_recovers(req::fb_detach_shown_survived, frontend);
}

}  // namespace
}  // namespace displif_cts::cases::backend_fb_detach
