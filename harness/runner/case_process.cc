#include "harness/runner/case_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <stdexcept>

namespace displif_cts::runner {
namespace {

using Clock = std::chrono::steady_clock;

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
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  trace::Recorder recorder([out](const Json& record) { write_all(out, record.dump() + "\n"); },
                           info.id);
  const CaseContext context{run, info, recorder};
  current_case = &context;
  const auto monitors = hooks.attach_monitors ? hooks.attach_monitors(recorder) : nullptr;
  run_test(info, recorder);
  if (monitors) monitors->finish(recorder);
  _exit(0);
}

struct Ending {
  int exit_status = 0;
  int signal = 0;
  bool timed_out = false;
};

// Splits the child's bytes into records. A line that is no record is the case's own defect.
class RecordReader {
 public:
  RecordReader(Fold& fold, const Outlet& outlet) : fold_(fold), outlet_(outlet) {}

  void take(std::string_view bytes) {
    pending_ += bytes;
    const std::size_t whole = pending_.rfind('\n') + 1;  // 0: no line is whole yet
    const std::string_view lines = std::string_view(pending_).substr(0, whole);
    if (outlet_.lines && whole > 0) outlet_.lines(lines);
    for (std::size_t start = 0; start < whole;) {
      const std::size_t end = lines.find('\n', start);
      take_line(lines.substr(start, end - start));
      start = end + 1;
    }
    pending_.erase(0, whole);
  }

 private:
  // The recorder writes version and type first (harness/trace/recorder.cc).
  static bool bears_on_no_verdict(std::string_view line) {
    return line.starts_with(R"({"v":1,"t":"msg")") || line.starts_with(R"({"v":1,"t":"artifact")");
  }

  void take_line(std::string_view line) {
    if (outlet_.lines && bears_on_no_verdict(line)) return;
    const Json record = Json::parse(line);
    if (record.value("during", "").empty()) fold_.add(record);
    if (!outlet_.lines) outlet_.records(record);
  }

  Fold& fold_;
  const Outlet& outlet_;
  std::string pending_;
};

// The parent must not take the processor from the case at every record that it writes: a batch task
// does not preempt whoever wakes it (sched(7)).
void schedule_as(int policy) {
  const sched_param none{};
  sched_setscheduler(0, policy, &none);  // refused: it only costs time
}

// Records are passed on together: each hand-over costs system calls in every process on the way to
// the host, and in an emulated PV domain a system call flushes the emulator's TLB twice.
constexpr std::chrono::milliseconds kGather{50};
constexpr int kPipeOctets = 1 << 20;  // so that the case does not wait for us meanwhile

// A descriptor that is readable once the process has ended; negative where the kernel has none.
class ProcessEnd {
 public:
  explicit ProcessEnd(pid_t process)
      : fd_(static_cast<int>(syscall(SYS_pidfd_open, process, 0U))) {}
  ~ProcessEnd() {
    if (fd_ >= 0) close(fd_);
  }
  ProcessEnd(const ProcessEnd&) = delete;
  ProcessEnd& operator=(const ProcessEnd&) = delete;

  void wait(std::chrono::milliseconds limit) const {
    pollfd waiting{fd_, POLLIN, 0};
    poll(&waiting, 1, static_cast<int>(limit.count()));
  }

 private:
  int fd_;
};

// Reads records until the child closes its end or the limit is reached; then reaps it.
Ending attend(pid_t child, int in, Clock::time_point limit, RecordReader& reader) {
  Ending ending;
  const ProcessEnd end(child);
  std::array<char, 65536> buffer;
  bool more = false;  // the last read left something behind
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(limit - Clock::now()).count();
    if (left <= 0) {
      ending.timed_out = true;
      break;
    }
    pollfd waiting{in, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(left)) <= 0) continue;
    if (waiting.revents == POLLIN && !more) end.wait(kGather);
    const ssize_t got = read(in, buffer.data(), buffer.size());
    more = got == static_cast<ssize_t>(buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    reader.take({buffer.data(), static_cast<std::size_t>(got)});
  }
  if (ending.timed_out) kill(-child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  kill(-child, SIGKILL);  // whatever the case started
  if (WIFEXITED(status)) ending.exit_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status) && !ending.timed_out) ending.signal = WTERMSIG(status);
  return ending;
}

Ending run_in_child(const RunContext& run, const CaseInfo& info, const Hooks& hooks,
                    RecordReader& reader) {
  std::array<int, 2> ends{};
  if (pipe(ends.data()) != 0)
    throw std::runtime_error(fmt::format("pipe: {}", std::strerror(errno)));
  fcntl(ends[0], F_SETPIPE_SZ, kPipeOctets);  // refused: the case may have to wait for us
  schedule_as(SCHED_BATCH);
  const pid_t child = fork();
  if (child < 0) throw std::runtime_error(fmt::format("fork: {}", std::strerror(errno)));
  if (child == 0) {
    schedule_as(SCHED_OTHER);
    close(ends[0]);
    child_main(run, info, hooks, ends[1]);
  }
  close(ends[1]);
  const Ending ending = attend(child, ends[0], Clock::now() + info.timeout, reader);
  close(ends[0]);
  schedule_as(SCHED_OTHER);
  return ending;
}

std::optional<std::string> missing_capability(const RunContext& run, const CaseInfo& info) {
  for (const auto& need : info.needs)
    if (!run.peer.capabilities.contains(need))
      return fmt::format("{} {} does not have: {}", run.peer.name, run.peer.version, need);
  return std::nullopt;
}

Json begin_record(const CaseInfo& info) {
  Json ids = Json::array();
  for (const auto* requirement : info.requirements) ids.push_back(requirement->id);
  return Json{{"title", info.title}, {"requirements", ids}, {"timeout_ms", info.timeout.count()}};
}

}  // namespace

const CaseContext& current() {
  if (current_case == nullptr) throw std::logic_error("no case is running in this process");
  return *current_case;
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
      const Ending ending = run_in_child(run, info, hooks, reader);
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
