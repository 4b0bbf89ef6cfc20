#include "fake_frontend/fake_frontend.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <thread>
#include <utility>

#include "fake_frontend/journal.h"
#include "fake_frontend/service.h"

namespace displif_cts::fake_frontend {
namespace {

using fake::await;
using fake::find_from;
using fake::wait_for;
using xen::Clock;
using xen::Deadline;

StateChange current(const Journal& journal, bus::Side side) {
  const auto& state = side == bus::Side::frontend ? journal.frontend_state : journal.backend_state;
  return {.number = journal.states.size(),
          .side = side,
          .state = state,
          .text = state ? bus::print(*state) : "",
          .ns = now_ns()};
}

// What a client is told of a status: displif.h's codes are negated errno values; above zero there
// are none.
int error_of(std::int32_t status) {
  if (status > 0) return EPROTO;
  return status == INT32_MIN ? INT32_MAX : -status;
}

std::optional<Reply> reply_of(const Journal& journal, std::size_t number) {
  const SentRequest& request = journal.requests.at(number);
  Reply reply;
  reply.request = number;
  reply.sent_ns = request.ns;
  if (request.response) {
    reply.response = request.response;
    reply.answered_ns = request.answered_ns;
    reply.error = error_of(request.response->status);
    return reply;
  }
  if (request.given_up.empty()) return std::nullopt;
  reply.error = ENODEV;
  reply.failure = request.given_up;
  return reply;
}

constexpr auto kEndless = std::chrono::hours(1);

}  // namespace

FakeFrontend::FakeFrontend(std::uint16_t device, Options options, trace::Recorder& recorder)
    : service_(std::make_unique<Service>(device, std::move(options), recorder)) {}

FakeFrontend::~FakeFrontend() = default;

// --- life ----------------------------------------------------------------------------------------

void FakeFrontend::start() {
  service_->run([&] { service_->start(); });
}

bool FakeFrontend::leave() {
  Journal& journal = service_->journal;
  const Deadline deadline = xen::in(service_->options().leave_limit);
  while (!service_->run([&] { return service_->begin_leaving(Clock::now() >= deadline); })) {
    (void)wait_for(journal, deadline, false, [](const Journal& j) {
      return !j.transport || j.connected ? std::optional(true) : std::nullopt;
    });
  }
  const auto gone = wait_for(journal, deadline, false, [](const Journal& j) {
    const bool over = j.frontend_state != bus::State::closing ||  // fault leaves-abruptly
                      j.backend_state != bus::State::connected;
    return over ? std::optional(true) : std::nullopt;
  });
  service_->run([&] { service_->finish_leaving(); });
  return gone.has_value();
}

void FakeFrontend::vanish() {
  service_->run([&] { service_->vanish(); });
}

Awaited<StateChange> FakeFrontend::reconnect(Deadline deadline) {
  (void)leave();
  start();
  return await_connected(deadline);
}

void FakeFrontend::follow_backend(bool follow) {
  service_->run([&] { service_->follow = follow; });
}

bool FakeFrontend::serving() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.serving;
}

const bus::DevicePaths& FakeFrontend::paths() const { return service_->paths; }

bool FakeFrontend::open_client() {
  return service_->run([&] { return service_->open_client(); });
}

void FakeFrontend::close_client() {
  service_->run([&] { service_->close_client(); });
}

unsigned FakeFrontend::clients() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.clients;
}

// --- faults --------------------------------------------------------------------------------------

void FakeFrontend::set_faults(const std::function<void(FrontendFaults&)>& change) {
  // On the service thread, so that no request sees half of it.
  service_->run([&] {
    const std::lock_guard lock(service_->journal.mutex);
    change(service_->journal.faults);
  });
}

void FakeFrontend::clear_faults() {
  set_faults([](FrontendFaults& faults) { faults = {}; });
}

FrontendFaults FakeFrontend::faults() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.faults;
}

// --- requests and their responses ----------------------------------------------------------------

