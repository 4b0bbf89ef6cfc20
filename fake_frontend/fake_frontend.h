// The frontend that faces a backend under test: a live, conformant displif frontend over XenStore,
// grants and event channels, with faults to switch on (faults.h) and a journal to wait on.
//
// One thread, the service thread, owns rings, shared pages and the store connection. Every public
// function may be called from any other thread; those that touch the wire are carried out on the
// service thread and return when that is done.
//
// What is recorded (trace::Recorder), each with `connector` where there is one:
//   state  -    {connection: N, what: "connected"|"disconnected"}: brackets all that follows of one
//               connection, N counting from 1
//   state  b2f  {side: "backend", state: 4, name: "Connected"}; f2b: the frontend's own, as written
//   xs     b2f  {path, value}: a node of the backend's or the tool stack's as read (null: missing)
//   xs     f2b  {path, value}: a node as written
//   xs     -    {connector, resolution: {width, height}}: the configuration in force
//   index  b2f  {name: "rsp_prod"|"req_event"|"in_prod", value}: as read
//   index  f2b  {name: "req_prod"|"rsp_event"|"in_cons", value}: as published
//   index  b2f  {what: "notification", channel: "req"|"evt", count}
//   index  b2f  {what: "unnotified", name: "rsp_prod"|"in_prod", value}: responses or events found
//               unannounced
//   index  b2f  {what: "refused", name, value, reason}: an index beyond its ring
//   index  f2b  {what: "directory", dbuf_cookie, pages: [references], references: [references]}: a
//               page directory as handed over; b2f: as the backend has filled it in
//   req    f2b  raw 64 octets; {index, <displif::describe()'s fields>}
//   resp   b2f  raw 64 octets; {index, notified, matched: request's number or null,
//               <displif::describe()'s fields>}
//   evt    b2f  raw 64 octets; {index, notified, <displif::describe()'s fields>}
//   log    -    {text}: faults that strike, troubles
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fake_frontend/faults.h"
#include "harness/bus/nodes.h"
#include "harness/bus/state.h"
#include "harness/displif/nodes.h"
#include "harness/displif/wire.h"
#include "harness/fake/awaited.h"
#include "harness/xen/grants.h"
#include "harness/xen/types.h"

namespace displif_cts::trace {
class Recorder;  // harness/trace/recorder.h
}

