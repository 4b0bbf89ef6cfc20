// displif.h, "Request configuration set/reset".
#include <fmt/format.h>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_set_config {
namespace {

using displif::Resolution;
using displif::SetConfig;

constexpr FbCookie kNoFb{0x50DF};

// --- right ---------------------------------------------------------------------------------------

BACKEND_CASE(SetAndReset,
             {.id = "backend.set-config.set-and-reset",
              .title = "A display is switched on and off, again and again.",
              .requirements = of(req::set_config_accepted, req::set_config_reset_accepted)}) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  for (int round = 0; round < 4; ++round) {
    check_done(req::set_config_reset_accepted, frontend.reset_config(0), "a reset");
    check_done(req::set_config_accepted, frontend.set_config(0, picture.fb), "a configuration");
  }
}

BACKEND_CASE(SetAgain, {.id = "backend.set-config.set-again",
                        .title = "A display that is on can be configured again, with the same and "
                                 "with another framebuffer.",
                        .requirements = of(req::set_config_accepted)}) {
  FakeFrontend& frontend = connect();
  const Picture first = show_picture(frontend);
  const Picture second = show_picture(frontend);
  for (const FbCookie fb : {second.fb, first.fb, first.fb})
    check_done(req::set_config_accepted, frontend.set_config(0, fb), "a configuration");
}

BACKEND_CASE(ResetWhenOff,
             {.id = "backend.set-config.reset-when-off",
              .title = "A reset of a display that is off is answered, and a later "
                       "configuration works.",
              .requirements = of(req::set_config_reset_accepted, req::set_config_accepted)}) {
  FakeFrontend& frontend = connect();
  const Reply reset = frontend.send(0, SetConfig{});
  check_answered(req::set_config_reset_accepted, reset, "the reset");
  const Picture picture = show_picture(frontend);
  check_done(req::set_config_reset_accepted, frontend.reset_config(0), "a reset when on");
}

BACKEND_CASE(EveryConnector,
             {.id = "backend.set-config.every-connector",
              .title = "One framebuffer is shown on two connectors, and switched off on one.",
              .requirements = of(req::set_config_accepted, req::set_config_reset_accepted,
                                 req::ring_connector_of_ring)}) {
  SKIP_IF(lacks_connectors(2));
  FakeFrontend& frontend = connect(with_connectors(2));
  const Picture picture = show_picture(frontend, 0);
  const Resolution second = frontend.connectors().at(1);
  check_done(req::set_config_accepted, frontend.send(1, config_of(second, picture.fb)),
             "the second connector");
  check_done(req::set_config_reset_accepted, frontend.send(1, SetConfig{}), "its reset");
  // The first is still on: a flip is taken and completes.
  check_done(req::ring_connector_of_ring, frontend.page_flip(0, picture.fb),
             "a flip on the first connector");
  check_awaited(req::ring_connector_of_ring, frontend.await_flip(0, event_limit()), "its event");
}

// --- wrong ---------------------------------------------------------------------------------------

BACKEND_CASE(UnknownFb,
             {.id = "backend.set-config.unknown-fb",
              .title = "A configuration of a framebuffer that does not exist is refused.",
              .requirements = of(req::set_config_unknown_fb_rejected)}) {
  FakeFrontend& frontend = connect();
  const DbufCookie buffer = make_buffer(frontend);
  const FbCookie fb = make_fb(frontend, buffer);
  const Resolution screen = frontend.connectors().at(0);
  for (const FbCookie cookie : {kNoFb, FbCookie{raw(fb) | std::uint64_t{1} << 40U}})
    check_refused(req::set_config_unknown_fb_rejected, frontend.send(0, config_of(screen, cookie)),
                  hex_text(raw(cookie)));
}

BACKEND_CASE(ZeroFb,
             {.id = "backend.set-config.zero-fb",
              .title = "A configuration of cookie 0 that is not all zeros is no reset: it is "
                       "refused.",
              .requirements = of(req::set_config_unknown_fb_rejected)}) {
  FakeFrontend& frontend = connect();
  check_refused(req::set_config_unknown_fb_rejected,
                frontend.send(0, config_of(frontend.connectors().at(0), FbCookie{0})),
                "framebuffer 0 with the screen's measures");
}