Reply FakeFrontend::Service::await(std::size_t number, Deadline deadline, bool patient) {
  const auto start = Clock::now();
  for (;;) {
    auto reply =
        wait_for(journal, deadline, true, [&](const Journal& j) { return reply_of(j, number); });
    if (reply) return *reply;
    bool endless = false;
    if (!patient) {
      {
        const std::lock_guard lock(journal.mutex);
        endless = journal.endless;
      }
      endless = endless || strikes(&FrontendFaults::waits_for_ever, "waits-for-ever");
    }
    if (endless) {
      deadline = xen::in(kEndless);
      continue;
    }
    const auto waited =
        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - start).count();
    if (!patient) {
      run([&] { give_up(number, fmt::format("no response within {} ms", waited)); });
    }
    const std::lock_guard lock(journal.mutex);
    Reply given_up;
    if (const auto known = reply_of(journal, number)) given_up = *known;
    if (given_up.response) return given_up;  // it came just now
    given_up.request = number;
    given_up.sent_ns = journal.requests[number].ns;
    given_up.error = ETIMEDOUT;
    given_up.failure =
        fmt::format("no response within {} ms; seen last: {}", waited, journal.last_seen());
    return given_up;
  }
}

// One operation of the frontend's own, between its preparation and its end.
Reply FakeFrontend::Service::call(std::size_t connector, const Prepared& prepared) {
  Reply reply;
  if (!prepared.failure.empty()) {
    reply.error = prepared.error;
    reply.failure = prepared.failure;
    return reply;
  }
  if (const auto late = strikes_with(&FrontendFaults::request_late, "request-late")) {
    std::this_thread::sleep_for(late->delay);
  }
  const Sent sent = run([&] {
    Sent done = send(connector, prepared.body);
    if (done.number && prepared.handle != 0 &&
        strikes_at(&FrontendFaults::directory_changing, displif::operation_of(prepared.body),
                   "directory-changing")) {
      shake_later(prepared.handle, *done.number, 0);
    }
    return done;
  });
  if (!sent.number) {
    reply.error = sent.error;
    reply.failure = sent.failure;
    return reply;
  }
  return await(*sent.number, xen::in(options_.response_limit), false);
}

Reply FakeFrontend::send(std::size_t connector, const displif::RequestBody& body) {
  return send(connector, displif::encode_request(take_id(connector), body));
}

Reply FakeFrontend::send(std::size_t connector, const displif::Packet& packet) {
  const auto numbers = submit(connector, std::vector{packet});
  if (numbers.empty()) {
    Reply reply;
    reply.error = ENODEV;
    reply.failure = fmt::format("connector {} has no transport, or no room in its ring", connector);
    return reply;
  }
  return service_->await(numbers.front(), xen::in(service_->options().response_limit), false);
}

std::vector<std::size_t> FakeFrontend::submit(std::size_t connector,
                                              const std::vector<displif::RequestBody>& bodies) {
  std::vector<displif::Packet> packets;
  packets.reserve(bodies.size());
  for (const displif::RequestBody& body : bodies) {
    packets.push_back(displif::encode_request(take_id(connector), body));
  }
  return submit(connector, packets);
}

std::vector<std::size_t> FakeFrontend::submit(std::size_t connector,
                                              const std::vector<displif::Packet>& packets) {
  return service_->run([&] { return service_->send_raw(connector, packets); });
}

Reply FakeFrontend::await_reply(std::size_t request, Deadline deadline) {
  {
    const std::lock_guard lock(service_->journal.mutex);
    if (request >= service_->journal.requests.size()) {
      Reply reply;
      reply.error = ENOENT;
      reply.failure = fmt::format("there is no request {}", request);
      return reply;
    }
  }
  return service_->await(request, deadline, true);
}

std::uint16_t FakeFrontend::take_id(std::size_t connector) {
  return service_->run([&]() -> std::uint16_t {
    Link* of = service_->find_link(connector);
    return of == nullptr ? 0 : of->next_id++;
  });
}

// --- operations ----------------------------------------------------------------------------------

BufferReply FakeFrontend::create_buffer(const BufferSpec& spec) {
  BufferReply reply;
  const auto prepared = service_->run([&] { return service_->prepare_create(spec, reply.cookie); });
  static_cast<Reply&>(reply) = service_->call(0, prepared);
  if (prepared.handle != 0) {
    service_->run([&] { service_->finish_create(prepared.handle, reply); });
  }
  return reply;
}

Reply FakeFrontend::destroy_buffer(DbufCookie cookie) {
  const auto framebuffers = service_->run([&] { return service_->framebuffers_of(cookie); });
  if (!framebuffers.empty() &&
      !service_->strikes(&FrontendFaults::destroy_without_detach, "destroy-without-detach")) {
    for (const FbCookie fb : framebuffers) (void)detach_fb(fb);
  }
  const auto prepared = service_->run([&] { return service_->prepare_destroy(cookie); });
  Reply reply = service_->call(0, prepared);
  if (prepared.handle == 0) return reply;
  if (service_->strikes(&FrontendFaults::destroy_twice, "destroy-twice")) {
    (void)service_->call(0, prepared);
  }
  service_->run([&] { service_->finish_destroy(prepared.handle, reply); });
  return reply;
}

