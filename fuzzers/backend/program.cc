#include "fuzzers/backend/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <cstring>
#include <fstream>
#include <iterator>
#include <system_error>

extern "C" char** environ;

namespace displif_cts::fuzz_backend {
namespace {

constexpr std::uintmax_t kKept = 64 * 1024;
constexpr std::uintmax_t kMuch = 1024 * 1024;

std::array<loopback::Fd, 2> make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw std::system_error(errno, std::generic_category(), "pipe2");
  return {loopback::Fd(ends[0]), loopback::Fd(ends[1])};
}

// All that follows a fork() must be safe in a signal's handler: other threads may have held locks.

[[noreturn]] void become(const char* command, char* const* environment, int output) {
  setpgid(0, 0);
  const int nothing = open("/dev/null", O_RDONLY);
  dup2(nothing, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  close_range(3, ~0U, 0);
  const char* const argv[] = {"sh", "-c", command, nullptr};
  execve("/bin/sh", const_cast<char* const*>(argv), environment);
  _exit(127);
}

// Starts the program, waits for its end or for that of `life`'s other side, and leaves nothing of
// it.
[[noreturn]] void mind(const char* command, char* const* environment, int output, int life,
                       int status) {
  setsid();  // whoever ends the group of this process does not end the minder before the program
  const pid_t program = fork();
  if (program == 0) become(command, environment, output);
  setpgid(program, program);
  // What engines wait for the end of must not stay open here.
  dup2(life, 0);
  dup2(status, 1);
  close_range(2, ~0U, 0);
  const int end = static_cast<int>(syscall(SYS_pidfd_open, program, 0));
  pollfd fds[] = {{0, POLLIN, 0}, {end, POLLIN, 0}};
  while (poll(fds, 2, -1) < 0 && errno == EINTR) {
  }
  int how = 0;
  if (fds[1].revents != 0) {
    waitpid(program, &how, 0);
    kill(-program, SIGKILL);
    [[maybe_unused]] const auto written = write(1, &how, sizeof(how));
    _exit(0);
  }
  kill(-program, SIGKILL);
  waitpid(program, &how, 0);
  _exit(0);
}

}  // namespace

Program::Program(const std::string& command, const Environment& added, std::filesystem::path output)
    : output_(std::move(output)) {
  std::vector<std::string> words;
  for (const auto& [name, value] : added) words.push_back(name + "=" + value);
  for (char** each = environ; *each != nullptr; ++each) {
    const std::string_view word = *each;
    const auto set_here = [&](const auto& one) { return word.starts_with(one.first + "="); };
    if (std::ranges::none_of(added, set_here)) words.emplace_back(word);
  }
  std::vector<char*> environment;
  for (std::string& word : words) environment.push_back(word.data());
  environment.push_back(nullptr);

  const loopback::Fd file(
      open(output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600));
  if (file.get() < 0) throw std::system_error(errno, std::generic_category(), output_.string());
  auto [life_read, life_write] = make_pipe();
  auto [status_read, status_write] = make_pipe();
  minder_ = fork();
  if (minder_ < 0) throw std::system_error(errno, std::generic_category(), "fork");
  if (minder_ == 0)
    mind(command.c_str(), environment.data(), file.get(), life_read.get(), status_write.get());
  life_ = std::move(life_write);
  status_ = std::move(status_read);
  fcntl(status_.get(), F_SETFL, O_NONBLOCK);
}

Program::~Program() {
  life_ = {};
  waitpid(minder_, nullptr, 0);
}

std::optional<std::string> Program::ended() {
  int how = 0;
  if (!how_ && read(status_.get(), &how, sizeof(how)) == sizeof(how)) how_ = how;
  if (!how_) return std::nullopt;
  if (!WIFSIGNALED(*how_)) return "status-" + std::to_string(WEXITSTATUS(*how_));
  const char* name = sigabbrev_np(WTERMSIG(*how_));
  std::string text =
      std::string("sig") + (name == nullptr ? std::to_string(WTERMSIG(*how_)) : name);
  std::ranges::transform(text, text.begin(),
                         [](char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

std::string Program::output() const {
  std::ifstream file(output_, std::ios::binary | std::ios::ate);
  const auto size = static_cast<std::uintmax_t>(std::max<std::streamoff>(file.tellg(), 0));
  file.seekg(static_cast<std::streamoff>(size - std::min(size, kKept)));
  return {std::istreambuf_iterator<char>(file), {}};
}

void Program::trim_output() const {
  std::error_code error;
  if (std::filesystem::file_size(output_, error) > kMuch && !error)
    std::filesystem::resize_file(output_, 0, error);
}

}  // namespace displif_cts::fuzz_backend
