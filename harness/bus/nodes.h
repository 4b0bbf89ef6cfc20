// Which nodes make up a display device, with owners and permissions as libxl gives them
// (libxl_device.c, libxl__device_generic_add; libxl_vdispl.c, libxl__set_xenstore_vdispl). Pure: no
// XenStore needed.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "harness/bus/state.h"
#include "harness/displif/nodes.h"
#include "harness/xen/store.h"

namespace displif_cts::bus {

struct ConnectorConfig {
  displif::Resolution resolution{800, 600};
  std::string unique_id = "0";  // libxl writes what the configuration file says
};

struct DeviceConfig {
  xen::DomId frontend{};
  xen::DomId backend{};
  std::uint16_t dev_id = 0;
  bool be_alloc = false;
  std::vector<ConnectorConfig> connectors{ConnectorConfig{}};
  // libxl's own record of the device below /libxl/DOMID. `xl vdispl-list` and `xl destroy` read it.
  bool libxl_record = true;

  // For faults. Keys are names relative to the side's directory, like "0/resolution". An override
  // replaces the value of a node that would be written anyway, or adds one, last; an omitted node
  // is not written (and its permissions neither).
  using Names = std::pair<Side, std::string>;
  std::map<Names, std::string> overrides;
  std::set<Names> omit;
};

struct DevicePaths {
  std::string frontend;  // /local/domain/1/device/vdispl/0
  std::string backend;   // /local/domain/0/backend/vdispl/1/0
  std::string libxl;     // /libxl/1/device/vdispl/0

  // Those that a device has nodes below: the frontend's, libxl's if there is one, the backend's.
  std::vector<const std::string*> written(const DeviceConfig& config) const;
  const std::string& of(Side side) const { return side == Side::frontend ? frontend : backend; }
};

DevicePaths device_paths(xen::DomId frontend, xen::DomId backend, std::uint16_t dev_id);

// One step of creating a device. No value: make a directory.
struct NodeWrite {
  std::string path;
  std::optional<std::string> value;
  std::vector<xen::Permission> permissions;  // empty: as inherited from the parent
  bool operator==(const NodeWrite&) const = default;
};

// The steps in libxl's order, after what stood at the three paths has been removed.
// - frontend directory: owner is the frontend's domain, the backend's may read. So are `backend-id`
//   and `state`; `backend` and what the frontend creates later inherit it.
// - what the frontend must not change (be-alloc, N/resolution, N/unique-id): owner is the backend's
//   domain, the frontend's may read. The directories N belong to the frontend.
// - backend directory: owner is the backend's domain, the frontend's may read; all below inherits.
std::vector<NodeWrite> compose_nodes(const DeviceConfig& config);

}  // namespace displif_cts::bus
