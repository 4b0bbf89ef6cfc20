// What the guest's kernel has lost: allocations that nothing points to any more, as kmemleak sees
// them.
#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <vector>

#include "harness/agent/client.h"
#include "harness/trace/recorder.h"

namespace displif_cts::cases {

struct FoundLeaks {
  std::vector<std::string> rest;   // each in a line
  std::vector<std::string> known;  // those whose text holds a word of the known ones
};
// Of kmemleak's records those that are at most this old: who is older was there before the case.
FoundLeaks sift_leaks(const std::vector<std::string>& records, std::chrono::milliseconds oldest,
                      const std::vector<std::string>& words);

// A log without the lines that only count what the records tell.
std::string without_leak_counts(std::string_view text);

// Scans the guest's kernel behind a case, and judges what was lost since the case's beginning by
// a monitor.
class LeakScan {
 public:
  // `agent` and `known` (words of known complaints) must outlive it.
  LeakScan(agent::Client& agent, const std::vector<std::string>& known)
      : agent_(agent), known_(known) {}

  void begin() { begun_ = std::chrono::steady_clock::now(); }
  // Takes seconds: an object is called lost only when it is five seconds old. Returns the known
  // ones.
  std::vector<std::string> judge(trace::Recorder& recorder);

 private:
  agent::Client& agent_;
  const std::vector<std::string>& known_;
  std::chrono::steady_clock::time_point begun_;
};

}  // namespace displif_cts::cases
