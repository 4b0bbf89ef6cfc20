// Verbs that somebody else answers through the agent: the host, who offers them over its port, or a
// program of this domain that listens beside the agent's own socket (lab/guest/PROTOCOL.md).
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>

#include "harness/agent/client.h"
#include "harness/agent/line_protocol.h"
#include "harness/agent/peer.h"
#include "harness/trace/json.h"

namespace displif_cts::agent {

class Services {
 public:
  // `folder`: where programs' sockets VERB.sock are.
  explicit Services(std::filesystem::path folder) : folder_(std::move(folder)) {}

  // `verbs`: from now on asked of `host`, in place of what was offered before. Throws VerbError.
  void offer(const Arguments& args, std::weak_ptr<Peer> host);
  // `ask`, and `fields` (an object in JSON) or `error`: the host's answer. Throws VerbError.
  void answer(const Arguments& args);

  std::set<std::string> verbs() const;
  bool offered(std::string_view verb) const { return offered_.contains(verb); }
  // Asks the host; its answer goes to `reply`.
  void ask(const Request& request, const Reply& reply);
  // The socket of the program that answers the verb; empty: there is none.
  std::string program(std::string_view verb) const;

 private:
  std::filesystem::path folder_;
  std::set<std::string, std::less<>> offered_;
  std::weak_ptr<Peer> host_;
  std::uint64_t next_ = 1;
  std::map<std::uint64_t, Reply> asked_;
};

// The answer of whoever listens at `socket`, without the protocol's own fields. Blocks. Throws
// VerbError.
Json ask_program(const std::string& socket, const std::string& verb, const Args& args);
Json ask_program(const std::string& socket, const Request& request);

}  // namespace displif_cts::agent
