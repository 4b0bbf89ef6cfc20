// A backend under test that a shell command starts, beside the runner: its process, what it says
// and how it ends (lab/qemu/remote_peer.py is the same through the agent).
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>

#include "harness/agent/unique_fd.h"

namespace displif_cts::runner {

class PeerProgram {
 public:
  // `ready`: a regular expression that a line of its output matches when it is ready; empty: as
  // soon as it runs. Throws std::regex_error.
  PeerProgram(std::string command, std::string ready);
  ~PeerProgram() { end(); }
  PeerProgram(const PeerProgram&) = delete;
  PeerProgram& operator=(const PeerProgram&) = delete;

  // Ends the one that runs and starts another. Throws std::runtime_error when it ends before it is
  // ready, or is not ready within `limit`.
  void restart(std::chrono::milliseconds limit = std::chrono::seconds(60));
  // SIGTERM, and SIGKILL for what is left of its process group.
  void end();

  // What the process shows of a crash: its end, or a sanitizer's report. Empty: neither.
  std::string trouble();
  // Its output, the first and the last of it.
  std::string said() const;

 private:
  void start();
  bool has_said_that_it_is_ready() const;
  bool ended();  // and has been reaped

  std::string command_;
  std::string ready_;
  pid_t process_ = 0;  // leads a group of its own
  std::optional<int> status_;
  agent::UniqueFd output_;
};

}  // namespace displif_cts::runner