FramebufferReply FakeFrontend::attach_fb(DbufCookie buffer, const FramebufferSpec& spec) {
  FramebufferReply reply;
  const auto prepared =
      service_->run([&] { return service_->prepare_attach(buffer, spec, reply.cookie); });
  static_cast<Reply&>(reply) = service_->call(0, prepared);
  if (prepared.failure.empty()) {
    service_->run([&] { service_->finish_attach(prepared.body, buffer, reply.cookie, reply); });
  }
  return reply;
}

Reply FakeFrontend::detach_fb(FbCookie cookie) {
  const auto showing = service_->run([&] { return service_->showing(cookie); });
  if (!showing.empty() &&
      !service_->strikes(&FrontendFaults::detach_displayed, "detach-displayed")) {
    for (const std::size_t connector : showing) (void)reset_config(connector);
  }
  const auto prepared = service_->run([&] { return service_->prepare_detach(cookie); });
  Reply reply = service_->call(0, prepared);
  if (!prepared.failure.empty()) return reply;
  if (service_->strikes(&FrontendFaults::detach_twice, "detach-twice")) {
    (void)service_->call(0, prepared);
  }
  service_->run([&] { service_->finish_detach(cookie, reply); });
  return reply;
}

Reply FakeFrontend::set_config(std::size_t connector, FbCookie cookie) {
  const auto prepared = service_->run([&] { return service_->prepare_config(connector, cookie); });
  if (!prepared.failure.empty()) return service_->call(connector, prepared);
  return set_config(connector, std::get<displif::SetConfig>(prepared.body));
}

Reply FakeFrontend::set_config(std::size_t connector, const displif::SetConfig& config) {
  displif::SetConfig sent = config;
  service_->run([&] { service_->fault_config(sent); });
  Reply reply = service_->call(connector, {.body = sent});
  service_->run([&] { service_->finish_config(connector, config, reply); });
  return reply;
}

Reply FakeFrontend::reset_config(std::size_t connector) {
  const auto prepared = service_->run([&] { return service_->prepare_reset(connector); });
  Reply reply = service_->call(connector, prepared);
  if (prepared.failure.empty()) {
    service_->run([&] { service_->finish_reset(connector, reply); });
  }
  return reply;
}

Reply FakeFrontend::page_flip(std::size_t connector, FbCookie cookie) {
  const auto prepared = service_->run([&] { return service_->prepare_flip(connector, cookie); });
  Reply reply = service_->call(connector, prepared);
  if (prepared.failure.empty()) {
    service_->run([&] { service_->finish_flip(connector, reply); });
  }
  return reply;
}

Awaited<ReceivedEvent> FakeFrontend::await_flip(std::size_t connector, Deadline deadline) {
  std::string lost;
  const auto over = [&](const Journal& journal) -> std::optional<std::optional<ReceivedEvent>> {
    if (connector >= journal.flips.size()) {
      lost = "there is no such connector";
      return std::optional<ReceivedEvent>();
    }
    const FlipState& flip = journal.flips[connector];
    if (flip.completed) return flip.completed;
    if (flip.pending) return std::nullopt;
    lost = flip.lost.empty() ? "none is pending" : flip.lost;
    return std::optional<ReceivedEvent>();
  };
  const std::string what = fmt::format("the flip on connector {}", connector);
  const auto done = await<std::optional<ReceivedEvent>>(service_->journal, deadline, what, over);
  if (!done) return Awaited<ReceivedEvent>::failed(done.failure());
  if (!done->has_value()) return Awaited<ReceivedEvent>::failed(what + ": " + lost);
  const std::lock_guard lock(service_->journal.mutex);
  if (connector < service_->journal.flips.size()) {
    service_->journal.flips[connector].completed.reset();
  }
  return **done;
}

bool FakeFrontend::flip_pending(std::size_t connector) const {
  const std::lock_guard lock(service_->journal.mutex);
  const auto& flips = service_->journal.flips;
  return connector < flips.size() && flips[connector].pending.has_value();
}

EdidReply FakeFrontend::get_edid(std::size_t connector, std::optional<std::uint32_t> buffer_sz) {
  const std::uint32_t size = buffer_sz.value_or(XENDISPL_EDID_MAX_SIZE);
  const auto prepared = service_->run([&] { return service_->prepare_edid(connector, size); });
  EdidReply reply;
  static_cast<Reply&>(reply) = service_->call(connector, prepared);
  if (prepared.handle != 0) {
    service_->run([&] { service_->finish_edid(prepared.handle, reply); });
  }
  return reply;
}

