// The command line of displif-cts-runner: `list`, `run` and `replay` (docs/runner.md).
#pragma once

#include <vector>

#include "harness/runner/context.h"
#include "harness/runner/replay.h"

namespace displif_cts::runner {

// Exit status: 0 all passed, 1 the peer failed a case, 2 usage or bad input, 3 infrastructure
// trouble, a missing verdict, or nothing ran. `monitors` are those that need no running case, for
// `replay`.
int program(int argc, char** argv, const std::vector<const Requirement*>& requirements,
            const Hooks& hooks, const AttachMonitors& monitors = {});

}  // namespace displif_cts::runner
