#include "harness/bus/state.h"

#include <gtest/gtest.h>
#include <xen/io/xenbus.h>

#include <sstream>

namespace displif_cts::bus {
namespace {

TEST(State, has_the_numbers_of_xenbus_h) {
  EXPECT_EQ(static_cast<int>(State::unknown), XenbusStateUnknown);
  EXPECT_EQ(static_cast<int>(State::initialising), XenbusStateInitialising);
  EXPECT_EQ(static_cast<int>(State::init_wait), XenbusStateInitWait);
  EXPECT_EQ(static_cast<int>(State::initialised), XenbusStateInitialised);
  EXPECT_EQ(static_cast<int>(State::connected), XenbusStateConnected);
  EXPECT_EQ(static_cast<int>(State::closing), XenbusStateClosing);
  EXPECT_EQ(static_cast<int>(State::closed), XenbusStateClosed);
  EXPECT_EQ(static_cast<int>(State::reconfiguring), XenbusStateReconfiguring);
  EXPECT_EQ(static_cast<int>(State::reconfigured), XenbusStateReconfigured);
}

TEST(State, prints_and_parses_back) {
  for (int number = 0; number <= 8; ++number) {
    const auto state = static_cast<State>(number);
    EXPECT_EQ(parse_state(print(state)), state);
    EXPECT_NE(name(state), "?");
  }
  std::ostringstream out;
  out << State::init_wait;
  EXPECT_EQ(out.str(), "InitWait (2)");
}

TEST(State, refuses_what_is_no_state) {
  for (const char* text : {"", "9", "-1", "04", "4 ", " 4", "4\n", "Connected", "/"}) {
    EXPECT_EQ(parse_state(text), std::nullopt) << text;
  }
}

TEST(Side, has_another) {
  EXPECT_EQ(other(Side::frontend), Side::backend);
  EXPECT_EQ(other(Side::backend), Side::frontend);
  EXPECT_EQ(name(Side::frontend), "frontend");
}

}  // namespace
}  // namespace displif_cts::bus
