// The tool stack's hands on a display device whose backend is under test: it makes the nodes of
// both sides, asks for the removal, and takes the nodes away (libxl_device.c).
//
// The case process sits in the frontend's domain, which may not do that itself. Where the agent has
// the verbs for it, domain 0's agent does it; otherwise a XenStore connection of our own, which
// must be domain 0's then: that of the socket in DISPLIF_CTS_CONTROL_STORE, or else our own
// domain's.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "harness/bus/device.h"
#include "harness/bus/nodes.h"
#include "harness/xen/types.h"

namespace displif_cts::agent {
class Client;
}

namespace displif_cts::cases {

// Every function throws xen::Error or agent::Error when the nodes cannot be reached.
class ToolStack {
 public:
  virtual ~ToolStack() = default;

  // All nodes of both sides, in one transaction. EEXIST when the device is there.
  virtual void create(const bus::DeviceConfig& config) = 0;
  // Asks for the removal: polite, the backend is told to close; forced, the frontend's nodes go
  // first. False: the backend's state node had gone already.
  virtual bool begin_removal(const bus::DevicePaths& paths, bus::RemoveOrder order) = 0;
  // Removes what is left of the device.
  virtual void destroy(const bus::DevicePaths& paths) = 0;

  virtual std::optional<std::string> read(const std::string& path) = 0;
  virtual void write(const std::string& path, std::string_view value) = 0;
  // Removes the node and all below it. False: there was none.
  virtual bool remove(const std::string& path) = 0;
};

// `agent`: null where there is none.
std::unique_ptr<ToolStack> make_tool_stack(agent::Client* agent, bool agent_has_store_verbs);

}  // namespace displif_cts::cases
