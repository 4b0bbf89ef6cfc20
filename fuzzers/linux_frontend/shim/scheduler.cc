#include <algorithm>
#include <array>
#include <memory>
#include <string>
#include <vector>

#include "fuzzers/linux_frontend/shim/fiber.h"
#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::shim {

void (*g_memory_hook)() = nullptr;
void (*g_delay_hook)(unsigned long) = nullptr;
bool (*g_idle_hook)() = nullptr;

namespace {

enum class State : std::uint8_t { idle, ready, waiting };

struct Task {
  std::string name;
  std::unique_ptr<Fiber> fiber;
  State state = State::idle;
  Job job = nullptr;
  void* argument = nullptr;
  const void* channel = nullptr;
  std::uint64_t deadline = kNever;
  bool timed_out = false;
};

struct Timer {
  struct delayed_work* work = nullptr;
  std::uint64_t deadline = 0;
};

struct Work {
  Job job = nullptr;
  void* argument = nullptr;
};

Fiber g_director;
std::array<Task, kThreads> g_tasks;
Task* g_current = nullptr;
std::vector<Timer> g_timers;
std::vector<Work> g_work;
std::vector<int> g_pending;  // interrupts that wait for the last lock
std::array<const void*, kThreads> g_running_work{};
std::uint64_t g_now = 0;
std::uint64_t g_relaxed = 0;  // ms spent in busy loops
// What is ready, in that order; each task at most once.
std::array<Task*, kThreads> g_ready{};
std::size_t g_first_ready = 0;
std::size_t g_ready_count = 0;
int g_locks = 0;
int g_interrupts = 0;
bool g_interrupted = false;

std::string name_of(std::size_t thread) {
  constexpr auto worker = static_cast<std::size_t>(Thread::worker0);
  if (thread < kClients) return "client " + std::to_string(thread);
  if (thread >= worker) return "kworker " + std::to_string(thread - worker);
  return thread == static_cast<std::size_t>(Thread::xenwatch) ? "xenwatch" : "unbind";
}

void task_main() {
  for (;;) {
    Task& self = *g_current;
    self.job(self.argument);
    self.state = State::idle;
    self.fiber->switch_to(g_director);
  }
}

void to_director() {
  Task& self = *g_current;
  self.fiber->switch_to(g_director);
}

void make_ready(Task& task) {
  task.state = State::ready;
  task.channel = nullptr;
  g_ready[(g_first_ready + g_ready_count++) % kThreads] = &task;
}

void run(Task& task) {
  g_current = &task;
  loop_reset();
  g_director.switch_to(*task.fiber);
  g_current = nullptr;
}

Task* take_ready() {
  if (g_ready_count == 0) return nullptr;
  Task* task = g_ready[g_first_ready];
  g_first_ready = (g_first_ready + 1) % kThreads;
  --g_ready_count;
  return task;
}

void run_work(void* argument) {
  const auto index = reinterpret_cast<std::size_t>(argument);
  while (!g_work.empty()) {
    const Work work = g_work.front();
    g_work.erase(g_work.begin());
    g_running_work[index] = work.argument;
    work.job(work.argument);
    g_running_work[index] = nullptr;
    wake(work.argument);
  }
}

void run_delayed(void* argument) {
  auto* work = static_cast<struct delayed_work*>(argument);
  if (work->work.func == nullptr)
    finding("work-without-function", "a delayed work item that was never initialised ran");
  work->work.func(&work->work);
}

void flush_pending() {
  while (!g_pending.empty() && g_locks == 0 && g_interrupts == 0) {
    const int irq = g_pending.front();
    g_pending.erase(g_pending.begin());
    raise(irq);
  }
}

void check_calls() {
  if (shim_progress.calls <= SHIM_MOST_CALLS) return;
  shim_progress.calls = 0;
  if (kPeer) return;  // a loop without end is what its watchdog finds
  finding("endless", "one execution called the kernel more than %d times", SHIM_MOST_CALLS);
}

}  // namespace

bool is_idle(Thread thread) {
  return g_tasks[static_cast<std::size_t>(thread)].state == State::idle;
}

void start(Thread thread, Job job, void* argument) {
  Task& task = g_tasks[static_cast<std::size_t>(thread)];
  task.job = job;
  task.argument = argument;
  make_ready(task);
}

