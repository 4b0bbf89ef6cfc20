#include "harness/agent/heartbeat.h"

#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <ctime>

#include "harness/agent/line_protocol.h"

namespace displif_cts::agent {

Heartbeat::Heartbeat(bool realtime)
    : since_(monotonic_ns()),
      last_(since_),
      thread_([this, realtime](const std::stop_token& stop) { run(stop, realtime); }) {}

void Heartbeat::run(const std::stop_token& stop, bool realtime) {
  if (realtime) {
    const sched_param parameters{.sched_priority = 1};
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &parameters);  // not allowed: do without
  }
  while (!stop.stop_requested()) {
    const timespec tick{0, static_cast<long>(kTickNs)};
    clock_nanosleep(CLOCK_MONOTONIC, 0, &tick, nullptr);
    const std::lock_guard lock(mutex_);
    const std::uint64_t now = monotonic_ns();
    max_gap_ = std::max(max_gap_, now - last_);
    last_ = now;
    ++ticks_;
  }
}

void Heartbeat::reset() {
  const std::lock_guard lock(mutex_);
  since_ = last_ = monotonic_ns();
  max_gap_ = ticks_ = 0;
}

Json Heartbeat::report() {
  const std::lock_guard lock(mutex_);
  const std::uint64_t now = monotonic_ns();
  return {{"max_gap_ns", std::max(max_gap_, now - last_)},
          {"window_ns", now - since_},
          {"ticks", ticks_},
          {"tick_ns", kTickNs}};
}

}  // namespace displif_cts::agent
