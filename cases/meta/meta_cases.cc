// The suite's test of itself: one case for each way in which a case can end. meta_test.cc holds the
// verdict that each must get.
#include <csignal>
#include <stdexcept>
#include <thread>

#include "harness/runner/program.h"

namespace displif_cts::runner {
namespace {

constexpr Requirement kMust{"meta.must",     Role::frontend, Level::must, "A statement to keep.",
                            "meta_cases.cc", "kMust",        ""};
constexpr Requirement kShould{
    "meta.should", Role::frontend, Level::should, "A wish.", "meta_cases.cc", "kShould", ""};
constexpr Requirement kMay{"meta.may",      Role::frontend, Level::may, "A freedom.",
                           "meta_cases.cc", "kMay",         ""};

class Body : public testing::Test {
 public:
  explicit Body(std::function<void()> body) : body_(std::move(body)) {}
  void TestBody() override { body_(); }

 private:
  std::function<void()> body_;
};

void check(const Requirement& requirement, bool ok) {
  current().recorder.check(requirement, ok, {"yes"}, ok ? "yes" : "no");
}

void add(const char* id, const Requirement& requirement, std::function<void()> body,
         std::vector<Capability> needs = {},
         std::chrono::milliseconds timeout = std::chrono::seconds(20)) {
  CaseInfo info;
  info.id = id;
  info.title = "Produces the verdict that its id names.";
  info.role = Role::frontend;
  info.requirements = {&requirement};
  info.needs = std::move(needs);
  info.timeout = timeout;
  info.make = [body = std::move(body)] { return new Body(body); };
  Registry::instance().add(std::move(info));
}

// What the peer's health is after a case, by the case's id.
class ScriptedHealth : public HealthProbe {
 public:
  void baseline() override {}
  bool judge(trace::Recorder& recorder, bool) override {
    const std::string& id = recorder.case_id();
    const char* state = id.starts_with("meta.crash")     ? "crashed"
                        : id.starts_with("meta.hang")    ? "hung"
                        : id.ends_with("health-unknown") ? "unknown"
                                                         : "ok";
    recorder.record("health", Json{{"state", state},
                                   {"reason", "as the case's id says"},
                                   {"own_gap_ms", id.ends_with("late-ourselves") ? 5000U : 0U},
                                   {"peer_gap_ms", 0U},
                                   {"tolerance_ms", 1000U}});
    return std::string_view(state) == "ok";
  }
};

class CountingMonitors : public Monitors {
 public:
  explicit CountingMonitors(trace::Recorder& recorder) {
    recorder.observe([this](const trace::Message&) { ++messages_; });
  }
  void finish(trace::Recorder& recorder) override {
    if (messages_ > 0)
      recorder.check_for("meta.monitor.bad-message", kMust, false, {"no message"},
                         std::to_string(messages_) + " messages");
  }

 private:
  unsigned messages_ = 0;
};

void add_monitor(const char* id) {
  CaseInfo info;
  info.id = id;
  info.title = "A monitor.";
  info.role = Role::frontend;
  info.requirements = {&kMust};
  info.monitor = true;
  Registry::instance().add(std::move(info));
}

void register_all() {
  add("meta.pass.kept", kMust, [] { check(kMust, true); });
  add("meta.pass.may-not-taken", kMay, [] { check(kMay, false); });
  add("meta.warn.should-broken", kShould, [] { check(kShould, false); });
  add("meta.fail.must-broken", kMust, [] { check(kMust, false); });
  add("meta.fail.after-error", kMust, [] {
    check(kMust, false);
    throw std::runtime_error("too late to matter");
  });
  add("meta.skip.no-capability", kMust, [] { check(kMust, true); }, {"flying"});
  add("meta.skip.by-itself", kMust, [] { GTEST_SKIP() << "nothing to try"; });
  add("meta.crash.after-success", kMust, [] { check(kMust, true); });
  add("meta.hang.after-success", kMust, [] { check(kMust, true); });
  add("meta.infra-error.nothing-checked", kMust, [] {});
  add("meta.infra-error.exception", kMust, [] { throw std::runtime_error("no such node"); });
  add("meta.infra-error.assertion", kMust, [] {
    check(kMust, true);
    ADD_FAILURE() << "arrangement failed";
  });
  add("meta.infra-error.signal", kMust, [] { std::raise(SIGKILL); });
  add("meta.infra-error.health-unknown", kMust, [] { check(kMust, true); });
  add("meta.infra-error.late-ourselves", kMust,
      [] { current().recorder.check(kMust, false, {"in 3 s"}, "in 9 s", true); });
  add(
      "meta.infra-error.over-limit", kMust,
      [] { std::this_thread::sleep_for(std::chrono::seconds(60)); }, {},
      std::chrono::milliseconds(50));
  add("meta.pass.with-message", kMust, [] {
    current().recorder.log("a message for the monitor");
    check(kMust, true);
  });
  add_monitor("meta.monitor.bad-message");
  add_monitor("meta.monitor.sees-nothing");
}

}  // namespace
}  // namespace displif_cts::runner

int main(int argc, char** argv) {
  using namespace displif_cts;
  runner::register_all();
  runner::Hooks hooks;
  hooks.make_health = [](const runner::RunContext&) {
    return std::make_unique<runner::ScriptedHealth>();
  };
  hooks.attach_monitors = [](trace::Recorder& recorder) {
    return std::make_unique<runner::CountingMonitors>(recorder);
  };
  return runner::program(argc, argv, {&runner::kMust, &runner::kShould, &runner::kMay}, hooks);
}
