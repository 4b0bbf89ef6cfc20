#include "fake_backend/fake_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "fake_backend/journal.h"
#include "fake_backend/service.h"

namespace displif_cts::fake_backend {
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
          .ns = trace::now_ns()};
}

}  // namespace

FakeBackend::FakeBackend(xen::DomId frontend, std::uint16_t device, Options options,
                         trace::Recorder& recorder)
    : service_(std::make_unique<Service>(frontend, device, std::move(options), recorder)) {}

FakeBackend::~FakeBackend() = default;

// --- life ----------------------------------------------------------------------------------------

void FakeBackend::forget() {
  service_->run([&] {
    const std::lock_guard lock(service_->journal.mutex);
    service_->journal.forget();
  });
}

bool FakeBackend::turn(std::chrono::milliseconds most) { return service_->turn(most); }

void FakeBackend::create_device(const std::function<void(bus::DeviceConfig&)>& change) {
  service_->run([&] { service_->create_device(change); });
}

void FakeBackend::start() {
  service_->run([&] { service_->start(); });
}

void FakeBackend::vanish() {
  service_->run([&] { service_->vanish(); });
}

void FakeBackend::shutdown() {
  service_->run([&] { service_->shut_down(); });
}

bool FakeBackend::remove_device(Deadline deadline) {
  service_->run([&] {
    service_->follow = false;  // the answer to Closing is ours to give, here
    service_->begin_removal();
    service_->shut_down();
  });
  const auto gone =
      await<bool>(service_->journal, deadline, "the frontend's end", [](const Journal& journal) {
        const bool over = journal.frontend_known &&
                          journal.frontend_state != bus::State::connected &&
                          journal.frontend_state != bus::State::initialised &&
                          journal.frontend_state != bus::State::closing &&
                          journal.frontend_state != bus::State::reconfiguring;
        return over ? std::optional(true) : std::nullopt;
      });
  service_->run([&] {
    service_->vanish();
    service_->destroy_device();
  });
  return static_cast<bool>(gone);
}

void FakeBackend::unplug(const std::function<void()>& until_gone) {
  service_->run([&] { service_->remove_frontend(); });
  until_gone();
  service_->run([&] {
    service_->vanish();
    service_->discard_device();
  });
}

const bus::DevicePaths& FakeBackend::paths() const { return service_->paths; }

void FakeBackend::follow_frontend(bool follow) {
  service_->run([&] { service_->follow = follow; });
}

bool FakeBackend::serving() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.serving;
}

// --- faults --------------------------------------------------------------------------------------

void FakeBackend::set_faults(const std::function<void(BackendFaults&)>& change) {
  // On the service thread, so that no request sees half of it.
  service_->run([&] {
    const std::lock_guard lock(service_->journal.mutex);
    change(service_->journal.faults);
  });
}

void FakeBackend::clear_faults() {
  set_faults([](BackendFaults& faults) { faults = {}; });
}

BackendFaults FakeBackend::faults() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.faults;
}

// --- waits ---------------------------------------------------------------------------------------

Awaited<StateChange> FakeBackend::await_state(bus::State state, Deadline deadline) {
  return await<StateChange>(service_->journal, deadline,
                            fmt::format("frontend state {}", bus::name(state)),
                            [&](const Journal& journal) -> std::optional<StateChange> {
                              if (!journal.frontend_known || journal.frontend_state != state)
                                return std::nullopt;
                              return current(journal, bus::Side::frontend);
                            });
}

Awaited<StateChange> FakeBackend::await_state(bus::State state, Deadline deadline, Cursor& cursor) {
  return await<StateChange>(
      service_->journal, deadline, fmt::format("a change of the frontend to {}", bus::name(state)),
      [&](const Journal& journal) {
        return find_from(journal.states, cursor, [&](const StateChange& change) {
          return change.side == bus::Side::frontend && change.state == state;
        });
      });
}

Awaited<StateChange> FakeBackend::await_connected(Deadline deadline) {
  return await<StateChange>(service_->journal, deadline, "both ends Connected",
                            [](const Journal& journal) -> std::optional<StateChange> {
                              if (!journal.connected ||
                                  journal.frontend_state != bus::State::connected ||
                                  journal.backend_state != bus::State::connected) {
                                return std::nullopt;
                              }
                              return current(journal, bus::Side::frontend);
                            });
}

Awaited<StateChange> FakeBackend::await_disconnected(Deadline deadline) {
  return await<StateChange>(service_->journal, deadline, "the end of the connection",
                            [](const Journal& journal) -> std::optional<StateChange> {
                              if (journal.connected) return std::nullopt;
                              return current(journal, bus::Side::frontend);
                            });
}

