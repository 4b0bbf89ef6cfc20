// The backend that faces a frontend under test: a live, conformant displif backend over XenStore,
// grants and event channels, with faults to switch on (faults.h) and a journal to wait on.
//
// One thread, the service thread, owns rings, mappings and the store connection. Every public
// function may be called from any other thread; those that touch the wire are carried out on the
// service thread and return when that is done.
//
// What is recorded (trace::Recorder), each with `connector` where there is one:
//   state  -    {connection: N, what: "connected"|"disconnected"}: brackets all that follows of one
//               connection, N counting from 1
//   state  f2b  {side: "frontend", state: 4, name: "Connected"}; b2f: the backend's own, as written
//   xs     f2b  {path, value}: a node of the frontend's as read (value null: missing)
//   xs     b2f  {path, value}: a node as written
//   xs     -    {connector, resolution: {width, height}, unique_id}: the configuration in force
//   index  -    raw: the first 64 octets of the page as found when mapped, before anything was
//               written; {what: "ring", req_prod, req_event, rsp_prod, rsp_event} and
//               {what: "event-page", in_cons, in_prod}
//   index  f2b  {name: "req_prod"|"rsp_event"|"in_cons", value}: as read
//   index  b2f  {name: "rsp_prod"|"req_event"|"in_prod", value}: as published
//   index  f2b  {what: "notification", channel: "req"|"evt", count}
//   index  f2b  {what: "unnotified", name: "req_prod", value}: requests found unannounced
//   index  f2b  {what: "refused", name, value, reason}: an index beyond its ring
//   index  f2b  {what: "directory", dbuf_cookie, pages: [references], references: count, repeated:
//               count of references that occur more than once, problems: [texts]}: a page directory
//               as read
//   req    f2b  raw 64 octets; {index, notified, <displif::describe()'s fields>}
//   resp   b2f  raw 64 octets; {index, <displif::describe()'s fields>, [reason]}
//   evt    b2f  raw 64 octets; {index, <displif::describe()'s fields>}
//   log    -    {text}: faults that strike, troubles
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fake_backend/faults.h"
#include "fake_backend/model.h"
#include "harness/bus/device.h"
#include "harness/bus/state.h"
#include "harness/displif/page_directory.h"
#include "harness/displif/wire.h"
#include "harness/fake/awaited.h"
#include "harness/fake/entries.h"
#include "harness/trace/recorder.h"
#include "harness/xen/types.h"

namespace displif_cts::fake_backend {

using fake::Awaited;
using fake::Cursor;
using fake::StateChange;

struct Connector {
  displif::Resolution resolution{1024, 768};
  std::string unique_id = "0";    // what libxl writes by default
  std::vector<std::byte> edid{};  // empty: GET_EDID is answered -XEN_EOPNOTSUPP
};

struct Options {
  std::vector<Connector> connectors{Connector{}};
  bool be_alloc = false;
  std::vector<unsigned> versions{1, 2};
  // Maps buffers for writing too. Implied by BackendFaults::buffer_written. Backend-allocated
  // buffers are the backend's own and always writable.
  bool writable_buffers = false;
  // Requests that lie in a ring unannounced for this long are served all the same, and recorded as
  // unnotified, so that a lost notification is a finding and not a stall.
  std::chrono::milliseconds unnotified_after{250};
  // How many requests the journal keeps, kJournalReused at least; then its last are used again.
  std::size_t requests_kept = fake::kJournalLimit;
  // false: no thread of its own; whoever has made the fake turns it, by turn().
  bool own_thread = true;
  // Our own domain, where XenStore cannot tell it.
  std::optional<xen::DomId> backend;
  // The model's limits; connectors, EDID, be_alloc and protocol in it are overwritten.
  ModelOptions limits;
};

// A request as it was taken from the ring.
struct ReceivedRequest {
  std::size_t number = 0;        // position among all requests of this fake, from 0
  unsigned connection = 0;       // 1 for the first time that the two ends were connected, ...
  std::size_t connector = 0;     // whose ring it came on
  std::uint32_t ring_index = 0;  // req_cons of the slot
  displif::Request request;      // decoded; request.packet is the slot as it was, copied once
  std::uint64_t ns = 0;          // when it was read; trace::now_ns()
  bool notified = true;          // false: found without a notification on the ring's channel
  // What the model makes of it, without faults that change the answer on the wire.
  Answer answer;
  // What was sent; none while it is outstanding or if no answer is ever given.
  std::optional<std::int32_t> status;
  std::uint64_t answered_ns = 0;
};

// What was put into an event page.
struct SentEvent {
  std::size_t number = 0;
  unsigned connection = 0;
  std::size_t connector = 0;
  std::uint32_t page_index = 0;  // in_prod of the slot
  displif::Event event;
  std::uint64_t ns = 0;
};

struct SentResponse {
  std::size_t number = 0;
  unsigned connection = 0;
  std::size_t connector = 0;
  std::uint32_t ring_index = 0;  // rsp_prod of the slot
  displif::Response response;
  std::uint64_t ns = 0;
};

// Which requests a wait is about. Unset parts match everything.
struct RequestFilter {
  std::optional<displif::Operation> operation{};
  std::optional<std::size_t> connector{};
  std::function<bool(const ReceivedRequest&)> matches{};
  std::string description{};  // for messages, in place of what the parts above tell

