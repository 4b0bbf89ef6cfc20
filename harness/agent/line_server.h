// Who sends requests of the line protocol to a unix socket: the daemon's clients, and a small
// server in a thread of its own for programs that answer a verb or two.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>

#include "harness/agent/line_protocol.h"
#include "harness/agent/loop.h"
#include "harness/agent/peer.h"
#include "harness/agent/unique_fd.h"

namespace displif_cts::agent {

// Accepts clients at `path` on a loop, from begin() on. Whoever listened there before is replaced;
// only our own user may connect. The folder is made. The destructor removes the socket; the loop
// must not run any more then.
class Listener {
 public:
  Listener(Loop& loop, std::string path, Peer::OnRequest on_request);
  ~Listener();
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  void begin();  // throws std::system_error

 private:
  void accept_all();

  Loop& loop_;
  std::string path_;
  Peer::OnRequest on_request_;
  UniqueFd fd_;
  std::set<std::shared_ptr<Peer>> peers_;
};

class LineServer {
 public:
  // Listens when it is there. `answer` runs in the server's thread and gives the fields of the
  // answer; a VerbError becomes its error, any other exception EIO, nullopt "unsupported". Throws
  // std::system_error.
  using Answer = std::function<std::optional<Json>(const Request&)>;
  LineServer(std::string path, Answer answer);
  ~LineServer();

 private:
  Answer answer_;
  Loop loop_;
  Listener listener_;
  std::thread thread_;
};

}  // namespace displif_cts::agent
