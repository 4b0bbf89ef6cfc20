// Identifiers that Xen's C interfaces leave as plain integers.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <type_traits>

namespace displif_cts::xen {

enum class DomId : std::uint16_t {};
enum class GrantRef : std::uint32_t {};  // 0 is never a valid reference of a PV device
enum class Port : std::uint32_t {};      // an event channel, local to the domain that bound it

// The number behind a strong type, for printing and for C calls.
template <class Enum>
constexpr std::underlying_type_t<Enum> raw(Enum value) {
  static_assert(std::is_enum_v<Enum>);
  return static_cast<std::underlying_type_t<Enum>>(value);
}

std::ostream& operator<<(std::ostream& out, DomId domain);
std::ostream& operator<<(std::ostream& out, GrantRef ref);
std::ostream& operator<<(std::ostream& out, Port port);

// Pages of rings, buffers and directories are XEN_PAGE_SIZE, whatever the machine's own page size
// (displif.h, 'Assumptions').
inline constexpr std::size_t kPageSize = 4096;  // octets

// All waiting is bounded by a point in time of the monotonic clock.
using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;

inline Deadline in(Clock::duration time) { return Clock::now() + time; }

}  // namespace displif_cts::xen
