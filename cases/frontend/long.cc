// Long runs, beyond the range of 16 bits: the group `long`, which runs when it is asked for.
#include <fmt/format.h>

#include "cases/support/frontend_case.h"

namespace displif_cts::cases::frontend_long {
namespace {

// Past the last id of 16 bits, on the request ring as in the event page.
constexpr std::uint32_t kIds = 65'536;
constexpr std::uint32_t kFlips = kIds + 200;
constexpr std::uint32_t kAtOnce = 4'000;

FRONTEND_CASE(Flips,
              {.id = "frontend.long.flips",
               .title = "65,736 page flips on one connection complete by their events: ids of "
                        "requests and events begin again, rings and event page go round.",
               .requirements = of(req::ring_long_run_survived, req::event_page_ids_wrap),
               .timeout = seconds(900)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  recorder().stop_messages();
  std::uint32_t done = 0;
  std::string error;
  while (done < kFlips && error.empty()) {
    const std::uint32_t count = std::min(kAtOnce, kFlips - done);
    const Args args{{"fd", "card"},
                    {"crtc", std::to_string(picture.connector.crtc)},
                    {"fbs", picture.fb},
                    {"count", std::to_string(count)},
                    {"timeout_ms", std::to_string(before_flip_limit().count())}};
    try {
      const Result flips = guest.call("flips", args, seconds(240));
      done += flips.answer.value("done", 0U);
      if (!flips.ok) error = flips.text();
    } catch (const GuestSilent& silence) {
      // Each flip goes on, and takes as long as one whose answer is lost.
      check_timed(req::ring_long_run_survived, false,
                  {fmt::format("{} page flips are answered", kFlips)}, silence.what());
      throw;
    }
  }
  const auto indexes = backend.indexes(0);
  const std::uint32_t events = indexes ? indexes->in_prod : 0;
  // The requests' ids begin again some flips before the events' do: what fails until then is the
  // ring's affair. Beyond, a flip whose event was passed over has been answered, and the frontend
  // releases it later.
  const bool begun_again = events > kIds;
  const bool unheard = !error.empty() && begun_again && events > done;
  check_timed(req::ring_long_run_survived, error.empty() || unheard,
              {fmt::format("{} page flips are answered", kFlips)},
              fmt::format("{} after {} page flips", error.empty() ? "all is well" : error, done));
  if (begun_again)
    check_timed(req::event_page_ids_wrap, !unheard,
                {fmt::format("the events of {} page flips are taken", kFlips)},
                fmt::format("{} after {} page flips and {} events",
                            error.empty() ? "all is well" : error, done, events));
  if (!error.empty()) return;
  guest.close();
  check_usable(req::ring_long_run_survived, backend);
}

}  // namespace
}  // namespace displif_cts::cases::frontend_long
