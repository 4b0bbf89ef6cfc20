#include "harness/loopback/client/link.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <system_error>
#include <utility>

namespace displif_cts::loopback::client {
namespace {

constexpr std::size_t kPage = 4096;

class SocketChannel : public Channel {
 public:
  explicit SocketChannel(Fd socket) : socket_(std::move(socket)) {}

  bool exchange(Message request, Message& answer) override {
    return send_message(socket_.get(), request) && receive_message(socket_.get(), answer);
  }

 private:
  Fd socket_;
};

Place by_environment(std::string& problem, bool inherited) {
  Place place;
  const char* const directory = std::getenv("DISPLIF_LOOPBACK");
  const char* const domain = std::getenv("DISPLIF_LOOPBACK_DOMAIN");
  if (directory == nullptr || domain == nullptr) {
    problem =
        directory == nullptr ? "DISPLIF_LOOPBACK is not set" : "DISPLIF_LOOPBACK_DOMAIN is not set";
    errno = ENOENT;
    return place;
  }
  const char* const end = domain + std::strlen(domain);
  const auto [rest, error] = std::from_chars(domain, end, place.domain);
  if (error != std::errc() || rest != end) {
    problem = std::string("DISPLIF_LOOPBACK_DOMAIN is no domain id: ") + domain;
    errno = EINVAL;
    return place;
  }
  const std::string path = std::string(directory) + "/machine.sock";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    problem = "too long for a socket: " + path;
    errno = ENAMETOOLONG;
    return place;
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Fd socket(::socket(AF_UNIX, SOCK_STREAM | (inherited ? 0 : SOCK_CLOEXEC), 0));
  if (!socket ||
      connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int number = errno;
    problem = path + ": " + std::strerror(number);
    errno = number;
    return place;
  }
  place.channel = std::make_unique<SocketChannel>(std::move(socket));
  return place;
}

// The machine's event channels, mapped once in a process.
std::shared_ptr<const EventMemory> events_of(std::uint64_t machine, Fd memory) {
  static std::mutex mutex;
  static std::map<std::uint64_t, std::weak_ptr<const EventMemory>> known;
  const std::lock_guard lock(mutex);
  std::erase_if(known, [](const auto& entry) { return entry.second.expired(); });
  auto& slot = known[machine];
  auto events = slot.lock();
  if (!events) slot = events = std::make_shared<const EventMemory>(std::move(memory));
  return events;
}

// errno as a call leaves it: no clean-up in between may change it.
class KeepErrno {
 public:
  ~KeepErrno() { errno = number_; }

 private:
  int number_ = errno;
};

}  // namespace

Locator locator = by_environment;

bool Link::take(Message& answer, std::string& problem) {
  if (answer.code != 0) {
    problem = std::string("the machine refuses: ") + std::strerror(static_cast<int>(answer.code));
    errno = static_cast<int>(answer.code);
    return false;
  }
  if (answer.fds.size() != 1) {
    problem = "the machine's answer has no memory";
    errno = EPROTO;
    return false;
  }
  handle_ = answer.args[0];
  slot_ = answer.args[1];
  try {
    events_ =
        events_of(std::uint64_t{answer.args[3]} << 32 | answer.args[2], std::move(answer.fds[0]));
  } catch (const std::system_error& error) {
    problem = error.what();
    errno = error.code().value();
    return false;
  }
  return true;
}

std::unique_ptr<Link> Link::open(HandleKind kind, int wake, bool inherited, std::string& problem) {
  Place place = locator(problem, inherited);
  if (!place.channel) return nullptr;
  Message request{.code = static_cast<std::uint32_t>(Call::open),
                  .args = {place.domain, static_cast<std::uint32_t>(kind)}};
  if (wake >= 0) request.fds.emplace_back(fcntl(wake, F_DUPFD_CLOEXEC, 0));
  Message answer;
  if (!place.channel->exchange(std::move(request), answer)) {
    problem = std::string("the machine does not answer: ") + std::strerror(errno);
    return nullptr;
  }
  std::unique_ptr<Link> link(new Link);
  if (!link->take(answer, problem)) {
    const KeepErrno keep;
    link.reset();
    return nullptr;
  }
  link->channel_ = std::move(place.channel);
  return link;
}

std::unique_ptr<Link> Link::adopt(int wake, std::vector<std::uint32_t>& ports,
                                  std::string& problem) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(wake));
  unsigned long long id = 0;
  for (std::string line; std::getline(info, line);) {
    if (std::sscanf(line.c_str(), "eventfd-id: %llu", &id) == 1) break;
  }
  Place place = locator(problem, false);
  if (!place.channel) return nullptr;
  Message answer;
  if (!place.channel->exchange({.code = static_cast<std::uint32_t>(Call::adopt),
                                .args = {place.domain, static_cast<std::uint32_t>(id),
                                         static_cast<std::uint32_t>(std::uint64_t{id} >> 32)}},
                               answer)) {
    return nullptr;
  }
  std::unique_ptr<Link> link(new Link);
  if (!link->take(answer, problem)) {
    const KeepErrno keep;
    link.reset();
    return nullptr;
  }
  link->channel_ = std::move(place.channel);
  ports = answer.words;
  return link;
}

