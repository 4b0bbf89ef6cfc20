// displif.h, "Request configuration set/reset": what a connector is to show.
#include <fmt/format.h>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"
#include "harness/displif/fourcc.h"
#include "lab/guest/pattern.h"

namespace displif_cts::cases {
namespace {

using displif::FbAttach;
using displif::Operation;
using displif::SetConfig;

std::string text_of(const SetConfig& config) {
  return fmt::format("{}x{}+{}+{}", config.width, config.height, config.x, config.y);
}

struct Format {
  std::string name;
  std::uint32_t bpp;
};

std::vector<std::pair<CaseSpec, Format>> format_specs() {
  std::vector<std::pair<CaseSpec, Format>> list;
  for (const Format& format : {Format{"XR24", 32}, Format{"RG16", 16}, Format{"RG24", 24}}) {
    CaseSpec spec;
    std::string lower = format.name;
    for (char& letter : lower) letter = static_cast<char>(std::tolower(letter));
    spec.id = "frontend.set-config.fields." + lower;
    spec.title = "A mode with a framebuffer of " + format.name +
                 " is the configuration that the guest asked for.";
    spec.requirements =
        of(req::set_config_cookie, req::set_config_x, req::set_config_y, req::set_config_width,
           req::set_config_height, req::set_config_bpp, req::set_config_within_resolution);
    list.emplace_back(std::move(spec), format);
  }
  return list;
}

FRONTEND_CASES(ConfigFields, Format, format_specs()) {
  FakeBackend& backend = connect();
  guest.open();
  const GuestConnector connector = guest.connector();
  const DumbBuffer buffer =
      guest.create_dumb("buffer", connector.width, connector.height, param.bpp);
  Cursor requests = backend.request_cursor();
  const Result added = guest.call(
      "add-fb", {{"fd", "card"}, {"name", "fb"}, {"buffer", "buffer"}, {"format", param.name}});
  if (!added.ok) throw std::runtime_error("the guest has no framebuffers of " + param.name);
  const auto attach =
      expect_request(req::set_config_cookie, backend, Operation::fb_attach, requests);
  guest.set_crtc(connector, "fb", connector.width, connector.height);
  const auto request =
      expect_request(req::set_config_cookie, backend, Operation::set_config, requests);
  const SetConfig& config = *request.request.as<SetConfig>();
  check_equal(req::set_config_cookie, "fb_cookie",
              hex_text(raw(attach.request.as<FbAttach>()->fb_cookie)),
              hex_text(raw(config.fb_cookie)));
  check_equal(req::set_config_x, "x", 0U, config.x);
  check_equal(req::set_config_y, "y", 0U, config.y);
  check_equal(req::set_config_width, "width", connector.width, config.width);
  check_equal(req::set_config_height, "height", connector.height, config.height);
  check_equal(req::set_config_bpp, "bpp", param.bpp, config.bpp);
  check(req::set_config_within_resolution, request.answer.status == 0,
        {"within the connector's resolution"}, text_of(config));
}

std::vector<std::pair<CaseSpec, unsigned>> picture_specs() {
  std::vector<std::pair<CaseSpec, unsigned>> list;
  for (const unsigned count : {1U, 4U}) {
    CaseSpec spec;
    spec.id = fmt::format("frontend.set-config.pictures.{}", count);
    spec.title =
        fmt::format("Of {} connectors each shows its own picture, octet for octet.", count);
    spec.requirements = of(req::set_config_cookie, req::dbuf_create_contents_shared);
    spec.timeout = seconds(40);
    list.emplace_back(std::move(spec), count);
  }
  return list;
}

FRONTEND_CASES(Pictures, unsigned, picture_specs()) {
  if (peer().max_connectors < param) GTEST_SKIP() << "the peer has fewer connectors";
  const auto options = param == 1 ? small_screen() : small_connectors(param);
  FakeBackend& backend = connect(options);
  guest.open();
  std::vector<Picture> pictures;
  for (const GuestConnector& connector : guest.all_connectors(param))
    pictures.push_back(show_picture(connector, fmt::format("picture{}", connector.id)));
  for (const Picture& picture : pictures) {
    const std::size_t index = index_of(picture.connector, options);
    const auto shown = backend.visible(index);
    if (!check(req::set_config_cookie, shown.has_value(),
               {fmt::format("connector {} shows a framebuffer", index)}, "it shows none"))
      continue;
    const auto pixels = backend.pixels(shown->buffer.cookie);
    const bool same =
        pixels && pattern::first_difference(picture.seed, 0,
                                            {reinterpret_cast<const std::uint8_t*>(pixels->data()),
                                             pixels->size()}) == pixels->size();
    check(req::dbuf_create_contents_shared, same,
          {fmt::format("connector {} shows its own picture", index)},
          same ? "its own picture" : "something else");
    screenshot(backend, index, picture.seed, fmt::format("screen-{}", index));
  }
}

FRONTEND_CASE(Reset, {.id = "frontend.set-config.reset",
                      .title = "Switching off is a request of zeros, and switching on again works; "
                               "several times.",
                      .requirements = of(req::set_config_reset_all_zero, req::set_config_cookie)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  const auto shown = backend.visible(0);
  require(check(req::set_config_cookie, shown.has_value(), {"the picture is shown"}, "it is not"));
  for (int time = 0; time < 3; ++time) {
    Cursor requests = backend.request_cursor();
    guest.crtc_off(picture.connector);
    const auto off =
        expect_request(req::set_config_reset_all_zero, backend, Operation::set_config, requests);
    const SetConfig& reset = *off.request.as<SetConfig>();
    check(req::set_config_reset_all_zero, reset.is_reset(), {"all zeros"},
          fmt::format("{} bpp {} cookie {}", text_of(reset), reset.bpp,
                      hex_text(raw(reset.fb_cookie))));
    guest.set_crtc(picture.connector, picture.fb, picture.connector.width,
                   picture.connector.height);
    const auto on =
        expect_request(req::set_config_cookie, backend, Operation::set_config, requests);
    check_equal(req::set_config_cookie, "fb_cookie", hex_text(raw(shown->framebuffer.cookie)),
                hex_text(raw(on.request.as<SetConfig>()->fb_cookie)));
  }
}

// A framebuffer may be larger than the connector; what is configured may not.
void show_part(Guest& guest, const GuestConnector& connector, std::uint32_t x, std::uint32_t y) {
  const DumbBuffer buffer =
      guest.create_dumb("large", connector.width + 200, connector.height + 100);
  guest.add_fb("large-fb", buffer);
  guest.must("set-crtc", {{"fd", "card"},
                          {"crtc", std::to_string(connector.crtc)},
                          {"fb", "large-fb"},
                          {"connector", std::to_string(connector.id)},
                          {"width", std::to_string(connector.width)},
                          {"height", std::to_string(connector.height)},
                          {"x", std::to_string(x)},
                          {"y", std::to_string(y)}});
}

FRONTEND_CASE(LargerFramebuffer,
              {.id = "frontend.set-config.larger-framebuffer",
               .title = "A framebuffer larger than the connector is shown in part: what is "
                        "configured stays within the resolution.",
               .requirements = of(req::set_config_within_resolution, req::set_config_width,
                                  req::set_config_height)}) {
  FakeBackend& backend = connect();
  guest.open();
  const GuestConnector connector = guest.connector();
  Cursor requests = backend.request_cursor();
  show_part(guest, connector, 0, 0);
  const auto request =
      expect_request(req::set_config_width, backend, Operation::set_config, requests);
  const SetConfig& config = *request.request.as<SetConfig>();
  check(req::set_config_within_resolution,
        config.width <= connector.width && config.height <= connector.height,
        {fmt::format("at most {}x{}", connector.width, connector.height)}, text_of(config));
  check_equal(req::set_config_width, "width", connector.width, config.width);
  check_equal(req::set_config_height, "height", connector.height, config.height);
}

FRONTEND_CASE(Position, {.id = "frontend.set-config.position",
                         .title = "The position that the guest asked for is the configured one.",
                         .requirements = of(req::set_config_x, req::set_config_y)}) {
  FakeBackend& backend = connect();
  guest.open();
  const GuestConnector connector = guest.connector();
  Cursor requests = backend.request_cursor();
  show_part(guest, connector, 120, 60);
  const auto request = expect_request(req::set_config_x, backend, Operation::set_config, requests);
  const SetConfig& config = *request.request.as<SetConfig>();
  check_equal(req::set_config_x, "x", 120U, config.x);
  check_equal(req::set_config_y, "y", 60U, config.y);
}

// --- refused -------------------------------------------------------------------------------------

FRONTEND_CASE(
    ConfigErrorStatus,
    {.id = "frontend.set-config.error-status",
     .title = "A configuration that the backend refuses is seen by the guest, and a later "
              "one works, for the same client and the next.",
     .requirements = of(req::set_config_error_visible, req::set_config_error_recoverable),
     .timeout = seconds(30)}) {
  FakeBackend& backend = connect();
  guest.open();
  const GuestConnector connector = guest.connector();
  const DumbBuffer buffer = guest.create_dumb("buffer", connector.width, connector.height);
  guest.add_fb("fb", buffer);
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {.times = 1, .operations = only(Operation::set_config), .status = -22};
  });
  Cursor requests = backend.request_cursor();
  const Result refused = guest.set_crtc(connector, "fb", connector.width, connector.height);
  expect_request(req::set_config_error_visible, backend, Operation::set_config, requests);
  const bool reads_connected = guest.connector().connected;
  check(req::set_config_error_visible, !refused.ok || !reads_connected,
        {"the call fails", "the connector reads disconnected"},
        refused.ok ? (reads_connected ? "success, connected" : "success, disconnected")
                   : refused.text());

