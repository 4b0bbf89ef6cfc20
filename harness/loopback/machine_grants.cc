// Grants: Xen's side (xen/common/grant_table.c, map_grant_ref(), gnttab_copy()) and the kernel's
// (drivers/xen/gntdev.c, drivers/xen/gntalloc.c, drivers/xen/grant-table.c).
#include <algorithm>
#include <cerrno>
#include <utility>

#include "harness/loopback/machine.h"

extern "C" {
#include <xen/xen.h>
// in this order
#include <xen/grant_table.h>
}

namespace displif_cts::loopback {
namespace {

void append(std::vector<Run>& runs, std::uint32_t domain, PageIndex page) {
  if (!runs.empty() && runs.back().domain == domain &&
      runs.back().first + runs.back().count == page) {
    ++runs.back().count;
  } else {
    runs.push_back({domain, page, 1});
  }
}

}  // namespace

Shared Machine::share(HandleId id, std::uint32_t peer, std::uint32_t count, bool writable,
                      const Notify& notify) {
  Handle& own = handle(id, HandleKind::grant_sharer);
  Domain& self = owner(own);
  if (count > self.options.shared_pages - std::min(self.user_pages, self.options.shared_pages)) {
    throw Refused{ENOSPC};
  }
  if (count == 0) throw Refused{EINVAL};
  std::vector<PageIndex> pages = self.pages.allocate(count);
  if (pages.empty()) throw Refused{ENOMEM};
  Shared shared;
  for (const PageIndex page : pages) {
    const std::uint32_t ref = self.grants.grant(static_cast<DomainId>(peer), page, writable);
    if (ref == 0) break;
    shared.refs.push_back(ref);
    append(shared.runs, self.serial, page);
  }
  try {
    if (shared.refs.size() < count) throw Refused{ENOSPC};
    hold_notify_port(self, notify);
  } catch (const Refused&) {
    pages.erase(pages.begin(), pages.begin() + static_cast<std::ptrdiff_t>(shared.refs.size()));
    self.pages.give_back(pages);
    end_grants(self, shared.refs);
    throw;
  }
  self.user_pages += count;
  shared.area = next_object_++;
  own.areas.emplace(shared.area, Area{shared.refs, notify});
  return shared;
}

void Machine::end_grants(Domain& domain, std::span<const std::uint32_t> refs) {
  std::vector<PageIndex> pages;
  for (const std::uint32_t ref : refs) {
    const PageIndex page = domain.grants.find(ref)->page;
    if (domain.grants.end(ref)) pages.push_back(page);
  }
  domain.pages.give_back(pages);
}

// gntalloc.c, __del_gref(): first the notification, then the end of access.
void Machine::release(Domain& self, Area& area, bool quietly) {
  if (!quietly) {
    if (area.notify.offset) {
      self.pages.clear_octet(self.grants.find(area.refs[0])->page, *area.notify.offset);
    }
    if (area.notify.port) notify_port(self, *area.notify.port);
  }
  end_grants(self, area.refs);
  self.user_pages -= static_cast<std::uint32_t>(area.refs.size());
}

void Machine::unshare(HandleId id, std::uint32_t number) {
  Handle& own = handle(id, HandleKind::grant_sharer);
  const auto found = own.areas.find(number);
  if (found == own.areas.end()) throw Refused{EINVAL};
  Area area = std::move(found->second);
  own.areas.erase(found);
  release(owner(own), area, false);
}

std::int16_t Machine::pin(Domain& self, std::uint32_t granter_id, std::uint32_t ref, bool writable,
                          Mapping& mapping) {
  Domain* const granter = find(granter_id);
  if (granter == nullptr) return GNTST_bad_domain;
  if (self.maps >= self.options.maps) return GNTST_no_space;
  if (!granter->grants.reaches(ref)) return GNTST_bad_gntref;
  GrantEntry* const entry = granter->grants.find(ref);
  // Of a dying domain no further reference to a page is to be had (get_page()).
  if (entry == nullptr || entry->peer != self.id || (writable && !entry->writable) ||
      granter->dying || (writable ? entry->writers : entry->readers) >= kMapsPerGrant) {
    return GNTST_general_error;
  }
  ++(writable ? entry->writers : entry->readers);
  ++self.maps;
  mapping.pins.push_back({granter->serial, ref, writable});
  return GNTST_okay;
}

void Machine::unpin(Domain& self, std::span<const Pin> pins) {
  std::map<std::uint32_t, std::vector<PageIndex>> freed;
  for (const Pin& pin : pins) {
    Domain& granter = *domains_.at(pin.domain);
    GrantEntry& entry = *granter.grants.find(pin.ref);
    --(pin.writable ? entry.writers : entry.readers);
    const PageIndex page = entry.page;
    if (granter.grants.settle(pin.ref)) freed[pin.domain].push_back(page);
  }
  self.maps -= static_cast<std::uint32_t>(pins.size());
  for (auto& [serial, pages] : freed) {
    Domain& granter = *domains_.at(serial);
    granter.pages.give_back(pages);
    if (&granter != &self) forget_if_gone(granter);
  }
}

Mapped Machine::map(HandleId id, std::span<const ForeignRef> refs, bool writable,
                    const Notify& notify) {
  Handle& own = handle(id, HandleKind::grant_mapper);
  Domain& self = owner(own);
  if (refs.empty() || refs.size() > self.options.maps_per_call) throw Refused{EINVAL};
  // gntdev_ioctl_notify(): a page that may not be written is not cleared either.
  if (notify.offset && !writable) throw Refused{EINVAL};
  Mapping mapping{.notify = notify};
  mapping.pins.reserve(refs.size());
  Mapped mapped;
  for (const ForeignRef& target : refs) {
    if (pin(self, target.domain, target.ref, writable, mapping) != GNTST_okay) {
      unpin(self, mapping.pins);
      throw Refused{EINVAL};
    }
    const Pin& last = mapping.pins.back();
    append(mapped.runs, last.domain, domains_.at(last.domain)->grants.find(target.ref)->page);
  }
  try {
    hold_notify_port(self, notify);
  } catch (const Refused&) {
    unpin(self, mapping.pins);
    throw;
  }
  mapped.mapping = next_object_++;
  own.mappings.emplace(mapped.mapping, std::move(mapping));
  return mapped;
}

// gntdev.c, __unmap_grant_pages() and gntdev_put_map(): the octet, the unmap, the event.
void Machine::release(Domain& self, Mapping& mapping, bool quietly) {
  if (mapping.notify.offset && !quietly) {
    const Pin& pin = mapping.pins.front();
    Domain& granter = *domains_.at(pin.domain);
    granter.pages.clear_octet(granter.grants.find(pin.ref)->page, *mapping.notify.offset);
  }
  unpin(self, mapping.pins);
  if (mapping.notify.port && !quietly) notify_port(self, *mapping.notify.port);
}

void Machine::unmap(HandleId id, std::uint32_t number) {
  Handle& own = handle(id, HandleKind::grant_mapper);
  const auto found = own.mappings.find(number);
  if (found == own.mappings.end()) throw Refused{EINVAL};
  Mapping mapping = std::move(found->second);
  own.mappings.erase(found);
  release(owner(own), mapping, false);
}

std::uint32_t Machine::begin_copy(HandleId id, std::span<const CopyTarget> targets,
                                  std::vector<CopyPlace>& places) {
  Handle& own = handle(id, HandleKind::grant_mapper);
  Domain& self = owner(own);
  Mapping mapping;
  for (const CopyTarget& target : targets) {
    const std::uint32_t granter = target.domain == kDomainSelf ? self.id : target.domain;
    CopyPlace place{pin(self, granter, target.ref, target.write, mapping), 0, 0};
    if (place.status == GNTST_okay) {
      const Pin& last = mapping.pins.back();
      place.domain = last.domain;
      place.page = domains_.at(last.domain)->grants.find(last.ref)->page;
    }
    places.push_back(place);
  }
  const std::uint32_t number = next_object_++;
  own.mappings.emplace(number, std::move(mapping));
  return number;
}

Pages* Machine::memory(std::uint32_t serial) {
  const auto found = domains_.find(serial);
  return found == domains_.end() ? nullptr : &found->second->pages;
}

GrantUsage Machine::grant_usage(DomainId id) const {
  const Domain& target = domain(id);
  return {target.grants.used(), target.grants.frames(), target.grants.max_frames(),
          target.pages.used()};
}

std::vector<GrantState> Machine::grants(DomainId id) const {
  const Domain& target = domain(id);
  std::vector<GrantState> list;
  for (std::uint32_t ref = 0; const GrantEntry& entry : target.grants.entries()) {
    if (entry.used) {
      list.push_back({ref, entry.peer, entry.writable, entry.ended, entry.readers + entry.writers});
    }
    ++ref;
  }
  return list;
}

std::vector<MapState> Machine::mappings() const {
  std::vector<MapState> list;
  for (const auto& [handle_id, handle] : handles_) {
    for (const auto& [number, mapping] : handle.mappings) {
      for (const Pin& pin : mapping.pins) {
        list.push_back(
            {domains_.at(pin.domain)->id, pin.ref, owner(handle).id, handle.process, pin.writable});
      }
    }
  }
  return list;
}

std::size_t Machine::mapped_pages(DomainId id) const {
  const std::uint32_t serial = domain(id).serial;
  std::size_t count = 0;
  for (const auto& [handle_id, handle] : handles_) {
    for (const auto& [number, mapping] : handle.mappings)
      count += static_cast<std::size_t>(std::ranges::count(mapping.pins, serial, &Pin::domain));
  }
  return count;
}

std::vector<MapState> Machine::mappings_of(DomainId id) const {
  domain(id);
  std::vector<MapState> list;
  for (const auto& [handle_id, handle] : handles_) {
    for (const auto& [number, mapping] : handle.mappings) {
      for (const Pin& pin : mapping.pins) {
        if (domains_.at(pin.domain)->id == id)
          list.push_back({id, pin.ref, owner(handle).id, handle.process, pin.writable});
      }
    }
  }
  return list;
}

}  // namespace displif_cts::loopback
