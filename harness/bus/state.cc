#include "harness/bus/state.h"

#include <ostream>

namespace displif_cts::bus {

std::string_view name(State state) {
  switch (state) {
    case State::unknown:
      return "Unknown";
    case State::initialising:
      return "Initialising";
    case State::init_wait:
      return "InitWait";
    case State::initialised:
      return "Initialised";
    case State::connected:
      return "Connected";
    case State::closing:
      return "Closing";
    case State::closed:
      return "Closed";
    case State::reconfiguring:
      return "Reconfiguring";
    case State::reconfigured:
      return "Reconfigured";
  }
  return "?";
}

std::string print(State state) { return std::to_string(static_cast<unsigned>(state)); }

std::optional<State> parse_state(std::string_view text) {
  if (text.size() != 1 || text.front() < '0' || text.front() > '8') return std::nullopt;
  return static_cast<State>(text.front() - '0');
}

std::ostream& operator<<(std::ostream& out, State state) {
  return out << name(state) << " (" << static_cast<unsigned>(state) << ")";
}

std::string_view name(Side side) { return side == Side::frontend ? "frontend" : "backend"; }

}  // namespace displif_cts::bus
