// The machine: domains, their event channels and grant tables, and the open handles of their
// processes. What Xen and the kernels of the domains do together, seen through the devices
// /dev/xen/{evtchn,gntdev,gntalloc,privcmd}; no sockets, no threads, no store.
//
// Not for several threads at once: its user holds a lock (host.h). Functions that a domain calls
// throw Refused with the errno that the system call would have given.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness/loopback/events.h"
#include "harness/loopback/fd.h"
#include "harness/loopback/grant_table.h"
#include "harness/loopback/pages.h"

namespace displif_cts::loopback {

using DomainId = std::uint16_t;
using HandleId = std::uint32_t;  // never used twice; 0: none

// The highest domain id and Xen's name for the caller's own domain (xen/xen.h).
inline constexpr DomainId kFirstReservedDomain = 0x7FF0;
inline constexpr DomainId kDomainSelf = 0x7FF0;

struct Refused {
  int error;  // errno
};

struct DomainOptions {
  std::string name{};                   // for people; the default is "domain-ID"
  bool privileged = false;              // may ask and do what dom0 may
  std::uint32_t grant_frames = 64;      // Xen's max_grant_frames: 512 entries each
  std::uint32_t shared_pages = 1024;    // Linux: xen_gntalloc.limit, pages that user space shares
  std::uint32_t maps_per_call = 65536;  // Linux: xen_gntdev.limit
  std::uint32_t maps = 262144;          // Xen's max_maptrack_frames, in mappings
  std::uint32_t last_port = 1023;       // xl.cfg's max_event_channels
  std::uint32_t memory_pages = 262144;  // sparse: what is not shared costs nothing
  bool ends_with_processes = false;     // the domain is killed when its last process has gone
};

enum class HandleKind : std::uint32_t { event_channels, grant_mapper, grant_sharer, control };

// What happens when the page goes (xengnttab.h, UNMAP NOTIFICATION).
struct Notify {
  std::optional<std::uint32_t> offset;  // octets into the page, which become 0
  std::optional<std::uint32_t> port;
};

// Pages of one domain that lie next to each other.
struct Run {
  std::uint32_t domain;  // Domain's serial number
  PageIndex first;
  std::uint32_t count;
};

struct Shared {
  std::uint32_t area;
  std::vector<std::uint32_t> refs;
  std::vector<Run> runs;
};

struct Mapped {
  std::uint32_t mapping;
  std::vector<Run> runs;
};

struct ForeignRef {
  std::uint32_t domain;
  std::uint32_t ref;
};

// One side of a grant copy.
struct CopyTarget {
  std::uint32_t domain;
  std::uint32_t ref;
  bool write;
};
struct CopyPlace {
  std::int16_t status;  // GNTST_*
  std::uint32_t domain;
  PageIndex page;
};

// --- what the oracle is told

struct GrantState {
  std::uint32_t ref;
  DomainId peer;
  bool writable;
  bool ended;
  std::uint32_t maps;
};
struct MapState {
  DomainId owner;  // of the page
  std::uint32_t ref;
  DomainId mapper;
  pid_t process;  // of the mapper
  bool writable;
};
struct PortState {
  std::uint32_t port = 0;
  Link link = Link::free;
  DomainId remote = 0;            // Link::unbound: who may connect; Link::interdomain: who has
  std::uint32_t remote_port = 0;  // Link::interdomain; Link::virq: the virq
  HandleId handle = 0;            // 0: bound by no process
  pid_t process = 0;              // 0: likewise
  bool pending = false;
  bool masked = false;
};
struct DomainState {
  DomainId id;
  std::string name;
  bool privileged;
  bool dying;                   // killed, but others still map its pages
  std::optional<int> shutdown;  // SHUTDOWN_* (xen/sched.h)
  bool paused;
  std::uint32_t memory_pages;
};
struct GrantUsage {
  std::uint32_t used;    // entries, those included that were ended while mapped
  std::uint32_t frames;  // that the table has grown to
  std::uint32_t max_frames;
  std::size_t pages;  // that the domain shares
};

class Machine {
 public:
  enum class Change { shut_down, died };
  // Called when a domain shuts down or dies by a call of another domain's, or with its processes.
  using Listener = std::function<void(DomainId, Change)>;

  Machine();

  const EventMemory& events() const { return events_; }
  void listen(Listener listener) { listener_ = std::move(listener); }

  // --- the tool stack. EEXIST, EINVAL, ENOMEM; ESRCH where there is no such domain.
  void add_domain(DomainId id, DomainOptions options);
  void shut_down(DomainId id, int reason);
  // Closes its ports and handles; its pages stay for those who map them.
  void kill_domain(DomainId id);
  void set_paused(DomainId id, bool paused);
  // As the tool stack offers a port of a domain whose kernel is to take it.
  std::uint32_t offer_port(DomainId id, DomainId remote);
  void reset_ports(DomainId id);

  // --- handles. `wake` is the eventfd of HandleKind::event_channels.
  HandleId open(DomainId domain, HandleKind kind, pid_t process, Fd wake);
  void close(HandleId handle);  // unknown: no effect
  bool ends_with_processes(DomainId id) const { return domain(id).options.ends_with_processes; }
  bool has(HandleId handle) const { return handles_.contains(handle); }
  DomainId domain_of(HandleId handle) const;
  bool privileged(HandleId handle) const;
  std::uint32_t slot_of(HandleId handle) const;
  // Only this remote domain from now on. EACCES when restricted before.
  void restrict(HandleId handle, std::uint32_t domain);
  // A copy of the eventfd that wakes the handle, and whose it is; -1: gone.
  int wake_fd(HandleId handle) const;
  // The handle of an eventfd, by the kernel's number for it; 0: none.
  HandleId find_by_event_id(std::uint64_t event_id) const;
  std::vector<std::uint32_t> ports_of(HandleId handle) const;
  // Wakes all handles that have events queued: a process that ended may have queued one and not
  // come to waking its reader.
  void wake_readers() const;

