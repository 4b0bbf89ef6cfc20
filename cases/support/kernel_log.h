// Reads a kernel's log for what must not be in it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace displif_cts::cases {

enum class LogTrouble {
  none,
  complaint,  // the kernel noticed something wrong and goes on: WARN, lockdep, refcount, ...
  crash,      // an oops, a BUG or a panic
  hang,       // a task, a CPU or an RCU grace period that does not get on
};

// What one line of a Linux kernel log says about the kernel's health.
LogTrouble judge_line(std::string_view line);

struct LogFinding {
  LogTrouble worst = LogTrouble::none;
  std::vector<std::string> lines;  // the lines at fault, in order, at most 32
};
LogFinding judge_log(std::string_view text);
// Lines of a log in one, as a check has seen them; "none" where there are none.
std::string listed(const std::vector<std::string>& lines);

// A log without the complaints that are known.
struct SiftedLog {
  std::string rest;
  std::vector<std::string> known;  // the first telling line of each complaint that was taken out
};
// A complaint reaches from "cut here" to "end trace" (kernel/panic.c, __warn), and is known if its
// text holds one of `words`. Panics, oopses and hangs are never taken out.
SiftedLog sift_known(std::string_view text, const std::vector<std::string>& words);

}  // namespace displif_cts::cases