  guest.crtc_off(connector);
  const Result again = guest.set_crtc(connector, "fb", connector.width, connector.height);
  check(req::set_config_error_recoverable, again.ok && backend.visible(0).has_value(),
        {"the same client's next configuration is shown"},
        again.ok ? (backend.visible(0) ? "it is shown" : "nothing is shown") : again.text());
  check(req::set_config_error_recoverable, guest.connector().connected,
        {"the connector reads connected"}, "it reads disconnected");
  guest.close();
  check_usable(req::set_config_error_recoverable, backend);
}

FRONTEND_CASE(NoFlipAfterRefusal,
              {.id = "frontend.set-config.error-status-then-set-again",
               .title = "After a refused configuration, setting the same mode again configures the "
                        "connector, and does not flip what was never on.",
               .requirements = of(req::order_flip_when_configured)}) {
  FakeBackend& backend = connect();
  guest.open();
  const GuestConnector connector = guest.connector();
  const DumbBuffer buffer = guest.create_dumb("buffer", connector.width, connector.height);
  guest.add_fb("fb", buffer);
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {.times = 1, .operations = only(Operation::set_config), .status = -22};
  });
  Cursor requests = backend.request_cursor();
  guest.set_crtc(connector, "fb", connector.width, connector.height);
  expect_request(req::order_flip_when_configured, backend, Operation::set_config, requests);
  guest.set_crtc(connector, "fb", connector.width, connector.height);
  const auto flip =
      backend.none_until(RequestFilter::op(Operation::pg_flip), xen::in(quiet()), requests);
  check(req::order_flip_when_configured, !flip, {"SET_CONFIG", "no request"},
        flip ? "PG_FLIP" : "no PG_FLIP");
}

FRONTEND_CASE(ResetErrorStatus,
              {.id = "frontend.set-config.reset-error-status",
               .title = "A reset that the backend refuses leaves the guest usable, and a later "
                        "configuration works.",
               .requirements = of(req::set_config_reset_error_survived),
               .timeout = seconds(30)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {.times = 1, .operations = only(Operation::set_config), .status = -5};
  });
  Cursor requests = backend.request_cursor();
  guest.crtc_off(picture.connector);
  expect_request(req::set_config_reset_error_survived, backend, Operation::set_config, requests);
  check(req::set_config_reset_error_survived, guest.connector().connected,
        {"the connector reads connected"}, "it reads disconnected");
  const Result again = guest.set_crtc(picture.connector, picture.fb, picture.connector.width,
                                      picture.connector.height);
  const auto on = expect_request(req::set_config_reset_error_survived, backend,
                                 Operation::set_config, requests);
  check(req::set_config_reset_error_survived, again.ok && !on.request.as<SetConfig>()->is_reset(),
        {"the next configuration is sent"}, again.text());
  guest.close();
  check_usable(req::set_config_reset_error_survived, backend);
}

}  // namespace
}  // namespace displif_cts::cases
