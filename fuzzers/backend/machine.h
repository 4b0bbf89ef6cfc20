// A machine in this process (harness/loopback): the backend under attack in domain 0, and the pages
// and channels of a frontend in domain 1. XenStore is the real libxenstore.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fake_backend/model.h"
#include "fuzzers/backend/guest_memory.h"
#include "harness/bus/nodes.h"
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

// Who waits for the backend to have done its work.
class Waiting {
 public:
  virtual ~Waiting() = default;
  // Nothing more is owed.
  virtual bool settled() = 0;
  // Again and again meanwhile.
  virtual void tick() = 0;
};

// The backend's side differs: own_backend.h has it in this process, command_backend.h as somebody's
// program.
class Machine {
 public:
  virtual ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // --- the backend
  // Fresh pages and channels; both ends Connected when it returns. Throws std::runtime_error.
  virtual void connect() = 0;
  // Closed, and everything given back. False: the backend did not let go.
  virtual bool disconnect() = 0;
  // As far as was seen while it ran last.
  virtual bool connected() const = 0;
  virtual unsigned connections() const = 0;  // so far
  virtual std::string trouble() const = 0;
  // Words for how its program has ended; empty: it has not. `soon`: one that goes on is none that
  // is worth waiting for.
  virtual std::string ended(bool /*soon*/ = false) { return {}; }
  // It works until it has nothing to do at once; a program that is not ours, until `waiting` is
  // settled, or a limit of time is over.
  virtual void run(Waiting& waiting) = 0;
  // Until `waiting` is settled; false: the limit of time is over. At once where the backend has no
  // life of its own.
  virtual bool await(Waiting& waiting) = 0;
  // Lets the backend hear of a change of that node: it watches its frontend's state.
  virtual void hear_of(std::string_view node) = 0;
  virtual void forget() {}  // what an input has left in its journals
  // False: it runs when it likes, as soon as it is notified.
  virtual bool runs_when_told() const = 0;
  virtual fake_backend::ModelOptions model_options() const = 0;
  virtual unsigned protocol() const { return 2; }  // of the connection

  // --- the frontend
  Transport& transport(std::size_t connector) { return *transports_[connector % kConnectors]; }
  GuestMemory& memory() { return *memory_; }
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

 protected:
  Machine();
  void close_frontend();

  std::string folder_;
  bus::DevicePaths paths_;
  std::unique_ptr<loopback::Host> host_;
  std::unique_ptr<loopback::InProcess> in_process_;
  std::optional<xen::Store> store_;
  std::optional<xen::EventChannels> channels_;
  std::optional<GuestMemory> memory_;
  std::vector<std::unique_ptr<Transport>> transports_;
  std::vector<std::unique_ptr<Transport>> former_;
};

inline constexpr xen::DomId kBackend{0};
inline constexpr xen::DomId kFrontend{1};
inline constexpr std::uint16_t kDevice = 0;

}  // namespace displif_cts::fuzz_backend
