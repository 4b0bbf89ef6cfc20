#include "harness/runner/child.h"

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
#include <stdexcept>

#include "harness/agent/unique_fd.h"

namespace displif_cts::runner {
namespace {

using Clock = std::chrono::steady_clock;

// The recorder writes version and type first (harness/trace/recorder.cc).
bool bears_on_no_verdict(std::string_view line) {
  return line.starts_with(R"({"v":1,"t":"msg")") || line.starts_with(R"({"v":1,"t":"artifact")");
}

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

// The child has closed its end, or is to end now: reaps it, and ends what it started.
Ending reap(pid_t child, bool timed_out) {
  if (timed_out) kill(-child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  kill(-child, SIGKILL);
  Ending ending{.timed_out = timed_out};
  if (WIFEXITED(status)) ending.exit_status = WEXITSTATUS(status);
  if (WIFSIGNALED(status) && !timed_out) ending.signal = WTERMSIG(status);
  return ending;
}

// Reads records until the child closes its end: true. False if it did not within the limit.
bool read_records(pid_t child, int in, Clock::time_point limit, RecordReader& reader) {
  const ProcessEnd end(child);
  std::array<char, 65536> buffer;
  bool more = false;  // the last read left something behind
  for (;;) {
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(limit - Clock::now()).count();
    if (left <= 0) return false;
    pollfd waiting{in, POLLIN, 0};
    if (poll(&waiting, 1, static_cast<int>(left)) <= 0) continue;
    if (waiting.revents == POLLIN && !more) end.wait(kGather);
    const ssize_t got = read(in, buffer.data(), buffer.size());
    more = got == static_cast<ssize_t>(buffer.size());
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return true;
    reader.take({buffer.data(), static_cast<std::size_t>(got)});
  }
}

Ending attend(pid_t child, int in, Clock::time_point limit, RecordReader& reader) {
  bool ended = false;
  try {
    ended = read_records(child, in, limit, reader);
  } catch (...) {
    reap(child, true);
    throw;
  }
  return reap(child, !ended);
}

}  // namespace

void RecordReader::take(std::string_view octets) {
  pending_ += octets;
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

void RecordReader::take_line(std::string_view line) {
  if (outlet_.lines && bears_on_no_verdict(line)) return;
  const Json record = Json::parse(line);
  if (record.value("during", "").empty()) fold_.add(record);
  if (!outlet_.lines) outlet_.records(record);
}

Ending run_child(const std::function<void(int out)>& body, std::chrono::milliseconds limit,
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
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    body(ends[1]);
    _exit(120);
  }
  close(ends[1]);
  const agent::UniqueFd in(ends[0]);
  const Ending ending = attend(child, in.get(), Clock::now() + limit, reader);
  schedule_as(SCHED_OTHER);
  return ending;
}

}  // namespace displif_cts::runner
