// The state of every event channel port, in memory that the host and all domains' processes share.
//
// What happens often (notify, take, unmask) happens here without a lock and without the host, so
// that a process may die at any instruction and leave nothing locked. What happens seldom (bind,
// close) only the host does (machine.h).
//
// The three operations are those of Linux's /dev/xen/evtchn over Xen (drivers/xen/evtchn.c,
// evtchn_interrupt(), evtchn_read(), evtchn_write(); xen/common/event_channel.c, evtchn_send()): an
// event of an unmasked port masks it and queues it for its reader; an event of a masked port stays
// pending until the port is unmasked.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "harness/loopback/fd.h"

namespace displif_cts::loopback {

// Ports of one domain, port 0 (never valid) included; domains at the same time.
inline constexpr std::uint32_t kPortsPerDomain = 4096;
inline constexpr std::uint32_t kDomainSlots = 1024;

enum class Link : std::uint32_t { free, reserved, unbound, virq, interdomain };

// Where a port leads: for Link::interdomain a slot and a port, otherwise 0.
struct Peer {
  Link link = Link::free;
  std::uint32_t slot = 0;
  std::uint32_t port = 0;
  bool operator==(const Peer&) const = default;
};

struct alignas(64) PortWord {
  std::atomic<std::uint64_t> peer;    // Peer, packed
  std::atomic<std::uint64_t> state;   // generation, number of queued events, masked, pending
  std::atomic<std::uint64_t> order;   // of the first queued event, among all of the machine's
  std::atomic<std::uint32_t> reader;  // whom to wake: Handle's id; 0: nobody
};

// Maps the ports of all domains. Every process has its own.
class EventMemory {
 public:
  // A new, empty one; throws std::system_error.
  static EventMemory create();
  // Of another process, over the descriptor that create() made; throws std::system_error.
  explicit EventMemory(Fd memory);
  EventMemory(EventMemory&& other) noexcept;
  EventMemory& operator=(EventMemory&&) = delete;
  ~EventMemory();

  int fd() const { return memory_.get(); }

  // `slot` and `port` are bounded: what a broken process wrote must not lead out of the memory.
  PortWord& at(std::uint32_t slot, std::uint32_t port) const {
    return words_[std::size_t{slot % kDomainSlots} * kPortsPerDomain + port % kPortsPerDomain];
  }

  // Sends an event from a port. Returns whom to wake; 0: nobody (not connected, masked already).
  // Whoever wakes the reader calls woken() after it.
  std::uint32_t notify(std::uint32_t slot, std::uint32_t port) const;
  // The reader of what notify() queued has been woken.
  void woken(std::uint32_t slot, std::uint32_t port) const;
  // An event of the port itself, as bind_interdomain gives. Returns whom to wake.
  std::uint32_t raise(PortWord& word) const;

  // Whether events are queued for the reader.
  static bool queued(const PortWord& word);
  // Takes one queued event away; false: there was none. Waits until its reader has been woken for
  // it: a wake-up that came later would make a descriptor readable that has no event, which Linux's
  // never is.
  static bool take(PortWord& word);
  // From now on events stay pending; what is queued stays queued.
  static void mask(PortWord& word);
  // Returns true when an event was pending and is queued now, so that its reader must be woken.
  bool unmask(PortWord& word) const;

  // --- for the host: a port changes its owner or its peer
  static void set_peer(PortWord& word, const Peer& peer);
  static Peer peer(const PortWord& word);
  // Forgets all events; a notify() under way misses it. `masked`: from the start.
  static void renew(PortWord& word, std::uint32_t reader, bool masked);
  static bool pending(const PortWord& word);
  static bool masked(const PortWord& word);

 private:
  struct Words {
    std::atomic<std::uint64_t> next_order;
  };

  Fd memory_;
  void* base_ = nullptr;
  PortWord* words_ = nullptr;
};

}  // namespace displif_cts::loopback
