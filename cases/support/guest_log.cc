#include "cases/support/guest_log.h"

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

}  // namespace displif_cts::cases
