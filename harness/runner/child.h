// A child process that writes one case's records.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>

#include "harness/runner/fold.h"
#include "harness/trace/recorder.h"

namespace displif_cts::runner {

// Where a case's records go.
struct Outlet {
  trace::Sink records;
  // If set, takes what the case's process writes as it comes, whole lines; `records` then gets only
  // the records of the runner itself. Most records bear on no verdict, and a busy case writes
  // thousands: read and written anew, they would cost more than the case.
  std::function<void(std::string_view)> lines{};
};

// Splits the child's octets into records. A line that is no record is the child's own defect.
class RecordReader {
 public:
  RecordReader(Fold& fold, const Outlet& outlet) : fold_(fold), outlet_(outlet) {}
  void take(std::string_view octets);

 private:
  void take_line(std::string_view line);

  Fold& fold_;
  const Outlet& outlet_;
  std::string pending_;
};

struct Ending {
  int exit_status = 0;
  int signal = 0;
  bool timed_out = false;
};

// Forks. `body` runs in the child, in a process group of its own, which ends with it; it is given
// the descriptor to write to, and does not return. Throws std::runtime_error, or what the reader
// throws; the child has ended then, too.
Ending run_child(const std::function<void(int out)>& body, std::chrono::milliseconds limit,
                 RecordReader& reader);

}  // namespace displif_cts::runner
