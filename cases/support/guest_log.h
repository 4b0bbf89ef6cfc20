// What the guest's kernel says, as the agent hands it out: a piece at a time.
#pragma once

#include <cstdint>
#include <string>

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

  static constexpr std::size_t kMost = 4U << 20U;

 private:
  agent::Client& agent_;
  std::uint64_t next_ = 0;
};

}  // namespace displif_cts::cases
