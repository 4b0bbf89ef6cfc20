#include "harness/loopback/machine.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <utility>

extern "C" {
#include <xen/xen.h>
}

namespace displif_cts::loopback {
namespace {

static_assert(kFirstReservedDomain == DOMID_FIRST_RESERVED && kDomainSelf == DOMID_SELF);

// The kernel's number of an eventfd, the same for every descriptor of it; 0 where it gives none.
std::uint64_t event_id_of(int fd) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd));
  for (std::string line; std::getline(info, line);) {
    unsigned long long id = 0;
    if (std::sscanf(line.c_str(), "eventfd-id: %llu", &id) == 1) return id;
  }
  return 0;
}

}  // namespace

Machine::Machine() : events_(EventMemory::create()), slots_(kDomainSlots) {
  for (std::uint32_t slot = kDomainSlots; slot-- > 0;) free_slots_.push_back(slot);
}

void Machine::add_domain(DomainId id, DomainOptions options) {
  if (id >= kFirstReservedDomain || options.grant_frames == 0 || options.memory_pages == 0) {
    throw Refused{EINVAL};
  }
  if (by_id_.contains(id)) throw Refused{EEXIST};
  if (free_slots_.empty()) throw Refused{ENOMEM};
  if (options.name.empty()) options.name = "domain-" + std::to_string(id);
  options.last_port = std::min(options.last_port, kPortsPerDomain - 1);
  const std::uint32_t serial = next_serial_++;
  auto added = std::unique_ptr<Domain>(new Domain{.id = id,
                                                  .serial = serial,
                                                  .slot = free_slots_.back(),
                                                  .options = options,
                                                  .pages = Pages(options.memory_pages),
                                                  .grants = GrantTable(options.grant_frames)});
  // Bound by the kernels themselves (Linux: VIRQ_TIMER and VIRQ_DEBUG; dom0's VIRQ_CONSOLE), and
  // by dom0's xenstored.
  added->virqs = {VIRQ_TIMER, VIRQ_DEBUG};
  if (options.privileged) added->virqs.insert({VIRQ_CONSOLE, VIRQ_DOM_EXC});
  // Port 0 is never given out (xen/common/event_channel.c, evtchn_init()).
  added->ports.resize(1);
  EventMemory::set_peer(word(*added, 0), {.link = Link::reserved});
  slots_[added->slot] = added.get();
  free_slots_.pop_back();
  domains_.emplace(serial, std::move(added));
  by_id_.emplace(id, serial);
}

Machine::Domain* Machine::find(std::uint32_t id) {
  if (id >= kFirstReservedDomain) return nullptr;
  const auto found = by_id_.find(static_cast<DomainId>(id));
  return found == by_id_.end() ? nullptr : domains_.at(found->second).get();
}

Machine::Domain& Machine::domain(std::uint32_t id) {
  Domain* const found = find(id);
  if (found == nullptr) throw Refused{ESRCH};
  return *found;
}

const Machine::Domain& Machine::domain(std::uint32_t id) const {
  return const_cast<Machine*>(this)->domain(id);
}

Machine::Domain& Machine::resolve(Domain& self, std::uint32_t id) {
  return id == kDomainSelf ? self : domain(id);
}

void Machine::shut_down(DomainId id, int reason) {
  Domain& target = domain(id);
  if (target.dying || target.shutdown) return;
  target.shutdown = reason;
  if (listener_) listener_(id, Change::shut_down);
}

void Machine::set_paused(DomainId id, bool paused) { domain(id).paused = paused; }

void Machine::kill_domain(DomainId id) {
  Domain& target = domain(id);
  if (target.dying) return;
  target.dying = true;
  // Xen destroys the domain, its kernel does nothing any more: no unmap notifications.
  std::vector<HandleId> own;
  for (const auto& [handle_id, handle] : handles_) {
    if (handle.domain == target.serial) own.push_back(handle_id);
  }
  for (std::uint32_t port = 1; port < target.ports.size(); ++port) close_port(target, port);
  for (const HandleId handle_id : own) drop_handle(handle_id, true);
  // Grants of the kernel's that no handle owned (ended while mapped, and mapped still) stay.
  EventMemory::set_peer(word(target, 0), {});
  slots_[target.slot] = nullptr;
  free_slots_.push_back(target.slot);
  if (listener_) listener_(id, Change::died);
  forget_if_gone(target);
}

