// Answers what only the machine itself knows, over the agent's line protocol
// (lab/guest/PROTOCOL.md) on a unix socket: the runner asks it after every case.
//   hello                    {version, verbs, guest_domid}
//   mappings domid=N         {mapped: pages of that domain which any domain maps now}
//   ports domid=N            {in_use: the domain's open event channels}
//   screen connector=N       what a backend displays that listens at screen.sock beside the socket
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "harness/agent/line_protocol.h"
#include "harness/loopback/fd.h"
#include "harness/loopback/host.h"

namespace displif_cts::loopback {

class Oracle {
 public:
  // Listens at `socket`, which must not exist. `guest`: the domain that `hello` names. Throws
  // std::system_error.
  Oracle(Host& host, const std::filesystem::path& socket, xen::DomId guest);
  ~Oracle();  // ends all conversations and removes the socket

 private:
  void accept();
  void converse(int fd);
  Json answer(const agent::Request& request) const;
  std::filesystem::path screen_path() const;

  Host& host_;
  std::filesystem::path path_;
  xen::DomId guest_;
  Fd listener_;
  std::mutex mutex_;
  std::set<int> open_;
  std::vector<std::thread> threads_;
  std::thread thread_;
};

}  // namespace displif_cts::loopback
