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
