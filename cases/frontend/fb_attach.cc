// displif.h, "Request framebuffer attachment" and "Request framebuffer detach".
#include <fmt/format.h>

#include <set>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"
#include "harness/displif/fourcc.h"

namespace displif_cts::cases {
namespace {

using displif::DbufCreate;
using displif::FbAttach;
using displif::FbDetach;
using displif::Operation;

Args attach_args(const std::string& name, const DumbBuffer& buffer, std::uint32_t width,
                 std::uint32_t height, const std::string& format) {
  return {{"fd", "card"},
          {"name", name},
          {"buffer", buffer.name},
          {"width", std::to_string(width)},
          {"height", std::to_string(height)},
          {"format", format},
          {"pitch", std::to_string(buffer.pitch)}};
}

std::vector<std::string> offered_formats(const Json& connectors) {
  std::set<std::string> names;
  for (const auto& plane : connectors.at("planes"))
    for (const auto& format : plane.at("formats")) names.insert(format.get<std::string>());
  return {names.begin(), names.end()};
}

FRONTEND_CASE(AttachFields,
              {.id = "frontend.fb-attach.fields",
               .title = "A framebuffer of each format that the guest offers is attached as the "
                        "guest asked for it.",
               .requirements = of(req::fb_attach_dbuf_cookie, req::fb_attach_width,
                                  req::fb_attach_height, req::fb_attach_pixel_format,
                                  req::packet_fb_cookie_valid),
               .timeout = seconds(30)}) {
  FakeBackend& backend = connect();
  guest.open();
  std::uint32_t number = 0;
  for (const std::string& format : offered_formats(guest.must("connectors", {{"fd", "card"}}))) {
    const auto code = displif::fourcc_from_name(format);
    const auto bits = code ? displif::bits_per_pixel(*code) : std::nullopt;
    if (!bits) continue;  // one buffer is not the whole of it
    ++number;
    const std::uint32_t width = 320 + number * 2;
    const std::uint32_t height = 200 + number;
    const std::string suffix = std::to_string(number);
    Cursor requests = backend.request_cursor();
    const DumbBuffer buffer = guest.create_dumb("buffer" + suffix, width, height, *bits);
    const auto create =
        expect_request(req::fb_attach_dbuf_cookie, backend, Operation::dbuf_create, requests);
    guest.call("add-fb", attach_args("fb" + suffix, buffer, width, height, format));
    const auto request =
        expect_request(req::fb_attach_dbuf_cookie, backend, Operation::fb_attach, requests);
    const FbAttach& attach = *request.request.as<FbAttach>();
    check_equal(req::fb_attach_dbuf_cookie, format + ": dbuf_cookie",
                hex_text(raw(create.request.as<DbufCreate>()->dbuf_cookie)),
                hex_text(raw(attach.dbuf_cookie)));
    check(req::packet_fb_cookie_valid, raw(attach.fb_cookie) != 0,
          {format + ": a cookie other than 0"}, hex_text(raw(attach.fb_cookie)));
    check_equal(req::fb_attach_width, format + ": width", width, attach.width);
    check_equal(req::fb_attach_height, format + ": height", height, attach.height);
    check_equal(req::fb_attach_pixel_format, "pixel_format", format,
                displif::fourcc_name(attach.pixel_format));
  }
  ASSERT_GT(number, 0U) << "the guest offers no format that the suite knows";
}

FRONTEND_CASE(SmallerThanBuffer,
              {.id = "frontend.fb-attach.smaller-than-buffer",
               .title = "A framebuffer that uses a part of its buffer is attached with its own "
                        "size.",
               .requirements = of(req::fb_attach_width, req::fb_attach_height)}) {
  FakeBackend& backend = connect();
  guest.open();
  const DumbBuffer buffer = guest.create_dumb("buffer", 800, 600);
  Cursor requests = backend.request_cursor();
  guest.call("add-fb", attach_args("fb", buffer, 640, 480, "XR24"));
  const auto request =
      expect_request(req::fb_attach_width, backend, Operation::fb_attach, requests);
  check_equal(req::fb_attach_width, "width", 640U, request.request.as<FbAttach>()->width);
  check_equal(req::fb_attach_height, "height", 480U, request.request.as<FbAttach>()->height);
}

FRONTEND_CASE(AttachCookies,
              {.id = "frontend.fb-attach.cookies",
               .title = "Framebuffers that live together, also several of one buffer, have cookies "
                        "of their own.",
               .requirements = of(req::fb_attach_cookie_unique, req::packet_fb_cookie_valid)}) {
  FakeBackend& backend = connect();
  guest.open();
  const DumbBuffer first = guest.create_dumb("first", 64, 64);
  const DumbBuffer second = guest.create_dumb("second", 64, 64);
  std::set<std::uint64_t> live;
  std::vector<std::uint64_t> cookies;
  const auto attach = [&](const std::string& name, const DumbBuffer& buffer) {
    Cursor requests = backend.request_cursor();
    guest.call("add-fb", attach_args(name, buffer, 64, 64, "XR24"));
    const auto request =
        expect_request(req::fb_attach_cookie_unique, backend, Operation::fb_attach, requests);
    const std::uint64_t cookie = raw(request.request.as<FbAttach>()->fb_cookie);
    check(req::packet_fb_cookie_valid, cookie != 0, {"a cookie other than 0"}, hex_text(cookie));
    check(req::fb_attach_cookie_unique, live.insert(cookie).second,
          {"a cookie of no living framebuffer"}, hex_text(cookie));
    cookies.push_back(cookie);
  };
  constexpr int kFramebuffers = 12;
  for (int i = 0; i < kFramebuffers; ++i)
    attach("fb" + std::to_string(i), i % 3 == 0 ? second : first);
  for (int i = 0; i < kFramebuffers; i += 2) {
    guest.rm_fb("fb" + std::to_string(i));
    live.erase(cookies[static_cast<std::size_t>(i)]);
  }
  for (int i = 0; i < kFramebuffers; i += 2) attach("again" + std::to_string(i), first);
}

FRONTEND_CASE(
    AttachErrorStatus,
    {.id = "frontend.fb-attach.error-status",
     .title = "A framebuffer that the backend refuses is refused to the guest, which goes "
              "on.",
     .requirements = of(req::fb_attach_error_reported)}) {
  FakeBackend& backend = connect();
  guest.open();
  const DumbBuffer buffer = guest.create_dumb("buffer", 64, 64);
  for (const std::int32_t status : {-12, -22, -5, -1}) {  // ENOMEM, EINVAL, EIO, EPERM
    backend.set_faults([status](BackendFaults& faults) {
      faults.error_status = {
          .times = 1, .operations = only(Operation::fb_attach), .status = status};
    });
    const Result added = guest.call("add-fb", attach_args("refused", buffer, 64, 64, "XR24"));
    check(req::fb_attach_error_reported, !added.ok, {"the call fails"}, added.text());
  }
  const Result added = guest.call("add-fb", attach_args("taken", buffer, 64, 64, "XR24"));
  check(req::fb_attach_error_reported, added.ok, {"the next call succeeds"}, added.text());
  guest.close();
  check_usable(req::fb_attach_error_reported, backend);
}

FRONTEND_CASE(AttachUnknownError,
              {.id = "frontend.fb-attach.error-status-unknown-code",
               .title = "A status that is negative and no error code is a refusal too.",
               .requirements = of(req::fb_attach_unknown_error_survived)}) {
  FakeBackend& backend = connect();
  guest.open();
  const DumbBuffer buffer = guest.create_dumb("buffer", 64, 64);
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {.times = 1, .operations = only(Operation::fb_attach), .status = -5000};
  });
  Cursor requests = backend.request_cursor();
  guest.start("refused", "add-fb", attach_args("refused", buffer, 64, 64, "XR24"));
  expect_request(req::fb_attach_unknown_error_survived, backend, Operation::fb_attach, requests);
  require(check_timed(req::fb_attach_unknown_error_survived, guest_answers(), {"the guest answers"},
                      "the guest is silent"));
  const Result refused = guest.finish("refused");
  check(req::fb_attach_unknown_error_survived, !refused.ok, {"the call fails"}, refused.text());
  guest.close();
  check_usable(req::fb_attach_unknown_error_survived, backend);
}

