// The service thread's work on messages: requests put and published, responses matched, events
// taken and confirmed.
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "fake_frontend/service.h"
#include "harness/displif/shared_memory.h"

namespace displif_cts::fake_frontend {
namespace {

using displif::Packet;

constexpr std::byte kDirt{0xa5};  // for reserved octets that should be 0
constexpr std::size_t kHeader = offsetof(xendispl_req, op);
// Behind the indices of ring and event page alike.
constexpr std::size_t kFirstSlot = 64;
static_assert(offsetof(struct xen_displif_sring, ring) == kFirstSlot &&
              XENDISPL_IN_RING_OFFS == kFirstSlot);
// How often a request or directory is changed behind the backend's back, a millisecond apart,
// unless the request ends before.
constexpr unsigned kTurns = 1000;

std::uint8_t operation_in(const Packet& packet) {
  return std::to_integer<std::uint8_t>(packet[offsetof(xendispl_req, operation)]);
}

void set_id(Packet& packet, std::uint16_t id) {
  std::memcpy(packet.data() + offsetof(xendispl_req, id), &id, sizeof id);
}

bool is_connector_request(std::uint8_t operation) {
  return operation == XENDISPL_OP_SET_CONFIG || operation == XENDISPL_OP_PG_FLIP ||
         operation == XENDISPL_OP_GET_EDID;
}

}  // namespace

Link& FakeFrontend::Service::link(std::size_t connector) {
  if (connector >= links_.size()) {
    throw std::logic_error(
        fmt::format("connector {} has no transport ({} have)", connector, links_.size()));
  }
  return links_[connector];
}

// --- requests ------------------------------------------------------------------------------------

std::size_t FakeFrontend::Service::ring_for(std::size_t connector, std::uint8_t operation) {
  if (links_.size() < 2) return connector;
  if (displif::is_connector_zero_only(operation)) {
    return strikes_at(&FrontendFaults::control_request_on_other_ring, operation,
                      "control-request-on-other-ring")
               ? 1
               : connector;
  }
  if (is_connector_request(operation) &&
      strikes_at(&FrontendFaults::connector_request_on_other_ring, operation,
                 "connector-request-on-other-ring")) {
    return (connector + 1) % links_.size();
  }
  return connector;
}

std::uint16_t FakeFrontend::Service::next_id(Link& to) {
  const std::uint16_t id = to.next_id++;
  if (strikes(&FrontendFaults::id_constant, "id-constant")) return 0;
  // An odd factor: every id once before one comes again.
  if (strikes(&FrontendFaults::ids_scattered, "ids-scattered")) {
    return static_cast<std::uint16_t>(id * 40503U + 12345U);
  }
  return id;
}

FakeFrontend::Service::Sent FakeFrontend::Service::send(std::size_t connector,
                                                        displif::RequestBody body) {
  if (phase_ != Phase::connected) {
    if (!old_links_.empty() &&
        strikes(&FrontendFaults::requests_without_backend, "requests-without-backend")) {
      std::swap(links_, old_links_);
      const std::uint8_t operation = displif::operation_of(body);
      const std::size_t at_ring = std::min(connector, links_.size() - 1);
      const std::size_t number =
          put(at_ring, displif::encode_request(next_id(links_[at_ring]), body), true);
      publish(at_ring, operation, false);
      std::swap(links_, old_links_);
      return {.number = number};
    }
    if (strikes(&FrontendFaults::clients_not_told, "clients-not-told")) {
      return {.error = 0, .failure = "the frontend is not connected"};
    }
    return {.error = ENODEV, .failure = "the frontend is not connected"};
  }
  const std::uint8_t operation = displif::operation_of(body);
  const std::size_t on = ring_for(connector, operation);
  if (on >= links_.size() || !links_[on].ring_page) {
    return {.error = ENODEV, .failure = fmt::format("there is no connector {}", on)};
  }
  if (links_[on].ring.free_requests() == 0) {
    return {.error = EBUSY, .failure = "the ring is full"};
  }
  if (const auto extra =
          strikes_with(&FrontendFaults::operation_undefined, "operation-undefined")) {
    put(on, displif::encode_request(next_id(links_[on]), displif::Unknown{extra->code, {}}), true);
  }
  Packet packet = displif::encode_request(next_id(links_[on]), body);
  spoil_packet(packet, operation);
  const bool clear = !strikes(&FrontendFaults::slot_not_cleared, "slot-not-cleared");
  const std::size_t number = put(on, packet, clear);
  put_extras(on, packet, operation);
  publish(on, operation, true);
  if (strikes_at(&FrontendFaults::request_changed_later, operation, "request-changed-later")) {
    change_later(on, number, 0);
  }
  at(Moment::request_published);
  std::optional<std::string> state;
  {
    const std::lock_guard lock(journal.mutex);
    StateFault& fault = journal.faults.unexpected_state;
    if (fault.times != 0 && (fault.after == 0 || --fault.after == 0) && strike(fault.times)) {
      state = fault.text;
    }
  }
  if (state) {
    tracer_.log("fault state");
    if (*state == "-") {
      remove_node("state");
    } else {
      write_state(*state);
    }
  }
  return {.number = number};
}

std::vector<std::size_t> FakeFrontend::Service::send_raw(std::size_t connector,
                                                         const std::vector<Packet>& packets) {
  std::vector<std::size_t> numbers;
  Link* to = find_link(connector);
  if (to == nullptr || !to->ring_page || to->ring.free_requests() < packets.size()) return numbers;
  for (const Packet& packet : packets) numbers.push_back(put(connector, packet, true));
  publish(connector, 0, false);
  return numbers;
}

void FakeFrontend::Service::spoil_packet(Packet& packet, std::uint8_t operation) {
  if (strikes_at(&FrontendFaults::reserved_header_nonzero, operation, "reserved-header-nonzero")) {
    std::fill(packet.begin() + offsetof(xendispl_req, reserved), packet.begin() + kHeader, kDirt);
  }
  if (strikes_at(&FrontendFaults::reserved_tail_nonzero, operation, "reserved-tail-nonzero")) {
    for (const auto& range : displif::reserved_bytes(operation, journal.protocol)) {
      if (range.offset < kHeader) continue;
      std::fill_n(packet.begin() + static_cast<std::ptrdiff_t>(range.offset), range.size, kDirt);
    }
  }
}

// More requests than one, where faults ask for them.
void FakeFrontend::Service::put_extras(std::size_t connector, const Packet& packet,
                                       std::uint8_t operation) {
  if (strikes_at(&FrontendFaults::id_repeated, operation, "id-repeated")) {
    put(connector, packet, true);
  }
  if (const auto burst = strikes_with(&FrontendFaults::ring_overfull, "ring-overfull")) {
    for (std::uint32_t i = 0; i < burst->count; ++i) {
      Packet more = packet;
      set_id(more, next_id(links_[connector]));
      put(connector, more, true);
    }
  }
}

// Into the next slot, whether it is free or not; with its record and journal entry.
std::size_t FakeFrontend::Service::put(std::size_t connector, Packet packet, bool clear_slot) {
  Link& to = links_[connector];
  const std::uint32_t index = to.ring.req_prod_pvt();
  if (!clear_slot) {
    const Packet old = to.ring.shared().read_slot(index);
    for (const auto& range : displif::reserved_bytes(operation_in(packet), journal.protocol)) {
      std::copy_n(old.begin() + static_cast<std::ptrdiff_t>(range.offset), range.size,
                  packet.begin() + static_cast<std::ptrdiff_t>(range.offset));
    }
  }
  SentRequest sent;
  sent.connector = connector;
  sent.ring_index = index;
  sent.request = displif::decode_request(packet);
  sent.ns = now_ns();
  update([&](Journal& j) {
    sent.connection = j.connections;
    // Beyond the limit the last entries are used again: the backend is served, the journal is full.
    sent.number = j.requests.add_within(kJournalLimit, fake::kJournalReused);
    j.requests[sent.number] = sent;
  });
  tracer_.request(sent, journal.protocol);
  if (!to.ring.put_request(packet)) {  // full: a fault goes on all the same
    to.ring.shared().write_slot(index, packet);
    to.ring.set_private(index + 1, to.ring.rsp_cons());
  }
  to.written[index % to.ring.size()] = packet;
  to.outstanding.push_back(sent.number);
  return sent.number;
}

// `polite`: one of the frontend's own operations, at which faults strike.
void FakeFrontend::Service::publish(std::size_t connector, std::uint8_t operation, bool polite) {
  Link& to = links_[connector];
  const std::uint32_t before = to.ring.shared().indices().req_prod;
  const bool overfull = to.outstanding.size() > to.ring.size();
  bool notify = to.ring.publish_requests() || overfull;
  const displif::RingIndices indices = to.ring.shared().indices();
  if (to.req_event_seen != indices.req_event) {
    to.req_event_seen = indices.req_event;
    tracer_.index(From::backend, connector, "req_event", indices.req_event);
  }
  tracer_.index(From::frontend, connector, "req_prod", to.ring.req_prod_pvt());
  if (polite) forge_indexes(connector, before, notify);
  if (!to.req_port || !to.evt_port) return;
  if (polite &&
      strikes_at(&FrontendFaults::request_not_notified, operation, "request-not-notified")) {
    notify = false;
  }
  const bool other = notify && polite &&
                     strikes_at(&FrontendFaults::notified_on_event_channel, operation,
                                "notified-on-event-channel");
  if (notify) (other ? to.evt_port : to.req_port)->notify();
  if (!polite) return;
  if (const auto burst =
          strikes_with(&FrontendFaults::spurious_notifications, "spurious-notifications")) {
    for (std::uint32_t i = 0; i < burst->count; ++i) {
      to.req_port->notify();
      to.evt_port->notify();
    }
  }
}

void FakeFrontend::Service::forge_indexes(std::size_t connector, std::uint32_t before,
                                          bool& notify) {
  Link& to = links_[connector];
  const std::uint32_t published = to.ring.req_prod_pvt();
  const auto forge = [&](std::uint32_t value) {
    to.ring.shared().set_req_prod(value);
    tracer_.index(From::frontend, connector, "req_prod", value);
    notify = true;
  };
  if (const auto beyond = strikes_with(&FrontendFaults::req_prod_beyond, "req-prod-beyond")) {
    forge(published + beyond->excess);
  }
  if (strikes(&FrontendFaults::req_prod_backwards, "req-prod-backwards")) forge(before - 1);
  if (strikes(&FrontendFaults::backend_indexes_overwritten, "backend-indexes-overwritten")) {
    to.ring.shared().set_rsp_prod(published + 500);
    to.ring.shared().set_req_event(published + 500);
    tracer_.index(From::frontend, connector, "rsp_prod", published + 500);
    tracer_.index(From::frontend, connector, "req_event", published + 500);
  }
}

bool FakeFrontend::Service::answered(std::size_t number) const {
  const std::lock_guard lock(journal.mutex);
  const SentRequest& request = journal.requests[number];
  return request.response || !request.given_up.empty();
}

// Octets 8 and up of the slot: a response that the backend puts there at the same time keeps its
// id, operation and status.
void FakeFrontend::Service::change_later(std::size_t connector, std::size_t number, unsigned turn) {
  Link* to = find_link(connector);
  if (to == nullptr || !to->ring_page || answered(number) || turn == kTurns) return;
  Packet packet{};
  std::uint32_t index = 0;
  {
    const std::lock_guard lock(journal.mutex);
    packet = journal.requests[number].request.packet;
    index = journal.requests[number].ring_index;
  }
  const std::size_t slot = kFirstSlot + index % to->ring.size() * displif::kPacketSize;
  for (unsigned n = 0; n < 33; ++n) {  // odd: the change stands until the next turn undoes it
    for (std::size_t offset = kHeader; offset < kHeader + 36; offset += sizeof(std::uint32_t)) {
      std::uint32_t word = 0;
      std::memcpy(&word, packet.data() + offset, sizeof word);
      displif::shared::store(to->ring_page->page(0), slot + offset,
                             (n + turn) % 2 == 0 ? ~word : word);
    }
  }
  after(std::chrono::milliseconds(1),
        [this, connector, number, turn] { change_later(connector, number, turn + 1); });
}

void FakeFrontend::Service::shake_later(std::size_t handle, std::size_t number, unsigned turn) {
  const auto found = buffers_.find(handle);
  const auto shared = shared_.find(handle);
  if (found == buffers_.end() && shared == shared_.end()) return;
  Memory& shaken = found != buffers_.end() ? found->second.memory : shared->second;
  const bool over = answered(number) || turn == kTurns;
  for (unsigned n = 0; n < 33; ++n) shaken.shake_directory(n % 2 == 0 && !over);
  if (over) return;
  after(std::chrono::milliseconds(1),
        [this, handle, number, turn] { shake_later(handle, number, turn + 1); });
}

void FakeFrontend::Service::give_up(std::size_t number, const std::string& why) {
  update([&](Journal& j) {
    SentRequest& request = j.requests[number];
    if (!request.response && request.given_up.empty()) request.given_up = why;
  });
}

void FakeFrontend::Service::set_taking(bool on) {
  taking_ = on;
  for (Link& link : links_) link.responses_waiting = on;
}

// --- responses -----------------------------------------------------------------------------------

void FakeFrontend::Service::drain_ports() {
  const std::size_t most = 4 * (links_.size() + kept_links_.size()) + 4;
  for (std::size_t n = 0; n < most; ++n) {
    const auto port = channels_->wait(xen::Clock::now());
    if (!port) return;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      Link& from = links_[i];
      const bool response = from.req_port && from.req_channel == *port;
      if (!response && !(from.evt_port && from.evt_channel == *port)) continue;
      channels_->unmask(*port);
      const std::uint64_t count = response ? ++from.req_notifications : ++from.evt_notifications;
      tracer_.notification(i, response ? "req" : "evt", count);
      if (response) {
        from.responses_waiting = true;
      } else {
        take_events(i, true);
      }
    }
  }
}