void Machine::forget_if_gone(Domain& domain) {
  if (!domain.dying || domain.grants.used() != 0) return;
  by_id_.erase(domain.id);
  domains_.erase(domain.serial);
}

// --- handles -------------------------------------------------------------------------------------

HandleId Machine::open(DomainId domain_id, HandleKind kind, pid_t process, Fd wake) {
  Domain& target = domain(domain_id);
  if (target.dying) throw Refused{ESRCH};
  if ((kind == HandleKind::event_channels) != static_cast<bool>(wake)) throw Refused{EINVAL};
  const HandleId id = next_handle_++;
  Handle added{.kind = kind, .domain = target.serial, .process = process, .wake = std::move(wake)};
  if (added.wake) added.event_id = event_id_of(added.wake.get());
  handles_.emplace(id, std::move(added));
  return id;
}

Machine::Handle& Machine::handle(HandleId id, HandleKind kind) {
  const auto found = handles_.find(id);
  if (found == handles_.end() || found->second.kind != kind) throw Refused{EBADF};
  return found->second;
}

void Machine::close(HandleId id) {
  if (handles_.contains(id)) drop_handle(id, false);
}

void Machine::drop_handle(HandleId id, bool quietly) {
  Handle& going = handles_.at(id);
  Domain& self = owner(going);
  if (!quietly) {
    // As the kernel releases the file: its ports, unless an unmap notification still holds them.
    while (!going.ports.empty()) unbind(id, *going.ports.begin());
  }
  for (auto& [number, mapping] : going.mappings) release(self, mapping, quietly);
  for (auto& [number, area] : going.areas) release(self, area, quietly);
  handles_.erase(id);
}

DomainId Machine::domain_of(HandleId id) const { return owner(handles_.at(id)).id; }
bool Machine::privileged(HandleId id) const { return owner(handles_.at(id)).options.privileged; }
std::uint32_t Machine::slot_of(HandleId id) const { return owner(handles_.at(id)).slot; }

void Machine::restrict(HandleId id, std::uint32_t domain_id) {
  Handle& own = handle(id, HandleKind::event_channels);
  if (own.restricted) throw Refused{EACCES};
  if (domain_id == 0 || domain_id >= kFirstReservedDomain) throw Refused{EINVAL};
  own.restricted = static_cast<DomainId>(domain_id);
}

int Machine::wake_fd(HandleId id) const {
  const auto found = handles_.find(id);
  return found == handles_.end() ? -1 : found->second.wake.get();
}

HandleId Machine::find_by_event_id(std::uint64_t event_id) const {
  if (event_id == 0) return 0;
  const auto found = std::ranges::find_if(
      handles_, [&](const auto& entry) { return entry.second.event_id == event_id; });
  return found == handles_.end() ? 0 : found->first;
}

std::vector<std::uint32_t> Machine::ports_of(HandleId id) const {
  const Handle& own = handles_.at(id);
  return {own.ports.begin(), own.ports.end()};
}

void Machine::wake_readers() const {
  for (const auto& [id, handle] : handles_) {
    const Domain& self = owner(handle);
    if (std::ranges::any_of(handle.ports, [&](std::uint32_t port) {
          return EventMemory::queued(word(self, port));
        })) {
      wake(id);
    }
  }
}

void Machine::wake(HandleId id) const {
  const int fd = id == 0 ? -1 : wake_fd(id);
  if (fd >= 0) eventfd_write(fd, 1);
}

// --- the oracle ----------------------------------------------------------------------------------

std::vector<DomainState> Machine::domains() const {
  std::vector<DomainState> list;
  for (const auto& [id, serial] : by_id_) {
    const Domain& each = *domains_.at(serial);
    list.push_back({id, each.options.name, each.options.privileged, each.dying, each.shutdown,
                    each.paused, each.options.memory_pages});
  }
  return list;
}

std::set<pid_t> Machine::processes(DomainId id) const {
  const Domain& target = domain(id);
  std::set<pid_t> list;
  for (const auto& [handle_id, handle] : handles_) {
    if (handle.domain == target.serial) list.insert(handle.process);
  }
  return list;
}

}  // namespace displif_cts::loopback
