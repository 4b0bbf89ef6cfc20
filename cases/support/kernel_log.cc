#include "cases/support/kernel_log.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

namespace displif_cts::cases {
namespace {

// The kernel's own wording: kernel/panic.c, lib/bug.c, arch/x86/mm/fault.c, kernel/hung_task.c,
// kernel/watchdog.c, kernel/rcu/tree_stall.h, lib/refcount.c, lib/list_debug.c,
// kernel/locking/lockdep.c, mm/slub.c, mm/kmemleak.c, lib/debugobjects.c, kernel/fork.c.
constexpr std::array kPatterns{
    std::pair{"Kernel panic", LogTrouble::crash},
    std::pair{"Oops:", LogTrouble::crash},
    std::pair{"BUG: unable to handle", LogTrouble::crash},
    std::pair{"BUG: kernel NULL pointer", LogTrouble::crash},
    std::pair{"kernel BUG at", LogTrouble::crash},
    std::pair{"general protection fault", LogTrouble::crash},
    std::pair{"Internal error:", LogTrouble::crash},
    std::pair{"blocked for more than", LogTrouble::hang},
    std::pair{"soft lockup", LogTrouble::hang},
    std::pair{"hard LOCKUP", LogTrouble::hang},
    std::pair{"self-detected stall", LogTrouble::hang},
    std::pair{"detected stalls on", LogTrouble::hang},
    std::pair{"detected expedited stalls", LogTrouble::hang},
    std::pair{"WARNING:", LogTrouble::complaint},
    std::pair{"BUG:", LogTrouble::complaint},
    std::pair{"refcount_t:", LogTrouble::complaint},
    std::pair{"list_add corruption", LogTrouble::complaint},
    std::pair{"list_del corruption", LogTrouble::complaint},
    std::pair{"possible circular locking", LogTrouble::complaint},
    std::pair{"possible recursive locking", LogTrouble::complaint},
    std::pair{"suspicious RCU usage", LogTrouble::complaint},
    std::pair{"sleeping function called from invalid context", LogTrouble::complaint},
    std::pair{"Bad rss-counter", LogTrouble::complaint},
    std::pair{"UBSAN:", LogTrouble::complaint},
    std::pair{"KASAN:", LogTrouble::complaint},
    std::pair{"Redzone overwritten", LogTrouble::complaint},
    std::pair{"Poison overwritten", LogTrouble::complaint},
    std::pair{"Object already free", LogTrouble::complaint},
    std::pair{"ODEBUG:", LogTrouble::complaint},
    std::pair{"new suspected memory leaks", LogTrouble::complaint},
    std::pair{"nobody cared", LogTrouble::complaint},
    std::pair{"Call Trace:", LogTrouble::complaint},
};

constexpr std::size_t kMaxLines = 32;

}  // namespace

LogTrouble judge_line(std::string_view line) {
  for (const auto& [pattern, trouble] : kPatterns)
    if (line.find(pattern) != std::string_view::npos) return trouble;
  return LogTrouble::none;
}

LogFinding judge_log(std::string_view text) {
  LogFinding finding;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const LogTrouble trouble = judge_line(line);
    if (trouble == LogTrouble::none) continue;
    if (finding.lines.size() < kMaxLines) finding.lines.emplace_back(line);
    // A hang ends a run sooner than a complaint, and a crash explains the hang that follows it.
    if (trouble == LogTrouble::crash || finding.worst == LogTrouble::crash) {
      finding.worst = LogTrouble::crash;
    } else if (trouble == LogTrouble::hang || finding.worst == LogTrouble::hang) {
      finding.worst = LogTrouble::hang;
    } else {
      finding.worst = LogTrouble::complaint;
    }
  }
  return finding;
}

SiftedLog sift_known(std::string_view text, const std::vector<std::string>& words) {
  SiftedLog sifted;
  while (!text.empty()) {
    const auto start = text.find("[ cut here ]");
    const auto end = start == std::string_view::npos ? start : text.find("[ end trace", start);
    if (end == std::string_view::npos) break;
    const auto line_end = std::min(text.find('\n', end), text.size() - 1) + 1;
    const std::string_view complaint = text.substr(start, line_end - start);
    const LogFinding finding = judge_log(complaint);
    const bool known = finding.worst == LogTrouble::complaint &&
                       std::any_of(words.begin(), words.end(), [&](const std::string& word) {
                         return complaint.find(word) != std::string_view::npos;
                       });
    sifted.rest += text.substr(0, known ? start : line_end);
    if (known) sifted.known.push_back(finding.lines.front());
    text.remove_prefix(line_end);
  }
  sifted.rest += text;
  return sifted;
}

std::string listed(const std::vector<std::string>& lines) {
  return lines.empty() ? "none" : fmt::format("{}", fmt::join(lines, " | "));
}

}  // namespace displif_cts::cases