void FakeFrontend::Service::take_responses(std::size_t connector, bool notified) {
  Link& from = links_[connector];
  from.responses_waiting = false;
  from.responses_since.reset();
  if (!from.ring_page || stuck_) return;
  // One ring's length at most: the backend can refill it as fast as we take.
  for (std::uint32_t n = 0; n < from.ring.size(); ++n) {
    const displif::Taken taken = from.ring.take_response();
    if (from.rsp_prod_seen != taken.prod) {
      from.rsp_prod_seen = taken.prod;
      tracer_.index(From::backend, connector, "rsp_prod", taken.prod);
    }
    if (taken.result == displif::Take::overflow) {
      // ring.h, "Ill-behaved backend determination": there cannot be that many responses.
      refuse_index(connector, "rsp_prod", taken.prod, from.rsp_prod_refused,
                   fmt::format("rsp_prod {} with rsp_cons {} exceeds {} slots", taken.prod,
                               from.ring.rsp_cons(), from.ring.size()));
      if (strikes(&FrontendFaults::rsp_prod_trusted, "rsp-prod-trusted")) {
        stuck_ = true;
      }
    }
    if (!taken) break;
    take_response(connector, taken, notified);
  }
  ask_for_responses(from, connector);
}

void FakeFrontend::Service::ask_for_responses(Link& from, std::size_t connector) {
  from.threshold_stale = strikes(&FrontendFaults::rsp_event_not_updated, "rsp-event-not-updated");
  if (from.threshold_stale) return;
  // Comes back here in the next turn of the loop, after others had theirs.
  from.responses_waiting = from.ring.final_check_for_responses();
  std::uint32_t rsp_event = from.ring.rsp_cons() + 1;
  if (const auto beyond = strikes_with(&FrontendFaults::rsp_event_beyond, "rsp-event-beyond")) {
    rsp_event += beyond->excess;
    from.ring.shared().set_rsp_event(rsp_event);
  }
  if (from.rsp_event_told == rsp_event) return;
  from.rsp_event_told = rsp_event;
  tracer_.index(From::frontend, connector, "rsp_event", rsp_event);
}

