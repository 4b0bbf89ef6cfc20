#include "harness/loopback/events.h"

#include <sys/mman.h>

#include <cerrno>
#include <chrono>
#include <system_error>
#include <thread>
#include <utility>

namespace displif_cts::loopback {
namespace {

constexpr std::uint64_t kPending = 1;
constexpr std::uint64_t kMasked = 2;
constexpr std::uint64_t kWaking = 4;  // an event is queued, and its reader being woken
constexpr std::uint64_t kOneQueued = 1U << 8;
constexpr std::uint64_t kQueued = 0xffff00;
constexpr std::uint64_t kOneGeneration = std::uint64_t{1} << 32;

constexpr std::size_t kHead = 4096;  // octets before the first port
constexpr std::size_t kSize =
    kHead + std::size_t{kDomainSlots} * kPortsPerDomain * sizeof(PortWord);

static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);

std::uint64_t pack(const Peer& peer) {
  return static_cast<std::uint64_t>(peer.link) << 48 | std::uint64_t{peer.slot} << 32 | peer.port;
}

Peer unpack(std::uint64_t word) {
  return {static_cast<Link>(word >> 48), static_cast<std::uint32_t>(word >> 32 & 0xffff),
          static_cast<std::uint32_t>(word)};
}

// The state after one more event.
std::uint64_t after_event(std::uint64_t state) {
  if ((state & kMasked) != 0) return state | kPending;
  return (state | kMasked) + kOneQueued;
}

}  // namespace

EventMemory EventMemory::create() {
  Fd memory(memfd_create("displif-loopback-events", MFD_CLOEXEC));
  if (!memory || ftruncate(memory.get(), static_cast<off_t>(kSize)) != 0) {
    throw std::system_error(errno, std::generic_category(), "memory of the event channels");
  }
  return EventMemory(std::move(memory));
}

EventMemory::EventMemory(Fd memory) : memory_(std::move(memory)) {
  base_ =
      mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, memory_.get(), 0);
  if (base_ == MAP_FAILED) {
    base_ = nullptr;
    throw std::system_error(errno, std::generic_category(), "memory of the event channels");
  }
  words_ = reinterpret_cast<PortWord*>(static_cast<std::byte*>(base_) + kHead);
}

EventMemory::EventMemory(EventMemory&& other) noexcept
    : memory_(std::move(other.memory_)),
      base_(std::exchange(other.base_, nullptr)),
      words_(std::exchange(other.words_, nullptr)) {}

EventMemory::~EventMemory() {
  if (base_ != nullptr) munmap(base_, kSize);
}

std::uint32_t EventMemory::notify(std::uint32_t slot, std::uint32_t port) const {
  PortWord& own = at(slot, port);
  for (;;) {
    const std::uint64_t link = own.peer.load();
    const Peer remote = unpack(link);
    // Xen drops the notification of an unbound port silently (evtchn_send()).
    if (remote.link != Link::interdomain) return 0;
    PortWord& word = at(remote.slot, remote.port);
    std::uint64_t state = word.state.load();
    const std::uint32_t reader = word.reader.load();
    // The generation in `state` is that of the peer that `link` names only if `link` still holds.
    if (own.peer.load() != link) continue;
    const bool wakes = (state & kMasked) == 0;
    const std::uint64_t next = after_event(state) | (wakes && reader != 0 ? kWaking : 0);
    if (next == state) return 0;
    if (wakes) {
      word.order.store(static_cast<Words*>(base_)->next_order.fetch_add(1));
    }
    if (word.state.compare_exchange_strong(state, next)) return wakes ? reader : 0;
  }
}

void EventMemory::woken(std::uint32_t slot, std::uint32_t port) const {
  const Peer remote = peer(at(slot, port));
  if (remote.link == Link::interdomain) at(remote.slot, remote.port).state.fetch_and(~kWaking);
}

std::uint32_t EventMemory::raise(PortWord& word) const {
  std::uint64_t state = word.state.load();
  word.order.store(static_cast<Words*>(base_)->next_order.fetch_add(1));
  while (!word.state.compare_exchange_weak(state, after_event(state))) {
  }
  return (state & kMasked) == 0 ? word.reader.load() : 0;
}

bool EventMemory::queued(const PortWord& word) { return (word.state.load() & kQueued) != 0; }
bool EventMemory::pending(const PortWord& word) { return (word.state.load() & kPending) != 0; }
bool EventMemory::masked(const PortWord& word) { return (word.state.load() & kMasked) != 0; }

bool EventMemory::take(PortWord& word) {
  // Whoever wakes may have died in between; then the wake-up is missing, and not late.
  constexpr std::chrono::milliseconds kLongest{100};
  const auto limit = std::chrono::steady_clock::now() + kLongest;
  while ((word.state.load() & kWaking) != 0 && std::chrono::steady_clock::now() < limit)
    std::this_thread::yield();
  word.state.fetch_and(~kWaking);
  std::uint64_t state = word.state.load();
  do {
    if ((state & kQueued) == 0) return false;
  } while (!word.state.compare_exchange_weak(state, state - kOneQueued));
  return true;
}

void EventMemory::mask(PortWord& word) { word.state.fetch_or(kMasked); }

bool EventMemory::unmask(PortWord& word) const {
  std::uint64_t state = word.state.load();
  for (;;) {
    if ((state & kMasked) == 0) return false;
    const bool again = (state & kPending) != 0;
    if (again) word.order.store(static_cast<Words*>(base_)->next_order.fetch_add(1));
    const std::uint64_t next =
        again ? (state & ~kPending) + kOneQueued : state & ~(kMasked | kPending);
    if (word.state.compare_exchange_weak(state, next)) return again;
  }
}

void EventMemory::set_peer(PortWord& word, const Peer& peer) { word.peer.store(pack(peer)); }

Peer EventMemory::peer(const PortWord& word) { return unpack(word.peer.load()); }

void EventMemory::renew(PortWord& word, std::uint32_t reader, bool masked) {
  std::uint64_t state = word.state.load();
  std::uint64_t next;
  word.reader.store(reader);
  do {
    next = ((state & ~(kOneGeneration - 1)) + kOneGeneration) | (masked ? kMasked : 0);
  } while (!word.state.compare_exchange_weak(state, next));
  word.order.store(0);
}

}  // namespace displif_cts::loopback
