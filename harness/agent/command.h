// A shell command from beginning to end, for the verb `sh`: set-up and debugging, not cases.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <vector>

#include "harness/agent/unique_fd.h"
#include "harness/trace/json.h"

namespace displif_cts::agent {

// A child process in a session of its own (so that kill(-pid) reaches all that it starts), with
// /dev/null as stdin.
struct Child {
  pid_t pid = -1;
  UniqueFd pidfd;  // readable when it has ended
};
// argv[0] is looked up in PATH; `env` ("K=V") is added to our own environment. Throws VerbError.
Child spawn(const std::vector<std::string>& argv, const std::vector<std::string>& env,
            int stdout_fd, int stderr_fd);

// How a child ended: {"status": 0..255 or null, "signal": number or 0}.
Json describe_status(int wait_status);

// Blocks until the command has ended, at most `limit`; then it and all it started are killed.
// {"status", "signal", "output" (stdout and stderr, its first 1 MiB), "truncated", "timed_out"}
Json run_shell(const std::string& command, std::chrono::milliseconds limit);

}  // namespace displif_cts::agent