Picture FakeFrontend::show(std::size_t connector, BufferSpec spec) {
  const auto visible = connectors();
  if (connector < visible.size()) {
    if (spec.width == 0) spec.width = visible[connector].width;
    if (spec.height == 0) spec.height = visible[connector].height;
  }
  Picture picture;
  const BufferReply buffer = create_buffer(spec);
  picture.dbuf = buffer.cookie;
  picture.reply = buffer;
  if (picture.reply.error != 0) return picture;
  const FramebufferReply fb = attach_fb(buffer.cookie);
  picture.fb = fb.cookie;
  picture.reply = fb;
  if (picture.reply.error == 0) picture.reply = set_config(connector, fb.cookie);
  return picture;
}

// --- memory --------------------------------------------------------------------------------------

FakeFrontend::SharedBuffer FakeFrontend::share_pages(std::uint32_t size, xen::Access access) {
  return service_->run([&] {
    SharedBuffer shared;
    shared.handle = service_->share(size, access);
    const Memory& memory = service_->memory(shared.handle);
    shared.pages = memory.references();
    shared.directory = memory.directory();
    return shared;
  });
}

void FakeFrontend::write_directory(std::size_t handle, std::size_t page, std::size_t entry,
                                   std::uint32_t value) {
  service_->run([&] { service_->memory(handle).set_directory_word(page, entry, value); });
}

std::uint32_t FakeFrontend::read_directory(std::size_t handle, std::size_t page,
                                           std::size_t entry) {
  return service_->run([&] { return service_->memory(handle).directory_word(page, entry); });
}

void FakeFrontend::end_pages(std::size_t handle) {
  service_->run([&] { service_->memory(handle).end_pages(); });
}

void FakeFrontend::end_directory(std::size_t handle) {
  service_->run([&] { service_->memory(handle).end_directory(); });
}

xen::GrantRef FakeFrontend::grant_page(xen::DomId to, xen::Access access) {
  return service_->run([&] { return service_->grant(to, access); });
}

bool FakeFrontend::draw(DbufCookie cookie, std::span<const std::byte> octets, std::size_t offset) {
  return service_->run([&] { return service_->draw(cookie, octets, offset); });
}

bool FakeFrontend::draw_shared(std::size_t handle, std::span<const std::byte> octets,
                               std::size_t offset) {
  return service_->run([&] { return service_->memory(handle).write(offset, octets); });
}

std::optional<std::vector<std::byte>> FakeFrontend::contents(DbufCookie cookie) {
  return service_->run([&]() -> std::optional<std::vector<std::byte>> {
    const Memory* memory = service_->memory_of(cookie);
    return memory == nullptr ? std::nullopt : memory->read();
  });
}

std::optional<std::vector<std::byte>> FakeFrontend::contents_shared(std::size_t handle) {
  return service_->run([&] { return service_->memory(handle).read(); });
}

// --- waits ---------------------------------------------------------------------------------------

Awaited<StateChange> FakeFrontend::await_state(bus::State state, Deadline deadline) {
  return await<StateChange>(service_->journal, deadline,
                            fmt::format("backend state {}", bus::name(state)),
                            [&](const Journal& journal) -> std::optional<StateChange> {
                              if (!journal.backend_known || journal.backend_state != state)
                                return std::nullopt;
                              return current(journal, bus::Side::backend);
                            });
}

Awaited<StateChange> FakeFrontend::await_state(bus::State state, Deadline deadline,
                                               Cursor& cursor) {
  return await<StateChange>(
      service_->journal, deadline, fmt::format("a change of the backend to {}", bus::name(state)),
      [&](const Journal& journal) {
        return find_from(journal.states, cursor, [&](const StateChange& change) {
          return change.side == bus::Side::backend && change.state == state;
        });
      });
}

Awaited<StateChange> FakeFrontend::await_own_state(bus::State state, Deadline deadline,
                                                   Cursor& cursor) {
  return await<StateChange>(
      service_->journal, deadline, fmt::format("the frontend's own {}", bus::name(state)),
      [&](const Journal& journal) {
        return find_from(journal.states, cursor, [&](const StateChange& change) {
          return change.side == bus::Side::frontend && change.state == state;
        });
      });
}

