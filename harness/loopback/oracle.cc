#include "harness/loopback/oracle.h"

#include <cerrno>
#include <chrono>
#include <fstream>
#include <utility>
#include <vector>

#include "harness/agent/client.h"
#include "harness/agent/footprint.h"

namespace displif_cts::loopback {
namespace {

constexpr std::uint64_t kMaxDomain = 0x7fef;
constexpr std::chrono::seconds kScreenLimit{10};  // a backend under a sanitizer copies slowly

xen::DomId domain_of(const agent::Request& request) {
  return xen::DomId{static_cast<std::uint16_t>(request.args.number("domid", kMaxDomain))};
}

// The answer's own fields of what the backend at `socket` displays.
Json ask_for_screen(const std::filesystem::path& socket, const agent::Request& request) {
  try {
    agent::Client backend(socket, std::chrono::milliseconds(0));
    const Json shown =
        backend.call("screen", {{"connector", request.args.text("connector")}}, kScreenLimit);
    return Json{
        {"width", shown.at("width")}, {"height", shown.at("height")}, {"data", shown.at("data")}};
  } catch (const agent::Error& error) {
    throw agent::VerbError(EIO, error.what());
  }
}

}  // namespace

Oracle::Oracle(Host& host, const std::filesystem::path& socket, xen::DomId guest)
    : host_(host),
      screen_(socket.parent_path() / "screen.sock"),
      peer_(socket.parent_path() / "peer.pid"),
      guest_(guest),
      server_(socket.string(), [this](const agent::Request& request) { return answer(request); }) {}

Json Oracle::grants(xen::DomId domain) const {
  constexpr std::size_t kListed = 64;  // as the agent's
  Json list = Json::array();
  std::uint64_t mapped = 0;
  const auto entries = host_.grants(domain);
  for (const GrantState& entry : entries) {
    if (list.size() < kListed) list.push_back(entry.ref);
    if (entry.maps != 0) ++mapped;
  }
  return {{"in_use", entries.size()}, {"mapped", mapped}, {"list", std::move(list)}};
}

Json Oracle::ports(xen::DomId domain) const {
  Json list = Json::array();
  for (const PortState& port : host_.ports(domain))
    list.push_back(
        {{"port", port.port}, {"domid", port.remote}, {"remote_port", port.remote_port}});
  return {{"in_use", list.size()}, {"list", std::move(list)}};
}

Json Oracle::process() const {
  pid_t group = 0;
  std::ifstream(peer_) >> group;
  const std::vector<pid_t> all = agent::processes_of_group(group);
  try {
    return agent::to_json(agent::footprint_of(all));
  } catch (const std::system_error& error) {
    throw agent::VerbError(error.code().value(), error.what());
  }
}

std::optional<Json> Oracle::answer(const agent::Request& request) const {
  const bool has_screen = std::filesystem::exists(screen_);
  if (request.verb == "hello") {
    Json verbs{"hello", "grants", "mappings", "ports", "process"};
    if (has_screen) verbs.push_back("screen");
    return Json{{"version", 1}, {"verbs", std::move(verbs)}, {"guest_domid", xen::raw(guest_)}};
  }
  if (request.verb == "mappings")
    return Json{{"mapped", host_.mappings_of(domain_of(request)).size()}};
  if (request.verb == "grants") return grants(domain_of(request));
  if (request.verb == "ports") return ports(domain_of(request));
  if (request.verb == "process") return process();
  if (request.verb == "screen" && has_screen) return ask_for_screen(screen_, request);
  return std::nullopt;
}

}  // namespace displif_cts::loopback