// --- detachment ----------------------------------------------------------------------------------

FRONTEND_CASE(DetachFields,
              {.id = "frontend.fb-detach.fields",
               .title = "The framebuffer that the guest gives up is detached, and it "
                        "alone.",
               .requirements = of(req::fb_detach_cookie, req::fb_detach_only_attached)}) {
  FakeBackend& backend = connect();
  guest.open();
  const DumbBuffer buffer = guest.create_dumb("buffer", 64, 64);
  std::vector<std::uint64_t> cookies;
  Cursor requests = backend.request_cursor();
  for (const std::string name : {"a", "b", "c"}) {
    guest.add_fb(name, buffer);
    const auto attach =
        expect_request(req::fb_detach_cookie, backend, Operation::fb_attach, requests);
    cookies.push_back(raw(attach.request.as<FbAttach>()->fb_cookie));
  }
  for (const auto& [name, number] : {std::pair{"b", 1U}, std::pair{"c", 2U}, std::pair{"a", 0U}}) {
    guest.rm_fb(name);
    const auto detach =
        expect_request(req::fb_detach_cookie, backend, Operation::fb_detach, requests);
    check_equal(req::fb_detach_cookie, "cookie", hex_text(cookies[number]),
                hex_text(raw(detach.request.as<FbDetach>()->fb_cookie)));
    check(req::fb_detach_only_attached, detach.answer.status == 0, {"a framebuffer that lives"},
          detach.answer.status == 0 ? "it does" : detach.answer.reason.text());
  }
}

FRONTEND_CASE(DetachErrorStatus,
              {.id = "frontend.fb-detach.error-status",
               .title = "A detachment that the backend refuses leaves the guest usable, and the "
                        "buffer can be given up.",
               .requirements = of(req::fb_detach_error_survived)}) {
  FakeBackend& backend = connect();
  guest.open();
  const std::uint64_t before = guest_grants();
  const DumbBuffer buffer = guest.create_dumb("buffer", 256, 256);
  guest.add_fb("fb", buffer);
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {.times = 1, .operations = only(Operation::fb_detach), .status = -5};
  });
  Cursor requests = backend.request_cursor();
  guest.rm_fb("fb");
  expect_request(req::fb_detach_error_survived, backend, Operation::fb_detach, requests);
  const Result destroyed = guest.destroy_dumb(buffer.name);
  check(req::fb_detach_error_survived, destroyed.ok, {"the buffer can be destroyed"},
        destroyed.text());
  const std::uint64_t after =
      settle([this] { return guest_grants(); }, before, after_removal_limit());
  check_timed(req::fb_detach_error_survived, after <= before,
              {fmt::format("at most {} grants in use", before)}, std::to_string(after));
  guest.close();
  check_usable(req::fb_detach_error_survived, backend);
}

}  // namespace
}  // namespace displif_cts::cases
