#include "harness/agent/command.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "harness/agent/line_protocol.h"

namespace displif_cts::agent {
namespace {

constexpr std::size_t kMaxOutput = 1u << 20;

// Reads what is there; false at the end. What does not fit is dropped.
bool drain(int fd, std::string& out, bool& truncated) {
  char chunk[16384];
  for (;;) {
    const ssize_t count = read(fd, chunk, sizeof chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno == EAGAIN;
    if (count == 0) return false;
    const std::size_t room = kMaxOutput - out.size();
    truncated = truncated || static_cast<std::size_t>(count) > room;
    out.append(chunk, std::min(static_cast<std::size_t>(count), room));
  }
}

}  // namespace

Child spawn(const std::vector<std::string>& argv, const std::vector<std::string>& env,
            int stdout_fd, int stderr_fd) {
  std::vector<char*> arguments;
  arguments.reserve(argv.size() + 1);
  for (const std::string& word : argv) arguments.push_back(const_cast<char*>(word.c_str()));
  arguments.push_back(nullptr);
  std::vector<char*> environment;
  environment.reserve(env.size());
  for (const std::string& entry : env) environment.push_back(const_cast<char*>(entry.c_str()));
  for (char** entry = environ; *entry != nullptr; ++entry) environment.push_back(*entry);
  environment.push_back(nullptr);

  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&files, stdout_fd, 1);
  posix_spawn_file_actions_adddup2(&files, stderr_fd, 2);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigset_t all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes,
                           POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  Child child;
  const int error = posix_spawnp(&child.pid, arguments[0], &files, &attributes, arguments.data(),
                                 environment.data());
  posix_spawn_file_actions_destroy(&files);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) throw VerbError(error, "start " + argv[0]);
  // By number: glibc 2.36 declares pidfd_open without C linkage.
  child.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, child.pid, 0)));
  if (!child.pidfd) {
    const int pidfd_error = errno;
    kill(-child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
    throw VerbError(pidfd_error, "pidfd_open");
  }
  return child;
}

Json describe_status(int wait_status) {
  if (WIFSIGNALED(wait_status)) return {{"status", nullptr}, {"signal", WTERMSIG(wait_status)}};
  return {{"status", WEXITSTATUS(wait_status)}, {"signal", 0}};
}

Json run_shell(const std::string& command, std::chrono::milliseconds limit) {
  using Clock = std::chrono::steady_clock;
  const Clock::time_point deadline = Clock::now() + limit;
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw VerbError(errno, "pipe");
  const UniqueFd output(ends[0]);
  UniqueFd input(ends[1]);
  fcntl(output.get(), F_SETFL, O_NONBLOCK);
  Child child;
  try {
    child = spawn({"busybox", "sh", "-c", command}, {}, input.get(), input.get());
  } catch (const VerbError& error) {
    if (error.number() != ENOENT) throw;
    child = spawn({"sh", "-c", command}, {}, input.get(), input.get());
  }
  input.reset();
  std::string text;
  bool truncated = false;
  bool timed_out = false;
  bool open = true;
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd wanted[2] = {{child.pidfd.get(), POLLIN, 0}, {open ? output.get() : -1, POLLIN, 0}};
    poll(wanted, 2, static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000)));
    if (open) open = drain(output.get(), text, truncated);
    if ((wanted[0].revents & POLLIN) != 0) break;
    if (left <= 0 && !timed_out) {
      timed_out = true;
      kill(-child.pid, SIGKILL);
    }
    // One that not even SIGKILL ends is stuck in the kernel.
    if (left < -2000) break;
  }
  // What the command left in the background may hold the pipe for ever: only what is there counts.
  if (open) drain(output.get(), text, truncated);
  int status = 0;
  Json fields{{"status", nullptr}, {"signal", 0}};
  if (waitpid(child.pid, &status, WNOHANG) == child.pid) fields = describe_status(status);
  fields["output"] = std::move(text);
  fields["truncated"] = truncated;
  fields["timed_out"] = timed_out;
  return fields;
}

}  // namespace displif_cts::agent
