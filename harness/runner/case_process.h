// A process per case: a case that crashes, hangs or leaks takes nothing else along.
#pragma once

#include "harness/runner/context.h"
#include "harness/runner/fold.h"

namespace displif_cts::runner {

// Runs one case: `begin`, the records of its process, `process`, health, `verdict`. All records go
// to `sink` in that order. `attempt` counts from 1. Returns the judgement that the verdict holds.
Judgement run_case(const RunContext& run, const CaseInfo& info, const Hooks& hooks,
                   const trace::Sink& sink, unsigned attempt);

}  // namespace displif_cts::runner
