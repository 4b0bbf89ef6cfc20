#include "harness/agent/devices.h"

#include <cerrno>
#include <utility>
#include <vector>

#include "harness/xen/error.h"

namespace displif_cts::agent {
namespace {

// What `run` returns; XenStore's refusal is the verb's.
template <class Run>
auto translated(Run&& run) {
  try {
    return run();
  } catch (const xen::Error& error) {
    throw VerbError(error.number(), error.what());
  }
}

bus::DevicePaths paths_of(const Arguments& args) {
  return {args.text("frontend"), args.text("backend"), args.text("libxl")};
}

Json describe(const bus::NodeWrite& node) {
  Json permissions = Json::array();
  for (const xen::Permission& entry : node.permissions)
    permissions.push_back({xen::raw(entry.domain), static_cast<unsigned>(entry.access)});
  return {{"path", node.path},
          {"value", node.value ? Json(percent_encode(*node.value)) : Json()},  // any octets
          {"permissions", std::move(permissions)}};
}

bus::NodeWrite parse_node(const Json& node) {
  bus::NodeWrite write;
  write.path = node.at("path").get<std::string>();
  if (const Json& value = node.at("value"); !value.is_null())
    write.value = percent_decode(value.get<std::string>());
  for (const Json& entry : node.at("permissions"))
    write.permissions.push_back({xen::DomId{entry.at(0).get<std::uint16_t>()},
                                 xen::NodeAccess{entry.at(1).get<std::uint8_t>()}});
  return write;
}

}  // namespace

std::string format_creation(const bus::Creation& creation) {
  Json nodes = Json::array();
  for (const bus::NodeWrite& node : creation.nodes) nodes.push_back(describe(node));
  return Json{{"absent", creation.absent}, {"nodes", std::move(nodes)}}.dump();
}

bus::Creation parse_creation(const std::string& text) {
  bus::Creation creation;
  try {
    const Json whole = Json::parse(text);
    creation.absent = whole.at("absent").get<std::vector<std::string>>();
    for (const Json& node : whole.at("nodes")) creation.nodes.push_back(parse_node(node));
  } catch (const Json::exception& error) {
    throw VerbError(EINVAL, std::string("argument device= is no device: ") + error.what());
  }
  return creation;
}

xen::Store& Devices::store() {
  if (!store_) store_.emplace(xen::Store::open());
  return *store_;
}

Json Devices::add(const Arguments& args) {
  const bus::Creation creation = parse_creation(args.text("device"));
  return translated([&]() -> Json {
    bus::create_device(store(), creation);
    return nullptr;
  });
}

Json Devices::begin_removal(const Arguments& args) {
  const auto order = args.flag("forced") ? bus::RemoveOrder::forced : bus::RemoveOrder::polite;
  return translated([&]() -> Json {
    return {{"present", bus::begin_removal(store(), paths_of(args), order)}};
  });
}

Json Devices::destroy(const Arguments& args) {
  return translated([&]() -> Json {
    bus::destroy_device(store(), paths_of(args));
    return nullptr;
  });
}

Json await_state(const std::string& path, const std::string& states, bool gone,
                 std::chrono::milliseconds limit) {
  return translated([&]() -> Json {
    const xen::Deadline deadline = xen::in(limit);
    xen::Store store = xen::Store::open();
    const xen::Watch watch = store.watch(path);
    for (;;) {
      const std::optional<std::string> value = store.read(path);
      const bool reached =
          value ? value->size() == 1 && states.find(*value) != std::string::npos : gone;
      if (reached || !store.next_event(deadline))
        return {{"reached", reached}, {"value", value ? Json(*value) : Json()}};
    }
  });
}

}  // namespace displif_cts::agent
