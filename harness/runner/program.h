// The command line of displif-cts-runner: `list` and `run` (docs/runner.md).
#pragma once

#include <vector>

#include "harness/runner/context.h"

namespace displif_cts::runner {

// Exit status: 0 all passed, 1 the peer failed a case, 2 usage or bad input, 3 infrastructure
// trouble, a missing verdict, or nothing ran.
int program(int argc, char** argv, const std::vector<const Requirement*>& requirements,
            const Hooks& hooks);

}  // namespace displif_cts::runner
