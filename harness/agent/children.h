// Programs that the agent runs for its callers: `start`, `wait`, `kill`.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "harness/agent/command.h"
#include "harness/agent/loop.h"
#include "harness/agent/peer.h"
#include "harness/agent/unique_fd.h"

namespace displif_cts::agent {

// Octets to the host, in order. Never blocks the loop: what the device does not take waits here.
class StreamPort {
 public:
  explicit StreamPort(Loop& loop) : loop_(loop) {}
  ~StreamPort();
  StreamPort(const StreamPort&) = delete;
  StreamPort& operator=(const StreamPort&) = delete;

  void open(UniqueFd fd, std::function<void()> on_room);
  bool is_open() const { return static_cast<bool>(fd_); }
  void write(std::string_view octets);
  std::size_t waiting() const { return outbox_.size() - done_; }

 private:
  void flush();

  Loop& loop_;
  UniqueFd fd_;
  std::function<void()> on_room_;  // something of what waited has gone
  std::string outbox_;
  std::size_t done_ = 0;
};

class Children {
 public:
  static constexpr std::size_t kMaxChildren = 64;

  explicit Children(Loop& loop) : loop_(loop), stream_(loop) {}
  ~Children();
  Children(const Children&) = delete;
  Children& operator=(const Children&) = delete;

  // The device that `stdout=port` means.
  void open_stream(UniqueFd fd);

  // All throw VerbError. wait() answers by itself, at once or later.
  Json start(const Arguments& args);
  void wait(const Arguments& args, const Reply& reply);
  Json kill(const Arguments& args);
  Json list() const;
  // What the program has of its own (footprint.h); ESRCH: it has ended.
  Json footprint(const Arguments& args) const;
  void kill_all();

 private:
  struct Waiter {
    Reply reply;
    Loop::TimerId timer;
  };
  struct Running {
    std::string name;
    Child process;
    bool to_port = false;
    bool ended = false;     // the process has
    bool finished = false;  // and all its output has been passed on
    int wait_status = 0;
    UniqueFd out;  // the pipe of its stdout, if that is not a file
    UniqueFd err;
    std::string out_tail;  // what it wrote, as far as it did not go elsewhere
    std::string err_tail;
    std::uint64_t octets = 0;  // passed on to the port
    std::vector<Waiter> waiters;
  };

  void watch_output(const std::shared_ptr<Running>& child, UniqueFd Running::*end);
  void read_output(const std::shared_ptr<Running>& child, UniqueFd Running::*end);
  void reap(const std::shared_ptr<Running>& child);
  void try_finish(const std::shared_ptr<Running>& child);
  void continue_all();
  void close_output(Running& child, UniqueFd Running::*end);
  static Json describe(const Running& child);
  std::shared_ptr<Running> find(const std::string& name) const;

  Loop& loop_;
  StreamPort stream_;
  std::map<std::string, std::shared_ptr<Running>> children_;
};

}  // namespace displif_cts::agent
