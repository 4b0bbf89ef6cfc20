// Long runs, beyond the range of 16 bits: the group `long`, which runs when it is asked for.
#include <fmt/format.h>

#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_long {
namespace {

constexpr std::uint32_t kTimes = 65'536 + 200;
constexpr std::uint32_t kBuffers = 33'000;  // two requests each
// In minutes a machine that has other things to do is late once, on either side.
constexpr seconds kPatience{2};

BACKEND_CASE(Flips, {.id = "backend.long.flips",
                     .title = "65,736 page flips on one connection are answered and completed: ids "
                              "of requests and events begin again, ring and event page go round.",
                     .requirements = of(req::ring_long_run_survived, req::event_id_sequential),
                     .timeout = seconds(600)}) {
  FakeFrontend& frontend = connect({.patience = kPatience});
  const Picture picture = show_picture(frontend);
  recorder().stop_messages();
  std::optional<std::uint16_t> before;
  for (std::uint32_t flip = 0; flip < kTimes; ++flip) {
    const Reply reply = frontend.page_flip(0, picture.fb);
    const auto event = reply.ok() ? frontend.await_flip(0, xen::in(peer().flip_event + kPatience))
                                  : Awaited<fake_frontend::ReceivedEvent>::failed("not answered");
    if (!reply.ok() || !event) {
      check_timed(req::ring_long_run_survived, false,
                  {fmt::format("{} flips are answered and completed", kTimes)},
                  fmt::format("flip {}: {}", flip, reply.ok() ? event.failure() : reply.text()));
      return;
    }
    const auto expected = static_cast<std::uint16_t>(before.value_or(0) + 1);
    if (before && event->event.id != expected) {
      check(req::event_id_sequential, false, {fmt::format("id {}", expected)},
            fmt::format("id {} at flip {}", event->event.id, flip));
      return;
    }
    before = event->event.id;
  }
  check(req::event_id_sequential, true, {"ids that count, through 65535 to 0"}, "they do");
  const std::string trouble = use_once(frontend);
  check(req::ring_long_run_survived, trouble.empty(), {"the seven operations work after that"},
        trouble.empty() ? "they do" : trouble);
}

BACKEND_CASE(Buffers,
             {.id = "backend.long.buffers",
              .title = "33,000 buffers are made and given up one after the other, by 66,000 "
                       "requests, on one connection, "
                       "and the backend holds nothing more than at the beginning.",
              .requirements = of(req::ring_long_run_survived, req::dbuf_destroy_buffer_unmapped),
              .timeout = seconds(600)}) {
  FakeFrontend& frontend = connect({.patience = kPatience});
  const auto mapped = mapped_pages();
  recorder().stop_messages();
  BufferSpec small;
  small.width = 8;
  small.height = 8;
  for (std::uint32_t number = 0; number < kBuffers; ++number) {
    const BufferReply made = frontend.create_buffer(small);
    const Reply gone = made.ok() ? frontend.destroy_buffer(made.cookie) : Reply(made);
    if (gone.ok()) continue;
    check_timed(req::ring_long_run_survived, false,
                {fmt::format("{} buffers are made and given up", kBuffers)},
                fmt::format("buffer {}: {}", number, gone.text()));
    return;
  }
  check(req::ring_long_run_survived, true, {"all of them are made and given up"}, "they are");
  if (mapped) check_mapped_at_most(req::dbuf_destroy_buffer_unmapped, *mapped, "all are given up");
}

}  // namespace
}  // namespace displif_cts::cases::backend_long