namespace displif_cts::fake_frontend {

using fake::Awaited;
using fake::Cursor;
using fake::StateChange;

using displif::DbufCookie;
using displif::FbCookie;

struct Options {
  // Protocol versions to choose from, the highest that the backend offers too.
  std::vector<unsigned> versions{1, 2};
  // Our own domain and the backend's, where XenStore (nodes domid and backend-id) cannot tell them.
  std::optional<xen::DomId> frontend;
  std::optional<xen::DomId> backend;
  // The domain that faults grant pages to instead of the backend; it need not exist.
  xen::DomId stranger{0x7fe0};
  // How long a call waits for its response, and a flip for its event. Linux's own are 3,000 ms and
  // 3,100 ms.
  std::chrono::milliseconds response_limit{3000};
  std::chrono::milliseconds flip_limit{3100};
  // How long leave() waits for the backend to let go of rings and buffers.
  std::chrono::milliseconds leave_limit{1000};
  // Responses and events that lie unannounced for this long are taken all the same, and recorded as
  // unnotified, so that a lost notification is a finding and not a stall.
  std::chrono::milliseconds unnotified_after{250};
  // Pages that one display buffer may have; above it create_buffer() is out of grants.
  std::size_t max_buffer_pages = 32768;
  // Where the frontend ends when the backend has closed: Initialising, ready for the next
  // connection (displif.h, "Recovery flow"), or Closed ("Normal flow").
  enum class BackendGone { initialise, close } backend_gone = BackendGone::initialise;
  // Called on the service thread before anything else; what it returns lives as long as the thread.
  // In-process loopback says here which domain the thread belongs to.
  std::function<std::shared_ptr<void>()> thread_context{};
};

// One request as it was sent.
struct SentRequest {
  std::size_t number = 0;        // position among all requests of this fake, from 0
  unsigned connection = 0;       // 1 for the first transport that was set up, ...
  std::size_t connector = 0;     // whose ring it went on
  std::uint32_t ring_index = 0;  // req_prod of the slot
  displif::Request request;      // decoded; request.packet is the slot as it was written
  std::uint64_t ns = 0;          // when it was put; trace::now_ns()
  std::optional<displif::Response> response;  // the one that was matched to it
  std::uint64_t answered_ns = 0;              // when that was taken from the ring
  bool answer_notified = true;                // false: found without a notification
  // Given up (time limit, end of the connection): a later response is not matched any more.
  std::string given_up;
};

struct ReceivedResponse {
  std::size_t number = 0;
  unsigned connection = 0;
  std::size_t connector = 0;
  std::uint32_t ring_index = 0;  // rsp_cons of the slot
  displif::Response response;
  std::uint64_t ns = 0;
  bool notified = true;
  std::optional<std::size_t> request;  // number of the request that it answers; none: unsolicited
};

struct ReceivedEvent {
  std::size_t number = 0;
  unsigned connection = 0;
  std::size_t connector = 0;
  std::uint32_t page_index = 0;  // in_cons of the slot
  displif::Event event;
  std::uint64_t ns = 0;
  bool notified = true;
};

inline constexpr std::size_t kNoEvent = static_cast<std::size_t>(-1);

// What an operation came to. Exactly one of `response` and `failure` says it, unless a fault hides
// a failure.
struct Reply {
  // Number of the request in requests(); none: nothing was sent.
  std::optional<std::size_t> request;
  std::optional<displif::Response> response;  // as it came, raw octets in response->packet
  std::uint64_t sent_ns = 0;
  std::uint64_t answered_ns = 0;
  // What a client of the frontend is told: 0, or a positive errno. ETIMEDOUT: no response in time;
  // ENODEV: not connected, or no longer; others: the response's status, or refused by the frontend
  // itself, which sent nothing then.
  int error = 0;
  std::string failure;  // why there is no response, in words

  // The backend answered with status 0.
  bool ok() const { return response && response->status == 0; }
  explicit operator bool() const { return ok(); }
  // The backend answered with a negative status.
  bool refused() const { return response && response->status < 0; }
  std::optional<std::int32_t> status() const {
    return response ? std::optional(response->status) : std::nullopt;
  }
  std::string text() const;  // "status -XEN_EINVAL", "no response within 3000 ms", ...
};

// A display buffer to create. Cookies are drawn from one count, 1, 2, ..., unless given.
struct BufferSpec {
  std::uint32_t width = 64;       // pixels
  std::uint32_t height = 32;      // pixels
  std::uint32_t bpp = 32;         // bits per pixel
  std::uint32_t size = 0;         // octets; 0: rows without padding behind data_offset
  std::uint32_t data_offset = 0;  // octets; version 2
  bool backend_allocated = false;
  std::optional<DbufCookie> cookie{};
};

struct FramebufferSpec {
  std::uint32_t width = 0;   // pixels; 0: the buffer's
  std::uint32_t height = 0;  // pixels; 0: the buffer's
  std::uint32_t format = 0;  // FourCC; 0: XRGB8888
  std::optional<FbCookie> cookie{};
};

struct BufferReply : Reply {
  DbufCookie cookie{};
};
struct FramebufferReply : Reply {
  FbCookie cookie{};
};
struct EdidReply : Reply {
  std::vector<std::byte> buffer{};  // the whole buffer after the response; it was 0xee throughout
  std::vector<std::byte> edid{};    // its first edid_sz octets, where these are within the buffer
};

// What show() made; `reply` is that of the last request, the first that failed.
struct Picture {
  Reply reply;
  DbufCookie dbuf{};
  FbCookie fb{};
  bool ok() const { return reply.ok(); }
};

// Which events a wait is about. Unset parts match everything.
struct EventFilter {
  std::optional<std::size_t> connector{};
  std::optional<FbCookie> fb_cookie{};  // flip events of this framebuffer only
  bool accepts(const ReceivedEvent& event) const;
  std::string text() const;
};

class FakeFrontend {
 public:
  // The device is device/vdispl/<device> of the calling domain. The recorder outlives the fake.
  // Nothing is touched before start(). Throws xen::Error when XenStore cannot be reached.
  FakeFrontend(std::uint16_t device, Options options, trace::Recorder& recorder);
  // Vanishes. Leaves nothing granted, bound or mapped; nodes stay as they are.
  ~FakeFrontend();
  FakeFrontend(const FakeFrontend&) = delete;
  FakeFrontend& operator=(const FakeFrontend&) = delete;

