// Xenbus states (xen/io/xenbus.h, enum xenbus_state).
#pragma once

#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>

namespace displif_cts::bus {

enum class State : std::uint8_t {
  unknown = 0,
  initialising = 1,
  init_wait = 2,
  initialised = 3,
  connected = 4,
  closing = 5,
  closed = 6,
  reconfiguring = 7,
  reconfigured = 8,
};

std::string_view name(State state);  // "InitWait"; "?" for a number that is no state
std::string print(State state);      // "2", as the node holds it
// Exactly one digit 0 to 8; nullopt for anything else.
std::optional<State> parse_state(std::string_view text);
std::ostream& operator<<(std::ostream& out, State state);

enum class Side { frontend, backend };
std::string_view name(Side side);  // "frontend"
constexpr Side other(Side side) { return side == Side::frontend ? Side::backend : Side::frontend; }

}  // namespace displif_cts::bus