Awaited<StateChange> FakeFrontend::await_connected(Deadline deadline) {
  return await<StateChange>(
      service_->journal, deadline, "both ends Connected",
      [](const Journal& journal) -> std::optional<StateChange> {
        if (!journal.connected || journal.backend_state != bus::State::connected) {
          return std::nullopt;
        }
        return current(journal, bus::Side::backend);
      });
}

Awaited<StateChange> FakeFrontend::await_disconnected(Deadline deadline) {
  return await<StateChange>(service_->journal, deadline, "the end of the connection",
                            [](const Journal& journal) -> std::optional<StateChange> {
                              if (journal.transport) return std::nullopt;
                              return current(journal, bus::Side::backend);
                            });
}

Awaited<ReceivedEvent> FakeFrontend::await_event(const EventFilter& filter, Deadline deadline,
                                                 Cursor& cursor) {
  return await<ReceivedEvent>(
      service_->journal, deadline, filter.text(), [&](const Journal& journal) {
        return find_from(journal.events, cursor,
                         [&](const ReceivedEvent& event) { return filter.accepts(event); });
      });
}

std::optional<ReceivedEvent> FakeFrontend::none_until(const EventFilter& filter, Deadline deadline,
                                                      Cursor& cursor) {
  return wait_for(service_->journal, deadline, true, [&](const Journal& journal) {
    return find_from(journal.events, cursor,
                     [&](const ReceivedEvent& event) { return filter.accepts(event); });
  });
}

std::optional<ReceivedResponse> FakeFrontend::no_unsolicited_until(Deadline deadline,
                                                                   Cursor& cursor) {
  return wait_for(service_->journal, deadline, true, [&](const Journal& journal) {
    return find_from(journal.responses, cursor,
                     [](const ReceivedResponse& response) { return !response.request; });
  });
}

// --- what was seen -------------------------------------------------------------------------------

std::vector<SentRequest> FakeFrontend::requests() const {
  const std::lock_guard lock(service_->journal.mutex);
  return fake::listed(service_->journal.requests);
}

std::vector<ReceivedResponse> FakeFrontend::responses() const {
  const std::lock_guard lock(service_->journal.mutex);
  return fake::listed(service_->journal.responses);
}

std::vector<ReceivedEvent> FakeFrontend::events() const {
  const std::lock_guard lock(service_->journal.mutex);
  return fake::listed(service_->journal.events);
}

std::vector<StateChange> FakeFrontend::states() const {
  const std::lock_guard lock(service_->journal.mutex);
  return fake::listed(service_->journal.states);
}

Cursor FakeFrontend::response_cursor() const {
  const std::lock_guard lock(service_->journal.mutex);
  return {service_->journal.responses.size()};
}

Cursor FakeFrontend::event_cursor() const {
  const std::lock_guard lock(service_->journal.mutex);
  return {service_->journal.events.size()};
}

Cursor FakeFrontend::state_cursor() const {
  const std::lock_guard lock(service_->journal.mutex);
  return {service_->journal.states.size()};
}

std::optional<bus::State> FakeFrontend::backend_state() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.backend_state;
}

std::optional<bus::State> FakeFrontend::frontend_state() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.frontend_state;
}

bool FakeFrontend::connected() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.connected;
}

unsigned FakeFrontend::connections() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.connections;
}

unsigned FakeFrontend::protocol() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.protocol;
}

std::optional<std::string> FakeFrontend::backend_versions() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.backend_versions;
}

bool FakeFrontend::backend_allocation_offered() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.be_alloc;
}

std::vector<displif::Resolution> FakeFrontend::connectors() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.connectors;
}

std::vector<std::string> FakeFrontend::trouble() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.trouble;
}

std::optional<displif::ConnectorTransport> FakeFrontend::transport(std::size_t connector) const {
  const std::lock_guard lock(service_->journal.mutex);
  const auto& transports = service_->journal.transports;
  return connector < transports.size() ? transports[connector] : std::nullopt;
}

std::optional<std::vector<xen::GrantRef>> FakeFrontend::references(DbufCookie cookie) const {
  return service_->run([&]() -> std::optional<std::vector<xen::GrantRef>> {
    const Memory* memory = service_->memory_of(cookie);
    return memory == nullptr ? std::nullopt : std::optional(memory->references());
  });
}

