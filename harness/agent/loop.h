// The agent's one thread: descriptors, timers, and work handed over by other threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "harness/agent/unique_fd.h"

namespace displif_cts::agent {

class Loop {
 public:
  using Clock = std::chrono::steady_clock;
  using Handler = std::function<void(std::uint32_t events)>;  // EPOLL*
  using TimerId = std::pair<Clock::time_point, std::uint64_t>;

  Loop();  // throws std::system_error

  // `fd` stays the caller's, who calls forget() before closing it. A handler may forget any
  // descriptor, its own too.
  void watch(int fd, std::uint32_t events, Handler handler);
  void forget(int fd);

  TimerId at(Clock::time_point when, std::function<void()> work);
  TimerId after(std::chrono::milliseconds delay, std::function<void()> work) {
    return at(Clock::now() + delay, std::move(work));
  }
  void cancel(const TimerId& timer) { timers_.erase(timer); }

  // Runs `work` on the loop's thread, soon. The only member that other threads may call.
  void post(std::function<void()> work);

  void run();  // until stop()
  void stop() { running_ = false; }

 private:
  void run_posted();
  void run_timers();

  UniqueFd epoll_;
  UniqueFd wake_;
  bool running_ = false;
  std::map<int, std::shared_ptr<Handler>> handlers_;
  std::map<TimerId, std::function<void()>> timers_;
  std::uint64_t next_timer_ = 0;
  std::mutex posted_mutex_;
  std::vector<std::function<void()>> posted_;
};

}  // namespace displif_cts::agent