  // --- life ------------------------------------------------------------------------------------

  // Initialising, and from then on follows the backend as displif.h's state diagrams say: sets the
  // transport up when the backend is in InitWait, and so on. Returns at once: see
  // await_connected(). May be called again after leave() or vanish(). Throws xen::Error when the
  // device's nodes are not there.
  void start();
  // Orderly: Closing, waits until the backend is no longer Connected (at most
  // Options::leave_limit), takes everything away, Closed. A connection that is being made is
  // awaited first, within the same limit. Objects are not destroyed by requests first. Returns
  // whether the backend let go in time.
  bool leave();
  // As if the frontend's process had died: grants and channels go, nodes stay as they are.
  void vanish();
  // leave() and start() and await_connected().
  Awaited<StateChange> reconnect(xen::Deadline deadline);
  // Switches whether backend states are acted on. On by default.
  void follow_backend(bool follow);
  bool serving() const;
  const bus::DevicePaths& paths() const;  // known from start() on

  // Clients of the virtual device (displif.h, "Recovery flow"): with one, the backend's failure
  // leads to Reconfiguring until the last has closed. False: the device is not there, or accepts no
  // new ones.
  bool open_client();
  void close_client();
  unsigned clients() const;

  // --- faults ----------------------------------------------------------------------------------

  void set_faults(const std::function<void(FrontendFaults&)>& change);
  void clear_faults();
  FrontendFaults faults() const;  // as they stand, strikes counted down

  // --- operations ------------------------------------------------------------------------------
  // Each sends its request(s) politely, unless faults strike, and waits for the response, at most
  // Options::response_limit. None throws for what a backend does.

  // Allocates and grants the pages (or, backend_allocated, has the backend do so, and maps what it
  // granted), writes the directory, and sends DBUF_CREATE.
  BufferReply create_buffer(const BufferSpec& spec);
  // Detaches the buffer's framebuffers, then DBUF_DESTROY; the pages' grants end with the response,
  // whatever it says, or with the time limit. The reply is the DBUF_DESTROY's.
  Reply destroy_buffer(DbufCookie cookie);
  FramebufferReply attach_fb(DbufCookie buffer, const FramebufferSpec& spec = {});
  // Resets the connectors that show it first. The reply is the FB_DETACH's.
  Reply detach_fb(FbCookie cookie);
  // Shows the framebuffer on the whole of the connector.
  Reply set_config(std::size_t connector, FbCookie cookie);
  // As it is given, whatever framebuffer and numbers.
  Reply set_config(std::size_t connector, const displif::SetConfig& config);
  Reply reset_config(std::size_t connector);
  // Sends PG_FLIP. The flip completes later: await_flip(). Refused, with nothing sent, while one is
  // pending on the connector (EBUSY) or the connector is off (EINVAL).
  Reply page_flip(std::size_t connector, FbCookie cookie);
  // Until the flip that is pending on the connector completes (by its event, unless faults strike);
  // which event did it. Fails at the deadline, and where none was pending, or it was refused, or
  // released without event. A flip that a fault has completed without event: number kNoEvent.
  Awaited<ReceivedEvent> await_flip(std::size_t connector, xen::Deadline deadline);
  bool flip_pending(std::size_t connector) const;
  // `buffer_sz` octets, by default XENDISPL_EDID_MAX_SIZE. Refused on a connection of version 1.
  EdidReply get_edid(std::size_t connector, std::optional<std::uint32_t> buffer_sz = std::nullopt);

