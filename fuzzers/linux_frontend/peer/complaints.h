// The guest's kernel log: what the driver says, and what the shim finds. What a kernel would only
// complain about is said there and nothing more; the rest ends the process, as an oops ends the
// guest's trust in its kernel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace displif_cts::linux_guest {

struct LogLine {
  unsigned level = 6;
  std::string text;
  std::uint64_t seq = 0;
  std::uint64_t us = 0;
};

// As the kernel's watchdog says it.
void soft_lockup(unsigned seconds);
// Lines from `offset` on. Thread-safe.
std::vector<LogLine> kernel_log(std::uint64_t offset);
std::uint64_t next_line();

}  // namespace displif_cts::linux_guest
