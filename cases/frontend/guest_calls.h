// The guest's DRM calls by the operation that each makes a frontend send, for cases that treat all
// operations alike.
#pragma once

#include <span>
#include <string>

#include "cases/support/guest.h"
#include "fake_backend/fake_backend.h"
#include "harness/displif/wire.h"

namespace displif_cts::cases {

// A fault for one operation only.
inline fake_backend::Operations only(displif::Operation operation) {
  return fake_backend::Operations::only(raw(operation));
}
inline std::string name_of(displif::Operation operation) {
  return displif::operation_name(raw(operation));
}
// The frontend's state, for `seen`.
inline std::string state_text(const fake_backend::FakeBackend& backend) {
  const auto state = backend.frontend_state();
  return state ? std::string(bus::name(*state)) : "no state";
}

// `count` connectors, at most four, of different resolutions that are quick to draw.
fake_backend::Options small_connectors(std::size_t count);
// Which of `options` the guest's connector is: they are told apart by their width.
std::size_t index_of(const GuestConnector& connector, const fake_backend::Options& options);

// One of displif.h's operations as a guest causes it. Switching a display on and off is one
// operation, SET_CONFIG, and two calls.
struct Cause {
  std::string name;  // "dbuf-create", part of case ids
  displif::Operation operation;
  bool call_can_fail;  // DRM gives the call a way to report that the backend refused
  bool switches_off;
};

// All of them, in an order in which they can be made.
std::span<const Cause> all_causes();

// Makes what must exist before the call: buffer, framebuffer, mode. The device is open as "card".
void arrange(Guest& guest, const Cause& cause, const GuestConnector& connector);

struct GuestCall {
  std::string verb;
  Args args;
};
// The call itself, after arrange().
GuestCall call_of(const Cause& cause, const GuestConnector& connector);

}  // namespace displif_cts::cases