std::optional<FakeFrontend::RingIndexes> FakeFrontend::indexes(std::size_t connector) {
  return service_->run([&]() -> std::optional<RingIndexes> {
    const Link* of = service_->find_link(connector);
    if (of == nullptr || !of->ring_page || !of->event_page) return std::nullopt;
    const displif::RingIndices shared = of->ring.shared().indices();
    return RingIndexes{.req_prod = shared.req_prod,
                       .req_event = shared.req_event,
                       .rsp_prod = shared.rsp_prod,
                       .rsp_event = shared.rsp_event,
                       .req_prod_pvt = of->ring.req_prod_pvt(),
                       .rsp_cons = of->ring.rsp_cons(),
                       .in_prod = of->events.shared().in_prod(),
                       .in_cons = of->events.shared().in_cons(),
                       .in_cons_pvt = of->events.in_cons_pvt(),
                       .req_notifications = of->req_notifications,
                       .evt_notifications = of->evt_notifications};
  });
}

// --- raw access ----------------------------------------------------------------------------------

displif::SharedRing& FakeFrontend::Service::shared_ring(std::size_t connector) {
  Link& of = link(connector);
  if (!of.ring_page) throw std::logic_error("the ring page has been ended");
  return of.ring.shared();
}

displif::SharedEventPage& FakeFrontend::Service::shared_page(std::size_t connector) {
  Link& of = link(connector);
  if (!of.event_page) throw std::logic_error("the event page has been ended");
  return of.events.shared();
}

void FakeFrontend::publish_req_prod(std::size_t connector, std::uint32_t value) {
  service_->run([&] {
    service_->shared_ring(connector).set_req_prod(value);
    service_->record_published(connector, "req_prod", value);
  });
}

void FakeFrontend::publish_rsp_event(std::size_t connector, std::uint32_t value) {
  service_->run([&] {
    service_->shared_ring(connector).set_rsp_event(value);
    service_->record_published(connector, "rsp_event", value);
  });
}

void FakeFrontend::publish_in_cons(std::size_t connector, std::uint32_t value) {
  service_->run([&] {
    service_->shared_page(connector).set_in_cons(value);
    service_->record_published(connector, "in_cons", value);
  });
}

void FakeFrontend::overwrite_rsp_prod(std::size_t connector, std::uint32_t value) {
  service_->run([&] {
    service_->shared_ring(connector).set_rsp_prod(value);
    service_->record_published(connector, "rsp_prod", value);
  });
}

void FakeFrontend::overwrite_req_event(std::size_t connector, std::uint32_t value) {
  service_->run([&] {
    service_->shared_ring(connector).set_req_event(value);
    service_->record_published(connector, "req_event", value);
  });
}

void FakeFrontend::overwrite_in_prod(std::size_t connector, std::uint32_t value) {
  service_->run([&] {
    service_->shared_page(connector).set_in_prod(value);
    service_->record_published(connector, "in_prod", value);
  });
}

void FakeFrontend::write_request_slot(std::size_t connector, std::uint32_t index,
                                      const displif::Packet& request) {
  service_->run([&] { service_->shared_ring(connector).write_slot(index, request); });
}

void FakeFrontend::write_event_slot(std::size_t connector, std::uint32_t index,
                                    const displif::Packet& event) {
  service_->run([&] { service_->shared_page(connector).write_slot(index, event); });
}

void FakeFrontend::notify_requests(std::size_t connector) {
  service_->run([&] {
    if (Link& of = service_->link(connector); of.req_port) of.req_port->notify();
  });
}

void FakeFrontend::notify_events(std::size_t connector) {
  service_->run([&] {
    if (Link& of = service_->link(connector); of.evt_port) of.evt_port->notify();
  });
}

void FakeFrontend::end_ring_page(std::size_t connector) {
  service_->run([&] { service_->link(connector).ring_page.reset(); });
}

void FakeFrontend::end_event_page(std::size_t connector) {
  service_->run([&] { service_->link(connector).event_page.reset(); });
}

void FakeFrontend::close_channels(std::size_t connector) {
  service_->run([&] {
    service_->link(connector).req_port.reset();
    service_->link(connector).evt_port.reset();
  });
}

void FakeFrontend::take_messages(bool take) {
  service_->run([&] { service_->set_taking(take); });
}

void FakeFrontend::set_state(bus::State state) { set_state_text(bus::print(state)); }

void FakeFrontend::set_state_text(std::string_view text) {
  service_->run([&] { service_->write_state(text); });
}

void FakeFrontend::write_node(std::string_view name, std::string_view value) {
  service_->run([&] { service_->write_node(name, value); });
}

void FakeFrontend::remove_node(std::string_view name) {
  service_->run([&] { service_->remove_node(name); });
}

}  // namespace displif_cts::fake_frontend
