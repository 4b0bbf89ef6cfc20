// What several programs of the guest cause at once, what one leaves behind that is killed, and
// buffers that come from another driver.
#include <fmt/format.h>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"

namespace displif_cts::cases::frontend_clients {
namespace {

using displif::Operation;

FRONTEND_CASE(TwoFiles,
              {.id = "frontend.clients.two-at-once",
               .title = "One client flips while another makes and gives up buffers: each gets its "
                        "own, and what the other does leaves the picture as it is.",
               .requirements = of(req::ring_concurrent_calls, req::dbuf_destroy_cookie),
               .timeout = seconds(40)}) {
  FakeBackend& backend = connect();
  guest.open("first");
  const Picture picture = show_picture(guest.connector(0, "first"), "first", "first");
  const auto shown = backend.visible(0);
  require(check(req::ring_concurrent_calls, shown.has_value(), {"a picture is shown"}, "none"));
  guest.open("second");
  Cursor requests = backend.request_cursor();
  guest.start("flipping", "flips",
              {{"fd", "first"},
               {"crtc", std::to_string(picture.connector.crtc)},
               {"fbs", picture.fb},
               {"count", "20"},
               {"timeout_ms", std::to_string(peer().flip_event.count())}});
  for (unsigned number = 0; number < 5; ++number) {
    const DumbBuffer made =
        guest.create_dumb("second-" + std::to_string(number), 64, 64, 32, "second");
    const Result gone = guest.destroy_dumb(made.name, "second");
    check(req::ring_concurrent_calls, gone.ok, {"the second client's calls succeed"}, gone.text());
    const auto destroyed =
        expect_request(req::dbuf_destroy_cookie, backend, Operation::dbuf_destroy, requests);
    const auto* body = destroyed.request.as<displif::DbufDestroy>();
    ASSERT_NE(body, nullptr);
    check(req::dbuf_destroy_cookie, body->dbuf_cookie != shown->buffer.cookie,
          {"the cookie of the second client's buffer"}, "that of the buffer that is shown");
  }
  const Result flips = guest.finish("flipping");
  check(req::ring_concurrent_calls, flips.ok, {"20 page flips"}, flips.text());
  guest.close("second");
  const auto pixels = backend.pixels(shown->buffer.cookie);
  check(req::dbuf_destroy_cookie, pixels && is_pattern(*pixels, picture.seed),
        {"the first client's picture is still there"}, "it is not");
  guest.close("first");
}

// What is in such a buffer cannot be tried: user space of an x86 PV guest cannot touch vgem's
// pages.
FRONTEND_CASE(Import,
              {.id = "frontend.clients.import",
               .title = "A buffer of another driver that a client imports is a buffer of the "
                        "protocol, with its size and all its pages, and a framebuffer can stand on "
                        "it.",
               .requirements = of(req::dbuf_create_buffer_size, req::page_directory_covers_buffer,
                                  req::fb_attach_dbuf_cookie),
               .needs = {"prime-import"}}) {
  constexpr std::uint32_t kWidth = 1024, kHeight = 16;  // vgem's lines have 4096 octets
  constexpr std::uint64_t kSize = std::uint64_t{kWidth} * 4 * kHeight;
  FakeBackend& backend = connect();
  guest.open();
  guest.must("vgem-create", {{"name", "foreign"}, {"size", std::to_string(kSize)}});
  guest.must("prime-export", {{"name", "foreign"}, {"out", "carrier"}});
  Cursor requests = backend.request_cursor();
  guest.must("prime-import", {{"fd", "card"}, {"in", "carrier"}, {"name", "mine"}});
  const auto create =
      expect_request(req::dbuf_create_buffer_size, backend, Operation::dbuf_create, requests);
  const auto* body = create.request.as<displif::DbufCreate>();
  ASSERT_NE(body, nullptr);
  check_equal(req::dbuf_create_buffer_size, "buffer_sz", kSize,
              static_cast<std::uint64_t>(body->buffer_sz));
  const auto directory = backend.directory(body->dbuf_cookie);
  check_equal(req::page_directory_covers_buffer, "pages", kSize / 4096,
              directory ? static_cast<std::uint64_t>(directory->refs.size()) : 0);
  guest.must("add-fb", {{"fd", "card"},
                        {"name", "fb"},
                        {"buffer", "mine"},
                        {"width", std::to_string(kWidth)},
                        {"height", std::to_string(kHeight)},
                        {"pitch", std::to_string(kWidth * 4)}});
  const auto attach =
      expect_request(req::fb_attach_dbuf_cookie, backend, Operation::fb_attach, requests);
  const auto* framebuffer = attach.request.as<displif::FbAttach>();
  ASSERT_NE(framebuffer, nullptr);
  check(req::fb_attach_dbuf_cookie, framebuffer->dbuf_cookie == body->dbuf_cookie,
        {"the cookie of the imported buffer"}, "another");
  guest.must("close-dmabuf", {{"name", "carrier"}});
  guest.close();
}

// Behind every object of DRM stands a file of the kernel's (drivers/gpu/drm/drm_gem.c,
// drm_gem_object_init), which the guest's kernel counts: 32 at a time for each of its processors
// (fs/file_table.c, get_nr_files; lib/percpu_counter.c).
FRONTEND_CASE(ImportRefused,
              {.id = "frontend.clients.import-refused",
               .title = "Of buffers that a client imports and the backend refuses nothing is left "
                        "in the guest's kernel.",
               .requirements = of(req::health_memory_released),
               .needs = {"prime-import"},
               .timeout = seconds(120)}) {
  constexpr std::uint64_t kTimes = 256;
  const auto open_files = [this] {
    const Json answer = guest.must("sysctl", {{"key", "fs.file-nr"}});
    return std::stoull(answer.at("value").get<std::string>());
  };
  FakeBackend& backend = connect();
  guest.open();
  guest.must("vgem-create", {{"name", "foreign"}, {"size", "65536"}});
  guest.must("prime-export", {{"name", "foreign"}, {"out", "carrier"}});
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {
        .times = kTimes, .operations = only(Operation::dbuf_create), .status = -12};
  });
  const std::uint64_t before = open_files();
  for (std::uint64_t time = 0; time < kTimes; ++time) {
    const Result made =
        guest.call("prime-import", {{"fd", "card"}, {"in", "carrier"}, {"name", "mine"}});
    require(check(req::health_memory_released, !made.ok, {"the import is refused"}, made.text()));
  }
  guest.must("close-dmabuf", {{"name", "carrier"}});
  guest.close();
  const std::uint64_t most = before + kTimes / 2;
  const std::uint64_t after = settle(open_files, most, after_removal_limit());
  check_timed(req::health_memory_released, after <= most,
              {fmt::format("at most {} open files after {} imports", most, kTimes)},
              std::to_string(after));
}

