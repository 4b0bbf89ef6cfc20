// What the faults of both fakes are made of (DESIGN.md, "Faults are named, and serve three times").
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <string_view>

namespace displif_cts::fake {

// How often a fault still strikes: 0 off, n the next n occasions, kAlways without end. The fake
// counts down as it strikes.
using Times = std::uint32_t;
inline constexpr Times kAlways = std::numeric_limits<Times>::max();

// Consumes one strike. False when the fault is off.
constexpr bool strike(Times& times) {
  if (times == 0) return false;
  if (times != kAlways) --times;
  return true;
}

// A set of request codes (XENDISPL_OP_*), and of "any other code" (those that the header leaves
// undefined).
class Operations {
 public:
  constexpr Operations() = default;
  static constexpr Operations none() { return {}; }
  static constexpr Operations all() { return Operations(0xffffffffU); }
  static constexpr Operations only(std::uint8_t code) { return Operations(bit(code)); }

  constexpr Operations with(std::uint8_t code) const { return Operations(bits_ | bit(code)); }
  constexpr bool contains(std::uint8_t code) const { return (bits_ & bit(code)) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr bool operator==(const Operations&) const = default;

 private:
  constexpr explicit Operations(std::uint32_t bits) : bits_(bits) {}
  static constexpr std::uint32_t bit(std::uint8_t code) {
    return code < 31 ? 1U << code : 1U << 31U;  // every defined code is below 31
  }
  std::uint32_t bits_ = 0;
};

// A fault that strikes only for some operations.
struct AtOperations {
  Times times = 0;
  Operations operations = Operations::all();
  bool operator==(const AtOperations&) const = default;
};

struct ExcessFault {
  Times times = 0;
  std::uint32_t excess = 0;  // published index = true index + excess
  bool operator==(const ExcessFault&) const = default;
};

struct Burst {
  Times times = 0;
  std::uint32_t count = 0;
  bool operator==(const Burst&) const = default;
};

// deviation: illegal on the wire; omission: a check or duty left out; both violate the one
// requirement that they name. stress: legal but nasty; a conformant peer takes it in its stride.
enum class FaultKind { deviation, omission, stress };

constexpr std::string_view name(FaultKind kind) {
  switch (kind) {
    case FaultKind::deviation:
      return "deviation";
    case FaultKind::omission:
      return "omission";
    case FaultKind::stress:
      return "stress";
  }
  return "?";
}

// One entry of a fake's registry: a named setting of one field of its `Faults`.
template <class Faults>
struct FaultInfo {
  std::string_view id;  // <role>.<kind>.<name>
  FaultKind kind;
  std::string_view requirement;  // empty for stress
  std::string_view title;        // one line for --list-faults
  std::function<void(Faults&)> apply;
};

}  // namespace displif_cts::fake
