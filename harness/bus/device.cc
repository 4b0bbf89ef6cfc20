#include "harness/bus/device.h"

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <utility>

namespace displif_cts::bus {
namespace {

constexpr std::size_t kMaxConnectors = 256;  // conn-idx is a uint8_t (displif.h, 'Addressing')

std::size_t index(Side side) { return side == Side::frontend ? 0 : 1; }

void write_node(const xen::StoreAccess& store, const NodeWrite& node) {
  if (node.value) {
    store.write(node.path, *node.value);
  } else {
    store.mkdir(node.path);
  }
  if (!node.permissions.empty()) store.set_permissions(node.path, node.permissions);
}

bool present(const xen::StoreAccess& store, const std::string& path) {
  return store.read(path).has_value();
}

}  // namespace

Creation compose_creation(const DeviceConfig& config) {
  const DevicePaths paths = device_paths(config.frontend, config.backend, config.dev_id);
  Creation creation{{}, compose_nodes(config)};
  for (const std::string* path : paths.written(config)) creation.absent.push_back(*path);
  return creation;
}

void create_device(xen::Store& store, const Creation& creation) {
  store.transaction([&](xen::Transaction& transaction) {
    for (const std::string& path : creation.absent) {
      if (present(transaction, path)) throw xen::Error("creating a device", path, EEXIST);
    }
    for (const NodeWrite& node : creation.nodes) write_node(transaction, node);
  });
}

bool begin_removal(xen::Store& store, const DevicePaths& paths, RemoveOrder order) {
  return store.transaction([&](xen::Transaction& transaction) {
    if (order == RemoveOrder::forced) transaction.remove_with_empty_parents(paths.frontend);
    const std::optional<std::string> state = transaction.read(paths.backend + "/state");
    if (!state) return false;
    transaction.write(paths.backend + "/online", "0");
    if (parse_state(*state) != State::closed) {
      transaction.write(paths.backend + "/state", print(State::closing));
    }
    return true;
  });
}

void destroy_device(xen::Store& store, const DevicePaths& paths) {
  store.transaction([&](xen::Transaction& transaction) {
    transaction.remove_with_empty_parents(paths.frontend);
    transaction.remove_with_empty_parents(paths.libxl);
    transaction.remove_with_empty_parents(paths.backend);
  });
}

DeviceInstance::DeviceInstance(xen::Store store, DeviceConfig config)
    : store_(std::move(store)),
      config_(std::move(config)),
      paths_(device_paths(config_.frontend, config_.backend, config_.dev_id)) {
  const bool faulty = !config_.overrides.empty() || !config_.omit.empty();
  if (config_.connectors.size() > kMaxConnectors || (config_.connectors.empty() && !faulty)) {
    throw std::invalid_argument("a display device with " +
                                std::to_string(config_.connectors.size()) + " connectors");
  }
  create_device(store_, config_);
}

DeviceInstance::~DeviceInstance() {
  if (destroyed_) return;
  try {
    begin_removal(RemoveOrder::forced);
    destroy();
  } catch (const std::exception&) {  // XenStore is gone: so are the nodes
  }
}

std::string DeviceInstance::path(Side side, std::string_view name) const {
  return paths_.of(side) + "/" + std::string(name);
}

std::optional<std::string> DeviceInstance::read(Side side, std::string_view name) const {
  return store_.read(path(side, name));
}

void DeviceInstance::write(Side side, std::string_view name, std::string_view value) {
  store_.write(path(side, name), value);
}

bool DeviceInstance::remove_node(Side side, std::string_view name) {
  return store_.remove(path(side, name));
}

std::optional<State> DeviceInstance::state(Side side) const {
  const std::optional<std::string> text = read(side, "state");
  return text ? parse_state(*text) : std::nullopt;
}

void DeviceInstance::set_state(Side side, State state) {
  write(side, "state", print(state));
  observe(side);
}

void DeviceInstance::observe(Side side) {
  const std::optional<std::string> text = read(side, "state");
  const std::size_t i = index(side);
  if (seen_[i] && last_text_[i] == text) return;
  seen_[i] = true;
  last_text_[i] = text;
  history_.push_back({side, text ? parse_state(*text) : std::nullopt, text, xen::Clock::now()});
  if (observer_) observer_(history_.back());
}

bool DeviceInstance::await(const std::function<bool()>& done, xen::Deadline deadline) {
  if (!frontend_watch_) frontend_watch_ = store_.watch(paths_.frontend);
  if (!backend_watch_) backend_watch_ = store_.watch(paths_.backend);
  for (;;) {
    observe(Side::frontend);
    observe(Side::backend);
    if (done()) return true;
    if (!store_.next_event(deadline)) return false;
  }
}

std::optional<State> DeviceInstance::await_state(Side side, std::initializer_list<State> wanted,
                                                 xen::Deadline deadline) {
  std::optional<State> reached;
  const auto done = [&] {
    // What observe() read just now: a state may already be gone when it is read again.
    const std::optional<std::string>& text = last_text_[index(side)];
    reached = text ? parse_state(*text) : std::nullopt;
    return reached && std::find(wanted.begin(), wanted.end(), *reached) != wanted.end();
  };
  return await(done, deadline) ? reached : std::nullopt;
}

std::optional<std::string> DeviceInstance::await_node(Side side, std::string_view name,
                                                      xen::Deadline deadline) {
  std::optional<std::string> value;
  const auto done = [&] {
    value = read(side, name);
    return value.has_value();
  };
  await(done, deadline);
  return value;
}

void DeviceInstance::remove_frontend() { store_.remove(paths_.frontend); }

void DeviceInstance::discard() {
  for (const std::string* path : paths_.written(config_)) store_.remove(*path);
  frontend_watch_.reset();
  backend_watch_.reset();
  destroyed_ = true;
}

void DeviceInstance::destroy() {
  destroy_device(store_, paths_);
  frontend_watch_.reset();
  backend_watch_.reset();
  destroyed_ = true;
}

bool DeviceInstance::remove(xen::Deadline deadline, RemoveOrder order) {
  bool closed = true;
  if (begin_removal(order)) {
    // libxl takes a backend whose state node has gone for closed as well.
    const auto done = [&] {
      const std::optional<std::string> text = read(Side::backend, "state");
      return !text || parse_state(*text) == State::closed;
    };
    closed = await(done, deadline);
  }
  destroy();
  return closed;
}

bool DeviceInstance::exists() const {
  return present(store_, paths_.libxl) || present(store_, paths_.frontend) ||
         present(store_, paths_.backend);
}

}  // namespace displif_cts::bus
