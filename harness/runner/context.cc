#include "harness/runner/context.h"

#include <fmt/format.h>

#include <stdexcept>

namespace displif_cts::runner {
namespace {

[[noreturn]] void bad(const std::string& what) {
  throw std::runtime_error(fmt::format("peer descriptor: {}", what));
}

std::chrono::milliseconds time_of(const Json& times, const char* key,
                                  std::chrono::milliseconds otherwise) {
  const auto it = times.find(key);
  if (it == times.end()) return otherwise;
  if (!it->is_number_unsigned()) bad(fmt::format("times_ms.{} is not a number of ms", key));
  return std::chrono::milliseconds(it->get<std::uint64_t>());
}

}  // namespace

Peer Peer::from_json(const Json& descriptor) {
  Peer peer;
  if (!descriptor.contains("name") || !descriptor["name"].is_string()) bad("name is missing");
  peer.name = descriptor["name"];
  peer.version = descriptor.value("version", "unknown");
  for (const auto& capability : descriptor.value("capabilities", Json::array())) {
    if (!capability.is_string()) bad("capabilities is a list of words");
    peer.capabilities.insert(capability.get<std::string>());
  }
  for (const auto& known : descriptor.value("known_complaints", Json::array())) {
    if (!known.is_object() || !known.value("text", Json()).is_string())
      bad("known_complaints is a list of {text, reason, reference}");
    peer.known_complaints.push_back(known["text"].get<std::string>());
  }
  const Json limits = descriptor.value("limits", Json::object());
  peer.max_connectors = limits.value("connectors", peer.max_connectors);
  for (const auto& id : descriptor.value("connectors", Json::array())) {
    if (!id.is_string()) bad("connectors is a list of words");
    peer.connector_ids.push_back(id.get<std::string>());
  }
  const Json times = descriptor.value("times_ms", Json::object());
  peer.prompt = time_of(times, "prompt", peer.prompt);
  peer.response = time_of(times, "response", peer.response);
  peer.flip_event = time_of(times, "flip_event", peer.flip_event);
  peer.removal = time_of(times, "removal", peer.removal);
  return peer;
}

}  // namespace displif_cts::runner