void FakeFrontend::Service::refuse_index(std::size_t connector, std::string_view name,
                                         std::uint32_t value, std::optional<std::uint32_t>& refused,
                                         const std::string& reason) {
  if (refused == value) return;
  refused = value;
  tracer_.refused(connector, name, value, reason);
  trouble(fmt::format("connector {}: {}", connector, reason));
}

// The slot holds a request as it was written there, and nothing that a response would have: the
// producer was moved without one. A reset's request and its response to success are alike.
bool FakeFrontend::Service::untouched(const Link& from, const displif::Taken& taken) const {
  const auto& written = from.written[taken.index % from.ring.size()];
  return written == taken.packet &&
         std::any_of(taken.packet.begin() + kHeader, taken.packet.end(),
                     [](std::byte octet) { return octet != std::byte{0}; });
}

// The request that a response answers: the oldest unanswered one of its id.
std::optional<std::size_t> FakeFrontend::Service::match(Link& from, const displif::Taken& taken,
                                                        const displif::Response& response) {
  if (untouched(from, taken) &&
      !strikes(&FrontendFaults::untouched_slot_taken, "untouched-slot-taken")) {
    trouble(fmt::format("rsp_prod has passed slot {}, which holds no response",
                        taken.index % from.ring.size()));
    return std::nullopt;
  }
  const std::lock_guard lock(journal.mutex);
  if (taken.index > UINT16_MAX && strike(journal.faults.request_ids_wide)) return std::nullopt;
  const auto waits = [&](std::size_t number) { return journal.requests[number].given_up.empty(); };
  const auto has_id = [&](std::size_t number) {
    return journal.requests[number].request.id == response.id;
  };
  auto found =
      std::ranges::find_if(from.outstanding, [&](std::size_t number) { return has_id(number); });
  const bool late = found != from.outstanding.end() && !waits(*found);
  const auto oldest = std::ranges::find_if(from.outstanding, waits);
  if (late) {
    from.outstanding.erase(found);
    if (oldest == from.outstanding.end() || !strike(journal.faults.late_response_taken)) {
      return std::nullopt;
    }
    tracer_.log("fault late-response-taken");
    found = std::ranges::find_if(from.outstanding, waits);
  } else if (oldest != from.outstanding.end() && found != oldest &&
             strike(journal.faults.response_unmatched)) {
    tracer_.log("fault response-unmatched");
    found = oldest;
  }
  if (found == from.outstanding.end()) return std::nullopt;
  const std::size_t number = *found;
  from.outstanding.erase(found);
  return number;
}

