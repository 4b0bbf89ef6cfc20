// Cases of a backend run in another domain than the backend: a runner there runs each one, before a
// backend that was started anew for it here. The stream, its limits and the verdicts are kept here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "harness/runner/case_process.h"
#include "harness/runner/peer_program.h"

namespace displif_cts::runner {

class Elsewhere {
 public:
  // `command` leads to the runner there, with all of its words but the case's (displif-cts-relay
  // serve ... -- displif-cts-runner run --part --format jsonl ...). `backend`: none where one runs
  // already.
  Elsewhere(std::vector<std::string> command, std::optional<std::string> backend,
            const std::string& ready);

  // As runner::run_case() does it.
  CaseEnd run_case(const RunContext& run, const CaseInfo& info, const Outlet& outlet,
                   unsigned attempt);

 private:
  class Told;

  void run_there(const RunContext& run, const CaseInfo& info, unsigned attempt, Told& told);
  void look_at_backend(Told& told, bool was_ready);

  std::vector<std::string> command_;
  std::optional<PeerProgram> backend_;
};

}  // namespace displif_cts::runner
