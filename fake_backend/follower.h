// Serves every display device that the tool stack makes for a backend in this domain, as a real
// backend does: devices of any frontend, each by a FakeBackend of its own, until they go.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fake_backend/fake_backend.h"
#include "harness/trace/recorder.h"
#include "harness/xen/store.h"

namespace displif_cts::fake_backend {

class Follower {
 public:
  // `options`: what all devices have in common; connectors and be-alloc are read from each device's
  // nodes, an EDID of `options`' first connector is given to all. `change` sets the faults of each
  // new backend. Throws xen::Error without a XenStore.
  Follower(Options options, std::function<void(BackendFaults&)> change, trace::Recorder& recorder);
  ~Follower();

  // Waits for a change below the own domain's backend/vdispl, at most until `deadline`, and starts
  // and ends backends accordingly. Trouble with one device is recorded and touches no other.
  void step(xen::Deadline deadline);
  std::size_t devices() const { return served_.size(); }

  // From any thread: what the connector of the first device that shows something displays:
  // XRGB8888, rows without padding. All zero: nothing is shown.
  struct Screen {
    std::uint32_t width = 0;   // pixels
    std::uint32_t height = 0;  // pixels
    std::vector<std::byte> pixels{};
  };
  Screen screen(std::size_t connector);

 private:
  using Key = std::pair<std::uint16_t, std::uint16_t>;  // frontend, device

  void look();
  void serve(Key key);
  std::optional<Options> options_of(const bus::DevicePaths& paths);

  Options options_;
  std::function<void(BackendFaults&)> change_;
  trace::Recorder& recorder_;
  xen::Store store_;
  std::string directory_;
  std::optional<xen::Watch> watch_;
  std::mutex mutex_;  // of what follows
  std::map<Key, std::unique_ptr<FakeBackend>> served_;
};

}  // namespace displif_cts::fake_backend
