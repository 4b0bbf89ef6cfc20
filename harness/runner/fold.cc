#include "harness/runner/fold.h"

#include <fmt/format.h>

#include <algorithm>

namespace displif_cts::runner {
namespace {

std::string text_of(const Json& record, const char* key) {
  const auto it = record.find(key);
  return it != record.end() && it->is_string() ? it->get<std::string>() : std::string{};
}

std::uint64_t number_of(const Json& record, const char* key, std::uint64_t otherwise) {
  const auto it = record.find(key);
  // A record straight from its maker may hold a signed 9 where the same one, read back, is
  // unsigned.
  if (it == record.end() || !it->is_number_integer() || *it < 0) return otherwise;
  return it->get<std::uint64_t>();
}

// A requirement's failure in one line: its id, what was expected, what was seen.
std::string failure_text(const Json& record) {
  std::string expected;
  for (const auto& outcome : record.value("expected", Json::array())) {
    if (!expected.empty()) expected += " or ";
    expected += outcome.is_string() ? outcome.get<std::string>() : outcome.dump();
  }
  return fmt::format("{}: expected {}; saw {}", text_of(record, "requirement"), expected,
                     text_of(record, "seen"));
}

// How our own case process ended, if that was not well.
std::string process_trouble(const Json& record) {
  if (record.value("timed_out", false)) return "the case ran into its wall-clock limit";
  if (const auto signal = number_of(record, "signal", 0); signal != 0)
    return fmt::format("the case process was ended by signal {}", signal);
  if (const auto status = number_of(record, "exit_status", 0); status != 0)
    return fmt::format("the case process ended with status {}", status);
  return {};
}

int health_rank(const std::string& state) {
  if (state == "crashed") return 3;
  if (state == "hung") return 2;
  return state == "unknown" ? 1 : 0;
}

}  // namespace

void Fold::add(const Json& record) {
  const std::string type = text_of(record, "t");
  if (type == "begin") {
    for (const auto& id : record.value("requirements", Json::array()))
      named_.push_back(id.get<std::string>());
  } else if (type == "check") {
    add_check(record);
  } else if (type == "error") {
    if (error_.empty()) error_ = text_of(record, "text");
  } else if (type == "skip") {
    skip_ = text_of(record, "reason");
  } else if (type == "process") {
    if (error_.empty()) error_ = process_trouble(record);
  } else if (type == "health") {
    add_health(record);
  }
}

void Fold::add_check(const Json& record) {
  ++checks_;
  checked_.insert(text_of(record, "requirement"));
  if (record.value("ok", false)) return;
  ++failed_checks_;
  const std::string level = text_of(record, "level");
  if (level == "must" || level == "robust") {
    if (first_failure_.empty()) first_failure_ = failure_text(record);
    if (!record.value("timed", false)) only_timed_failures_ = false;
  } else if (level == "should" && first_warning_.empty()) {
    first_warning_ = failure_text(record);
  }
}

// A guest that was silent once has hung, even if it came back before the case was over.
void Fold::add_health(const Json& record) {
  const std::string state = text_of(record, "state");
  if (health_rank(state) >= health_rank(health_state_)) {
    health_state_ = state;
    health_reason_ = text_of(record, "reason");
  }
  own_gap_ms_ = std::max(own_gap_ms_, number_of(record, "own_gap_ms", 0));
  tolerance_ms_ = number_of(record, "tolerance_ms", tolerance_ms_);
}

std::optional<Judgement> Fold::judge_health() const {
  if (health_state_ == "crashed") return Judgement{Verdict::crash, health_reason_};
  if (health_state_ == "hung") {
    if (own_side_was_late())
      return Judgement{Verdict::infra_error, fmt::format("our own side stood still for {} ms; {}",
                                                         own_gap_ms_, health_reason_)};
    return Judgement{Verdict::hang, health_reason_};
  }
  return std::nullopt;
}

std::optional<Judgement> Fold::judge_checks() const {
  if (first_failure_.empty()) return std::nullopt;
  if (only_timed_failures_ && own_side_was_late())
    return Judgement{Verdict::infra_error, fmt::format("our own side stood still for {} ms; {}",
                                                       own_gap_ms_, first_failure_)};
  return Judgement{Verdict::fail, first_failure_};
}

std::optional<std::string> Fold::unchecked() const {
  for (const auto& id : named_)
    if (!checked_.contains(id)) return id;
  return std::nullopt;
}

Judgement Fold::judge() const {
  if (auto health = judge_health()) return *health;
  if (auto failure = judge_checks()) return *failure;
  if (!error_.empty()) return {Verdict::infra_error, error_};
  if (health_state_ == "unknown") return {Verdict::infra_error, health_reason_};
  if (skip_) return {Verdict::skip, *skip_};
  if (const auto id = unchecked())
    return {Verdict::infra_error, fmt::format("{} was never checked", *id)};
  if (checks_ == 0) return {Verdict::infra_error, "nothing was checked"};
  if (!first_warning_.empty()) return {Verdict::warn, first_warning_};
  return {Verdict::pass, {}};
}

Judgement Fold::judge_monitor() const {
  if (checks_ == 0)
    return {Verdict::skip, skip_.value_or("nothing of this kind was seen in the run")};
  if (!first_failure_.empty()) return {Verdict::fail, first_failure_};
  if (!first_warning_.empty()) return {Verdict::warn, first_warning_};
  return {Verdict::pass, {}};
}

}  // namespace displif_cts::runner
