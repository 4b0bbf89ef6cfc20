#include "cases/support/health.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <string>
#include <thread>

#include "cases/requirements.gen.h"
#include "cases/support/guest_log.h"
#include "cases/support/kernel_log.h"
#include "cases/support/leaks.h"
#include "cases/support/own_log.h"
#include "harness/agent/client.h"

namespace displif_cts::cases {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using namespace std::string_literals;

// A stand-still of our own domain beyond this makes judgements of time worthless.
constexpr std::uint64_t kToleranceMs = 1000;
// How long the guest as a whole may stand still. Interrupt handlers have no business to take
// longer.
constexpr std::uint64_t kMaxPeerGapMs = 1000;
// How long a live guest may take to answer a ping.
constexpr milliseconds kPing = seconds(3);
// One that the case has found silent gets a last chance.
constexpr milliseconds kLastPing{300};
// Linux ends grants that were in use when freed from a timer, once a second
// (drivers/xen/grant-table.c, gnttab_handle_deferred).
constexpr milliseconds kSettle = seconds(2);

// How long the guest's console may take to reach its log in dom0.
constexpr milliseconds kLogLimit = seconds(5);

constexpr const char* kKnownMonitor = "frontend.monitor.known-complaints";
constexpr const char* kCleanLog =
    "no warning, BUG, oops, lockup or hung task in the guest's kernel log";

std::uint64_t count_of(const Json& answer, const char* key) {
  const auto it = answer.find(key);
  return it != answer.end() && it->is_number() ? it->get<std::uint64_t>() : 0;
}

class AgentHealth : public runner::HealthProbe {
 public:
  explicit AgentHealth(const runner::RunContext& run)
      : agent_(run.agent_socket),
        guest_log_(agent_),
        own_log_(agent_),
        leaks_(agent_, run.peer.known_complaints),
        run_(run) {}

  void baseline() override {
    guest_log_.skip();
    own_log_.skip();
    grants_ = count_of(agent_.call("grants"), "in_use");
    ports_ = count_of(agent_.call("ports"), "in_use");
    // What Linux says only once would otherwise be said in one case of a machine only.
    agent_.try_call("guest.clear-warn-once", {}, kPing);
    agent_.call("heartbeat-reset");
    agent_.call("guest.heartbeat-reset", {}, kPing);
    leaks_.begin();
  }

  bool judge(trace::Recorder& recorder, bool lost) override {
    own_gap_ms_ = count_of(agent_.call("heartbeat"), "max_gap_ns") / 1'000'000;
    const std::optional<Ping> answer = ping(lost ? kLastPing : kPing);
    const std::uint64_t gap_ms = answer ? answer->gap_ms : 0;
    const LogFinding finding = read_logs(recorder, answer && answer->marked);
    judge_log_lines(recorder, finding);
    if (const auto dead = trouble(answer.has_value(), finding)) {
      recorder.check(req::health_peer_alive, false, {"a peer that runs and answers"}, dead->second,
                     dead->first == "hung");
      record_state(recorder, dead->first, dead->second, gap_ms);
      return false;
    }
    recorder.check(req::health_peer_alive, true, {"a peer that runs and answers"}, "it does");
    const auto limit = std::chrono::steady_clock::now() + run_.peer.removal + kSettle;
    const bool in_time = judge_gap(recorder, gap_ms);
    const bool grants =
        judge_released(recorder, req::health_grants_released, "grants", grants_, limit);
    const bool ports =
        judge_released(recorder, req::health_event_channels_released, "ports", ports_, limit);
    record_state(recorder, "ok", "", gap_ms);
    if (run_.leaks) judge_leaks(recorder);
    return finding.lines.empty() && in_time && grants && ports;
  }

 private:
  struct Ping {
    std::uint64_t gap_ms;  // the longest time for which the guest stood still
    bool marked;           // its log has our mark, or will have
  };

  // If it answers now.
  std::optional<Ping> ping(milliseconds limit) {
    try {
      const Json answer = agent_.call("guest.heartbeat", {{"mark", mark_}}, limit);
      return Ping{count_of(answer, "max_gap_ns") / 1'000'000, answer.value("marked", false)};
    } catch (const agent::Error&) {
      return std::nullopt;
    }
  }

  std::string guest_log(trace::Recorder& recorder, bool marked) {
    if (!marked) return guest_log_.more();
    const auto [text, arrived] = guest_log_.until("displif-cts: mark " + mark_,
                                                  std::chrono::steady_clock::now() + kLogLimit);
    // One that is cut off for its length is the guest's doing, and judged as it is.
    if (!arrived && text.size() < GuestLog::kMost)
      recorder.record("error", Json{{"text",
                                     "the end of the guest's kernel log did not arrive: "
                                     "its console is too slow, or does not show it"}});
    return text;
  }

