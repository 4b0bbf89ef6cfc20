// A display device by the tool stack's hands, for one who has none: the steps of
// harness/bus/device.h as verbs of the agent's, each in one call (lab/guest/PROTOCOL.md).
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "harness/agent/line_protocol.h"
#include "harness/bus/device.h"
#include "harness/trace/json.h"
#include "harness/xen/store.h"

namespace displif_cts::agent {

// What `device-add` takes. parse_creation throws VerbError(EINVAL).
std::string format_creation(const bus::Creation& creation);
bus::Creation parse_creation(const std::string& text);

// All throw VerbError. The connection to XenStore is opened at the first use.
class Devices {
 public:
  // `device`: format_creation's text.
  Json add(const Arguments& args);
  // `frontend`, `libxl`, `backend`: the device's paths; `forced`. {"present"}: as begin_removal().
  Json begin_removal(const Arguments& args);
  Json destroy(const Arguments& args);

 private:
  xen::Store& store();
  std::optional<xen::Store> store_;
};

// Until the node `path` holds one of `states` (xenbus states, a digit each), or is not there and
// `gone` is set: {"reached", "value" (null: not there)}. Blocks; opens a connection of its own.
// Throws VerbError.
Json await_state(const std::string& path, const std::string& states, bool gone,
                 std::chrono::milliseconds limit);

}  // namespace displif_cts::agent
