// Lets the kernel's allocations fail while it serves a call (Linux's fault injection): the N-th
// that the calling thread causes by its DRM calls.
#pragma once

#include "harness/agent/line_protocol.h"

namespace displif_cts::exerciser {

// For the calling thread, as long as it lives; `fail-nth=` of a request, 0 or none: nothing fails.
class FailNth {
 public:
  // Throws VerbError: ENOENT where the kernel cannot do that.
  explicit FailNth(const agent::Arguments& args);
  ~FailNth();
  FailNth(const FailNth&) = delete;
  FailNth& operator=(const FailNth&) = delete;

  // `injected`: it has happened. False: the calls needed fewer allocations.
  void report(Json& fields) const;
};

// ioctl(2), under the failure that the calling thread has asked for.
int injected_ioctl(int fd, unsigned long request, void* argument);

}  // namespace displif_cts::exerciser
