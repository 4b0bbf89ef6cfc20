// A process per case: a case that crashes, hangs or leaks takes nothing else along.
#pragma once

#include "harness/runner/child.h"
#include "harness/runner/context.h"
#include "harness/runner/fold.h"

namespace displif_cts::runner {

struct CaseEnd {
  Judgement judgement;  // what the verdict holds
  bool clean = true;    // the peer was left as it was found: another case may follow
};

// Runs one case: `begin`, the records of its process, `process`, health, `verdict`. All records go
// out in that order. `attempt` counts from 1.
CaseEnd run_case(const RunContext& run, const CaseInfo& info, const Hooks& hooks,
                 const Outlet& outlet, unsigned attempt);

// The body of a case's `begin`.
Json begin_record(const CaseInfo& info);

}  // namespace displif_cts::runner
