// Answers what only the machine itself knows, over the agent's line protocol
// (lab/guest/PROTOCOL.md) on a unix socket: the runner asks it after every case.
//   hello                    {version, verbs, guest_domid}
//   mappings domid=N         {mapped: pages of that domain which any domain maps now}
//   grants domid=N           {in_use: entries of that domain's grant table, mapped, list}
//   ports domid=N            {in_use: the domain's open event channels, list}
//   process                  {descriptors, memory_kib, sanitized} of the peer's process group;
//                            peer.pid beside the socket names it
//   screen connector=N       what a backend displays that listens at screen.sock beside the socket
#pragma once

#include <filesystem>
#include <optional>

#include "harness/agent/line_server.h"
#include "harness/loopback/host.h"

namespace displif_cts::loopback {

class Oracle {
 public:
  // Listens at `socket`. `guest`: the domain that `hello` names. Throws std::system_error.
  Oracle(Host& host, const std::filesystem::path& socket, xen::DomId guest);

 private:
  Json grants(xen::DomId domain) const;
  Json ports(xen::DomId domain) const;
  Json process() const;
  std::optional<Json> answer(const agent::Request& request) const;

  Host& host_;
  std::filesystem::path screen_;
  std::filesystem::path peer_;
  xen::DomId guest_;
  agent::LineServer server_;
};

}  // namespace displif_cts::loopback
