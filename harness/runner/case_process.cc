#include "harness/runner/case_process.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <optional>
#include <stdexcept>

namespace displif_cts::runner {
namespace {

const CaseContext* current_case = nullptr;

// Turns what GoogleTest itself reports into records. Cases judge the peer through checks, so an
// assertion that fails, or an exception, says that the case could not be carried out.
class RecordingListener : public testing::EmptyTestEventListener {
 public:
  explicit RecordingListener(trace::Recorder& recorder) : recorder_(recorder) {}

  void OnTestPartResult(const testing::TestPartResult& result) override {
    if (result.skipped()) {
      recorder_.record("skip", Json{{"reason", result.message()}});
    } else if (result.failed()) {
      recorder_.record("error", Json{{"text", result.message()}});
    }
  }

 private:
  trace::Recorder& recorder_;
};

void write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t done = write(fd, text.data(), text.size());
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) _exit(120);  // the runner is gone: nobody is left to tell
    text.remove_prefix(static_cast<std::size_t>(done));
  }
}

// GoogleTest knows only the one test that this process is for.
void run_test(const CaseInfo& info, trace::Recorder& recorder) {
  std::string program = "displif-cts-runner";
  std::array<char*, 2> argv{program.data(), nullptr};
  int argc = 1;
  testing::InitGoogleTest(&argc, argv.data());
  const std::string id = info.id;
  const auto dot = id.find('.', id.find('.') + 1);
  testing::RegisterTest(id.substr(0, dot).c_str(), id.substr(dot + 1).c_str(), nullptr, nullptr,
                        __FILE__, __LINE__, [&info]() -> testing::Test* { return info.make(); });
  auto& listeners = testing::UnitTest::GetInstance()->listeners();
  delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new RecordingListener(recorder));    // GoogleTest owns it
  [[maybe_unused]] const int status = RUN_ALL_TESTS();  // the records say what failed
}

[[noreturn]] void child_main(const RunContext& run, const CaseInfo& info, const Hooks& hooks,
                             int out) {
  trace::Recorder recorder([out](const Json& record) { write_all(out, record.dump() + "\n"); },
                           info.id);
  const CaseContext context{run, info, recorder};
  current_case = &context;
  const auto monitors = hooks.attach_monitors ? hooks.attach_monitors(recorder) : nullptr;
  run_test(info, recorder);
  if (monitors) monitors->finish(recorder);
  _exit(0);
}

std::optional<std::string> missing_capability(const RunContext& run, const CaseInfo& info) {
  for (const auto& need : info.needs)
    if (!run.peer.capabilities.contains(need))
      return fmt::format("{} {} does not have: {}", run.peer.name, run.peer.version, need);
  return std::nullopt;
}

}  // namespace

const CaseContext& current() {
  if (current_case == nullptr) throw std::logic_error("no case is running in this process");
  return *current_case;
}

Json begin_record(const CaseInfo& info) {
  Json ids = Json::array();
  for (const auto* requirement : info.requirements) ids.push_back(requirement->id);
  return Json{{"title", info.title}, {"requirements", ids}, {"timeout_ms", info.timeout.count()}};
}

CaseEnd run_case(const RunContext& run, const CaseInfo& info, const Hooks& hooks,
                 const Outlet& outlet, unsigned attempt) {
  Fold fold;
  const trace::Sink folding_sink = [&](const Json& record) {
    if (record.value("case", "") == info.id) fold.add(record);
    outlet.records(record);
  };
  trace::Recorder recorder(folding_sink, info.id);
  const std::uint64_t start = trace::now_ns();
  bool clean = true;
  recorder.record("begin", begin_record(info));
  if (const auto reason = missing_capability(run, info)) {
    recorder.record("skip", Json{{"reason", *reason}});
  } else {
    try {
      RecordReader reader(fold, outlet);
      const auto health = hooks.make_health ? hooks.make_health(run) : nullptr;
      if (health) health->baseline();
      const Ending ending =
          run_child([&](int out) { child_main(run, info, hooks, out); }, info.timeout, reader);
      recorder.record("process", Json{{"exit_status", ending.exit_status},
                                      {"signal", ending.signal},
                                      {"timed_out", ending.timed_out}});
      clean = ending.exit_status == 0 && ending.signal == 0 && !ending.timed_out;
      if (health && !health->judge(recorder, fold.lost())) clean = false;
    } catch (const std::exception& error) {
      clean = false;
      recorder.record("error", Json{{"text", error.what()}});
    }
  }
  const Judgement judgement = fold.judge();
  recorder.record("verdict", Json{{"verdict", name(judgement.verdict)},
                                  {"reason", judgement.reason},
                                  {"attempt", attempt},
                                  {"ns_spent", trace::now_ns() - start}});
  for (const Verdict bad : {Verdict::hang, Verdict::crash, Verdict::infra_error})
    if (judgement.verdict == bad) clean = false;
  return {judgement, clean};
}

}  // namespace displif_cts::runner
