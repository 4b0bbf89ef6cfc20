#include "harness/runner/elsewhere.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <stdexcept>
#include <utility>

namespace displif_cts::runner {
namespace {

// What the runner there may take beyond the case's own limit, on a slow way.
constexpr std::chrono::seconds kGrace{90};

[[noreturn]] void become(const std::vector<std::string>& words, int out) {
  std::vector<char*> argv;
  argv.reserve(words.size() + 1);
  for (const std::string& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  dup2(out, STDOUT_FILENO);
  execvp(argv[0], argv.data());
  _exit(127);
}

std::string how_ended(const Ending& ending) {
  if (ending.timed_out) return "said no verdict within its limit";
  if (ending.signal != 0)
    return fmt::format("ended by signal {} before its verdict", ending.signal);
  return fmt::format("ended with status {} before its verdict", ending.exit_status);
}

}  // namespace

// The records of one case as they come; its verdict is held back until the backend has been seen.
class Elsewhere::Told {
 public:
  Told(const CaseInfo& info, const Outlet& outlet) : info_(info), outlet_(outlet) {}

  void take_from_there(const Json& record) {
    ns_ = record.value("ns", ns_);
    if (record.value("t", "") == "verdict" && record.value("case", "") == info_.id) {
      verdict_ = record;
      return;
    }
    begun_ = begun_ || record.value("t", "") == "begin";
    outlet_.records(record);
  }

  void say(std::string_view type, Json body) {
    if (!begun_) {
      begun_ = true;
      pass(begin_record(info_), "begin");
    }
    pass(std::move(body), type);
  }

  CaseEnd conclude(unsigned attempt) {
    const Judgement judgement = fold.judge();
    Json verdict = verdict_.value_or(Json{{"attempt", attempt}, {"ns_spent", 0}});
    verdict["verdict"] = name(judgement.verdict);
    verdict["reason"] = judgement.reason;
    const bool clean = verdict_ && judgement.verdict != Verdict::hang &&
                       judgement.verdict != Verdict::crash &&
                       judgement.verdict != Verdict::infra_error;
    say("verdict", std::move(verdict));
    return {judgement, clean};
  }

  bool judged() const { return verdict_.has_value(); }

  Fold fold;

 private:
  void pass(Json body, std::string_view type) {
    body["v"] = 1;
    body["t"] = type;
    body["ns"] = ns_ == 0 ? trace::now_ns() : ns_;  // the clock is the other domain's
    body["case"] = info_.id;
    fold.add(body);
    outlet_.records(body);
  }

  const CaseInfo& info_;
  const Outlet& outlet_;
  std::optional<Json> verdict_;
  bool begun_ = false;
  std::uint64_t ns_ = 0;  // of the last record from there
};

Elsewhere::Elsewhere(std::vector<std::string> command, std::optional<std::string> backend,
                     const std::string& ready)
    : command_(std::move(command)) {
  if (backend) backend_.emplace(*std::move(backend), ready);
}

CaseEnd Elsewhere::run_case(const RunContext& run, const CaseInfo& info, const Outlet& outlet,
                            unsigned attempt) {
  Told told(info, outlet);
  bool ready = false;
  try {
    if (backend_) backend_->restart();
    ready = true;
    run_there(run, info, attempt, told);
  } catch (const std::exception& error) {
    told.say("error", Json{{"text", error.what()}});
  }
  if (backend_) {
    look_at_backend(told, ready);
    backend_->end();
  }
  return told.conclude(attempt);
}

void Elsewhere::run_there(const RunContext& run, const CaseInfo& info, unsigned attempt,
                          Told& told) {
  std::vector<std::string> words = command_;
  for (std::string word :
       {std::string("--case"), info.id, std::string("--seed"), std::to_string(run.seed),
        std::string("--attempt"), std::to_string(attempt), std::string("--first-device"),
        std::to_string(run.first_device)})
    words.push_back(std::move(word));
  const Outlet outlet{.records = [&](const Json& record) { told.take_from_there(record); }};
  RecordReader reader(told.fold, outlet);
  const Ending ending =
      run_child([&](int out) { become(words, out); }, info.timeout + kGrace, reader);
  if (!told.judged())
    throw std::runtime_error("the runner in the other domain " + how_ended(ending));
}

// Its output is evidence, and its death a crash (lab/witness.py), unless it never came to a case.
void Elsewhere::look_at_backend(Told& told, bool was_ready) {
  if (const std::string said = backend_->said(); !said.empty())
    told.say(
        "msg",
        Json{{"kind", "log"}, {"dir", "-"}, {"fields", {{"source", "backend"}, {"text", said}}}});
  if (!was_ready) return;
  const std::string trouble = backend_->trouble();
  told.say("check", Json{{"requirement", "health.peer-alive"},
                         {"level", "robust"},
                         {"expected", {"a backend that runs"}},
                         {"seen", trouble.empty() ? "it does" : trouble},
                         {"ok", trouble.empty()}});
  if (!trouble.empty())
    told.say("health", Json{{"state", "crashed"},
                            {"reason", trouble},
                            {"own_gap_ms", 0},
                            {"peer_gap_ms", 0},
                            {"tolerance_ms", 1000}});
}

}  // namespace displif_cts::runner
