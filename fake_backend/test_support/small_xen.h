// Xen's C interface inside one test process: enough of XenStore, event channels and grants to put a
// scripted frontend (domain 1) opposite the real service (domain 0). Not a bed: no permissions, no
// transactions that collide, no limits. The C functions themselves are in small_xen.cc.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "harness/xen/types.h"

namespace displif_cts::fake_backend::small_xen {

inline constexpr xen::DomId kBackend{0};
inline constexpr xen::DomId kFrontend{1};

// Forgets everything of the last test. Nothing may be open.
void reset();

// XenStore, as seen by the frontend.
void write(const std::string& path, const std::string& value);
std::optional<std::string> read(const std::string& path);
bool remove(const std::string& path);
std::size_t nodes_below(const std::string& path);

// A page of the frontend's memory, and a grant of it to domain 0.
struct GrantedPage {
  xen::GrantRef ref;
  std::span<std::byte> page;
};
GrantedPage grant_page();
void end_grant(xen::GrantRef ref);
// How often the page is mapped by domain 0; 0 for a reference that grants nothing.
std::size_t mapped(xen::GrantRef ref);
std::size_t mapped_pages();  // of all
std::size_t map_calls();     // calls that map, since reset()
// A page that domain 0 has granted to the frontend; empty where the reference grants nothing.
std::span<std::byte> map_of_backend(xen::GrantRef ref);
std::size_t granted_by_backend();

// An event channel that the frontend offers to domain 0.
xen::Port offer_port();
void notify(xen::Port port);
// Notifications that the frontend has received on the port.
std::size_t notifications(xen::Port port);
std::size_t bound_ports();  // of domain 0

}  // namespace displif_cts::fake_backend::small_xen