void run_tasks() {
  g_interrupted = false;
  for (;;) {
    while (Task* next = take_ready()) {
      run(*next);
      if (g_interrupted) return;
    }
    if (g_idle_hook == nullptr || !g_idle_hook()) return;
  }
}

void interrupt_after(std::uint32_t calls) { shim_progress.countdown = calls; }

std::uint64_t now() { return g_now; }

bool all_idle() {
  for (const Task& task : g_tasks) {
    if (task.state != State::idle) return false;
  }
  return true;
}

std::uint64_t until_next() {
  std::uint64_t next = kNever;
  for (const Task& task : g_tasks) {
    if (task.state == State::waiting && task.deadline < next) next = task.deadline;
  }
  for (const Timer& timer : g_timers) {
    if (timer.deadline < next) next = timer.deadline;
  }
  return next == kNever ? kNever : next - g_now;
}

void advance(std::uint64_t ms) {
  const std::uint64_t target = g_now + ms;
  for (;;) {
    run_tasks();
    const std::uint64_t next = until_next();
    if (next == kNever || g_now + next > target) break;
    g_now += next;
    for (std::size_t i = 0; i < g_timers.size(); ++i) {
      if (g_timers[i].deadline > g_now) continue;
      struct delayed_work* work = g_timers[i].work;
      g_timers.erase(g_timers.begin() + static_cast<std::ptrdiff_t>(i--));
      queue_work(run_delayed, work);
    }
    for (Task& task : g_tasks) {
      if (task.state != State::waiting || task.deadline > g_now) continue;
      task.timed_out = true;
      make_ready(task);
    }
  }
  g_now = target;
}

bool wait_for(const void* channel, std::uint64_t deadline) {
  if (g_current == nullptr || g_interrupts > 0)
    finding("sleep-in-interrupt", "the driver sleeps in an interrupt handler");
  if (g_locks > 0) finding("sleep-under-spin-lock", "the driver sleeps while it holds a spin lock");
  Task& self = *g_current;
  self.state = State::waiting;
  self.channel = channel;
  self.deadline = deadline;
  self.timed_out = false;
  to_director();
  loop_reset();
  self.deadline = kNever;
  return !self.timed_out;
}

void wake(const void* channel) {
  for (Task& task : g_tasks) {
    if (task.state == State::waiting && task.channel == channel) make_ready(task);
  }
}

void queue_work(Job job, void* argument) {
  g_work.push_back({job, argument});
  for (std::size_t i = static_cast<std::size_t>(Thread::worker0); i < kThreads; ++i) {
    if (g_tasks[i].state != State::idle) continue;
    start(static_cast<Thread>(i), run_work, reinterpret_cast<void*>(i));
    return;
  }
}

bool any_client_waits() {
  for (std::size_t i = 0; i < kClients; ++i) {
    if (g_tasks[i].state != State::idle) return true;
  }
  return false;
}

bool any_work() {
  constexpr auto kFirst = static_cast<std::size_t>(Thread::worker0);
  return !g_work.empty() || std::any_of(g_tasks.begin() + kFirst, g_tasks.end(),
                                        [](const Task& task) { return task.state != State::idle; });
}

bool in_interrupt() { return g_interrupts > 0; }
bool locked() { return g_locks > 0; }
const char* running() {
  return g_interrupts > 0 ? "interrupt" : g_current == nullptr ? "start" : g_current->name.c_str();
}

void raise(int irq) {
  if (g_locks > 0 || g_interrupts > 0) {
    for (const int pending : g_pending) {
      if (pending == irq) return;
    }
    g_pending.push_back(irq);
    return;
  }
  ++g_interrupts;
  loop_reset();
  call_handler(irq);
  --g_interrupts;
  flush_pending();
}

void scheduler_begin() {
  if (g_tasks[0].fiber == nullptr) {
    for (std::size_t i = 0; i < kThreads; ++i) {
      g_tasks[i].name = name_of(i);
      g_tasks[i].fiber = std::make_unique<Fiber>(task_main);
    }
  }
  g_timers.clear();
  g_work.clear();
  g_pending.clear();
  g_now = 0;
  shim_progress = {};
  g_locks = 0;
  g_interrupted = false;
}

void scheduler_end() {
  if (!all_idle()) {
    for (const Task& task : g_tasks) {
      if (task.state != State::idle) finding("deadlock", "%s never comes back", task.name.c_str());
    }
  }
  if (!g_timers.empty()) finding("timer-left", "%zu timers outlive the driver", g_timers.size());
}

}  // namespace displif_cts::shim

