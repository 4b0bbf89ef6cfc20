#include "cases/support/tool_stack.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstdlib>
#include <utility>
#include <vector>

#include "harness/agent/client.h"
#include "harness/xen/store.h"

namespace displif_cts::cases {
namespace {

// XENSTORED_PATH holds for the connection that is opened while it stands, and for no other.
xen::Store open_control_store() {
  const char* control = std::getenv("DISPLIF_CTS_CONTROL_STORE");
  if (control == nullptr) return xen::Store::open();
  const char* own = std::getenv("XENSTORED_PATH");
  const std::optional<std::string> kept =
      own == nullptr ? std::nullopt : std::optional<std::string>(own);
  setenv("XENSTORED_PATH", control, 1);
  const auto restore = [&kept] {
    if (kept) {
      setenv("XENSTORED_PATH", kept->c_str(), 1);
    } else {
      unsetenv("XENSTORED_PATH");
    }
  };
  try {
    xen::Store store = xen::Store::open();
    restore();
    return store;
  } catch (...) {
    restore();
    throw;
  }
}

class LocalToolStack : public ToolStack {
 public:
  LocalToolStack() : store_(open_control_store()) {}

  void create(const bus::DeviceConfig& config) override {
    const bus::DevicePaths paths =
        bus::device_paths(config.frontend, config.backend, config.dev_id);
    const std::vector<bus::NodeWrite> nodes = bus::compose_nodes(config);
    store_.transaction([&](xen::Transaction& transaction) {
      for (const std::string* path : {&paths.libxl, &paths.backend, &paths.frontend})
        if (transaction.read(*path)) throw xen::Error("creating a device", *path, EEXIST);
      for (const bus::NodeWrite& node : nodes) {
        if (node.value) {
          transaction.write(node.path, *node.value);
        } else {
          transaction.mkdir(node.path);
        }
        if (!node.permissions.empty()) transaction.set_permissions(node.path, node.permissions);
      }
    });
  }

  bool begin_removal(const bus::DevicePaths& paths, bus::RemoveOrder order) override {
    return store_.transaction([&](xen::Transaction& transaction) {
      if (order == bus::RemoveOrder::forced) transaction.remove_with_empty_parents(paths.frontend);
      const std::optional<std::string> state = transaction.read(paths.backend + "/state");
      if (!state) return false;
      transaction.write(paths.backend + "/online", "0");
      if (bus::parse_state(*state) != bus::State::closed)
        transaction.write(paths.backend + "/state", bus::print(bus::State::closing));
      return true;
    });
  }

  void destroy(const bus::DevicePaths& paths) override {
    store_.transaction([&](xen::Transaction& transaction) {
      for (const std::string* path : {&paths.frontend, &paths.libxl, &paths.backend})
        transaction.remove_with_empty_parents(*path);
    });
  }

  std::optional<std::string> read(const std::string& path) override { return store_.read(path); }
  void write(const std::string& path, std::string_view value) override {
    store_.write(path, value);
  }
  bool remove(const std::string& path) override { return store_.remove(path); }

 private:
  xen::Store store_;
};

// A line of the agent's `xs-write`: path, permissions, then "=VALUE", or "/" for a
// directory.
std::string line(const std::string& path, const std::string& permissions,
                 const std::optional<std::string>& value) {
  return fmt::format("{} {} {}\n", path, permissions.empty() ? "-" : permissions,
                     value ? "=" + *value : "/");
}

// "n1;r0": the first is the owner, as xs_perm has it.
std::string text_of(const std::vector<xen::Permission>& permissions) {
  static constexpr char kLetters[] = {'n', 'r', 'w', 'b'};
  std::string out;
  for (const xen::Permission& each : permissions) {
    if (!out.empty()) out += ';';
    out +=
        fmt::format("{}{}", kLetters[static_cast<std::size_t>(each.access) & 3U], raw(each.domain));
  }
  return out;
}

class AgentToolStack : public ToolStack {
 public:
  explicit AgentToolStack(agent::Client& agent) : agent_(agent) {}

  void create(const bus::DeviceConfig& config) override {
    const bus::DevicePaths paths =
        bus::device_paths(config.frontend, config.backend, config.dev_id);
    for (const std::string* path : {&paths.libxl, &paths.backend, &paths.frontend})
      if (read(*path)) throw xen::Error("creating a device", *path, EEXIST);
    std::string nodes;
    for (const bus::NodeWrite& node : bus::compose_nodes(config))
      nodes += line(node.path, text_of(node.permissions), node.value);
    agent_.call("xs-write", {{"nodes", nodes}});
  }

  bool begin_removal(const bus::DevicePaths& paths, bus::RemoveOrder order) override {
    if (order == bus::RemoveOrder::forced) remove_with_parents({paths.frontend});
    const std::optional<std::string> state = read(paths.backend + "/state");
    if (!state) return false;
    write(paths.backend + "/online", "0");
    if (bus::parse_state(*state) != bus::State::closed)
      write(paths.backend + "/state", bus::print(bus::State::closing));
    return true;
  }

  void destroy(const bus::DevicePaths& paths) override {
    remove_with_parents({paths.frontend, paths.libxl, paths.backend});
  }

  std::optional<std::string> read(const std::string& path) override {
    const Json answer = agent_.call("xs-read", {{"path", path}});
    const auto value = answer.find("value");
    if (value == answer.end() || !value->is_string()) return std::nullopt;
    return value->get<std::string>();
  }

  void write(const std::string& path, std::string_view value) override {
    agent_.call("xs-write", {{"nodes", line(path, "", std::string(value))}});
  }

  bool remove(const std::string& path) override {
    return agent_.call("xs-rm", {{"paths", path}}).value("removed", 0) != 0;
  }

 private:
  void remove_with_parents(const std::vector<std::string>& paths) {
    agent_.call("xs-rm", {{"paths", fmt::format("{}", fmt::join(paths, "\n"))}, {"parents", "1"}});
  }

  agent::Client& agent_;
};

}  // namespace

std::unique_ptr<ToolStack> make_tool_stack(agent::Client* agent, bool agent_has_store_verbs) {
  if (agent != nullptr && agent_has_store_verbs) return std::make_unique<AgentToolStack>(*agent);
  return std::make_unique<LocalToolStack>();
}

}  // namespace displif_cts::cases
