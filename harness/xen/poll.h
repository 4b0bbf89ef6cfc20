// Waiting for a file descriptor until a deadline.
#pragma once

#include "harness/xen/types.h"

namespace displif_cts::xen {

// Milliseconds for poll(2) until `deadline`: rounded up, at least 0, at most a minute (callers
// loop).
int poll_timeout(Deadline deadline, Clock::time_point now = Clock::now());

// True when `fd` is readable (or in error, which the next read reports); false when the deadline
// passed first. Interrupted waits go on. Throws Error("poll", ...).
bool wait_readable(int fd, Deadline deadline);

}  // namespace displif_cts::xen
