// Plays one fuzz input against the driver: the input's actions are the backend's, the tool stack's
// and the guest's programs'. A whole life of the driver each time: module in, probe, what the input
// says, files closed, device removed, module out.
#pragma once

#include "fuzzers/input/action.h"

namespace displif_cts::linux_frontend {

// Ends the process on a finding (see shim/findings.h).
void play(const fuzz::Input& input);

}  // namespace displif_cts::linux_frontend