Awaited<ReceivedRequest> FakeBackend::await_request(const RequestFilter& filter, Deadline deadline,
                                                    Cursor& cursor) {
  return await<ReceivedRequest>(
      service_->journal, deadline, filter.text(), [&](const Journal& journal) {
        return find_from(journal.requests, cursor,
                         [&](const ReceivedRequest& request) { return filter.accepts(request); });
      });
}

Awaited<ReceivedRequest> FakeBackend::await_request(const RequestFilter& filter,
                                                    Deadline deadline) {
  Cursor cursor;
  return await_request(filter, deadline, cursor);
}

Awaited<ReceivedRequest> FakeBackend::await_answered(const RequestFilter& filter, Deadline deadline,
                                                     Cursor& cursor) {
  return await<ReceivedRequest>(
      service_->journal, deadline, filter.text() + ", answered", [&](const Journal& journal) {
        return find_from(journal.requests, cursor, [&](const ReceivedRequest& request) {
          return request.status.has_value() && filter.accepts(request);
        });
      });
}

Awaited<SentEvent> FakeBackend::await_event(std::optional<std::size_t> connector, Deadline deadline,
                                            Cursor& cursor) {
  const std::string what =
      connector ? fmt::format("an event on connector {}", *connector) : std::string("an event");
  return await<SentEvent>(service_->journal, deadline, what, [&](const Journal& journal) {
    return find_from(journal.events, cursor, [&](const SentEvent& event) {
      return !connector || event.connector == *connector;
    });
  });
}

Awaited<std::uint32_t> FakeBackend::await_confirmed(std::size_t connector, Deadline deadline) {
  for (;;) {
    const auto seen = indexes(connector);
    if (seen && seen->in_cons == seen->in_prod) return seen->in_cons;
    if (Clock::now() >= deadline) {
      return Awaited<std::uint32_t>::failed(
          seen ? fmt::format("awaited confirmation of the events of connector {}; seen last: "
                             "in_cons {}, in_prod {}",
                             connector, seen->in_cons, seen->in_prod)
               : fmt::format("awaited confirmation of the events of connector {}, which is not "
                             "connected",
                             connector));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
}

std::optional<ReceivedRequest> FakeBackend::none_until(const RequestFilter& filter,
                                                       Deadline deadline, Cursor& cursor) {
  return wait_for(service_->journal, deadline, true, [&](const Journal& journal) {
    return find_from(journal.requests, cursor,
                     [&](const ReceivedRequest& request) { return filter.accepts(request); });
  });
}

// --- what was seen -------------------------------------------------------------------------------

std::vector<ReceivedRequest> FakeBackend::requests() const {
  const std::lock_guard lock(service_->journal.mutex);
  return fake::listed(service_->journal.requests);
}

std::vector<SentResponse> FakeBackend::responses() const {
  const std::lock_guard lock(service_->journal.mutex);
  return fake::listed(service_->journal.responses);
}

std::vector<SentEvent> FakeBackend::events() const {
  const std::lock_guard lock(service_->journal.mutex);
  return fake::listed(service_->journal.events);
}

std::vector<StateChange> FakeBackend::states() const {
  const std::lock_guard lock(service_->journal.mutex);
  return fake::listed(service_->journal.states);
}

Cursor FakeBackend::request_cursor() const {
  const std::lock_guard lock(service_->journal.mutex);
  return {service_->journal.requests.size()};
}

Cursor FakeBackend::event_cursor() const {
  const std::lock_guard lock(service_->journal.mutex);
  return {service_->journal.events.size()};
}

Cursor FakeBackend::state_cursor() const {
  const std::lock_guard lock(service_->journal.mutex);
  return {service_->journal.states.size()};
}

std::optional<bus::State> FakeBackend::frontend_state() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.frontend_state;
}

std::optional<bus::State> FakeBackend::backend_state() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.backend_state;
}

bool FakeBackend::connected() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.connected;
}

unsigned FakeBackend::connections() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.connections;
}

unsigned FakeBackend::protocol() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.protocol;
}

std::vector<std::string> FakeBackend::trouble() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.trouble;
}

Model FakeBackend::snapshot_model() const {
  const std::lock_guard lock(service_->journal.mutex);
  return service_->journal.model;
}

std::optional<std::vector<std::byte>> FakeBackend::pixels(DbufCookie cookie) {
  return service_->run([&]() -> std::optional<std::vector<std::byte>> {
    const Buffers* buffers = service_->buffers();
    if (buffers == nullptr) return std::nullopt;
    return buffers->pixels(cookie);
  });
}

std::optional<displif::Directory> FakeBackend::directory(DbufCookie cookie) const {
  const std::lock_guard lock(service_->journal.mutex);
  const auto found = service_->journal.directories.find(cookie);
  if (found == service_->journal.directories.end()) return std::nullopt;
  return found->second;
}

