// A machine in this process (harness/loopback): the backend under attack, without a thread of its
// own, in domain 0, and the pages and channels of a frontend in domain 1. XenStore is the real
// libxenstore.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fake_backend/fake_backend.h"
#include "fuzzers/backend/guest_memory.h"
#include "harness/displif/event_page.h"
#include "harness/displif/ring.h"
#include "harness/loopback/host.h"
#include "harness/loopback/inprocess.h"
#include "harness/xen/event_channels.h"
#include "harness/xen/store.h"

namespace displif_cts::fuzz_backend {

inline constexpr std::size_t kConnectors = 2;
inline constexpr displif::Resolution kResolution{640, 480};

// What the frontend shares for one connector.
struct Transport {
  Transport(xen::EventChannels& channels, xen::DomId backend);

  xen::SharedPages ring_page;
  xen::SharedPages event_page;
  xen::BoundPort req_port;
  xen::BoundPort evt_port;
  displif::SharedRing ring;
  displif::SharedEventPage events;
};

class Machine {
 public:
  // `faults`: the backend's, by id; empty: the reference. Throws std::exception.
  explicit Machine(const std::string& fault);
  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // Fresh pages and channels; both ends Connected when it returns. Throws std::runtime_error.
  void connect();
  // Closed, and everything given back. False: the backend did not let go.
  bool disconnect();
  // The backend runs until it has nothing to do at once.
  void run();
  // The same, and it may wait for XenStore's news that long.
  void run_for(std::chrono::milliseconds most);
  // Lets the backend hear of a change of that node: it watches its frontend's state.
  void hear_of(std::string_view node);

  Transport& transport(std::size_t connector) { return *transports_[connector % kConnectors]; }
  GuestMemory& memory() { return *memory_; }
  fake_backend::FakeBackend& backend() { return *backend_; }
  fake_backend::ModelOptions model_options() const;
  // Pages of the frontend's that the backend maps now.
  std::size_t mapped() const;
  // Ports of domain 0 that are bound to the frontend now.
  std::size_t bound() const;
  // Is this a page of a ring, or an event page?
  bool is_transport(xen::GrantRef ref) const;

  // Nodes of the frontend's, as it may write them. Fresh pages and channels are the frontend's once
  // settle() knows of a new connection; until then, and without one, the old ones stay.
  void publish_transport();
  void settle(bool new_connection);
  void write_node(std::string_view name, std::string_view value);
  void remove_node(std::string_view name);
  void write_state(std::string_view text) { write_node("state", text); }

 private:
  bool await(bool connected);
  void make_backend();

  std::string folder_;
  std::string fault_;
  std::unique_ptr<loopback::Host> host_;
  std::unique_ptr<loopback::InProcess> in_process_;
  std::unique_ptr<loopback::ThreadDomain> thread_domain_;
  std::optional<xen::Store> store_;
  std::optional<xen::EventChannels> channels_;
  std::optional<GuestMemory> memory_;
  std::vector<std::unique_ptr<Transport>> transports_;
  std::vector<std::unique_ptr<Transport>> former_;
  trace::Recorder recorder_{nullptr};
  std::unique_ptr<fake_backend::FakeBackend> backend_;
};

}  // namespace displif_cts::fuzz_backend