  // A buffer of the connector's size, a framebuffer of it, and the connector showing it.
  Picture show(std::size_t connector, BufferSpec spec = {.width = 0, .height = 0});

  // --- raw requests ------------------------------------------------------------------------------

  // Sends `body`, or 64 octets as they are, and waits for the response to the id in it. No faults
  // strike, nothing is checked, and the frontend keeps no account of what it may have made: buffers
  // by share_pages(). Not connected: Reply::error ENODEV.
  Reply send(std::size_t connector, const displif::RequestBody& body);
  Reply send(std::size_t connector, const displif::Packet& packet);
  // Puts all requests, publishes them at once, and notifies where the backend asked for it. Returns
  // their numbers, empty when not connected or when the ring has no room for all.
  std::vector<std::size_t> submit(std::size_t connector,
                                  const std::vector<displif::RequestBody>& bodies);
  std::vector<std::size_t> submit(std::size_t connector,
                                  const std::vector<displif::Packet>& packets);
  // The response to a request that was sent.
  Reply await_reply(std::size_t request, xen::Deadline deadline);
  // The next id on the connector's ring; takes it.
  std::uint16_t take_id(std::size_t connector);

  // Pages for raw requests: granted to the backend until the connection ends.
  struct SharedBuffer {
    std::size_t handle = 0;
    std::vector<xen::GrantRef> pages;      // of the buffer
    std::vector<xen::GrantRef> directory;  // its page directory, filled in politely
  };
  // Throws xen::Error where the domain's limits do not allow it.
  SharedBuffer share_pages(std::uint32_t size, xen::Access access = xen::Access::read_write);
  // One 32-bit word of a directory page (0: the link to the next page), overwritten.
  void write_directory(std::size_t handle, std::size_t page, std::size_t entry,
                       std::uint32_t value);
  std::uint32_t read_directory(std::size_t handle, std::size_t page, std::size_t entry);
  // Ends the grants of the pages, or of the directory, now.
  void end_pages(std::size_t handle);
  void end_directory(std::size_t handle);
  // A page granted to any domain, until the connection ends.
  xen::GrantRef grant_page(xen::DomId to, xen::Access access = xen::Access::read_write);

  // --- contents ----------------------------------------------------------------------------------

  // Writes into a buffer (those of share_pages(): by handle) at `offset` octets. False: there is no
  // such buffer, it is not mapped, or `octets` do not fit.
  bool draw(DbufCookie cookie, std::span<const std::byte> octets, std::size_t offset = 0);
  bool draw_shared(std::size_t handle, std::span<const std::byte> octets, std::size_t offset = 0);
  // A copy of the buffer's octets.
  std::optional<std::vector<std::byte>> contents(DbufCookie cookie);
  std::optional<std::vector<std::byte>> contents_shared(std::size_t handle);

  // --- waits -----------------------------------------------------------------------------------
  // Each returns as soon as it can. Empty at the deadline, or at once when the service has ended.

  // Until the backend's state is `state` now.
  Awaited<StateChange> await_state(bus::State state, xen::Deadline deadline);
  // Until the backend's state became `state` at or after the cursor.
  Awaited<StateChange> await_state(bus::State state, xen::Deadline deadline, Cursor& cursor);
  // Until the frontend itself wrote `state`, at or after the cursor.
  Awaited<StateChange> await_own_state(bus::State state, xen::Deadline deadline, Cursor& cursor);
  // Until both ends are Connected.
  Awaited<StateChange> await_connected(xen::Deadline deadline);
  // Until the transport is taken away.
  Awaited<StateChange> await_disconnected(xen::Deadline deadline);
  Awaited<ReceivedEvent> await_event(const EventFilter& filter, xen::Deadline deadline,
                                     Cursor& cursor);
  // No event that matches, from the cursor on, until `deadline`. Otherwise the event.
  std::optional<ReceivedEvent> none_until(const EventFilter& filter, xen::Deadline deadline,
                                          Cursor& cursor);
  // No response without a request, from the cursor on, until `deadline`. Otherwise the response.
  std::optional<ReceivedResponse> no_unsolicited_until(xen::Deadline deadline, Cursor& cursor);

