#include "fuzzers/linux_frontend/peer/kernel.h"

#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <deque>
#include <future>
#include <mutex>
#include <system_error>
#include <thread>

#include "fuzzers/linux_frontend/peer/complaints.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::linux_guest {
namespace {

struct Call {
  const std::function<int()>* work = nullptr;
  std::promise<int> result;
};

// Processor time of one round, nanoseconds: what the driver does in one is done in a few
// milliseconds. Not the time of the clock, so that a busy host is no lockup.
constexpr std::int64_t kLockup = 1'000'000'000;

clockid_t g_clock{};                        // of the kernel's thread
std::atomic<std::int64_t> g_round_start{};  // by that clock
std::atomic<bool> g_ready{};

std::int64_t used() {
  timespec time{};
  clock_gettime(g_clock, &time);
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

std::mutex g_mutex;  // of the calls that wait for a task
std::deque<Call*> g_calls;
int g_wake = -1;

void run_call(void* argument) {
  auto* call = static_cast<Call*>(argument);
  call->result.set_value((*call->work)());  // its owner may be gone from here on
}

void start_calls() {
  for (std::size_t i = 0; i < shim::kClients; ++i) {
    const auto thread = static_cast<shim::Thread>(i);
    if (!shim::is_idle(thread)) continue;
    const std::lock_guard lock(g_mutex);
    if (g_calls.empty()) return;
    shim::start(thread, run_call, g_calls.front());
    g_calls.pop_front();
  }
}

// A driver that goes round and round keeps the whole kernel from everything else.
[[noreturn]] void watch() {
  std::int64_t told = -1;
  for (;;) {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
    if (!g_ready) continue;
    const std::int64_t start = g_round_start;
    const std::int64_t stuck = used() - start;
    if (start == told || stuck < kLockup) continue;
    soft_lockup(static_cast<unsigned>(stuck / 1'000'000'000));
    told = start;
  }
}

[[noreturn]] void run() {
  pthread_getcpuclockid(pthread_self(), &g_clock);
  g_round_start = used();
  g_ready = true;
  shim::g_delay_hook = [](unsigned long ms) {
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
  };
  shim::scheduler_begin();
  shim::drm_begin();
  shim_module_init();
  const std::array<Source, 2> sources{store_source(), events_source()};
  const auto start = std::chrono::steady_clock::now();
  for (;;) {
    start_calls();
    const auto now = std::chrono::duration_cast<std::chrono::milliseconds>(
        std::chrono::steady_clock::now() - start);
    const auto ms = static_cast<std::uint64_t>(now.count());
    shim::advance(ms - std::min(ms, shim::now()));
    const std::uint64_t next = shim::until_next();
    std::array<pollfd, 3> fds{
        {{g_wake, POLLIN, 0}, {sources[0].fd, POLLIN, 0}, {sources[1].fd, POLLIN, 0}}};
    poll(fds.data(), fds.size(),
         next == shim::kNever ? -1 : static_cast<int>(std::min<std::uint64_t>(next, 60'000)));
    g_round_start = used();
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t emptied = read(g_wake, &count, sizeof(count));
    for (std::size_t i = 0; i < sources.size(); ++i) {
      if (fds[i + 1].revents != 0) sources[i].readable();
    }
  }
}

}  // namespace

void start_kernel() {
  g_wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (g_wake < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  bus_open();
  events_open();
  grants_open();
  std::thread(run).detach();
  std::thread(watch).detach();
}

int in_kernel(const std::function<int()>& work) {
  Call call;
  call.work = &work;
  auto result = call.result.get_future();
  {
    const std::lock_guard lock(g_mutex);
    g_calls.push_back(&call);
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = write(g_wake, &one, sizeof(one));
  return result.get();
}

}  // namespace displif_cts::linux_guest