std::optional<displif::Directory> FakeBackend::reread_directory(DbufCookie cookie) {
  return service_->run([&]() -> std::optional<displif::Directory> {
    const Buffers* buffers = service_->buffers();
    const std::lock_guard lock(service_->journal.mutex);
    const DisplayBuffer* buffer = service_->journal.model.buffer(cookie);
    if (buffers == nullptr || buffer == nullptr) return std::nullopt;
    return buffers->read_directory(*buffer);
  });
}

std::optional<displif::ConnectorTransport> FakeBackend::transport(std::size_t connector) const {
  const std::lock_guard lock(service_->journal.mutex);
  const auto& transports = service_->journal.transports;
  return connector < transports.size() ? transports[connector] : std::nullopt;
}

std::optional<FakeBackend::Visible> FakeBackend::visible(std::size_t connector) const {
  const std::lock_guard lock(service_->journal.mutex);
  const Model& model = service_->journal.model;
  if (connector >= model.connectors().size()) return std::nullopt;
  const ConnectorState& state = model.connectors()[connector];
  const Framebuffer* fb = model.framebuffer(state.shown_fb);
  const DisplayBuffer* buffer = fb == nullptr ? nullptr : model.buffer(fb->dbuf_cookie);
  if (buffer == nullptr || !state.configuration) return std::nullopt;
  return Visible{*fb, *buffer, *state.configuration};
}

std::optional<FakeBackend::RingIndexes> FakeBackend::indexes(std::size_t connector) {
  return service_->run([&]() -> std::optional<RingIndexes> {
    if (!service_->has_links()) return std::nullopt;
    const Link& link = service_->link(connector);
    const displif::RingIndices shared = link.ring.shared().indices();
    return RingIndexes{.req_prod = shared.req_prod,
                       .req_event = shared.req_event,
                       .rsp_prod = shared.rsp_prod,
                       .rsp_event = shared.rsp_event,
                       .req_cons = link.ring.req_cons(),
                       .rsp_prod_pvt = link.ring.rsp_prod_pvt(),
                       .in_prod = link.events.shared().in_prod(),
                       .in_cons = link.events.shared().in_cons(),
                       .next_event_id = link.next_event_id,
                       .req_notifications = link.req_notifications,
                       .evt_notifications = link.evt_notifications};
  });
}

// --- raw access ----------------------------------------------------------------------------------

void FakeBackend::send_response(std::size_t connector, const displif::Packet& response) {
  service_->run([&] {
    service_->put_response(connector, response, "raw");
    service_->publish_responses(connector, true);
  });
}

void FakeBackend::send_event(std::size_t connector, const displif::Packet& event) {
  service_->run([&] {
    service_->put_event(connector, event);
    service_->publish_events(connector);
  });
}

void FakeBackend::send_flip_event(std::size_t connector, FbCookie cookie) {
  service_->run([&] { service_->put_flip_event(connector, cookie); });
}

std::uint16_t FakeBackend::next_event_id(std::size_t connector) {
  return service_->run([&] { return service_->link(connector).next_event_id; });
}

void FakeBackend::publish_rsp_prod(std::size_t connector, std::uint32_t value) {
  service_->run([&] {
    service_->record_index(connector, trace::Direction::back_to_front, "rsp_prod", value);
    service_->link(connector).ring.shared().set_rsp_prod(value);
  });
}

void FakeBackend::publish_evt_prod(std::size_t connector, std::uint32_t value) {
  service_->run([&] {
    service_->record_index(connector, trace::Direction::back_to_front, "in_prod", value);
    service_->link(connector).events.shared().set_in_prod(value);
  });
}

void FakeBackend::write_response_slot(std::size_t connector, std::uint32_t index,
                                      const displif::Packet& response) {
  service_->run([&] { service_->link(connector).ring.shared().write_slot(index, response); });
}

void FakeBackend::write_event_slot(std::size_t connector, std::uint32_t index,
                                   const displif::Packet& event) {
  service_->run([&] { service_->link(connector).events.shared().write_slot(index, event); });
}

displif::Packet FakeBackend::request_slot(std::size_t connector, std::uint32_t index) {
  return service_->run([&] { return service_->link(connector).ring.shared().read_slot(index); });
}

void FakeBackend::write_evt_cons(std::size_t connector, std::uint32_t value) {
  service_->run([&] {
    service_->record_index(connector, trace::Direction::back_to_front, "in_cons_overwritten",
                           value);
    service_->link(connector).in_cons_seen = value;
    service_->link(connector).events.shared().set_in_cons(value);
  });
}

void FakeBackend::notify_requests(std::size_t connector) {
  service_->run([&] { service_->link(connector).req_port.notify(); });
}

void FakeBackend::notify_events(std::size_t connector) {
  service_->run([&] { service_->link(connector).evt_port.notify(); });
}

void FakeBackend::set_state(bus::State state) { set_state_text(bus::print(state)); }

void FakeBackend::set_state_text(std::string_view text) {
  service_->run([&] { service_->write_state(text); });
}

}  // namespace displif_cts::fake_backend
