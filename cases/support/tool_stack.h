// The tool stack's hands, for cases whose process sits in the frontend's domain and may not make or
// remove devices itself (harness/bus/device.h has the steps).
#pragma once

#include <initializer_list>
#include <optional>
#include <set>
#include <string>

#include "harness/bus/device.h"
#include "harness/xen/store.h"

namespace displif_cts::agent {
class Client;
}

namespace displif_cts::cases {

// All throw xen::Error, or agent::Error.
class ToolStack {
 public:
  // `agent` carries out each step in one call where its `verbs` have it: over a long way each
  // operation costs. Else, and null: domain 0's XenStore, by the socket that the bed names in
  // DISPLIF_CTS_CONTROL_STORE, or our own domain's.
  ToolStack(agent::Client* agent, const std::set<std::string>& verbs);

  void create_device(const bus::DeviceConfig& config);
  bool begin_removal(const bus::DevicePaths& paths, bus::RemoveOrder order);
  void destroy_device(const bus::DevicePaths& paths);

  std::optional<std::string> read(const std::string& path) { return store_.read(path); }
  // Until the node is one of `states`, or not there and `gone` is set: its text then (null: gone);
  // false: not by the deadline.
  struct Arrival {
    bool reached = false;
    std::optional<std::string> text;
  };
  Arrival await_state(const std::string& path, std::initializer_list<bus::State> states, bool gone,
                      xen::Deadline deadline);

 private:
  agent::Client* agent_;  // null: not used
  xen::Store store_;
};

}  // namespace displif_cts::cases