void FakeFrontend::Service::take_response(std::size_t connector, const displif::Taken& taken,
                                          bool notified) {
  ReceivedResponse received;
  received.connector = connector;
  received.ring_index = taken.index;
  received.response = displif::decode_response(taken.packet);
  received.ns = now_ns();
  received.notified = notified;
  received.request = match(links_[connector], taken, received.response);
  {
    const std::lock_guard lock(journal.mutex);
    received.connection = journal.connections;
    received.number = journal.responses.size();
  }
  tracer_.response(received);
  update([&](Journal& j) {
    if (j.responses.size() < kJournalLimit) j.responses.push_back(received);
    if (!received.request) return;
    SentRequest& request = j.requests[*received.request];
    request.response = received.response;
    request.answered_ns = received.ns;
    request.answer_notified = notified;
  });
  if (!received.request) {
    trouble(
        fmt::format("connector {}: a response to nothing, id {}", connector, received.response.id));
    fatal(&FrontendFaults::unknown_response_fatal, "unknown-response-fatal");
  } else {
    at(Moment::request_answered);
  }
}

// --- events --------------------------------------------------------------------------------------

void FakeFrontend::Service::take_events(std::size_t connector, bool notified) {
  Link& from = links_[connector];
  from.events_since.reset();
  from.event_left = false;
  if (!from.event_page || stuck_) return;
  unsigned taken_now = 0;
  for (std::uint32_t n = 0; n < displif::kEventSlots; ++n) {
    if (n + 1 == displif::kEventSlots &&
        strikes(&FrontendFaults::full_page_left, "full-page-left")) {
      from.event_left = true;
      break;
    }
    displif::Taken taken = from.events.take();
    if (from.in_prod_seen != taken.prod) {
      from.in_prod_seen = taken.prod;
      tracer_.index(From::backend, connector, "in_prod", taken.prod);
    }
    if (taken.result == displif::Take::overflow) {
      taken_now += take_overflowing(connector, taken.prod, notified);
    }
    if (!taken) break;
    if (strikes(&FrontendFaults::event_slots_miscounted, "event-slots-miscounted")) {
      taken.packet = from.events.shared().read_slot(taken.index % (displif::kEventSlots + 1));
    }
    take_event(connector, taken.index, taken.packet, notified);
    ++taken_now;
  }
  if (taken_now > 0) confirm_events(connector, taken_now);
}

