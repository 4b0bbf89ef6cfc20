// Shows time that this domain lost: a thread that wakes now and then, and how late it was at worst.
#pragma once

#include <cstdint>
#include <mutex>
#include <stop_token>
#include <thread>

#include "harness/trace/json.h"

namespace displif_cts::agent {

class Heartbeat {
 public:
  // What is looked for are stand-stills of a second; an emulated machine pays for each tick.
  static constexpr std::uint64_t kTickNs = 200'000'000;

  // `realtime`: above all other programs of the domain (SCHED_FIFO, where that is allowed), so that
  // only time lost in the kernel or outside of the domain shows.
  explicit Heartbeat(bool realtime);

  void reset();
  // {"max_gap_ns": longest time between two ticks, "window_ns": since the reset, "ticks",
  // "tick_ns"}. The time since the last tick counts.
  Json report();

 private:
  void run(const std::stop_token& stop, bool realtime);

  std::mutex mutex_;
  std::uint64_t since_;
  std::uint64_t last_;
  std::uint64_t max_gap_ = 0;
  std::uint64_t ticks_ = 0;
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace displif_cts::agent
