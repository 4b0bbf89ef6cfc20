// Reads requests from a channel, runs them, writes answers.
//
// A call into a driver under test may never return. So no verb runs on the thread that reads:
// requests of one lane (`lane=`, which the agent sets for each of its clients) run one after the
// other on a thread of their own, lanes run side by side, and `async=1` gives a request its own
// thread.
#pragma once

#include <poll.h>

#include <atomic>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>

#include "harness/agent/unique_fd.h"
#include "lab/guest/verb_table.h"

namespace displif_cts::exerciser {

// Where requests come from. Used by one thread.
class Channel {
 public:
  virtual ~Channel() = default;
  virtual pollfd wait_for(bool want_to_write) const = 0;
  virtual void acknowledge() {}  // after poll() said that wait_for()'s descriptor is ready
  // Octets moved; 0 for none at present; -1 when the channel has closed.
  virtual long read(char* data, std::size_t size) = 0;
  virtual long write(std::string_view data) = 0;
};

class Server {
 public:
  static constexpr std::size_t kMaxCalls = 256;  // started with async=1 and not yet waited for
  static constexpr std::size_t kMaxLanes = 256;

  explicit Server(VerbTable& table);  // adds `wait`; `table` outlives the server

  // Serves until the channel closes; then answers still under way are dropped. With `session`, what
  // arrives before the line "0 session id=SESSION" is no part of this conversation.
  void serve(Channel& channel, std::string_view session = {});
  // Waits until every lane is idle, and writes what is left to the channel.
  void drain(Channel& channel);

 private:
  struct Lane {  // has a thread as long as it is there
    std::deque<Request> queue;
    bool busy = false;
  };
  struct Call {
    bool done = false;
    Json answer;
  };

  void take(Request request);
  void start_call(Request request);
  void run_lane(std::uint64_t lane, unsigned generation);
  Json perform(const Request& request) const;
  Json wait_for_call(const Arguments& args);
  void put_answer(const Json& answer, unsigned generation);
  bool write_some(Channel& channel);  // false: closed
  void wake();

  VerbTable& table_;
  agent::UniqueFd wake_fd_;

  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  unsigned generation_ = 0;  // of the conversation: answers to an earlier one are dropped
  std::string outbox_;
  std::map<std::uint64_t, Lane> lanes_;
  std::map<std::string, std::shared_ptr<Call>> calls_;
};

}  // namespace displif_cts::exerciser
