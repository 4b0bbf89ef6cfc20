// A connection to displif-cts-agent (lab/guest/PROTOCOL.md). Thread-safe: any number of threads may
// call at once, each gets its own answer. Not to be used on both sides of a fork: the parent and
// the child each open their own.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "harness/agent/line_protocol.h"
#include "harness/agent/unique_fd.h"
#include "harness/trace/json.h"

namespace displif_cts::agent {

using Args = std::vector<std::pair<std::string, std::string>>;  // values as they are, not encoded

// A call that failed, or got no answer.
class Error : public std::runtime_error {
 public:
  Error(std::string verb, std::string errno_text, const std::string& text, Json answer);
  const std::string& verb() const { return verb_; }
  const std::string& error() const { return error_; }  // "EINVAL", ...
  const Json& answer() const { return answer_; }       // null when there is none
  // Nobody answered within the limit: the agent itself, or for `guest.*` the exerciser.
  bool silent() const;
  // The program at the other end does not know the verb.
  bool unsupported() const;

 private:
  std::string verb_;
  std::string error_;
  Json answer_;
};

class Client {
 public:
  // Connects to the agent's unix socket; waits at most `limit` for the agent to listen.
  // Throws Error (verb "connect").
  explicit Client(const std::filesystem::path& socket,
                  std::chrono::milliseconds limit = std::chrono::seconds(5));

  // The answer of a call that succeeded. Throws Error when it failed, or was not answered within
  // `limit`. A `guest.*` call makes the agent itself give up after `limit` (argument `limit_ms`).
  // `payload` goes with `put` and `guest.put` only; `size` is added.
  Json call(std::string_view verb, const Args& args = {},
            std::chrono::milliseconds limit = std::chrono::seconds(60),
            std::string_view payload = {});
  // The same, but an answer with ok=false is a result too. Throws Error only when there is none.
  Json try_call(std::string_view verb, const Args& args = {},
                std::chrono::milliseconds limit = std::chrono::seconds(60),
                std::string_view payload = {});

  // Sends now; wait() gives the answer later, as try_call() would.
  class Ticket {
   public:
    const std::string& verb() const { return verb_; }

   private:
    friend class Client;
    std::uint64_t seq_ = 0;
    std::string verb_;
  };
  // A call to the guest, which the agent ends after `limit`.
  Ticket start_limited(std::string_view verb, const Args& args, std::chrono::milliseconds limit,
                       std::string_view payload = {});
  Ticket start(std::string_view verb, const Args& args = {}, std::string_view payload = {});
  // The answer, if it comes within `limit`; may be called again with the same ticket until then.
  std::optional<Json> poll(const Ticket& ticket, std::chrono::milliseconds limit);
  // Throws Error when there is no answer within `limit`; a late one is then dropped.
  Json wait(const Ticket& ticket, std::chrono::milliseconds limit);

 private:
  void send(std::string_view octets, std::string_view verb);
  void read_answers(std::chrono::steady_clock::time_point deadline);

  UniqueFd fd_;
  std::mutex send_mutex_;
  std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::uint64_t next_seq_ = 1;
  bool reading_ = false;  // one of the waiting threads reads for all
  std::string broken_;    // why the connection is of no more use
  std::string buffer_;    // of the reading thread
  std::set<std::uint64_t> wanted_;
  std::map<std::uint64_t, Json> answers_;
};

}  // namespace displif_cts::agent
