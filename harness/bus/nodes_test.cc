#include "harness/bus/nodes.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace displif_cts::bus {

void PrintTo(const NodeWrite& node, std::ostream* out) {
  *out << node.path << " = " << node.value.value_or("(directory)");
  for (const xen::Permission& entry : node.permissions) {
    *out << " " << raw(entry.domain) << ":" << static_cast<int>(entry.access);
  }
}

namespace {

using xen::DomId;
using xen::NodeAccess;
using xen::Permission;

const std::string kFront = "/local/domain/5/device/vdispl/1";
const std::string kBack = "/local/domain/0/backend/vdispl/5/1";
const std::string kRecord = "/libxl/5/device/vdispl/1";

DeviceConfig config() {
  DeviceConfig device;
  device.frontend = DomId{5};
  device.backend = DomId{0};
  device.dev_id = 1;
  device.connectors = {{{1920, 1080}, "left"}, {{800, 600}, "right"}};
  return device;
}

const NodeWrite* find(const std::vector<NodeWrite>& nodes, const std::string& path) {
  const auto found = std::find_if(nodes.begin(), nodes.end(),
                                  [&](const NodeWrite& node) { return node.path == path; });
  return found == nodes.end() ? nullptr : &*found;
}

TEST(DevicePaths, are_libxls) {
  const DevicePaths paths = device_paths(DomId{5}, DomId{0}, 1);
  EXPECT_EQ(paths.frontend, kFront);
  EXPECT_EQ(paths.backend, kBack);
  EXPECT_EQ(paths.libxl, kRecord);
  EXPECT_EQ(&paths.of(Side::frontend), &paths.frontend);
  EXPECT_EQ(&paths.of(Side::backend), &paths.backend);
}

TEST(ComposeNodes, writes_what_libxl_writes_in_its_order) {
  const std::vector<Permission> guests{{DomId{5}, NodeAccess::none}, {DomId{0}, NodeAccess::read}};
  const std::vector<Permission> ours{{DomId{0}, NodeAccess::none}, {DomId{5}, NodeAccess::read}};
  const std::vector<NodeWrite> expected{
      {kRecord + "/frontend", kFront, {}},
      {kRecord + "/backend", kBack, {}},
      {kFront, std::nullopt, guests},
      {kFront + "/backend", kBack, {}},
      {kFront + "/backend-id", "0", guests},
      {kFront + "/state", "1", guests},
      {kFront + "/be-alloc", "0", ours},
      {kFront + "/0/resolution", "1920x1080", ours},
      {kFront + "/0/unique-id", "left", ours},
      {kFront + "/1/resolution", "800x600", ours},
      {kFront + "/1/unique-id", "right", ours},
      {kBack, std::nullopt, ours},
      {kBack + "/frontend", kFront, {}},
      {kBack + "/frontend-id", "5", {}},
      {kBack + "/online", "1", {}},
      {kBack + "/state", "1", {}},
      {kRecord + "/frontend-id", "5", {}},
      {kRecord + "/online", "1", {}},
      {kRecord + "/state", "1", {}},
  };
  EXPECT_EQ(compose_nodes(config()), expected);
}

TEST(ComposeNodes, announces_backend_allocation) {
  DeviceConfig device = config();
  device.be_alloc = true;
  EXPECT_EQ(find(compose_nodes(device), kFront + "/be-alloc")->value, "1");
}

TEST(ComposeNodes, leaves_libxls_record_out_on_request) {
  DeviceConfig device = config();
  device.libxl_record = false;
  for (const NodeWrite& node : compose_nodes(device)) {
    EXPECT_FALSE(node.path.starts_with("/libxl")) << node.path;
  }
}

TEST(ComposeNodes, overrides_replace_and_add) {
  DeviceConfig device = config();
  device.overrides[{Side::frontend, "0/resolution"}] = "0x0";
  device.overrides[{Side::frontend, "2/resolution"}] = "1x1";
  device.overrides[{Side::backend, "versions"}] = "1,2";
  const auto nodes = compose_nodes(device);
  EXPECT_EQ(find(nodes, kFront + "/0/resolution")->value, "0x0");
  EXPECT_EQ(find(nodes, kFront + "/2/resolution")->value, "1x1");
  EXPECT_EQ(find(nodes, kFront + "/2/resolution")->permissions,
            find(nodes, kFront + "/0/resolution")->permissions);
  EXPECT_EQ(find(nodes, kBack + "/versions")->value, "1,2");
  EXPECT_TRUE(find(nodes, kBack + "/versions")->permissions.empty());
  EXPECT_EQ(std::count_if(nodes.begin(), nodes.end(),
                          [](const NodeWrite& n) { return n.path == kFront + "/0/resolution"; }),
            1);
}

TEST(ComposeNodes, omits) {
  DeviceConfig device = config();
  device.omit.insert({Side::frontend, "1/resolution"});
  device.omit.insert({Side::backend, "state"});
  const auto nodes = compose_nodes(device);
  EXPECT_EQ(find(nodes, kFront + "/1/resolution"), nullptr);
  EXPECT_NE(find(nodes, kFront + "/0/resolution"), nullptr);
  EXPECT_EQ(find(nodes, kBack + "/state"), nullptr);
  EXPECT_NE(find(nodes, kFront + "/state"), nullptr);
}

TEST(ComposeNodes, omission_beats_override) {
  DeviceConfig device = config();
  device.omit.insert({Side::frontend, "be-alloc"});
  device.overrides[{Side::frontend, "be-alloc"}] = "1";
  EXPECT_EQ(find(compose_nodes(device), kFront + "/be-alloc"), nullptr);
}

}  // namespace
}  // namespace displif_cts::bus