  // New lines of both logs go into the stream; what is wrong in the guest's comes back. Complaints
  // that the peer's descriptor knows are the monitor's.
  LogFinding read_logs(trace::Recorder& recorder, bool marked) {
    const std::string text = guest_log(recorder, marked);
    if (!text.empty())
      recorder.message(trace::Kind::log, trace::Direction::none,
                       Json{{"source", "guest kernel"}, {"text", text}});
    const SiftedLog sifted =
        sift_known(run_.leaks ? without_leak_counts(text) : text, run_.peer.known_complaints);
    recorder.check_for(kKnownMonitor, req::health_kernel_log_clean, sifted.known.empty(),
                       {kCleanLog}, listed(sifted.known));
    read_own_log(recorder);
    return judge_log(sifted.rest);
  }

  void read_own_log(trace::Recorder& recorder) {
    const std::string text = own_log_.more();
    if (text.empty()) return;
    recorder.message(trace::Kind::log, trace::Direction::none,
                     Json{{"source", "own kernel"}, {"text", text}});
    const LogFinding finding = judge_log(text);
    if (!finding.lines.empty())
      recorder.record("error",
                      Json{{"text", "our own kernel complains: " + listed(finding.lines)}});
  }

  void judge_log_lines(trace::Recorder& recorder, const LogFinding& finding) {
    recorder.check(req::health_kernel_log_clean, finding.lines.empty(), {kCleanLog},
                   listed(finding.lines));
  }

  // Whether the peer is beyond further questions: {"crashed"|"hung", why}.
  std::optional<std::pair<std::string, std::string>> trouble(bool answered,
                                                             const LogFinding& finding) {
    const std::string state = agent_.call("domain").value("state", "unknown");
    if (state == "crashed" || state == "gone" || state == "dying" || state == "shutdown")
      return std::pair{"crashed", fmt::format("the guest is {}; its kernel's complaints: {}", state,
                                              listed(finding.lines))};
    if (finding.worst == LogTrouble::crash) return std::pair{"crashed", listed(finding.lines)};
    if (finding.worst == LogTrouble::hang) return std::pair{"hung", listed(finding.lines)};
    if (!answered) return std::pair{"hung", "the guest does not answer"s};
    return std::nullopt;
  }

  bool judge_gap(trace::Recorder& recorder, std::uint64_t peer_gap_ms) {
    return recorder.check(
        req::health_no_lost_time, peer_gap_ms <= kMaxPeerGapMs + own_gap_ms_,
        {fmt::format("the guest never stands still for more than {} ms", kMaxPeerGapMs)},
        fmt::format("{} ms (our own side: {} ms)", peer_gap_ms, own_gap_ms_), true);
  }

  // Waits until the count is back at the baseline, for as long as a frontend may take.
  bool judge_released(trace::Recorder& recorder, const Requirement& requirement,
                      const std::string& verb, std::uint64_t baseline,
                      std::chrono::steady_clock::time_point limit) {
    Json answer = agent_.call(verb);
    while (count_of(answer, "in_use") > baseline && std::chrono::steady_clock::now() < limit) {
      std::this_thread::sleep_for(milliseconds(50));
      answer = agent_.call(verb);
    }
    const std::uint64_t now = count_of(answer, "in_use");
    return recorder.check(requirement, now <= baseline,
                          {fmt::format("at most {} in use, as before the case", baseline)},
                          now <= baseline ? fmt::format("{} in use", now)
                                          : fmt::format("{} in use: {}", now,
                                                        answer.value("list", Json::array()).dump()),
                          true);
  }

  void judge_leaks(trace::Recorder& recorder) {
    const std::vector<std::string> known = leaks_.judge(recorder);
    if (!known.empty())
      recorder.check_for(kKnownMonitor, req::health_kernel_log_clean, false, {kCleanLog},
                         listed(known));
  }

  void record_state(trace::Recorder& recorder, const std::string& state, const std::string& reason,
                    std::uint64_t peer_gap_ms) {
    recorder.record("health", Json{{"state", state},
                                   {"reason", reason},
                                   {"own_gap_ms", own_gap_ms_},
                                   {"peer_gap_ms", peer_gap_ms},
                                   {"tolerance_ms", kToleranceMs}});
  }

  agent::Client agent_;
  GuestLog guest_log_;
  OwnLog own_log_;
  LeakScan leaks_;
  const runner::RunContext& run_;
  const std::string mark_ = std::to_string(run_.first_device);  // each case has devices of its own
  std::uint64_t grants_ = 0;
  std::uint64_t ports_ = 0;
  std::uint64_t own_gap_ms_ = 0;
};

bool register_known_monitor() {
  runner::CaseInfo info;
  info.id = kKnownMonitor;
  info.title = "The guest's kernel makes none of the complaints that are known of this peer.";
  info.role = Role::frontend;
  info.requirements = {&req::health_kernel_log_clean};
  info.monitor = true;
  return runner::Registry::instance().add(std::move(info));
}

}  // namespace

[[maybe_unused]] const bool known_monitor_registered = register_known_monitor();

std::unique_ptr<runner::HealthProbe> make_health(const runner::RunContext& run) {
  return std::make_unique<AgentHealth>(run);
}

}  // namespace displif_cts::cases