struct Change {
  std::string name;
  std::function<void(SetConfig&, const Resolution&)> change;
};

std::vector<std::pair<CaseSpec, Change>> beyond() {
  using R = Resolution;
  const std::vector<Change> all{
      {"width", [](SetConfig& config, const R& r) { config.width = r.width + 1; }},
      {"height", [](SetConfig& config, const R& r) { config.height = r.height + 1; }},
      {"x", [](SetConfig& config, const R& r) { config.x = r.width + 1; }},
      {"y", [](SetConfig& config, const R& r) { config.y = r.height + 1; }},
      {"all",
       [](SetConfig& config, const R& r) {
         config.x = config.width = r.width + 1;
         config.y = config.height = r.height + 1;
       }},
  };
  std::vector<std::pair<CaseSpec, Change>> list;
  for (const Change& each : all) {
    CaseSpec spec;
    spec.id = "backend.set-config.beyond-resolution." + each.name;
    spec.title = fmt::format(
        "A configuration that exceeds the resolution ({}) is refused, and "
        "does no harm.",
        each.name);
    spec.requirements =
        of(req::set_config_beyond_resolution_rejected, req::set_config_geometry_survived);
    list.emplace_back(std::move(spec), each);
  }
  return list;
}

BACKEND_CASES(Beyond, Change, beyond()) {
  FakeFrontend& frontend = connect();
  const Resolution screen = frontend.connectors().at(0);
  BufferSpec large;
  large.width = screen.width + 16;
  large.height = screen.height + 16;
  const DbufCookie buffer = make_buffer(frontend, large);
  const FbCookie fb = make_fb(frontend, buffer);
  SetConfig config = config_of(screen, fb);
  param.change(config, screen);
  check_refused(req::set_config_beyond_resolution_rejected, frontend.send(0, config),
                fmt::format("{}x{} at {},{} on {}x{}", config.width, config.height, config.x,
                            config.y, screen.width, screen.height));
  check_recovers(req::set_config_geometry_survived, frontend);
}

std::vector<std::pair<CaseSpec, Change>> odd() {
  using R = Resolution;
  const std::vector<Change> all{
      {"width-zero", [](SetConfig& config, const R&) { config.width = 0; }},
      {"height-zero", [](SetConfig& config, const R&) { config.height = 0; }},
      {"width-one", [](SetConfig& config, const R&) { config.width = 1; }},
      {"part",
       [](SetConfig& config, const R& r) {
         config.x = r.width / 4;
         config.y = r.height / 4;
         config.width = r.width / 2;
         config.height = r.height / 2;
       }},
      {"sums-beyond",
       [](SetConfig& config, const R& r) {
         config.x = r.width / 2;
         config.y = r.height / 2;
       }},
      {"width-huge", [](SetConfig& config, const R&) { config.width = 0xFFFFFFFF; }},
      {"all-huge",
       [](SetConfig& config, const R&) {
         config.x = config.y = config.width = config.height = 0xFFFFFFFF;
       }},
      {"sum-wraps", [](SetConfig& config, const R& r) { config.x = 0U - r.width; }},
      {"bpp-zero", [](SetConfig& config, const R&) { config.bpp = 0; }},
      {"bpp-other", [](SetConfig& config, const R&) { config.bpp = 16; }},
      {"bpp-huge", [](SetConfig& config, const R&) { config.bpp = 0xFFFFFFFF; }},
      {"cookie-zero", [](SetConfig& config, const R&) { config.fb_cookie = FbCookie{}; }},
  };
  std::vector<std::pair<CaseSpec, Change>> list;
  for (const Change& each : all) {
    CaseSpec spec;
    spec.id = "backend.set-config.geometry." + each.name;
    spec.title =
        fmt::format("An unusual configuration ({}) is answered, and does no harm.", each.name);
    spec.requirements = of(req::set_config_geometry_survived);
    list.emplace_back(std::move(spec), each);
  }
  return list;
}