FRONTEND_CASE(Killed,
              {.id = "frontend.clients.killed",
               .title = "A client is killed while its call waits for a response: the buffer goes, "
                        "nothing stays granted, and others are served.",
               .requirements = of(req::health_grants_released, req::ring_unanswered_request_ends),
               .timeout = seconds(40)}) {
  if (const std::string lacking = lacks_verb("sh"); !lacking.empty()) GTEST_SKIP() << lacking;
  FakeBackend& backend = connect();
  const std::uint64_t grants_before = guest_grants();
  backend.set_faults([this](BackendFaults& faults) {
    faults.response_late = {
        .times = 1, .operations = only(Operation::dbuf_create), .delay = peer().response * 2 / 3};
  });
  Cursor requests = backend.request_cursor();
  // A second exerciser, which ends as a program does that somebody kills.
  guest.start("client", "sh",
              {{"command",
                "rm -f /tmp/kill; { printf '1 open name=c timeout_ms=5000\\n"
                "2 create-dumb fd=c name=b width=320 height=240\\n'; sleep 20; } | "
                "/bin/displif-cts-exerciser --stdio >/dev/null & "
                "p=$!; while [ ! -e /tmp/kill ]; do sleep 0.05; done; kill -9 $p"}});
  const auto create =
      expect_request(req::ring_unanswered_request_ends, backend, Operation::dbuf_create, requests);
  ASSERT_NE(create.request.as<displif::DbufCreate>(), nullptr);
  guest.must("sh", {{"command", "touch /tmp/kill"}});
  const Result killed = guest.finish("client");
  ASSERT_TRUE(killed.ok) << killed.text();
  const auto destroy = backend.await_request(RequestFilter::op(Operation::dbuf_destroy),
                                             after_response_limit(), requests);
  check_awaited(req::health_grants_released, destroy,
                "a request to destroy the dead client's buffer");
  const std::uint64_t grants =
      settle([this] { return guest_grants(); }, grants_before, after_response_limit());
  check_timed(req::health_grants_released, grants <= grants_before,
              {fmt::format("at most {} grants in use", grants_before)}, std::to_string(grants));
  backend.clear_faults();
  check_usable(req::ring_unanswered_request_ends, backend);
}

}  // namespace
}  // namespace displif_cts::cases::frontend_clients
