#include "harness/runner/peer_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <regex>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <thread>
#include <utility>

namespace displif_cts::runner {
namespace {

using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr off_t kKept = 64 << 10;        // octets of the output, at each end
constexpr std::size_t kLongLine = 1024;  // octets: std::regex recurses for each
constexpr std::size_t kLineOfReason = 300;
constexpr auto kTerm = 2s;
constexpr auto kStep = 20ms;

// lab/peer_command.py has the same.
const std::regex& sanitizers() {
  static const std::regex pattern(
      "(ERROR|WARNING): (Address|Leak|Memory|Thread|HWAddress)Sanitizer|runtime error: ");
  return pattern;
}

// The first line that matches.
std::optional<std::string> find_line(const std::string& text, const std::regex& pattern) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    line.resize(std::min(line.size(), kLongLine));
    if (std::regex_search(line, pattern)) return line;
  }
  return std::nullopt;
}

std::string last_line(std::string_view text) {
  while (!text.empty() && text.back() == '\n') text.remove_suffix(1);
  return std::string(text.substr(text.rfind('\n') + 1).substr(0, kLineOfReason));
}

std::string piece(int fd, off_t from, off_t size) {
  std::string octets(static_cast<std::size_t>(size), '\0');
  const ssize_t got = pread(fd, octets.data(), octets.size(), from);
  octets.resize(static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
  return octets;
}

std::string how_ended(int status) {
  if (!WIFSIGNALED(status)) return fmt::format("with status {}", WEXITSTATUS(status));
  const char* const word = sigabbrev_np(WTERMSIG(status));
  return word != nullptr ? fmt::format("by SIG{}", word)
                         : fmt::format("by signal {}", WTERMSIG(status));
}

[[noreturn]] void become(const std::string& command, int output) {
  setpgid(0, 0);
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  const int input = open("/dev/null", O_RDONLY);
  dup2(input, STDIN_FILENO);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
  _exit(127);
}

}  // namespace

PeerProgram::PeerProgram(std::string command, std::string ready)
    : command_(std::move(command)), ready_(std::move(ready)) {
  static_cast<void>(std::regex(ready_));  // a bad one is known before any case runs
}

void PeerProgram::restart(std::chrono::milliseconds limit) {
  end();
  start();
  const auto until = Clock::now() + limit;
  while (true) {
    const bool over = ended();  // asked first: it may say its last word, and end, between the two
    if (has_said_that_it_is_ready()) return;
    if (over)
      throw std::runtime_error(fmt::format("{} before it was ready: {}", trouble(), command_));
    if (Clock::now() > until)
      throw std::runtime_error(fmt::format("the backend did not say /{}/ within {} s: {}: {}",
                                           ready_, limit / 1s, command_, last_line(said())));
    std::this_thread::sleep_for(kStep);
  }
}

void PeerProgram::start() {
  output_.reset(memfd_create("peer", MFD_CLOEXEC));
  if (!output_) throw std::runtime_error(fmt::format("memfd_create: {}", std::strerror(errno)));
  const int appending =
      open(fmt::format("/proc/self/fd/{}", output_.get()).c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
  const agent::UniqueFd to(appending);
  if (!to) throw std::runtime_error(fmt::format("the backend's output: {}", std::strerror(errno)));
  status_.reset();
  process_ = fork();
  if (process_ < 0) {
    process_ = 0;
    throw std::runtime_error(fmt::format("fork: {}", std::strerror(errno)));
  }
  if (process_ == 0) become(command_, to.get());
  setpgid(process_, process_);  // whoever of the two comes first
}

bool PeerProgram::has_said_that_it_is_ready() const {
  return ready_.empty() || find_line(said(), std::regex(ready_)).has_value();
}

bool PeerProgram::ended() {
  int status = 0;
  if (!status_ && process_ > 0 && waitpid(process_, &status, WNOHANG) == process_) status_ = status;
  return status_.has_value();
}

void PeerProgram::end() {
  if (process_ == 0) return;
  if (!ended()) kill(-process_, SIGTERM);
  for (const auto until = Clock::now() + kTerm; !ended() && Clock::now() < until;)
    std::this_thread::sleep_for(kStep);
  kill(-process_, SIGKILL);  // and whatever it left behind
  while (!ended()) std::this_thread::sleep_for(kStep);
  process_ = 0;
}

std::string PeerProgram::trouble() {
  const std::string text = said();
  if (ended()) {
    const std::string last = last_line(text);
    return fmt::format("the backend ended {}{}{}", how_ended(*status_), last.empty() ? "" : ": ",
                       last);
  }
  const auto report = find_line(text, sanitizers());
  return report ? "the backend's sanitizer reports " + report->substr(0, kLineOfReason) : "";
}

std::string PeerProgram::said() const {
  struct stat now {};
  if (!output_ || fstat(output_.get(), &now) != 0) return "";
  if (now.st_size <= 2 * kKept) return piece(output_.get(), 0, now.st_size);
  return piece(output_.get(), 0, kKept) +
         fmt::format("\n[... {} octets left out ...]\n", now.st_size - 2 * kKept) +
         piece(output_.get(), now.st_size - kKept, kKept);
}

}  // namespace displif_cts::runner
