#include "harness/agent/services.h"

#include <array>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

namespace displif_cts::agent {
namespace {

constexpr std::array<std::string_view, 1> kOfPrograms{"screen"};
constexpr std::size_t kMaxAsked = 64;
constexpr std::chrono::seconds kProgramLimit{60};
// What an answer has of its own, beside the verb's fields.
constexpr std::array<const char*, 6> kFrame{"seq", "ok", "ret", "errno", "ns", "took_ns"};

Args decoded(const Arguments& arguments) {
  Args args;
  for (const auto& [key, encoded] : arguments.encoded())
    args.emplace_back(key, percent_decode(encoded).value_or(""));
  return args;
}

}  // namespace

void Services::offer(const Arguments& args, std::weak_ptr<Peer> host) {
  const auto verbs = args.list("verbs");
  offered_ = {verbs.begin(), verbs.end()};
  host_ = std::move(host);
}

void Services::answer(const Arguments& args) {
  const auto asked = asked_.find(args.number("ask", UINT64_MAX));
  if (asked == asked_.end()) throw VerbError(ENOENT, "nobody asked that");
  const Reply reply = asked->second;
  asked_.erase(asked);
  if (args.has("error")) {
    reply.error(EIO, args.text("error"));
    return;
  }
  const Json fields = Json::parse(args.text("fields"), nullptr, false);
  if (!fields.is_object()) {
    reply.error(EIO, "the host's answer is no object");
    throw VerbError(EINVAL, "argument fields= is no object");
  }
  reply.ok(fields);
}

std::set<std::string> Services::verbs() const {
  std::set<std::string> all(offered_.begin(), offered_.end());
  for (const std::string_view verb : kOfPrograms)
    if (!program(verb).empty()) all.emplace(verb);
  return all;
}

void Services::ask(const Request& request, const Reply& reply) {
  const auto host = host_.lock();
  if (!host) throw VerbError(ENOTCONN, "the host that offered it has gone");
  if (asked_.size() >= kMaxAsked) throw VerbError(EAGAIN, "the host has not answered for long");
  Json args = Json::object();
  for (const auto& [key, value] : decoded(request.args)) args[key] = value;
  const std::uint64_t number = next_++;
  asked_.emplace(number, reply);
  host->send(
      Json{{"event", "ask"}, {"ask", number}, {"verb", request.verb}, {"args", args}}.dump() +
      "\n");
}

std::string Services::program(std::string_view verb) const {
  for (const std::string_view known : kOfPrograms) {
    if (known != verb) continue;
    const std::filesystem::path socket = folder_ / (std::string(verb) + ".sock");
    std::error_code none;
    if (std::filesystem::exists(socket, none)) return socket;
  }
  return {};
}

Json ask_program(const std::string& socket, const std::string& verb, const Args& args) {
  try {
    Client program(socket, std::chrono::milliseconds(0));
    Json fields = program.call(verb, args, kProgramLimit);
    for (const char* own : kFrame) fields.erase(own);
    return fields;
  } catch (const Error& error) {
    throw VerbError(EIO, error.what());
  }
}

Json ask_program(const std::string& socket, const Request& request) {
  return ask_program(socket, std::string(request.verb), decoded(request.args));
}

}  // namespace displif_cts::agent
