// What the guest's kernel says, as the agent hands it out: a piece at a time.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "harness/agent/client.h"

namespace displif_cts::cases {

class GuestLog {
 public:
  // From the log's beginning. `agent` must outlive it.
  explicit GuestLog(agent::Client& agent) : agent_(agent) {}

  // Leaves out what has been said so far.
  void skip();
  // What is new since the last call, kMost octets at most: a guest may write faster than we read.
  // Throws agent::Error.
  std::string more();
  // As more(), until `last_line` has come or the deadline has passed; `arrived` says which. The
  // console's log comes by way of xenconsoled, which lets a talkative guest wait.
  struct Read {
    std::string text;
    bool arrived;
  };
  Read until(std::string_view last_line, std::chrono::steady_clock::time_point deadline);

  static constexpr std::size_t kMost = 4U << 20U;

 private:
  agent::Client& agent_;
  std::uint64_t next_ = 0;
};

}  // namespace displif_cts::cases
