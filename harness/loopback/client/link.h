// A process's way to the machine: what an open device file is to a kernel.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "harness/loopback/events.h"
#include "harness/loopback/fd.h"
#include "harness/loopback/machine.h"
#include "harness/loopback/message.h"

namespace displif_cts::loopback::client {

// Carries requests. One at a time: callers lock.
class Channel {
 public:
  virtual ~Channel() = default;
  // False with errno: the machine is gone.
  virtual bool exchange(Message request, Message& answer) = 0;
};

// Where the calling thread's domain is, and a new channel to it. nullptr with errno and a text that
// says what is missing: no machine. Set once by the in-process library; otherwise the environment
// decides (DISPLIF_LOOPBACK, DISPLIF_LOOPBACK_DOMAIN).
struct Place {
  std::unique_ptr<Channel> channel;
  std::uint32_t domain = 0;
};
using Locator = Place (*)(std::string& problem, bool inherited);
extern Locator locator;

// An open handle. Destroying it closes it, in this process.
class Link {
 public:
  // nullptr with errno. `wake` is the eventfd of HandleKind::event_channels.
  static std::unique_ptr<Link> open(HandleKind kind, int wake, bool inherited,
                                    std::string& problem);
  // The handle of the eventfd `wake`, which this process inherited over exec(); fills its ports.
  static std::unique_ptr<Link> adopt(int wake, std::vector<std::uint32_t>& ports,
                                     std::string& problem);
  ~Link();

  // Returns the answer; one with code != 0 has set errno to it. Thread-safe.
  Message call(Call call, std::array<std::uint32_t, 6> args = {},
               std::vector<std::uint32_t> words = {});
  // Closes the handle for all processes that have it.
  void close() { call(Call::close); }

  HandleId handle() const { return handle_; }
  std::uint32_t slot() const { return slot_; }
  const EventMemory& events() const { return *events_; }

 private:
  Link() = default;
  bool take(Message& answer, std::string& problem);

  std::mutex mutex_;
  std::unique_ptr<Channel> channel_;
  HandleId handle_ = 0;
  std::uint32_t slot_ = 0;
  std::shared_ptr<const EventMemory> events_;
};

// Runs of pages in an answer (Call::share, Call::map); `next` is where they end in `words`.
std::vector<Run> runs_of(const std::vector<std::uint32_t>& words, std::size_t& next);

// Domains' memory as this handle has got it, by serial number.
class Memory {
 public:
  explicit Memory(Link& link) : link_(link) {}

  // -1 with errno.
  int fd(std::uint32_t domain, bool writable);
  // Maps the runs next to each other; nullptr with errno.
  void* map(const std::vector<Run>& runs, int protection);

 private:
  Link& link_;
  std::vector<std::pair<std::pair<std::uint32_t, bool>, Fd>> fds_;
};

}  // namespace displif_cts::loopback::client
