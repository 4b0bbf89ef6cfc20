#include "cases/support/guest_log.h"

#include <thread>

namespace displif_cts::cases {

void GuestLog::skip() {
  next_ = agent_.call("guest-log", {{"offset", "end"}}).at("next").get<std::uint64_t>();
}

std::string GuestLog::more() {
  std::string text;
  while (text.size() < kMost) {
    const Json answer = agent_.call("guest-log", {{"offset", std::to_string(next_)}});
    const auto next = answer.at("next").get<std::uint64_t>();
    text += answer.value("text", "");
    if (next == next_) break;
    next_ = next;
    if (answer.value("eof", true)) break;
  }
  return text;
}

GuestLog::Read GuestLog::until(std::string_view last_line,
                               std::chrono::steady_clock::time_point deadline) {
  Read read{more(), false};
  for (;;) {
    // As a whole line: its end has come, too.
    const std::size_t at = read.text.find(last_line);
    read.arrived = at != std::string::npos && read.text.find('\n', at) != std::string::npos;
    if (read.arrived || read.text.size() >= kMost || std::chrono::steady_clock::now() >= deadline)
      return read;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    read.text += more();
  }
}

}  // namespace displif_cts::cases