using namespace displif_cts::shim;

struct shim_progress shim_progress = {};

void shim_point_slowly() {
  check_calls();
  std::uint32_t& countdown = shim_progress.countdown;
  if (countdown == 0 || g_current == nullptr) return;
  if (g_locks > 0 || g_interrupts > 0) {
    if (countdown > 1) {
      --countdown;
    } else if (g_memory_hook != nullptr) {
      g_memory_hook();
    }
    return;
  }
  if (--countdown > 0) return;
  g_interrupted = true;
  make_ready(*g_current);
  to_director();
}

void shim_barrier() {
  shim_progress.turns = 0;
  ++shim_progress.calls;
  check_calls();
  std::uint32_t& countdown = shim_progress.countdown;
  if (countdown == 0) return;
  if (--countdown == 0) {
    if (g_memory_hook != nullptr) g_memory_hook();
    countdown = 1;
  }
}

void msleep(unsigned int ms) {
  shim_point();
  wait_for(nullptr, now() + ms);
}

// Busy: no other task runs, whatever locks are held.
void mdelay(unsigned long ms) {
  shim_barrier();
  if (g_delay_hook != nullptr) {
    g_delay_hook(ms);
  } else if (g_memory_hook != nullptr) {
    g_memory_hook();
  }
}

void cpu_relax() {
  mdelay(1);
  ++g_relaxed;
}

unsigned long shim_jiffies() { return now() + g_relaxed; }

void spin_lock_init(spinlock_t* lock) { lock->held = 0; }

void shim_spin_lock(spinlock_t* lock) {
  shim_point();
  if (lock->held != 0) finding("lockup", "a spin lock is taken twice");
  lock->held = 1;
  ++g_locks;
}

void shim_spin_unlock(spinlock_t* lock) {
  if (lock->held == 0) finding("unlock-without-lock", "a spin lock that is not held is released");
  lock->held = 0;
  --g_locks;
  shim_point();
  flush_pending();
}

void mutex_init(struct mutex* mutex) { mutex->owner = nullptr; }

void mutex_lock(struct mutex* mutex) {
  shim_point();
  while (mutex->owner != nullptr) {
    if (mutex->owner == g_current)
      finding("lockup", "a mutex is taken twice by %s", g_current->name.c_str());
    wait_for(mutex, kNever);
  }
  mutex->owner = g_current;
}

void mutex_unlock(struct mutex* mutex) {
  mutex->owner = nullptr;
  wake(mutex);
  shim_point();
}

void init_completion(struct completion* completion) { completion->done = 0; }
void reinit_completion(struct completion* completion) { completion->done = 0; }

long wait_for_completion_timeout(struct completion* completion, unsigned long timeout) {
  shim_point();
  const std::uint64_t deadline = now() + timeout;
  while (completion->done == 0) {
    if (!wait_for(completion, deadline)) break;
  }
  if (completion->done == 0) return 0;
  if (completion->done != ~0U) --completion->done;
  return now() < deadline ? static_cast<long>(deadline - now()) : 1;
}

void complete(struct completion* completion) {
  if (completion->done != ~0U) ++completion->done;
  wake(completion);
}

void complete_all(struct completion* completion) {
  completion->done = ~0U;
  wake(completion);
}

bool schedule_delayed_work(struct delayed_work* work, unsigned long delay) {
  shim_point();
  for (const Timer& timer : g_timers) {
    if (timer.work == work) return false;
  }
  g_timers.push_back({work, g_now + delay});
  return true;
}

bool cancel_delayed_work(struct delayed_work* work) {
  shim_point();
  for (std::size_t i = 0; i < g_timers.size(); ++i) {
    if (g_timers[i].work != work) continue;
    g_timers.erase(g_timers.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  for (std::size_t i = 0; i < g_work.size(); ++i) {
    if (g_work[i].argument != work) continue;
    g_work.erase(g_work.begin() + static_cast<std::ptrdiff_t>(i));
    return true;
  }
  return false;
}

bool cancel_delayed_work_sync(struct delayed_work* work) {
  // As flush_work() warns.
  if (work->work.func == nullptr) shim_warn("workqueue", 0, "!work->func");
  const bool cancelled = cancel_delayed_work(work);
  for (;;) {
    bool runs = false;
    for (const void* running : g_running_work) runs = runs || running == work;
    if (!runs) return cancelled;
    wait_for(work, kNever);
  }
}
