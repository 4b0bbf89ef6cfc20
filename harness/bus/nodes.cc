#include "harness/bus/nodes.h"

#include <algorithm>
#include <string_view>

namespace displif_cts::bus {
namespace {

using xen::NodeAccess;
using Permissions = std::vector<xen::Permission>;

std::string number(xen::DomId domain) { return std::to_string(raw(domain)); }

class Composer {
 public:
  explicit Composer(const DeviceConfig& config)
      : config_(config),
        paths_(device_paths(config.frontend, config.backend, config.dev_id)),
        of_frontend_{{config.frontend, NodeAccess::none}, {config.backend, NodeAccess::read}},
        of_backend_{{config.backend, NodeAccess::none}, {config.frontend, NodeAccess::read}} {}

  std::vector<NodeWrite> compose() {
    if (config_.libxl_record) {
      writes_.push_back({paths_.libxl + "/frontend", paths_.frontend, {}});
      writes_.push_back({paths_.libxl + "/backend", paths_.backend, {}});
    }
    frontend();
    backend();
    return std::move(writes_);
  }

 private:
  void frontend() {
    writes_.push_back({paths_.frontend, std::nullopt, of_frontend_});
    add(Side::frontend, "backend", paths_.backend, {});
    add(Side::frontend, "backend-id", number(config_.backend), of_frontend_);
    add(Side::frontend, "state", print(State::initialising), of_frontend_);
    add(Side::frontend, std::string(displif::node::kBeAlloc),
        displif::print_be_alloc(config_.be_alloc), of_backend_);
    for (std::size_t i = 0; i < config_.connectors.size(); ++i) {
      const auto index = static_cast<unsigned>(i);
      const ConnectorConfig& connector = config_.connectors[i];
      add(Side::frontend, displif::node::of_connector(index, displif::node::kResolution),
          displif::print(connector.resolution), of_backend_);
      add(Side::frontend, displif::node::of_connector(index, displif::node::kUniqueId),
          connector.unique_id, of_backend_);
    }
    add_extra(Side::frontend, of_backend_);
  }

  void backend() {
    writes_.push_back({paths_.backend, std::nullopt, of_backend_});
    add(Side::backend, "frontend", paths_.frontend, {});
    const std::pair<std::string, std::string> entries[] = {
        {"frontend-id", number(config_.frontend)},
        {"online", "1"},
        {"state", print(State::initialising)},
    };
    for (const auto& [name, value] : entries) add(Side::backend, name, value, {});
    add_extra(Side::backend, {});
    if (!config_.libxl_record) return;
    for (const auto& [name, value] : entries) {
      writes_.push_back({paths_.libxl + "/" + name, value, {}});
    }
  }

  void add(Side side, std::string name, std::string value, Permissions permissions) {
    const DeviceConfig::Names key(side, std::move(name));
    written_.insert(key);
    if (config_.omit.contains(key)) return;
    if (const auto changed = config_.overrides.find(key); changed != config_.overrides.end()) {
      value = changed->second;
    }
    writes_.push_back(
        {paths_.of(side) + "/" + key.second, std::move(value), std::move(permissions)});
  }

  // Overrides of nodes that libxl does not know.
  void add_extra(Side side, const Permissions& permissions) {
    for (const auto& [key, value] : config_.overrides) {
      if (key.first != side || written_.contains(key)) continue;
      writes_.push_back({paths_.of(side) + "/" + key.second, value, permissions});
    }
  }

  const DeviceConfig& config_;
  DevicePaths paths_;
  Permissions of_frontend_;
  Permissions of_backend_;
  std::set<DeviceConfig::Names> written_;
  std::vector<NodeWrite> writes_;
};

}  // namespace

std::vector<const std::string*> DevicePaths::written(const DeviceConfig& config) const {
  if (config.libxl_record) return {&frontend, &libxl, &backend};
  return {&frontend, &backend};
}

DevicePaths device_paths(xen::DomId frontend, xen::DomId backend, std::uint16_t dev_id) {
  const std::string kind(displif::node::kDevice);
  const std::string device = std::to_string(dev_id);
  return {
      "/local/domain/" + number(frontend) + "/device/" + kind + "/" + device,
      "/local/domain/" + number(backend) + "/backend/" + kind + "/" + number(frontend) + "/" +
          device,
      "/libxl/" + number(frontend) + "/device/" + kind + "/" + device,
  };
}

std::vector<NodeWrite> compose_nodes(const DeviceConfig& config) {
  return Composer(config).compose();
}

}  // namespace displif_cts::bus
