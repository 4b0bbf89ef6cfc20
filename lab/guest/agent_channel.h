// The way from a guest's programs to displif-cts-agent in domain 0: a vchan (PROTOCOL.md, "Between
// agent and exerciser").
#pragma once

#include "lab/guest/server.h"

namespace displif_cts::exerciser {

// Connects, serves, and connects again when the agent has gone.
[[noreturn]] void serve_agent(Server& server);

}  // namespace displif_cts::exerciser
