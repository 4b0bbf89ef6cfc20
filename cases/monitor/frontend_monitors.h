// The passive monitors: they judge every message of every case, and report as cases of their own.
#pragma once

#include <memory>

#include "harness/runner/context.h"
#include "harness/trace/recorder.h"

namespace displif_cts::cases {

// Watches what `recorder` records from now on. finish() records the checks.
std::unique_ptr<runner::Monitors> attach_frontend_monitors(trace::Recorder& recorder);

}  // namespace displif_cts::cases
