// A display device on XenStore's bus: its nodes, its states, its removal, with the tool stack's
// hands.
//
// Needs the privileges of the tool stack (dom0). One object, one thread: it has its own connection.
#pragma once

#include <functional>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/bus/nodes.h"
#include "harness/bus/state.h"
#include "harness/xen/store.h"

namespace displif_cts::bus {

// A value that a state node took, as far as it was seen: XenStore tells that a node changed, not
// what it was in between, so a state that lasts shorter than our reading of it can be missing.
struct Transition {
  Side side;
  std::optional<State> state;       // nullopt: node missing, or no state
  std::optional<std::string> text;  // as it stood there; nullopt: node missing
  xen::Clock::time_point when;      // when it was read
};

enum class RemoveOrder {
  polite,  // as `xl vdispl-detach`: backend asked to close, then nodes removed when it has closed
  forced,  // as after a timeout or with force: the frontend's nodes go first, unasked
};

// The tool stack's steps, on whichever connection may take them. All throw xen::Error.
// All nodes, in one transaction; EEXIST when one of the paths `absent` is there.
struct Creation {
  std::vector<std::string> absent;
  std::vector<NodeWrite> nodes;
};
Creation compose_creation(const DeviceConfig& config);
void create_device(xen::Store& store, const Creation& creation);
inline void create_device(xen::Store& store, const DeviceConfig& config) {
  create_device(store, compose_creation(config));
}
// The first half of a removal (libxl_device.c, libxl__initiate_device_generic_remove): forced, the
// frontend's nodes go; then the backend gets online = 0 and, unless it is Closed, state Closing.
// False: the backend's state node was already gone.
bool begin_removal(xen::Store& store, const DevicePaths& paths, RemoveOrder order);
// The second half (libxl__device_destroy): removes the frontend's directory, libxl's record and the
// backend's, each with the parents that become empty.
void destroy_device(xen::Store& store, const DevicePaths& paths);

class DeviceInstance {
 public:
  // Creates all nodes in one transaction. Throws std::invalid_argument for a device without
  // connectors (unless overridden or omitted nodes say what to do) or more than 256, and
  // xen::Error; EEXIST when the device is there.
  explicit DeviceInstance(DeviceConfig config)
      : DeviceInstance(xen::Store::open(), std::move(config)) {}
  DeviceInstance(xen::Store store, DeviceConfig config);
  // Removes what is left, by force, and swallows errors. The peer may still hold mappings.
  ~DeviceInstance();
  DeviceInstance(const DeviceInstance&) = delete;
  DeviceInstance& operator=(const DeviceInstance&) = delete;

  const DeviceConfig& config() const { return config_; }
  const DevicePaths& paths() const { return paths_; }
  xen::Store& store() { return store_; }

  // "0/req-ring-ref" -> its full path on that side.
  std::string path(Side side, std::string_view name) const;

  std::optional<std::string> read(Side side, std::string_view name) const;
  void write(Side side, std::string_view name, std::string_view value);
  bool remove_node(Side side, std::string_view name);

  // nullopt: no such node, or text that is no state. read(side, "state") has the text.
  std::optional<State> state(Side side) const;
  void set_state(Side side, State state);

  // Sees every transition that an await meets, of both sides, and those of set_state().
  void on_transition(std::function<void(const Transition&)> observer) {
    observer_ = std::move(observer);
  }
  const std::vector<Transition>& history() const { return history_; }

  // Waits until `side` is in one of `wanted`; returns which. nullopt at the deadline.
  std::optional<State> await_state(Side side, std::initializer_list<State> wanted,
                                   xen::Deadline deadline);
  std::optional<State> await_state(Side side, State wanted, xen::Deadline deadline) {
    return await_state(side, {wanted}, deadline);
  }
  // Waits until done() is true; it is called first and after every change below the device's
  // directories, both sides. False at the deadline.
  bool await(const std::function<bool()>& done, xen::Deadline deadline);
  // Waits for a node; returns its value.
  std::optional<std::string> await_node(Side side, std::string_view name, xen::Deadline deadline);

  // As the function above.
  bool begin_removal(RemoveOrder order = RemoveOrder::polite) {
    return bus::begin_removal(store_, paths_, order);
  }
  // Only the frontend's directory.
  void remove_frontend();
  // All its directories, without the parents that become empty: what a test leaves behind does
  // not have to look as if the tool stack had been there.
  void discard();
  // As destroy_device(); the instance is over.
  void destroy();
  // Both with the wait for the backend's Closed in between, as libxl does. False: the backend did
  // not close in time; the nodes are gone all the same.
  bool remove(xen::Deadline deadline, RemoveOrder order = RemoveOrder::polite);

  bool exists() const;  // libxl's record, or either side's directory

 private:
  void observe(Side side);

  xen::Store store_;
  DeviceConfig config_;
  DevicePaths paths_;
  std::optional<xen::Watch> frontend_watch_;
  std::optional<xen::Watch> backend_watch_;
  std::function<void(const Transition&)> observer_;
  std::vector<Transition> history_;
  std::optional<std::string> last_text_[2];
  bool seen_[2] = {false, false};
  bool destroyed_ = false;
};

}  // namespace displif_cts::bus