Link::~Link() = default;

Message Link::call(Call call, std::array<std::uint32_t, 6> args, std::vector<std::uint32_t> words) {
  Message answer;
  const std::lock_guard lock(mutex_);
  if (!channel_->exchange(
          {.code = static_cast<std::uint32_t>(call), .args = args, .words = std::move(words)},
          answer)) {
    // The machine, or this domain in it, has gone.
    answer = {.code = ENODEV};
  }
  if (answer.code != 0) errno = static_cast<int>(answer.code);
  return answer;
}

std::vector<Run> runs_of(const std::vector<std::uint32_t>& words, std::size_t& next) {
  std::vector<Run> runs;
  if (next >= words.size()) return runs;
  for (std::uint32_t left = words[next++]; left > 0 && next + 3 <= words.size();
       --left, next += 3) {
    runs.push_back({words[next], words[next + 1], words[next + 2]});
  }
  return runs;
}

int Memory::fd(std::uint32_t domain, bool writable) {
  const std::pair key(domain, writable);
  for (const auto& [known, fd] : fds_) {
    if (known == key) return fd.get();
  }
  Message answer = link_.call(Call::memory, {domain, writable});
  if (answer.code != 0 || answer.fds.empty()) return -1;
  fds_.emplace_back(key, std::move(answer.fds[0]));
  return fds_.back().second.get();
}

void* Memory::map(const std::vector<Run>& runs, int protection) {
  const bool writable = (protection & PROT_WRITE) != 0;
  if (runs.size() == 1) {
    const int memory = fd(runs[0].domain, writable);
    if (memory < 0) return nullptr;
    void* const area = mmap(nullptr, runs[0].count * kPage, protection, MAP_SHARED, memory,
                            static_cast<off_t>(runs[0].first * kPage));
    return area == MAP_FAILED ? nullptr : area;
  }
  std::size_t pages = 0;
  for (const Run& run : runs) pages += run.count;
  void* const area =
      mmap(nullptr, pages * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (area == MAP_FAILED) return nullptr;
  auto* place = static_cast<std::byte*>(area);
  for (const Run& run : runs) {
    const int memory = fd(run.domain, writable);
    if (memory < 0 || mmap(place, run.count * kPage, protection, MAP_SHARED | MAP_FIXED, memory,
                           static_cast<off_t>(run.first * kPage)) == MAP_FAILED) {
      const KeepErrno keep;
      munmap(area, pages * kPage);
      return nullptr;
    }
    place += run.count * kPage;
  }
  return area;
}

}  // namespace displif_cts::loopback::client