// in_prod is further ahead than the page has slots. A backend may overwrite what was not confirmed
// (displif.h, "Back to front events delivery"), and then the newest events stand in the page; or
// the index is wrong, and old ones stand there. Their ids, which backends count, tell. Returns how
// many were taken.
unsigned FakeFrontend::Service::take_overflowing(std::size_t connector, std::uint32_t prod,
                                                 bool notified) {
  Link& from = links_[connector];
  refuse_index(connector, "in_prod", prod, from.in_prod_refused,
               fmt::format("in_prod {} with in_cons {} exceeds {} slots", prod,
                           from.events.in_cons_pvt(), displif::kEventSlots));
  if (strikes(&FrontendFaults::in_prod_trusted, "in-prod-trusted")) {
    stuck_ = true;
    return 0;
  }
  if (static_cast<std::int32_t>(prod - from.events.in_cons_pvt()) < 0) return 0;
  unsigned taken = 0;
  for (std::uint32_t index = prod - displif::kEventSlots; index != prod; ++index) {
    const Packet packet = from.events.shared().read_slot(index);
    const auto expected = static_cast<std::uint16_t>(index + from.event_id_offset);
    if (displif::decode_event(packet).id != expected) continue;
    from.events.set_private(index + 1);
    take_event(connector, index, packet, notified);
    ++taken;
  }
  return taken;
}

