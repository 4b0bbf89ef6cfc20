// The frontend's state node, watched by the case itself: for the time in which no backend serves.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <optional>
#include <string>

#include "fake_backend/fake_backend.h"
#include "harness/bus/state.h"
#include "harness/xen/store.h"

namespace displif_cts::cases {

class FrontendNode {
 public:
  explicit FrontendNode(const fake_backend::FakeBackend& backend)
      : store_(xen::Store::open()),
        path_(backend.paths().frontend + "/state"),
        watch_(store_.watch(path_)) {}

  std::optional<bus::State> state() const {
    const auto text = store_.read(path_);
    return text ? bus::parse_state(*text) : std::nullopt;
  }

  // Waits until the state is one of `states`; which. nullopt at the deadline.
  std::optional<bus::State> await(std::initializer_list<bus::State> states,
                                  xen::Deadline deadline) {
    do {
      const auto now = state();
      if (now && std::find(states.begin(), states.end(), *now) != states.end()) return now;
    } while (store_.next_event(deadline));
    return std::nullopt;
  }

  // For `seen`.
  std::string text() const {
    const auto now = state();
    return now ? std::string(bus::name(*now)) : "no state";
  }

 private:
  xen::Store store_;
  std::string path_;
  xen::Watch watch_;
};

}  // namespace displif_cts::cases
