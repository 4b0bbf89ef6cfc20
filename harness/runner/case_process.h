// A process per case: a case that crashes, hangs or leaks takes nothing else along.
#pragma once

#include <functional>
#include <string_view>

#include "harness/runner/context.h"
#include "harness/runner/fold.h"

namespace displif_cts::runner {

// Where a case's records go.
struct Outlet {
  trace::Sink records;
  // If set, takes what the case's process writes as it comes, whole lines; `records` then gets only
  // the records of the runner itself. Most records bear on no verdict, and a busy case writes
  // thousands: read and written anew, they would cost more than the case.
  std::function<void(std::string_view)> lines{};
};

struct CaseEnd {
  Judgement judgement;  // what the verdict holds
  bool clean = true;    // the peer was left as it was found: another case may follow
};

// Runs one case: `begin`, the records of its process, `process`, health, `verdict`. All records go
// out in that order. `attempt` counts from 1.
CaseEnd run_case(const RunContext& run, const CaseInfo& info, const Hooks& hooks,
                 const Outlet& outlet, unsigned attempt);

}  // namespace displif_cts::runner
