#include "cases/support/guest.h"

#include <fmt/format.h>

#include <algorithm>

#include "cases/requirements.gen.h"
#include "cases/support/case_spec.h"
#include "cases/support/kernel_log.h"

namespace displif_cts::cases {
namespace {

std::string number(std::uint64_t value) { return std::to_string(value); }

std::uint32_t u32(const Json& answer, const char* key) {
  return answer.at(key).get<std::uint32_t>();
}

Json json_of(const std::string& verb, const Args& args) {
  Json call{{"call", verb}};
  for (const auto& [key, value] : args) call[key] = value;
  return call;
}

}  // namespace

Result Guest::send(const std::string& verb, const Args& args, std::chrono::milliseconds limit) {
  if (!lost_.empty()) throw GuestSilent(lost_);
  Json answer;
  try {
    answer = await(client_.start_limited("guest." + verb, args, limit), verb, limit);
  } catch (const agent::Error& error) {
    if (error.silent()) throw_silent(verb, limit);
    throw;
  }
  if (answer.value("unsupported", false))
    throw std::runtime_error(fmt::format("the exerciser does not know `{}`", verb));
  Result result;
  result.ok = answer.value("ok", false);
  if (!result.ok && answer.contains("errno") && answer["errno"].is_string())
    result.error = answer["errno"];
  if (answer.value("guest_silent", false)) throw_silent(verb, limit);
  result.answer = std::move(answer);
  return result;
}

// A program whose call crashed in the kernel never gets its answer: no need to wait for it.
Json Guest::await(const agent::Client::Ticket& ticket, const std::string& verb,
                  std::chrono::milliseconds limit) {
  constexpr std::chrono::milliseconds kLook = std::chrono::seconds(1);
  constexpr std::chrono::milliseconds kAnswer = std::chrono::seconds(2);
  // The agent says so itself when the limit is over.
  for (auto left = limit; left > kLook; left -= kLook) {
    if (auto answer = client_.poll(ticket, kLook)) return std::move(*answer);
    log_text_ += log_.more();
    if (judge_log(log_text_).worst != LogTrouble::crash) {
      log_text_.erase(0, log_text_.rfind('\n') + 1);  // the last line may not be whole yet
      continue;
    }
    if (auto answer = client_.poll(ticket, kLook)) return std::move(*answer);
    lost_ = fmt::format("the guest's kernel crashed, and `{}` was not answered", verb);
    recorder_.message(trace::Kind::guest, trace::Direction::none,
                      Json{{"call", verb}, {"silent", "its kernel crashed"}});
    throw GuestSilent(lost_);
  }
  return client_.wait(ticket, std::min(limit, kLook) + kAnswer);
}

void Guest::throw_silent(const std::string& verb, std::chrono::milliseconds limit) {
  recorder_.message(trace::Kind::guest, trace::Direction::none,
                    Json{{"call", verb}, {"silent_ms", limit.count()}});
  const std::string text =
      fmt::format("the guest did not answer `{}` within {} ms", verb, limit.count());
  // One call may wait for the backend, or be lost with the exerciser. The guest hangs when `hello`,
  // which waits for nothing, is not answered either.
  if (verb == "hello" || !answers_hello()) {
    recorder_.record("health", Json{{"state", "hung"}, {"reason", text}});
    lost_ = text;
  }
  throw GuestSilent(text);
}

bool Guest::answers_hello() {
  try {
    return !client_.try_call("guest.hello", {}, std::chrono::seconds(5))
                .value("guest_silent", false);
  } catch (const agent::Error& error) {
    return !error.silent();
  }
}

Result Guest::call(const std::string& verb, const Args& args, std::chrono::milliseconds limit) {
  Json fields = json_of(verb, args);
  recorder_.message(trace::Kind::guest, trace::Direction::none, fields);
  Result result = send(verb, args, limit);
  recorder_.message(trace::Kind::guest, trace::Direction::none,
                    Json{{"return", verb}, {"result", result.text()}});
  return result;
}

Json Guest::must(const std::string& verb, const Args& args, std::chrono::milliseconds limit) {
  Result result = call(verb, args, limit);
  if (!result.ok) {
    recorder_.check(*served_, false, {fmt::format("`{}` succeeds", verb)},
                    fmt::format("{} {}", result.error, result.answer.value("error", "")));
    throw PeerFailed();
  }
  return std::move(result.answer);
}

void Guest::start(const std::string& name, const std::string& verb, const Args& args) {
  Args with_name = args;
  with_name.emplace_back("async", "1");
  with_name.emplace_back("job", name);
  must(verb, with_name);
}

Result Guest::finish(const std::string& name, std::chrono::milliseconds limit) {
  Result result = call("wait", {{"job", name}, {"timeout_ms", number(limit.count())}},
                       limit + std::chrono::seconds(5));
  if (result.answer.value("pending", false))
    throw GuestSilent(
        fmt::format("the guest's call `{}` did not return within {} ms", name, limit.count()));
  return result;
}

void Guest::open(const std::string& fd, std::chrono::milliseconds limit) {
  must("open", {{"name", fd}, {"timeout_ms", number(limit.count())}},
       limit + std::chrono::seconds(5));
}

Result Guest::close(const std::string& fd) { return call("close", {{"name", fd}}); }

std::vector<GuestConnector> Guest::connectors(const std::string& fd) {
  const Json answer = must("connectors", {{"fd", fd}});
  std::vector<GuestConnector> found;
  for (const auto& item : answer.at("connectors")) {
    GuestConnector connector;
    connector.id = u32(item, "id");
    connector.crtc = u32(item, "crtc");
    connector.connected = item.at("connected").get<bool>();
    if (!item.at("modes").empty()) {
      connector.width = u32(item["modes"][0], "hdisplay");
      connector.height = u32(item["modes"][0], "vdisplay");
    }
    found.push_back(connector);
  }
  return found;
}

std::vector<GuestConnector> Guest::all_connectors(std::size_t count, const std::string& fd) {
  auto listed = connectors(fd);
  if (listed.size() == count) return listed;
  recorder_.check(*served_, false, {fmt::format("the device lists {} connectors", count)},
                  fmt::format("it lists {}", listed.size()));
  throw PeerFailed();
}

GuestConnector Guest::connector(std::size_t index, const std::string& fd) {
  const auto listed = connectors(fd);
  if (index < listed.size()) return listed[index];
  recorder_.check(*served_, false, {fmt::format("the device lists connector {}", index)},
                  fmt::format("it lists {}", listed.size()));
  throw PeerFailed();
}

DumbBuffer Guest::create_dumb(const std::string& name, std::uint32_t width, std::uint32_t height,
                              std::uint32_t bpp, const std::string& fd) {
  const Json answer = must("create-dumb", {{"fd", fd},
                                           {"name", name},
                                           {"width", number(width)},
                                           {"height", number(height)},
                                           {"bpp", number(bpp)}});
  return {name, width, height, bpp, u32(answer, "pitch"), answer.at("size").get<std::uint64_t>()};
}

void Guest::fill(const DumbBuffer& buffer, std::uint64_t seed) {
  must("fill", {{"name", buffer.name}, {"seed", number(seed)}});
}

void Guest::add_fb(const std::string& name, const DumbBuffer& buffer, const std::string& format,
                   const std::string& fd) {
  must("add-fb", {{"fd", fd},
                  {"name", name},
                  {"buffer", buffer.name},
                  {"width", number(buffer.width)},
                  {"height", number(buffer.height)},
                  {"format", format},
                  {"pitch", number(buffer.pitch)},
                  {"offset", "0"}});
}

Result Guest::set_crtc(const GuestConnector& connector, const std::string& fb, std::uint32_t width,
                       std::uint32_t height, const std::string& fd) {
  return call("set-crtc", {{"fd", fd},
                           {"crtc", number(connector.crtc)},
                           {"fb", fb},
                           {"connector", number(connector.id)},
                           {"width", number(width)},
                           {"height", number(height)}});
}

Result Guest::crtc_off(const GuestConnector& connector, const std::string& fd) {
  return call("crtc-off", {{"fd", fd}, {"crtc", number(connector.crtc)}});
}

Result Guest::page_flip(const GuestConnector& connector, const std::string& fb,
                        const std::string& fd) {
  return call("page-flip",
              {{"fd", fd}, {"crtc", number(connector.crtc)}, {"fb", fb}, {"event", "1"}});
}

FlipEvent Guest::wait_event(std::chrono::milliseconds limit, const std::string& fd) {
  const Result result = call("wait-event", {{"fd", fd}, {"timeout_ms", number(limit.count())}},
                             limit + std::chrono::seconds(5));
  if (!result.ok && result.error != "ETIMEDOUT")
    throw std::runtime_error(fmt::format("the guest's `wait-event` failed: {}", result.error));
  return {result.ok, result.answer.value("after_ns", std::uint64_t{0})};
}

Result Guest::rm_fb(const std::string& name, const std::string& fd) {
  return call("rm-fb", {{"fd", fd}, {"name", name}});
}

Result Guest::destroy_dumb(const std::string& name, const std::string& fd) {
  return call("destroy-dumb", {{"fd", fd}, {"name", name}});
}

}  // namespace displif_cts::cases