  // --- event channels
  std::uint32_t bind_unbound(HandleId handle, std::uint32_t remote);
  std::uint32_t bind_interdomain(HandleId handle, std::uint32_t remote, std::uint32_t remote_port);
  std::uint32_t bind_virq(HandleId handle, std::uint32_t virq);
  void unbind(HandleId handle, std::uint32_t port);

  // --- grants
  Shared share(HandleId handle, std::uint32_t peer, std::uint32_t count, bool writable,
               const Notify& notify);
  void unshare(HandleId handle, std::uint32_t area);
  Mapped map(HandleId handle, std::span<const ForeignRef> refs, bool writable,
             const Notify& notify);
  void unmap(HandleId handle, std::uint32_t mapping);
  // Pins what a copy goes to or comes from until unmap() of the returned mapping.
  std::uint32_t begin_copy(HandleId handle, std::span<const CopyTarget> targets,
                           std::vector<CopyPlace>& places);
  // The memory that Runs of that domain lie in; nullptr: gone.
  Pages* memory(std::uint32_t domain_serial);

  // --- the oracle; ESRCH where there is no such domain
  std::vector<DomainState> domains() const;
  std::vector<PortState> ports(DomainId id) const;
  // Of one port, as EVTCHNOP_status. EINVAL: beyond what the domain ever used.
  PortState port(DomainId id, std::uint32_t port) const;
  GrantUsage grant_usage(DomainId id) const;
  std::vector<GrantState> grants(DomainId id) const;
  // All mappings of a domain's pages; of all domains' pages.
  std::vector<MapState> mappings_of(DomainId id) const;
  std::size_t mapped_pages(DomainId id) const;
  std::vector<MapState> mappings() const;
  std::set<pid_t> processes(DomainId id) const;
  std::size_t handles() const { return handles_.size(); }

 private:
  struct PortOwner {
    HandleId handle = 0;
    int references = 0;  // the handle's, and those of unmap notifications
    DomainId remote = 0;
    std::uint32_t virq = 0;
  };
  struct Domain {
    DomainId id;
    std::uint32_t serial;
    std::uint32_t slot;
    DomainOptions options;
    bool dying = false;
    bool paused = false;
    std::optional<int> shutdown{};
    Pages pages;
    GrantTable grants;
    std::vector<PortOwner> ports{};  // by number, as far as ever used
    std::set<std::uint32_t> virqs{};
    std::uint32_t user_pages = 0;  // against options.shared_pages
    std::uint32_t maps = 0;        // against options.maps
  };
  struct Pin {
    std::uint32_t domain;  // serial
    std::uint32_t ref;
    bool writable;
  };
  struct Mapping {
    std::vector<Pin> pins{};
    Notify notify{};
  };
  struct Area {
    std::vector<std::uint32_t> refs;
    Notify notify;
  };
  struct Handle {
    HandleKind kind;
    std::uint32_t domain;  // serial
    pid_t process;
    Fd wake;
    std::uint64_t event_id = 0;
    std::optional<DomainId> restricted{};
    std::set<std::uint32_t> ports{};
    std::map<std::uint32_t, Mapping> mappings{};
    std::map<std::uint32_t, Area> areas{};
  };

  Domain& domain(std::uint32_t id);              // ESRCH; dying ones too
  const Domain& domain(std::uint32_t id) const;  // likewise
  Domain* find(std::uint32_t id);                // nullptr: none
  Domain& resolve(Domain& self, std::uint32_t id);
  Handle& handle(HandleId id, HandleKind kind);  // EBADF
  Domain& owner(const Handle& handle) { return *domains_.at(handle.domain); }
  const Domain& owner(const Handle& handle) const { return *domains_.at(handle.domain); }

  PortWord& word(const Domain& domain, std::uint32_t port) const {
    return events_.at(domain.slot, port);
  }
  std::uint32_t free_port(Domain& domain);
  void take_port(Domain& domain, std::uint32_t port, HandleId reader, const Peer& peer);
  void close_port(Domain& domain, std::uint32_t port);
  void release_port(Domain& domain, std::uint32_t port);  // one reference
  void hold_notify_port(Domain& domain, const Notify& notify);
  void notify_port(Domain& domain, std::uint32_t port);
  void wake(HandleId handle) const;

  // Counts one more mapping of a page; GNTST_okay, or why not, and nothing counted.
  std::int16_t pin(Domain& self, std::uint32_t granter, std::uint32_t ref, bool writable,
                   Mapping& mapping);
  void unpin(Domain& self, std::span<const Pin> pins);
  void release(Domain& self, Mapping& mapping, bool quietly);
  void release(Domain& self, Area& area, bool quietly);
  void end_grants(Domain& domain, std::span<const std::uint32_t> refs);
  void forget_if_gone(Domain& domain);
  void drop_handle(HandleId id, bool quietly);

  EventMemory events_;
  Listener listener_;
  std::map<std::uint32_t, std::unique_ptr<Domain>> domains_;  // by serial number
  std::map<DomainId, std::uint32_t> by_id_;
  std::vector<Domain*> slots_;  // which domain's ports are where; nullptr: nobody's
  std::vector<std::uint32_t> free_slots_;
  std::map<HandleId, Handle> handles_;
  std::uint32_t next_serial_ = 1;
  HandleId next_handle_ = 1;
  std::uint32_t next_object_ = 1;  // of areas and mappings
};

}  // namespace displif_cts::loopback
