// The verdict of one case as a fold over its records: checks, health and how the case process
// ended. Nothing else enters, so that anyone can compute it again from the stream (reports/fold.py
// does).
#pragma once

#include <cstdint>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "harness/runner/verdict.h"
#include "harness/trace/json.h"

namespace displif_cts::runner {

class Fold {
 public:
  // Takes any record of one case, in the stream's order. Ignores types that do not bear on
  // verdicts.
  void add(const Json& record);

  // For a case: every requirement that its `begin` names must have been checked.
  Judgement judge() const;
  // For a monitor: no check means that nothing of its kind was seen, hence skip.
  Judgement judge_monitor() const;

  // A record said that the peer hangs or has crashed.
  bool lost() const { return health_state_ == "hung" || health_state_ == "crashed"; }

  std::uint64_t checks() const { return checks_; }
  std::uint64_t failed_checks() const { return failed_checks_; }

 private:
  void add_check(const Json& record);
  void add_health(const Json& record);
  std::optional<Judgement> judge_health() const;
  std::optional<Judgement> judge_checks() const;
  std::optional<std::string> unchecked() const;
  bool own_side_was_late() const { return own_gap_ms_ > tolerance_ms_; }

  std::vector<std::string> named_;  // requirements of `begin`, in its order
  std::set<std::string> checked_;   // requirements with a check
  std::string first_failure_;       // of a must or robust
  std::string first_warning_;       // of a should
  bool only_timed_failures_ = true;
  std::string error_;
  std::optional<std::string> skip_;
  std::string health_state_;
  std::string health_reason_;
  std::uint64_t own_gap_ms_ = 0;
  std::uint64_t tolerance_ms_ = UINT64_MAX;
  std::uint64_t checks_ = 0;
  std::uint64_t failed_checks_ = 0;
};

}  // namespace displif_cts::runner
