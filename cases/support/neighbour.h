// A second guest beside the one that a backend case plays: a domain of its own with the fake
// frontend's program in it, which dies as a domain does.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "harness/xen/types.h"

namespace displif_cts::cases {

class Neighbour {
 public:
  // Why there is none on this bed; empty where there is.
  static std::string lacking();
  static xen::DomId domain();  // where lacking() is empty

  // Starts displif-fake-frontend in the other domain, for device `device` of it, whose nodes stand.
  // Throws std::system_error.
  Neighbour(unsigned device, const std::vector<std::string>& arguments);
  ~Neighbour();  // kills it
  Neighbour(const Neighbour&) = delete;
  Neighbour& operator=(const Neighbour&) = delete;

  // Until its trace holds `text`; false at the deadline, or when it has ended without.
  bool await_trace(const std::string& text, xen::Deadline deadline);
  // Until it has ended by itself; its exit status, or none at the deadline.
  std::optional<int> await_end(xen::Deadline deadline);
  // Its process is killed, and its domain with it.
  void kill();

 private:
  bool read_more(xen::Deadline deadline);

  pid_t process_ = -1;
  int output_ = -1;
  std::string trace_;
};

}  // namespace displif_cts::cases