void FakeFrontend::Service::take_event(std::size_t connector, std::uint32_t index,
                                       const Packet& packet, bool notified) {
  ReceivedEvent received;
  received.connector = connector;
  received.page_index = index;
  received.event = displif::decode_event(packet);
  received.ns = now_ns();
  received.notified = notified;
  links_[connector].event_id_offset = static_cast<std::uint16_t>(received.event.id - index);
  {
    const std::lock_guard lock(journal.mutex);
    received.connection = journal.connections;
    received.number = journal.events.size();
  }
  tracer_.event(received);
  update([&](Journal& j) {
    if (j.events.size() < kJournalLimit) j.events.push_back(received);
  });
  if (received.event.id != index && strikes(&FrontendFaults::event_ids_wide, "event-ids-wide")) {
    return;
  }
  complete_flip(received);
}

void FakeFrontend::Service::complete_flip(const ReceivedEvent& event) {
  const auto* body = std::get_if<displif::PgFlipEvent>(&event.event.body);
  if (body == nullptr) return;
  bool pending = false;
  bool same = false;
  {
    const std::lock_guard lock(journal.mutex);
    const auto& flip = journal.flips[event.connector].pending;
    pending = flip.has_value();
    same = pending && flip->cookie == body->fb_cookie;
  }
  if (pending && !same) same = strikes(&FrontendFaults::flip_cookie_ignored, "flip-cookie-ignored");
  if (!same) {
    trouble(
        fmt::format("connector {}: a flip event for framebuffer {:#x}, to which no flip is "
                    "pending",
                    event.connector, displif::raw(body->fb_cookie)));
    fatal(&FrontendFaults::unknown_event_fatal, "unknown-event-fatal");
    return;
  }
  if (strikes(&FrontendFaults::flip_event_ignored, "flip-event-ignored")) return;
  update([&](Journal& j) {
    FlipState& flip = j.flips[event.connector];
    flip.pending.reset();
    flip.completed = event;
  });
}

