// Cases that play a fuzz input (fuzzers/input) against the frontend in a real guest: what fuzzing
// found and is to stay found (cases/frontend/regression.cc), and, where the environment names a
// folder of inputs, what a fuzzing session is made of (lab/fuzz/guest_sessions.py).
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "cases/support/case_spec.h"

namespace displif_cts::cases {

// One text of cases/frontend/regressions (cases/generate_regressions.py).
struct Regression {
  const char* id;
  const char* title;
  std::vector<const Requirement*> requirements;  // that a peer broke by it
  const char* text;                              // fuzzers/input/codec.h
};

// Registers a case that plays it. Judged by health alone: the peer survives, complains of nothing,
// gives everything back, and its programs' calls return. Ends the program when the text is no
// input.
bool register_input(const Regression& regression);

// Registers each file of `folder` as frontend.fuzz.NAME. Throws std::runtime_error for one that is
// no input.
void register_inputs(const std::string& folder);

}  // namespace displif_cts::cases
