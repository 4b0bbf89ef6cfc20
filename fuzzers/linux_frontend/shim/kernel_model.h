// The model's parts, as they see each other: tasks and time, memory, grants, event channels, the
// store, and what one execution may fail on purpose. One kernel at a time, on one thread.
#pragma once

#include <cstdint>
#include <string_view>

#include "fuzzers/linux_frontend/shim/kernel.h"

namespace displif_cts::shim {

// ---- tasks and time (scheduler.cc)

#ifdef DISPLIF_SHIM_PEER  // a whole guest's life (peer/), not one execution's
inline constexpr bool kPeer = true;
#else
inline constexpr bool kPeer = false;
#endif
inline constexpr std::size_t kClients = kPeer ? 32 : 3;
enum class Thread : std::uint8_t {
  client0,  // the first of kClients
  xenwatch = kClients,
  unbind,
  worker0,
  worker3 = worker0 + 3,
  count
};
inline constexpr std::size_t kThreads = static_cast<std::size_t>(Thread::count);
inline constexpr std::uint64_t kNever = ~0ULL;

using Job = void (*)(void* argument);

bool is_idle(Thread thread);
// The thread runs `job` when tasks run next. It must be idle.
void start(Thread thread, Job job, void* argument);
// Runs what can run until everything waits, or a task was interrupted at its interleaving point.
void run_tasks();
// After this many calls of the shim the running task is interrupted. 0: never.
void interrupt_after(std::uint32_t calls);
// Lets time pass; timers and time limits end in order.
void advance(std::uint64_t ms);
// Time to the next timer or limit of a task that waits; kNever without one. Polling does not count.
std::uint64_t until_next();
std::uint64_t now();
bool all_idle();
// A task waits for `channel` until `deadline`. False: the time is up.
bool wait_for(const void* channel, std::uint64_t deadline);
void wake(const void* channel);
// A work item without delay, on one of the workers.
void queue_work(Job job, void* argument);
// Is the task waiting inside a call that unplugging does not wait for? See close_while_waiting.
bool any_client_waits();
bool any_work();  // on a work queue, waiting or at work
bool in_interrupt();
bool locked();
const char* running();

// Interrupts, delivered now, or when the last spin lock is released.
void raise(int irq);

void scheduler_begin();
// Timers that were left: what they belong to.
void scheduler_end();

// Called at each interleaving point where only shared memory may change; the attacker's.
extern void (*g_memory_hook)();
// Called when the driver delays without giving up the processor, `ms` milliseconds long: what is
// to happen outside the guest meanwhile. Without one, shared memory may change.
extern void (*g_delay_hook)(unsigned long ms);
// Asked when nothing can run: true when it has made something runnable.
extern bool (*g_idle_hook)();
// Asked before the driver learns of the backend's InitWait and reads its configuration: false
// passes it over.
extern bool (*g_config_hook)();

// Loops without a call of the shim (loops.cc): bounded, reported by the source line of the loop.
inline void loop_reset() { shim_progress.turns = 0; }

// ---- failures on purpose

enum class Failure : std::uint8_t { memory, grants, channels, store, conflict, drm, count };
void fail_after(Failure what, std::uint32_t after, std::uint32_t count);
extern unsigned g_armed;  // how many kinds may still fail
bool fails_slowly(Failure what);
inline bool fails(Failure what) { return g_armed != 0 && fails_slowly(what); }
void failures_begin();

// ---- memory (memory.cc)

// As the driver's own: counted, and missed at the end. Null when that fails on purpose, or is more
// than a guest would have. `site`: who asked.
void* allocate(std::size_t size, const char* site);
void release(const void* memory);
// The device's memory, when it goes.
void device_memory_free();
// Pages that nobody touches, for buffers.
// False: there are no more.
bool take_pages(struct page** pages, std::size_t count);
void give_pages(struct page** pages, std::size_t count);
void memory_begin();
// Reports what the driver still owns.
void memory_end();

// ---- grants (grants.cc)

struct Grant {
  std::uint64_t frame = 0;
  bool active = false;
  bool mapped = false;    // the backend holds it
  bool deferred = false;  // ended by the guest while mapped
  bool ring = false;      // of a ring or an event page
};
Grant* grant(std::uint32_t ref);  // null: no such reference
bool any_deferred_in(const void* memory, std::size_t size);
void grant_unmapped(std::uint32_t ref);
void grants_begin();
void grants_end();
// References of the backend that the guest may map (be-alloc).
inline constexpr std::uint32_t kBackendRefs = 1000;
inline constexpr std::uint32_t kBackendRefCount = 100000;

// ---- event channels (interrupts.cc)

int irq_of_port(std::uint32_t port);  // 0: none
// The guest notified on this port since the last call.
bool take_notification(std::uint32_t port);
void call_handler(int irq);
void interrupts_begin();
void interrupts_end();

// ---- the store and the bus (xenbus.cc)

// A node's path is known by its hash: the names are few, and looked up all the time.
enum class Path : std::uint64_t {};
constexpr Path path_with(Path path, char c) {
  return Path{(static_cast<std::uint64_t>(path) ^ static_cast<unsigned char>(c)) * 0x100000001b3};
}
constexpr Path path_of(const char* text, Path path = Path{0xcbf29ce484222325}) {
  for (; *text != '\0'; ++text) path = path_with(path, *text);
  return path;
}
constexpr Path below(Path folder, const char* node) {
  return path_of(node, path_with(folder, '/'));
}
constexpr Path below(Path folder, unsigned connector) {
  return path_with(path_with(folder, '/'), static_cast<char>('0' + connector % 10));
}

const char* store_read(Path path);
void store_write(Path path, std::string_view value);
void store_write(Path path, std::uint32_t value);
void store_remove(Path path);
// Changes with every write.
std::uint64_t store_generation();
void store_begin();
inline constexpr const char* kFrontend = "device/vdispl/0";
inline constexpr const char* kBackend = "/local/domain/0/backend/vdispl/1/0";
inline constexpr Path kFrontendPath = path_of(kFrontend);
inline constexpr Path kFrontendState = below(kFrontendPath, "state");
inline constexpr Path kBackendState = below(path_of(kBackend), "state");

struct xenbus_device* bus_device();  // null while there is none
std::uint32_t device_number();       // of the present device, from 1; counts up; 0: there is none
// The backend's state node has changed: the watch will fire.
void backend_state_written();
void plug_device();
void unplug_device();  // as the tool stack does: the driver's remove runs in xenwatch
void unbind_device();  // as a process does through sysfs; bound again at once
// Connectors that the driver found when it last read its configuration.
int configured_connectors();
// Does the driver hear of a state that ends a connection?
bool device_disconnects();
// Is a removal asked for that is not done yet?
bool device_goes();
void bus_begin();

// ---- DRM (drm_*.cc)

struct drm_device* newest_drm_device();  // registered and not unplugged, or null
void drm_begin();
void drm_end();

}  // namespace displif_cts::shim
