#include "harness/runner/replay.h"

#include <fmt/format.h>

#include <array>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

namespace displif_cts::runner {
namespace {

using trace::Direction;
using trace::Kind;

constexpr std::array kKinds{Kind::request, Kind::response, Kind::event, Kind::index,
                            Kind::state,   Kind::xenstore, Kind::guest, Kind::log};
constexpr std::array kDirections{Direction::front_to_back, Direction::back_to_front,
                                 Direction::none};

template <class Values>
auto named(const Values& values, const std::string& word) {
  for (const auto value : values)
    if (trace::name(value) == word) return value;
  throw std::runtime_error(fmt::format("'{}' is no kind or direction of a message", word));
}

unsigned digit(char letter) {
  if (letter >= '0' && letter <= '9') return static_cast<unsigned>(letter - '0');
  if (letter >= 'a' && letter <= 'f') return static_cast<unsigned>(letter - 'a') + 10;
  throw std::runtime_error(fmt::format("'{}' is no hexadecimal digit", letter));
}

std::vector<std::byte> octets(const std::string& hex) {
  std::vector<std::byte> bytes;
  for (std::size_t at = 0; at + 1 < hex.size(); at += 2)
    bytes.push_back(static_cast<std::byte>(digit(hex[at]) * 16 + digit(hex[at + 1])));
  return bytes;
}

// One attempt of one case, watched as it was when it ran.
class Watched {
 public:
  Watched(const std::string& case_id, unsigned attempt, const AttachMonitors& attach,
          std::FILE* out)
      : recorder_([attempt, out](const Json& record) { print(record, attempt, out); }, case_id),
        monitors_(attach(recorder_)) {}

  void take(const Json& message) {
    recorder_.message(named(kKinds, message.value("kind", "")),
                      named(kDirections, message.value("dir", "")),
                      octets(message.value("hex", "")), message.value("fields", Json::object()));
  }

  void finish() {
    if (monitors_) monitors_->finish(recorder_);
  }

 private:
  static void print(const Json& record, unsigned attempt, std::FILE* out) {
    if (record.value("t", "") != "check") return;
    Json check = record;
    check["attempt"] = attempt;
    fmt::print(out, "{}\n", check.dump());
  }

  trace::Recorder recorder_;
  std::unique_ptr<Monitors> monitors_;
};

}  // namespace

void replay(std::istream& stream, const AttachMonitors& attach, std::FILE* out) {
  std::map<std::pair<std::string, unsigned>, std::unique_ptr<Watched>> running;
  for (std::string line; std::getline(stream, line);) {
    const Json record = Json::parse(line, nullptr, false);
    if (!record.is_object() || !record.contains("case")) continue;
    const std::string type = record.value("t", "");
    const std::pair key{record.value("case", ""), record.value("attempt", 1U)};
    if (type == "begin")
      running[key] = std::make_unique<Watched>(key.first, key.second, attach, out);
    const auto found = running.find(key);
    if (found == running.end()) continue;
    if (type == "msg") found->second->take(record);
    if (type == "verdict") {
      found->second->finish();
      running.erase(found);
    }
  }
}

}  // namespace displif_cts::runner