BACKEND_CASES(Odd, Change, odd()) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  const Resolution screen = frontend.connectors().at(0);
  SetConfig config = config_of(screen, picture.fb);
  param.change(config, screen);
  check_answered(req::set_config_geometry_survived, frontend.send(0, config), "the configuration");
  frontend.send(0, displif::PgFlip{picture.fb});
  check_recovers(req::set_config_geometry_survived, frontend);
}

BACKEND_CASE(SmallFramebuffer,
             {.id = "backend.set-config.small-framebuffer",
              .title = "A framebuffer that is smaller than the configuration is refused, or shown "
                       "as far as it goes, and does no harm.",
              .requirements = of(req::set_config_geometry_survived)}) {
  FakeFrontend& frontend = connect();
  const DbufCookie buffer = make_buffer(frontend);
  const FbCookie fb = make_fb(frontend, buffer);
  check_answered(req::set_config_geometry_survived,
                 frontend.send(0, config_of(frontend.connectors().at(0), fb)), "the configuration");
  check_answered(req::set_config_geometry_survived, frontend.send(0, displif::PgFlip{fb}),
                 "a flip");
  check_recovers(req::set_config_geometry_survived, frontend);
}

// --- what is really displayed --------------------------------------------------------------------

BACKEND_CASE(Shown, {.id = "backend.set-config.shown",
                     .title = "What was drawn before the configuration is on the screen after it, "
                              "pixel for pixel.",
                     .requirements = of(req::set_config_framebuffer_shown),
                     .timeout = seconds(60)}) {
  SKIP_IF(lacks_screen());
  // Every pixel crosses the agent's line: a small mode that every display has.
  FakeFrontend& frontend = connect({.connectors = {connector_of(640, 480, 0)}});
  const Resolution size = frontend.connectors().at(0);
  for (std::uint32_t round = 1; round <= 2; ++round) {
    BufferSpec spec;
    spec.width = size.width;
    spec.height = size.height;
    const DbufCookie buffer = make_buffer(frontend, spec);
    frontend.draw(buffer, drawing(size.width, size.height, round));
    const FbCookie fb = make_fb(frontend, buffer);
    require(check_done(req::set_config_accepted, frontend.set_config(0, fb), "the configuration"));
    std::string wrong;
    await(
        [&] {
          const auto seen = screen(0);
          wrong = seen ? difference(*seen, size.width, size.height, round) : "no screen";
          return wrong.empty();
        },
        event_limit());
    check_timed(req::set_config_framebuffer_shown, wrong.empty(),
                {fmt::format("picture {}", round)},
                wrong.empty() ? fmt::format("picture {}", round) : wrong);
  }
}

BACKEND_CASE(Hidden, {.id = "backend.set-config.hidden",
                      .title = "After a reset the picture is no longer on the screen.",
                      .requirements = of(req::set_config_reset_hides),
                      .timeout = seconds(60)}) {
  SKIP_IF(lacks_screen());
  // Every pixel crosses the agent's line: a small mode that every display has.
  FakeFrontend& frontend = connect({.connectors = {connector_of(640, 480, 0)}});
  const Resolution size = frontend.connectors().at(0);
  BufferSpec spec;
  spec.width = size.width;
  spec.height = size.height;
  const DbufCookie buffer = make_buffer(frontend, spec);
  frontend.draw(buffer, drawing(size.width, size.height, 7));
  const FbCookie fb = make_fb(frontend, buffer);
  require(check_done(req::set_config_accepted, frontend.set_config(0, fb), "the configuration"));
  require(check_done(req::set_config_reset_accepted, frontend.reset_config(0), "the reset"));
  const bool hidden = await(
      [&] {
        const auto seen = screen(0);
        return !seen || !difference(*seen, size.width, size.height, 7).empty();
      },
      event_limit());
  check_timed(req::set_config_reset_hides, hidden, {"another picture, or none"},
              hidden ? "another picture, or none" : "the picture that was reset");
}

}  // namespace
}  // namespace displif_cts::cases::backend_set_config
