// Event channels: Xen's side (xen/common/event_channel.c) and the kernel's (drivers/xen/evtchn.c,
// drivers/xen/events/events_base.c).
#include <cerrno>

#include "harness/loopback/machine.h"

extern "C" {
#include <xen/xen.h>
}

namespace displif_cts::loopback {
namespace {

// Xen's table of ports grows by so many (xen/include/xen/sched.h, EVTCHNS_PER_BUCKET).
constexpr std::size_t kPortsPerBucket = 64;

std::size_t valid_ports(std::size_t used) {
  return (used + kPortsPerBucket - 1) / kPortsPerBucket * kPortsPerBucket;
}

}  // namespace

// The lowest free one (get_free_port()).
std::uint32_t Machine::free_port(Domain& domain) {
  if (domain.dying) throw Refused{EINVAL};
  for (std::uint32_t port = 1; port <= domain.options.last_port; ++port) {
    if (port == domain.ports.size()) domain.ports.emplace_back();
    if (EventMemory::peer(word(domain, port)).link == Link::free) return port;
  }
  throw Refused{ENOSPC};
}

void Machine::take_port(Domain& domain, std::uint32_t port, HandleId reader, const Peer& peer) {
  EventMemory::renew(word(domain, port), reader, false);
  EventMemory::set_peer(word(domain, port), peer);
  domain.ports[port] = {.handle = reader, .references = reader == 0 ? 0 : 1};
  if (reader != 0) handles_.at(reader).ports.insert(port);
}

// evtchn_close()
void Machine::close_port(Domain& domain, std::uint32_t port) {
  PortWord& own = word(domain, port);
  const Peer peer = EventMemory::peer(own);
  if (peer.link == Link::free) return;
  if (peer.link == Link::interdomain) {
    Domain* const remote = slots_[peer.slot];
    EventMemory::set_peer(events_.at(peer.slot, peer.port), {.link = Link::unbound});
    remote->ports[peer.port].remote = domain.id;
  }
  EventMemory::set_peer(own, {});
  EventMemory::renew(own, 0, false);
  PortOwner& owner = domain.ports[port];
  if (peer.link == Link::virq) domain.virqs.erase(owner.virq);
  if (owner.handle != 0) handles_.at(owner.handle).ports.erase(port);
  owner = {};
}

void Machine::release_port(Domain& domain, std::uint32_t port) {
  if (--domain.ports[port].references == 0) close_port(domain, port);
}

std::uint32_t Machine::bind_unbound(HandleId id, std::uint32_t remote) {
  Handle& own = handle(id, HandleKind::event_channels);
  if (own.restricted) throw Refused{EACCES};
  Domain& self = owner(own);
  const std::uint32_t port = free_port(self);
  take_port(self, port, id, {.link = Link::unbound});
  const auto remote_id = static_cast<DomainId>(remote);  // as the ioctl's field is narrowed
  self.ports[port].remote = remote_id == kDomainSelf ? self.id : remote_id;
  return port;
}

std::uint32_t Machine::bind_interdomain(HandleId id, std::uint32_t remote,
                                        std::uint32_t remote_port) {
  Handle& own = handle(id, HandleKind::event_channels);
  if (own.restricted && *own.restricted != remote) throw Refused{EACCES};
  Domain& self = owner(own);
  Domain& other = resolve(self, static_cast<DomainId>(remote));
  const std::uint32_t port = free_port(self);
  if (remote_port >= other.ports.size() || (port == remote_port && &self == &other)) {
    throw Refused{EINVAL};
  }
  PortWord& there = word(other, remote_port);
  if (EventMemory::peer(there).link != Link::unbound ||
      other.ports[remote_port].remote != self.id) {
    throw Refused{EINVAL};
  }
  take_port(self, port, id, {Link::interdomain, other.slot, remote_port});
  self.ports[port].remote = other.id;
  EventMemory::set_peer(there, {Link::interdomain, self.slot, port});
  other.ports[remote_port].remote = self.id;
  // The remote end may have notified in vain: the new port fires at once.
  wake(events_.raise(word(self, port)));
  return port;
}

std::uint32_t Machine::bind_virq(HandleId id, std::uint32_t virq) {
  Handle& own = handle(id, HandleKind::event_channels);
  if (own.restricted) throw Refused{EACCES};
  if (virq >= NR_VIRQS) throw Refused{EINVAL};
  Domain& self = owner(own);
  if (self.virqs.contains(virq)) throw Refused{EEXIST};
  const std::uint32_t port = free_port(self);
  take_port(self, port, id, {.link = Link::virq});
  self.ports[port].virq = virq;
  self.virqs.insert(virq);
  return port;
}

void Machine::unbind(HandleId id, std::uint32_t port) {
  Handle& own = handle(id, HandleKind::event_channels);
  if (own.ports.erase(port) == 0) throw Refused{ENOTCONN};
  Domain& self = owner(own);
  self.ports[port].handle = 0;
  // Nobody hears what comes while only an unmap notification holds the port.
  EventMemory::renew(word(self, port), 0, true);
  release_port(self, port);
}

void Machine::hold_notify_port(Domain& domain, const Notify& notify) {
  if (!notify.port) return;
  const std::uint32_t port = *notify.port;
  // evtchn_get() knows the ports that user space has bound, whoever in the domain did.
  if (port >= domain.ports.size() || domain.ports[port].references == 0) throw Refused{EINVAL};
  ++domain.ports[port].references;
}

void Machine::notify_port(Domain& domain, std::uint32_t port) {
  wake(events_.notify(domain.slot, port));
  events_.woken(domain.slot, port);
  release_port(domain, port);
}

std::uint32_t Machine::offer_port(DomainId id, DomainId remote) {
  Domain& target = domain(id);
  const std::uint32_t port = free_port(target);
  take_port(target, port, 0, {.link = Link::unbound});
  target.ports[port].remote = remote;
  return port;
}

void Machine::reset_ports(DomainId id) {
  Domain& target = domain(id);
  for (std::uint32_t port = 1; port < target.ports.size(); ++port) close_port(target, port);
}

PortState Machine::port(DomainId id, std::uint32_t port) const {
  const Domain& target = domain(id);
  if (port >= valid_ports(target.ports.size())) throw Refused{EINVAL};
  PortState state{.port = port, .link = port == 0 ? Link::reserved : Link::free};
  if (port == 0 || port >= target.ports.size()) return state;
  const PortOwner& owner = target.ports[port];
  const Peer peer = EventMemory::peer(word(target, port));
  state.link = peer.link;
  state.remote = owner.remote;
  state.remote_port = peer.link == Link::virq ? owner.virq : peer.port;
  state.handle = owner.handle;
  state.process = owner.handle == 0 ? 0 : handles_.at(owner.handle).process;
  state.pending = EventMemory::pending(word(target, port));
  state.masked = EventMemory::masked(word(target, port));
  return state;
}

std::vector<PortState> Machine::ports(DomainId id) const {
  const Domain& target = domain(id);
  std::vector<PortState> list;
  for (std::uint32_t number = 1; number < target.ports.size(); ++number) {
    if (target.dying) break;
    const PortState state = port(id, number);
    if (state.link != Link::free) list.push_back(state);
  }
  return list;
}

}  // namespace displif_cts::loopback
