// What the kernel of the agent's own domain says: that of a backend in dom0, else our own side's.
#pragma once

#include <cstdint>
#include <string>

#include "harness/agent/client.h"

namespace displif_cts::cases {

class OwnLog {
 public:
  // From the log's beginning. `agent` must outlive it.
  explicit OwnLog(agent::Client& agent) : agent_(agent) {}

  // Leaves out what has been said so far. Throws agent::Error.
  void skip();
  // The lines since then, as often as it is asked; 4096 at most. Throws agent::Error.
  std::string more() const;

 private:
  agent::Client& agent_;
  std::uint64_t next_ = 0;
};

}  // namespace displif_cts::cases
