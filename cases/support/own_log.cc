#include "cases/support/own_log.h"

namespace displif_cts::cases {

void OwnLog::skip() {
  next_ = agent_.call("klog", {{"offset", "end"}}).value("next", std::uint64_t{0});
}

std::string OwnLog::more() const {
  const Json answer = agent_.call("klog", {{"offset", std::to_string(next_)}});
  std::string text;
  for (const auto& line : answer.value("lines", Json::array()))
    text += line.value("text", "") + "\n";
  return text;
}

}  // namespace displif_cts::cases
