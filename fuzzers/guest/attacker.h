// The backend of a session: plays the backend's actions of a fuzz input (fuzzers/input/action.h)
// against a frontend in a real guest, and answers politely when it is told to serve. It does in
// domain 0, over XenStore, grants and event channels, what fuzzers/linux_frontend/backend.cc does
// in one process, so that one input means the same in both.
//
// One thread. Connects to every connector whose nodes are complete when the frontend becomes
// Initialised or Connected; lets go of all when it is neither of these, nor Reconfiguring or
// Closing, where a driver may still hold what it shared.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fake_backend/link.h"
#include "fuzzers/guest/masks.h"
#include "fuzzers/input/action.h"
#include "harness/bus/device.h"
#include "harness/displif/wire.h"
#include "harness/trace/recorder.h"
#include "harness/xen/event_channels.h"
#include "harness/xen/grants.h"

namespace displif_cts::fuzz_guest {

class Attacker {
 public:
  static constexpr std::size_t kConnectors = 4;

  struct Counts {
    std::uint64_t requests = 0;  // taken from the rings
    std::uint64_t responses = 0;
    std::uint64_t events = 0;
  };

  // The device is created as the tool stack does, with one connector.
  Attacker(xen::DomId frontend, std::uint16_t device, const Masks& masks,
           trace::Recorder& recorder);
  ~Attacker();
  Attacker(const Attacker&) = delete;
  Attacker& operator=(const Attacker&) = delete;

  // What an input says. Kinds that are not a backend's are none of its business.
  void perform(const fuzz::Action& action);

  // Answers what waits in the rings, with success; a flip's event only with `events`. Whether there
  // was anything.
  bool serve(bool events);
  // Takes note of what XenStore tells, and waits at most `most` for something to happen. Whether
  // the frontend's state changed.
  bool look(std::chrono::milliseconds most);
  bool answers_wait() const;  // requests lie in a ring
  // Takes its own attacks on the indices back: goes on where the frontend is, and with `waits`
  // answers its last request again. Without that a frontend would rightly wait for its limit in
  // each further call.
  void make_good(bool waits);

  std::optional<bus::State> frontend_state() const { return state_; }
  std::optional<bus::State> own_state() const { return own_state_; }
  const bus::DevicePaths& paths() const { return device_->paths(); }
  const Counts& counts() const { return counts_; }

  // The device's nodes, as `device` actions take them away and bring them back.
  void unplug();  // the frontend's go, the backend is left in InitWait
  void plug();
  void write_state(std::uint32_t state);
  // Whatever is still mapped or shared is given back.
  void let_go();
  // All nodes go.
  void discard();

 private:
  struct Channel {
    std::optional<fake_backend::Link> link;
    displif::ConnectorTransport transport;
    std::uint32_t req_cons = 0;
    std::uint32_t rsp_seen = 0;  // rsp_prod at the last notification
    std::uint32_t in_seen = 0;
    std::uint64_t fb = 0;  // what it shows
  };
  struct Buffer {
    std::uint64_t cookie = 0;
    xen::GrantRef directory{};
    std::uint32_t pages = 0;
    std::optional<xen::SharedPages> ours{};  // the pages of one that the backend allocates
    bool backend_allocated = false;
  };

  void respond(const fuzz::Action& action);
  void send_event(const fuzz::Action& action);
  void set_index(const fuzz::Action& action);
  void poke(const fuzz::Action& action);
  void fill_directory(const fuzz::Action& action);
  void hold(const fuzz::Action& action);
  void write_node(const fuzz::Action& action);
  std::string path_of(fuzz::NodeName node, unsigned connector) const;

  void follow();
  void connect();
  void disconnect();
  Channel& channel_of(std::uint64_t connector) { return channels_[connector % kConnectors]; }
  bool near_enough(Known mask, std::uint32_t present, std::uint32_t wanted,
                   std::uint32_t seen) const;
  std::int32_t allowed(std::uint64_t status) const;
  std::optional<displif::Request> open_request(const Channel& channel) const;
  displif::Request last_request(const Channel& channel) const;
  void note(Channel& channel, const displif::Request& request);
  void put_event(Channel& channel, std::uint8_t type, std::uint16_t id_off, std::uint64_t cookie,
                 std::uint32_t push);
  void notify_requests(Channel& channel);
  void notify_events(Channel& channel);
  std::optional<xen::Mapping> map(xen::GrantRef ref);
  std::optional<xen::Mapping> directory_page(const Buffer& buffer, std::uint32_t page);
  void write_entries(Buffer& buffer, std::uint32_t first, std::uint32_t count, fuzz::GrefKind kind,
                     std::uint32_t value);
  std::uint32_t reference(Buffer& buffer, std::uint32_t entry, fuzz::GrefKind kind,
                          std::uint32_t value);
  xen::SharedPages& own_pages(Buffer& buffer);

  const xen::DomId frontend_;
  const Masks& masks_;
  trace::Recorder& recorder_;
  bus::DeviceConfig config_;
  xen::Store store_;
  std::optional<xen::Watch> watch_;
  xen::Grants grants_;
  xen::EventChannels channels_handle_;
  std::unique_ptr<bus::DeviceInstance> device_;
  std::array<Channel, kConnectors> channels_;
  std::vector<Buffer> buffers_;
  std::vector<xen::Mapping> held_;
  std::optional<bus::State> state_;
  std::optional<bus::State> own_state_;
  Counts counts_;
};

}  // namespace displif_cts::fuzz_guest
