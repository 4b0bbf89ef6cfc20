// Cases that play a fuzz input (fuzzers/input) against the frontend in a real guest: what fuzzing
// found and is to stay found (cases/frontend/regression.cc), and, where the environment names a
// folder of inputs, what a fuzzing session is made of (lab/fuzz/guest_sessions.py).
#pragma once

#include <string>
#include <string_view>

#include "cases/support/case_spec.h"

namespace displif_cts::cases {

// Registers a case that plays `text` (fuzzers/input/codec.h). Judged by health alone: the peer
// survives, complains of nothing, gives everything back, and its programs' calls return.
bool register_input(const std::string& id, const std::string& title, std::string_view text);

// Registers each file of `folder` as frontend.fuzz.NAME. Throws std::runtime_error for one that is
// no input.
void register_inputs(const std::string& folder);

}  // namespace displif_cts::cases