  static RequestFilter op(displif::Operation operation);
  bool accepts(const ReceivedRequest& request) const;
  std::string text() const;
};

class FakeBackend {
 public:
  // `frontend` is the domain of the peer; the caller's own domain is the backend's. The recorder
  // outlives the fake. Nothing is touched before create_device() or start(). Throws xen::Error when
  // XenStore cannot be reached.
  FakeBackend(xen::DomId frontend, std::uint16_t device, Options options,
              trace::Recorder& recorder);
  // Vanishes, and removes the device's nodes if create_device() made them. Leaves nothing mapped,
  // bound or in XenStore.
  ~FakeBackend();
  FakeBackend(const FakeBackend&) = delete;
  FakeBackend& operator=(const FakeBackend&) = delete;

  // --- life ------------------------------------------------------------------------------------

  // Creates both sides' nodes as the tool stack does. `change` may alter what is written (omitted
  // and overridden nodes). Throws xen::Error.
  void create_device(const std::function<void(bus::DeviceConfig&)>& change = {});
  // Publishes `versions` and InitWait, and serves from then on. May be called again after vanish()
  // or shutdown(): the backend is back to normal.
  void start();
  // As if the backend's process had died: serving stops, everything is unmapped and unbound, nodes
  // stay as they are.
  void vanish();
  // Orderly: Closing, everything unmapped and unbound, Closed. The frontend's states are still
  // recorded, but not followed until start().
  void shutdown();
  // As the tool stack unplugs: shutdown(), wait until the frontend is Closed or its node gone (at
  // most until `deadline`), remove the nodes. Returns whether the frontend got there.
  bool remove_device(xen::Deadline deadline);
  // The quick way out: the frontend's nodes go first. While `until_gone` runs, the backend's stay,
  // in state InitWait, where Linux's driver looks for it as it lets go of a device
  // (drivers/gpu/drm/xen/xen_drm_front.c, xen_drv_remove). Then the rest goes.
  void unplug(const std::function<void()>& until_gone);
  const bus::DevicePaths& paths() const;
  // Switches whether frontend states are acted on (connect, tear down, recover). On by default.
  void follow_frontend(bool follow);
  bool serving() const;
  // Without a thread of its own: one turn of the service, after at most `most` of waiting for
  // something to do. True: there is more to do at once.
  bool turn(std::chrono::milliseconds most);
  // Forgets what was seen and done, not the connection: cursors begin anew. For who never looks,
  // and goes on for ever.
  void forget();

  // --- faults ----------------------------------------------------------------------------------

  // Changes the faults between two requests.
  void set_faults(const std::function<void(BackendFaults&)>& change);
  void clear_faults();
  BackendFaults faults() const;  // as they stand, strikes counted down

  // --- waits -----------------------------------------------------------------------------------
  // Each returns as soon as it can. Empty at the deadline, or at once when the service has ended.

  // Until the frontend's state is `state` now.
  Awaited<StateChange> await_state(bus::State state, xen::Deadline deadline);
  // Until the frontend's state became `state` at or after the cursor.
  Awaited<StateChange> await_state(bus::State state, xen::Deadline deadline, Cursor& cursor);
  // Until both ends are Connected and the rings are mapped.
  Awaited<StateChange> await_connected(xen::Deadline deadline);
  // Until the frontend is not connected: rings and buffers are given back.
  Awaited<StateChange> await_disconnected(xen::Deadline deadline);
  Awaited<ReceivedRequest> await_request(const RequestFilter& filter, xen::Deadline deadline,
                                         Cursor& cursor);
  Awaited<ReceivedRequest> await_request(const RequestFilter& filter, xen::Deadline deadline);
  // As await_request(), and until it was answered.
  Awaited<ReceivedRequest> await_answered(const RequestFilter& filter, xen::Deadline deadline,
                                          Cursor& cursor);
  Awaited<SentEvent> await_event(std::optional<std::size_t> connector, xen::Deadline deadline,
                                 Cursor& cursor);
  // Until in_cons of the connector's event page has reached in_prod. A frontend need not confirm.
  Awaited<std::uint32_t> await_confirmed(std::size_t connector, xen::Deadline deadline);
  // No request that matches, from the cursor on, until `deadline`. Otherwise the request.
  std::optional<ReceivedRequest> none_until(const RequestFilter& filter, xen::Deadline deadline,
                                            Cursor& cursor);