void FakeFrontend::Service::confirm_events(std::size_t connector, unsigned taken) {
  Link& from = links_[connector];
  displif::SharedEventPage& page = from.events.shared();
  const std::uint32_t before = page.in_cons();
  from.unconfirmed += taken;
  if (strikes(&FrontendFaults::events_unconfirmed, "events-unconfirmed")) return;
  if (const auto groups =
          strikes_with(&FrontendFaults::events_confirmed_in_groups, "events-confirmed-in-groups");
      groups && from.unconfirmed < groups->count) {
    return;
  }
  from.unconfirmed = 0;
  from.events.confirm();
  tracer_.index(From::frontend, connector, "in_cons", from.events.in_cons_pvt());
  const auto forge = [&](std::uint32_t value) {
    page.set_in_cons(value);
    tracer_.index(From::frontend, connector, "in_cons", value);
  };
  if (const auto beyond = strikes_with(&FrontendFaults::in_cons_beyond, "in-cons-beyond")) {
    forge(from.events.in_cons_pvt() + beyond->excess);
  }
  if (strikes(&FrontendFaults::in_cons_backwards, "in-cons-backwards")) forge(before - 1);
  if (strikes(&FrontendFaults::in_prod_overwritten, "in-prod-overwritten")) {
    page.set_in_prod(0);
    tracer_.index(From::frontend, connector, "in_prod", 0);
    from.in_prod_refused = 0;  // our own doing
  }
}

// --- lost notifications --------------------------------------------------------------------------

// What the backend should have announced, and did not: taken in the end, so that a lost
// notification is a finding of its own rather than a stall of everything.
void FakeFrontend::Service::rescue_unnotified() {
  for (std::size_t i = 0; i < links_.size() && !doomed_; ++i) overdue(i);
}

void FakeFrontend::Service::overdue(std::size_t connector) {
  Link& from = links_[connector];
  const auto now = xen::Clock::now();
  const auto due = [&](bool waiting, std::optional<xen::Clock::time_point>& since) {
    if (!waiting) {
      since.reset();
      return false;
    }
    if (!since) since = now;
    return now - *since >= options_.unnotified_after;
  };
  const bool responses =
      from.ring_page && !stuck_ && !from.responses_waiting && from.ring.unconsumed() > 0;
  if (due(responses, from.responses_since)) {
    // With a threshold that a fault has kept from moving, silence is no wonder.
    if (!from.threshold_stale) {
      tracer_.unnotified(connector, "rsp_prod", from.ring.shared().indices().rsp_prod);
    }
    take_responses(connector, from.threshold_stale);
  }
  const bool events = from.event_page && !stuck_ && !from.event_left &&
                      from.events.shared().in_prod() != from.events.in_cons_pvt() &&
                      from.events.shared().in_prod() != from.in_prod_refused;
  if (due(events, from.events_since)) {
    tracer_.unnotified(connector, "in_prod", from.events.shared().in_prod());
    take_events(connector, false);
  }
}

}  // namespace displif_cts::fake_frontend
