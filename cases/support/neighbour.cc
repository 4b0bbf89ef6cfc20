#include "cases/support/neighbour.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <thread>

#include "harness/xen/poll.h"

namespace displif_cts::cases {
namespace {

constexpr const char* kDomain = "DISPLIF_CTS_NEIGHBOUR_DOMAIN";
constexpr const char* kProgram = "DISPLIF_CTS_NEIGHBOUR_PROGRAM";
constexpr const char* kStore = "DISPLIF_CTS_NEIGHBOUR_STORE";

// Of the bed's (lacking() has seen it).
std::string variable(const char* name) {
  const char* const value = std::getenv(name);
  if (value == nullptr) throw std::runtime_error(fmt::format("{} is not set", name));
  return value;
}

// Our own, with the other domain's place in it.
std::vector<std::string> environment() {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    if (!text.starts_with("DISPLIF_LOOPBACK_DOMAIN=") && !text.starts_with("XENSTORED_PATH="))
      all.emplace_back(text);
  }
  all.push_back("DISPLIF_LOOPBACK_DOMAIN=" + variable(kDomain));
  all.push_back("XENSTORED_PATH=" + variable(kStore));
  return all;
}

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> list;
  list.reserve(words.size() + 1);
  for (std::string& word : words) list.push_back(word.data());
  list.push_back(nullptr);
  return list;
}

}  // namespace

std::string Neighbour::lacking() {
  for (const char* name : {kDomain, kProgram, kStore})
    if (std::getenv(name) == nullptr) return "this bed has one guest";
  return {};
}

xen::DomId Neighbour::domain() {
  return xen::DomId{static_cast<std::uint16_t>(std::stoul(variable(kDomain)))};
}

Neighbour::Neighbour(unsigned device, const std::vector<std::string>& arguments) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0)
    throw std::system_error(errno, std::generic_category(), "pipe2");
  std::vector<std::string> words{variable(kProgram), "--device", std::to_string(device)};
  words.insert(words.end(), arguments.begin(), arguments.end());
  std::vector<std::string> variables = environment();
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  const int error = posix_spawn(&process_, words[0].c_str(), &actions, nullptr,
                                pointers(words).data(), pointers(variables).data());
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  output_ = ends[0];
  if (error != 0) {
    close(output_);
    throw std::system_error(error, std::generic_category(), words[0]);
  }
}

Neighbour::~Neighbour() {
  kill();
  close(output_);
}

bool Neighbour::read_more(xen::Deadline deadline) {
  pollfd fd{output_, POLLIN, 0};
  if (poll(&fd, 1, xen::poll_timeout(deadline)) <= 0) return false;
  std::array<char, 1 << 16> buffer{};
  const ssize_t count = read(output_, buffer.data(), buffer.size());
  if (count <= 0) return false;
  trace_.append(buffer.data(), static_cast<std::size_t>(count));
  return true;
}

bool Neighbour::await_trace(const std::string& text, xen::Deadline deadline) {
  while (trace_.find(text) == std::string::npos)
    if (!read_more(deadline)) return false;
  return true;
}

std::optional<int> Neighbour::await_end(xen::Deadline deadline) {
  while (read_more(deadline)) {  // until it closes its output
  }
  while (process_ > 0) {
    int status = 0;
    if (waitpid(process_, &status, WNOHANG) == process_) {
      process_ = -1;
      return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    if (xen::Clock::now() >= deadline) return std::nullopt;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return std::nullopt;
}

void Neighbour::kill() {
  if (process_ <= 0) return;
  ::kill(process_, SIGKILL);
  waitpid(process_, nullptr, 0);
  process_ = -1;
}

}  // namespace displif_cts::cases