  // --- what was seen ---------------------------------------------------------------------------

  std::vector<SentRequest> requests() const;
  std::vector<ReceivedResponse> responses() const;
  std::vector<ReceivedEvent> events() const;
  std::vector<StateChange> states() const;
  // Behind the last entry of each journal: where a wait starts that wants only what comes now.
  Cursor response_cursor() const;
  Cursor event_cursor() const;
  Cursor state_cursor() const;
  std::optional<bus::State> backend_state() const;   // as last seen; none: no node, or no state
  std::optional<bus::State> frontend_state() const;  // as last written
  bool connected() const;                            // both ends Connected
  unsigned connections() const;                      // how often a transport was set up
  unsigned protocol() const;                         // version in use
  // What the backend's and the tool stack's nodes said when the transport was set up.
  std::optional<std::string> backend_versions() const;
  bool backend_allocation_offered() const;
  std::vector<displif::Resolution> connectors() const;  // visible areas as adopted
  std::vector<std::string> trouble() const;  // what went wrong on the backend's or our own side
  // As published; none: no such connector, or no transport.
  std::optional<displif::ConnectorTransport> transport(std::size_t connector) const;
  // Of a buffer of create_buffer(), as handed over; and for a backend-allocated one as the backend
  // filled it in.
  std::optional<std::vector<xen::GrantRef>> references(DbufCookie cookie) const;

  struct RingIndexes {
    std::uint32_t req_prod = 0, req_event = 0, rsp_prod = 0, rsp_event = 0;  // shared
    std::uint32_t req_prod_pvt = 0, rsp_cons = 0;                            // our own
    std::uint32_t in_prod = 0, in_cons = 0;                                  // event page, shared
    std::uint32_t in_cons_pvt = 0;                                           // our own
    std::uint64_t req_notifications = 0, evt_notifications = 0;  // received since the connection
  };
  // Read from the shared pages now. Empty when there is no transport.
  std::optional<RingIndexes> indexes(std::size_t connector);

  // --- raw access, for attacks ------------------------------------------------------------------
  // Nothing is checked. Each throws std::logic_error when there is no transport.

  // Writes a producer or consumer index into the shared page; the fake's own count does not follow,
  // so that the next polite message publishes the true one again.
  void publish_req_prod(std::size_t connector, std::uint32_t value);
  void publish_rsp_event(std::size_t connector, std::uint32_t value);
  void publish_in_cons(std::size_t connector, std::uint32_t value);
  // The backend's own indices, which a frontend must leave alone.
  void overwrite_rsp_prod(std::size_t connector, std::uint32_t value);
  void overwrite_req_event(std::size_t connector, std::uint32_t value);
  void overwrite_in_prod(std::size_t connector, std::uint32_t value);
  // Writes a slot without publishing it.
  void write_request_slot(std::size_t connector, std::uint32_t index,
                          const displif::Packet& request);
  void write_event_slot(std::size_t connector, std::uint32_t index, const displif::Packet& event);
  void notify_requests(std::size_t connector);  // on the request ring's channel
  void notify_events(std::size_t connector);    // on the event page's channel
  // Ends the grant of a connector's ring or event page while the backend uses it, or closes a
  // channel. The connection is of no use afterwards.
  void end_ring_page(std::size_t connector);
  void end_event_page(std::size_t connector);
  void close_channels(std::size_t connector);
  // Switches whether responses and events are taken from their rings. On with each connection.
  void take_messages(bool take);
  // Writes the frontend's state node, and nothing else. Works when not connected too.
  void set_state(bus::State state);
  void set_state_text(std::string_view text);
  // A node below the device's frontend directory ("0/req-ring-ref"), written or removed.
  void write_node(std::string_view name, std::string_view value);
  void remove_node(std::string_view name);

 private:
  class Service;
  std::unique_ptr<Service> service_;
};

}  // namespace displif_cts::fake_frontend