  // --- what was seen ---------------------------------------------------------------------------

  std::vector<ReceivedRequest> requests() const;
  std::vector<SentResponse> responses() const;
  std::vector<SentEvent> events() const;
  std::vector<StateChange> states() const;
  // Behind the last entry of each journal: where a wait starts that wants only what comes now.
  Cursor request_cursor() const;
  Cursor event_cursor() const;
  Cursor state_cursor() const;
  std::optional<bus::State> frontend_state() const;  // as last seen; none: no node, or no state
  std::optional<bus::State> backend_state() const;   // as last written
  bool connected() const;                            // rings mapped, state Connected published
  unsigned connections() const;                      // how often the two ends were connected
  unsigned protocol() const;                 // version in use; 1 where the frontend names none
  std::vector<std::string> trouble() const;  // what went wrong on the frontend's or our own side

  Model snapshot_model() const;
  // Copied from the mapped buffer; size is the buffer's. Empty when there is no such buffer, or
  // when it is not mapped.
  std::optional<std::vector<std::byte>> pixels(displif::DbufCookie cookie);
  // The page directory as it was read when the buffer was created, once; kept for buffers that
  // could not be mapped, too. The latest of that cookie.
  std::optional<displif::Directory> directory(displif::DbufCookie cookie) const;
  // The same directory as it is now, mapped and read once more. Empty when the buffer is not known.
  std::optional<displif::Directory> reread_directory(displif::DbufCookie cookie);
  // The nodes that connected connector `connector` last.
  std::optional<displif::ConnectorTransport> transport(std::size_t connector) const;

  struct Visible {
    Framebuffer framebuffer;
    DisplayBuffer buffer;
    Configuration configuration;
  };
  // What the connector shows now; none when it is off.
  std::optional<Visible> visible(std::size_t connector) const;

  struct RingIndexes {
    std::uint32_t req_prod = 0, req_event = 0, rsp_prod = 0, rsp_event = 0;  // shared
    std::uint32_t req_cons = 0, rsp_prod_pvt = 0;                            // our own
    std::uint32_t in_prod = 0, in_cons = 0;                                  // event page
    std::uint16_t next_event_id = 0;
    std::uint64_t req_notifications = 0, evt_notifications = 0;  // received since the connection
  };
  // Read from the shared pages now. Empty when not connected.
  std::optional<RingIndexes> indexes(std::size_t connector);

  // --- raw access, for attacks ------------------------------------------------------------------
  // Nothing is checked. Each throws std::logic_error when not connected.

  // Puts a response into the next slot and publishes rsp_prod, and notifies.
  void send_response(std::size_t connector, const displif::Packet& response);
  // Puts an event into the next slot and publishes in_prod, and notifies. The id is the caller's;
  // next_event_id() is the one that continues the sequence and is left alone.
  void send_event(std::size_t connector, const displif::Packet& event);
  // A flip event with the next id in sequence, which it takes.
  void send_flip_event(std::size_t connector, displif::FbCookie cookie);
  std::uint16_t next_event_id(std::size_t connector);
  // Writes a producer index into the shared page; the fake's own count does not follow, so that
  // the next polite message publishes the true one again.
  void publish_rsp_prod(std::size_t connector, std::uint32_t value);
  void publish_evt_prod(std::size_t connector, std::uint32_t value);
  // Writes a response or event slot without publishing it.
  void write_response_slot(std::size_t connector, std::uint32_t index,
                           const displif::Packet& response);
  void write_event_slot(std::size_t connector, std::uint32_t index, const displif::Packet& event);
  // What lies in a request slot now, answered or not; the index is taken modulo the ring's size.
  displif::Packet request_slot(std::size_t connector, std::uint32_t index);
  // Overwrites the frontend's consumer index of the event page.
  void write_evt_cons(std::size_t connector, std::uint32_t value);
  void notify_requests(std::size_t connector);  // on the request ring's channel
  void notify_events(std::size_t connector);    // on the event page's channel
  // Writes the backend's state node, and nothing else. Works when not connected too.
  void set_state(bus::State state);
  void set_state_text(std::string_view text);

 private:
  class Service;
  std::unique_ptr<Service> service_;
};

}  // namespace displif_cts::fake_backend
