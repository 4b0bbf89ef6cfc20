// displif.h, "Request dbuf destruction": what a guest gives up, and when its pages are its own
// again.
#include <fmt/format.h>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"

namespace displif_cts::cases {
namespace {

using displif::DbufCreate;
using displif::DbufDestroy;
using displif::FbDetach;
using displif::Operation;

FRONTEND_CASE(DestroyFields,
              {.id = "frontend.dbuf-destroy.fields",
               .title = "The buffer that the guest gives up is destroyed, and it "
                        "alone.",
               .requirements = of(req::dbuf_destroy_cookie, req::dbuf_destroy_only_existing)}) {
  FakeBackend& backend = connect();
  guest.open();
  std::vector<std::uint64_t> cookies;
  Cursor requests = backend.request_cursor();
  for (const std::string name : {"a", "b", "c"}) {
    guest.create_dumb(name, 64, 64);
    const auto create =
        expect_request(req::dbuf_destroy_cookie, backend, Operation::dbuf_create, requests);
    cookies.push_back(raw(create.request.as<DbufCreate>()->dbuf_cookie));
  }
  for (const auto& [name, number] : {std::pair{"b", 1U}, std::pair{"a", 0U}, std::pair{"c", 2U}}) {
    guest.destroy_dumb(name);
    const auto destroy =
        expect_request(req::dbuf_destroy_cookie, backend, Operation::dbuf_destroy, requests);
    check_equal(req::dbuf_destroy_cookie, "cookie", hex_text(cookies[number]),
                hex_text(raw(destroy.request.as<DbufDestroy>()->dbuf_cookie)));
    check(req::dbuf_destroy_only_existing, destroy.answer.status == 0, {"a buffer that lives"},
          destroy.answer.status == 0 ? "it does" : destroy.answer.reason.text());
  }
}

FRONTEND_CASE(GrantsReleased,
              {.id = "frontend.dbuf-destroy.grants-released",
               .title = "When the destruction is answered, the buffer's grants and the directory's "
                        "end.",
               .requirements = of(req::dbuf_destroy_releases_grants)}) {
  connect();
  guest.open();
  const std::uint64_t before = guest_grants();
  constexpr int kTimes = 5;
  for (int time = 0; time < kTimes; ++time) {
    guest.create_dumb("buffer", 1024, 300);  // 300 pages and one of directory
    require(check(req::dbuf_destroy_releases_grants, guest_grants() >= before + 301,
                  {"301 grants more with the buffer"}, "fewer"));
    guest.destroy_dumb("buffer");
    const std::uint64_t after =
        settle([this] { return guest_grants(); }, before, after_removal_limit());
    check_timed(req::dbuf_destroy_releases_grants, after <= before,
                {fmt::format("at most {} grants in use", before)}, std::to_string(after));
  }
}

FRONTEND_CASE(GrantsUntilResponse,
              {.id = "frontend.dbuf-destroy.grants-until-response",
               .title = "Until the destruction is answered, or given up, the buffer stays granted.",
               .requirements = of(req::dbuf_destroy_not_before_response)}) {
  FakeBackend& backend = connect();
  guest.open();
  guest.create_dumb("buffer", 1024, 64);
  const std::uint64_t with_buffer = guest_grants();
  backend.set_faults([this](BackendFaults& faults) {
    faults.response_late = {
        .times = 1, .operations = only(Operation::dbuf_destroy), .delay = peer().response * 2 / 3};
  });
  Cursor requests = backend.request_cursor();
  const auto asked = xen::Clock::now();
  guest.start("destroying", "destroy-dumb", {{"fd", "card"}, {"name", "buffer"}});
  expect_request(req::dbuf_destroy_not_before_response, backend, Operation::dbuf_destroy, requests);
  // The fake has unmapped the pages by now; what the guest may free later than at once, it would
  // free in this time.
  const std::uint64_t during =
      settle([this] { return guest_grants(); }, with_buffer - 1, xen::in(peer().response / 2));
  ASSERT_LT(xen::Clock::now(), asked + peer().response)
      << "the grants were counted when the guest may have given up";
  check(req::dbuf_destroy_not_before_response, during >= with_buffer,
        {fmt::format("{} grants in use", with_buffer)}, std::to_string(during));
  guest.finish("destroying");
}

FRONTEND_CASE(OrderOnClose,
              {.id = "frontend.dbuf-destroy.order-on-close",
               .title = "A client that leaves with a picture on screen: the framebuffer is "
                        "detached, and then the buffer destroyed.",
               .requirements = of(req::dbuf_destroy_after_detach, req::dbuf_destroy_cookie,
                                  req::fb_detach_cookie, req::order_displayed_framebuffer_kept)}) {
  FakeBackend& backend = connect();
  guest.open();
  show_picture(guest.connector(), "picture");
  const auto shown = backend.visible(0);
  require(check(req::fb_detach_cookie, shown.has_value(), {"a picture is shown"}, "none"));
  Cursor requests = backend.request_cursor();
  guest.close();
  Cursor for_reset = requests;
  Cursor for_destroy = requests;
  const auto reset = expect_request(req::order_displayed_framebuffer_kept, backend,
                                    Operation::set_config, for_reset);
  const auto detach =
      expect_request(req::fb_detach_cookie, backend, Operation::fb_detach, requests);
  const auto destroy =
      expect_request(req::dbuf_destroy_cookie, backend, Operation::dbuf_destroy, for_destroy);
  check(req::order_displayed_framebuffer_kept, reset.number < detach.number,
        {"the display is off before the detachment"},
        reset.number < detach.number ? "off before" : "off after");
  check_equal(req::fb_detach_cookie, "fb_cookie", hex_text(raw(shown->framebuffer.cookie)),
              hex_text(raw(detach.request.as<FbDetach>()->fb_cookie)));
  check_equal(req::dbuf_destroy_cookie, "dbuf_cookie", hex_text(raw(shown->buffer.cookie)),
              hex_text(raw(destroy.request.as<DbufDestroy>()->dbuf_cookie)));
  check(req::dbuf_destroy_after_detach, detach.number < destroy.number,
        {"detached, then destroyed"},
        detach.number < destroy.number ? "detached, then destroyed" : "destroyed first");
}

FRONTEND_CASE(DestroyErrorStatus,
              {.id = "frontend.dbuf-destroy.error-status",
               .title = "A destruction that the backend refuses leaves the guest usable, and its "
                        "grants are its own again.",
               .requirements = of(req::dbuf_destroy_error_survived)}) {
  FakeBackend& backend = connect();
  guest.open();
  const std::uint64_t before = guest_grants();
  guest.create_dumb("buffer", 256, 256);
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {.times = 1, .operations = only(Operation::dbuf_destroy), .status = -5};
  });
  Cursor requests = backend.request_cursor();
  guest.destroy_dumb("buffer");
  expect_request(req::dbuf_destroy_error_survived, backend, Operation::dbuf_destroy, requests);
  const std::uint64_t after =
      settle([this] { return guest_grants(); }, before, after_removal_limit());
  check_timed(req::dbuf_destroy_error_survived, after <= before,
              {fmt::format("at most {} grants in use", before)}, std::to_string(after));
  guest.close();
  check_usable(req::dbuf_destroy_error_survived, backend);
}

}  // namespace
}  // namespace displif_cts::cases
