// The service thread's work on requests: taken, decided by the model, carried out, answered.
#include <fmt/format.h>
#include <xen/errno.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <thread>

#include "fake_backend/breakdown.h"
#include "fake_backend/service.h"
#include "harness/displif/describe.h"
#include "harness/displif/fourcc.h"

namespace displif_cts::fake_backend {
namespace {

using displif::raw;
using trace::Direction;
using trace::Kind;

constexpr std::size_t kManyBuffers = 200;  // more than any guest that shows pictures has
constexpr std::byte kDirt{0xa5};           // for reserved octets that should be 0

// An operation that is defined, and another one.
std::uint8_t other_operation(std::uint8_t operation) {
  return operation == XENDISPL_OP_PG_FLIP ? XENDISPL_OP_SET_CONFIG : XENDISPL_OP_PG_FLIP;
}

// An id that no frontend of sequential ids has outstanding.
std::uint16_t other_id(std::uint16_t id) { return static_cast<std::uint16_t>(id + 0x4000U); }

void dirty(displif::Packet& packet, const std::vector<displif::ByteRange>& ranges) {
  for (const auto& range : ranges) {
    std::fill_n(packet.begin() + static_cast<std::ptrdiff_t>(range.offset), range.size, kDirt);
  }
}

std::size_t repeated(const std::vector<xen::GrantRef>& refs) {
  return refs.size() - std::set<xen::GrantRef>(refs.begin(), refs.end()).size();
}

Json directory_fields(DbufCookie cookie, const displif::Directory& directory) {
  Json pages = Json::array();
  for (const xen::GrantRef page : directory.pages) pages.push_back(raw(page));
  Json problems = Json::array();
  for (const auto& problem : directory.problems) problems.push_back(problem.text);
  return Json{{"connector", 0},
              {"what", "directory"},
              {"dbuf_cookie", fmt::format("{:#x}", raw(cookie))},
              {"pages", std::move(pages)},
              {"references", directory.refs.size()},
              {"repeated", repeated(directory.refs)},
              {"problems", std::move(problems)}};
}

}  // namespace

// --- faults --------------------------------------------------------------------------------------

void FakeBackend::Service::struck(std::string_view name) {
  recorder_.log(fmt::format("backend: fault {}", name));
}

bool FakeBackend::Service::strikes(Times BackendFaults::*fault, std::string_view name) {
  // Only this thread changes the faults: it need not lock to look at them.
  if (journal.faults.*fault == 0) return false;
  {
    const std::lock_guard lock(journal.mutex);
    if (!strike(journal.faults.*fault)) return false;
  }
  struck(name);
  return true;
}

template <class Fault>
std::optional<Fault> FakeBackend::Service::strikes_at(Fault BackendFaults::*fault,
                                                      std::uint8_t operation,
                                                      std::string_view name) {
  if ((journal.faults.*fault).times == 0) return std::nullopt;
  Fault found;
  {
    const std::lock_guard lock(journal.mutex);
    Fault& current = journal.faults.*fault;
    if (!current.operations.contains(operation) || !strike(current.times)) return std::nullopt;
    found = current;
  }
  struck(name);
  return found;
}

template <class Fault>
std::optional<Fault> FakeBackend::Service::strikes_with(Fault BackendFaults::*fault,
                                                        std::string_view name) {
  if ((journal.faults.*fault).times == 0) return std::nullopt;
  Fault found;
  {
    const std::lock_guard lock(journal.mutex);
    if (!strike((journal.faults.*fault).times)) return std::nullopt;
    found = journal.faults.*fault;
  }
  struck(name);
  return found;
}

void FakeBackend::Service::meet(Situation situation) {
  if (journal.faults.breaks_down.situation != situation) return;
  {
    const std::lock_guard lock(journal.mutex);
    BreakdownFault& fault = journal.faults.breaks_down;
    if (fault.situation != situation || !strike(fault.times)) return;
  }
  struck("breaks-down");
  Breakdown::happen();
}

void FakeBackend::Service::meet_reserved(const displif::Request& request) {
  if (journal.faults.breaks_down.situation != Situation::reserved_octets) return;
  if (!displif::nonzero_bytes(request.packet, displif::reserved_bytes(request.operation, 2))
           .empty())
    meet(Situation::reserved_octets);
}

// What the refusal of a request was about.
void FakeBackend::Service::meet_refusal(const ReceivedRequest& request, const Answer& answer) {
  if (answer.status == 0) return;
  if (++refusals_ >= 3) meet(Situation::refusals);
  if (answer.status != -XEN_EINVAL) return;
  const displif::Request& asked = request.request;
  if (const auto* create = asked.as<displif::DbufCreate>()) {
    meet((create->flags & XENDISPL_DBUF_FLG_REQ_ALLOC) != 0 ? Situation::allocation_not_offered
                                                            : Situation::buffer_geometry);
  } else if (const auto* attach = asked.as<displif::FbAttach>()) {
    meet(displif::bits_per_pixel(attach->pixel_format) ? Situation::framebuffer_geometry
                                                       : Situation::pixel_format);
  } else if (asked.as<displif::SetConfig>() != nullptr) {
    meet(Situation::configuration);
  } else if (asked.as<displif::PgFlip>() != nullptr) {
    meet(Situation::unconfigured_flip);
  }
}

void FakeBackend::Service::meet_effect(const Effect& effect) {
  Situation situation = Situation::none;
  std::optional<DisplayBuffer> gone;
  {
    const std::lock_guard lock(journal.mutex);
    const Model& model = journal.model;
    if (std::holds_alternative<CreateBuffer>(effect) && model.buffers().size() >= kManyBuffers) {
      situation = Situation::many_buffers;
    } else if (const auto* destroy = std::get_if<DestroyBuffer>(&effect)) {
      if (const DisplayBuffer* buffer = model.buffer(destroy->cookie)) gone = *buffer;
      for (const auto& [cookie, fb] : model.framebuffers())
        if (fb.dbuf_cookie == destroy->cookie) situation = Situation::buffer_in_use;
    } else if (const auto* detach = std::get_if<DetachFramebuffer>(&effect)) {
      for (const ConnectorState& connector : model.connectors())
        if (connector.shown_fb == detach->cookie) situation = Situation::shown_detached;
    }
  }
  if (situation != Situation::none) meet(situation);
  bool rereads = false;
  {
    const std::lock_guard lock(journal.mutex);
    rereads = journal.faults.breaks_down.situation == Situation::directory_revoked;
  }
  if (gone && rereads && !buffers_->read_directory(*gone).problems.empty())
    meet(Situation::directory_revoked);
}

// --- rings ---------------------------------------------------------------------------------------

Link& FakeBackend::Service::link(std::size_t connector) {
  if (connector >= links_.size()) {
    throw std::logic_error(
        fmt::format("connector {} is not connected ({} are)", connector, links_.size()));
  }
  return links_[connector];
}

void FakeBackend::Service::record_index(std::size_t connector, Direction direction,
                                        std::string_view name, std::uint32_t value) {
  recorder_.message(Kind::index, direction, {}, [&] {
    return Json{{"connector", connector}, {"name", name}, {"value", value}};
  });
}

void FakeBackend::Service::read_confirmations(std::size_t connector) {
  Link& link = links_[connector];
  const std::uint32_t in_cons = link.events.shared().in_cons();
  if (link.in_cons_seen == in_cons) return;
  link.in_cons_seen = in_cons;
  record_index(connector, Direction::front_to_back, "in_cons", in_cons);
  if (!link.events.unconfirmed()) meet(Situation::confirmation);
}

void FakeBackend::Service::drain_ports() {
  const std::size_t most = 4 * (links_.size() + kept_links_.size()) + 4;
  for (std::size_t n = 0; n < most; ++n) {
    // poll() has said that there is a first one.
    const auto port = n == 0 ? channels_->take() : channels_->wait(xen::Clock::now());
    if (!port) return;
    for (std::size_t i = 0; i < links_.size(); ++i) {
      Link& link = links_[i];
      const bool request = link.req_port.port() == *port;
      if (!request && link.evt_port.port() != *port) continue;
      channels_->unmask(*port);
      const std::uint64_t count = request ? ++link.req_notifications : ++link.evt_notifications;
      recorder_.message(Kind::index, Direction::front_to_back, {}, [&] {
        return Json{{"connector", i},
                    {"what", "notification"},
                    {"channel", request ? "req" : "evt"},
                    {"count", count}};
      });
      if (!request || link.ring.unconsumed() == 0) ++idle_notifications_;
      if (idle_notifications_ > 50) meet(Situation::notifications);
      if (request) {
        link.work = true;
      } else {
        read_confirmations(i);
      }
    }
  }
}

void FakeBackend::Service::serve(std::size_t connector, bool notified) {
  Link& link = links_[connector];
  link.work = false;
  link.backlog_since.reset();
  if (connector != 0 && strikes(&BackendFaults::only_first_connector, "only-first-connector"))
    return;
  std::vector<Reply>& replies = replies_;
  replies.clear();
  take_requests(connector, notified);
  for (const std::size_t number : taken_) {
    Reply reply = handle(number);
    const bool twice = std::ranges::any_of(
        replies, [&](const Reply& other) { return other.response.id == reply.response.id; });
    if (twice && strikes(&BackendFaults::duplicate_id_dropped, "duplicate-id-dropped")) continue;
    const bool flips =
        std::ranges::any_of(replies, [](const Reply& r) { return r.flip.has_value(); });
    if (flips && reply.flip &&
        strikes(&BackendFaults::outstanding_flip_lost, "outstanding-flip-lost"))
      reply.flip.reset();
    replies.push_back(reply);
  }
  if (replies.size() > 1 && strikes(&BackendFaults::responses_reversed, "response-reversed")) {
    std::ranges::reverse(replies);
  }
  for (const Reply& reply : replies) deliver(reply);
  link.threshold_stale = strikes(&BackendFaults::req_event_not_updated, "req-event-not-updated");
  if (link.threshold_stale) return;
  // Comes back here in the next turn of the loop, after others had theirs.
  link.work = link.ring.final_check_for_requests();
  if (link.work && strikes(&BackendFaults::one_per_notification, "one-per-notification"))
    link.work = false;
  if (!replies.empty()) {
    record_index(connector, Direction::back_to_front, "req_event", link.ring.req_cons() + 1);
  }
}

void FakeBackend::Service::take_requests(std::size_t connector, bool notified) {
  Link& link = links_[connector];
  std::vector<std::size_t>& taken = taken_;
  taken.clear();
  const bool single = journal.faults.one_per_notification != 0;
  // One ring's length at most: the frontend can refill it as fast as we take.
  while (taken.size() < (single ? 1 : link.ring.size())) {
    const displif::Taken next = link.ring.take_request();
    if (link.req_prod_seen != next.prod) {
      link.req_prod_seen = next.prod;
      record_index(connector, Direction::front_to_back, "req_prod", next.prod);
    }
    if (next.result == displif::Take::overflow) take_overflowing(connector, next.prod, taken);
    if (!next) break;
    taken.push_back(journal_request(connector, next.index, next.packet, notified));
  }
  if (taken.size() == link.ring.size() && strikes(&BackendFaults::full_ring_cut, "full-ring-cut"))
    taken.pop_back();
}

// ring.h, "Ill-behaved frontend determination": there cannot be that many requests.
void FakeBackend::Service::take_overflowing(std::size_t connector, std::uint32_t prod,
                                            std::vector<std::size_t>& taken) {
  Link& link = links_[connector];
  if (strikes(&BackendFaults::ring_index_trusted, "ring-index-trusted")) {
    const std::uint32_t first = link.ring.req_cons();
    for (std::uint32_t i = 0; i < link.ring.size(); ++i) {
      taken.push_back(
          journal_request(connector, first + i, link.ring.shared().read_slot(first + i), true));
    }
    link.ring.set_private(first + link.ring.size(), link.ring.rsp_prod_pvt());
    return;
  }
  meet(Situation::ring_index);
  if (link.refused == prod) return;
  link.refused = prod;
  const std::string reason =
      fmt::format("req_prod {} with req_cons {} and rsp_prod {} exceeds {} slots", prod,
                  link.ring.req_cons(), link.ring.rsp_prod_pvt(), link.ring.size());
  recorder_.message(Kind::index, Direction::front_to_back, {}, [&] {
    return Json{{"connector", connector},
                {"what", "refused"},
                {"name", "req_prod"},
                {"value", prod},
                {"reason", reason}};
  });
  trouble(fmt::format("connector {}: {}", connector, reason));
}

std::size_t FakeBackend::Service::journal_request(std::size_t connector, std::uint32_t index,
                                                  const displif::Packet& packet, bool notified) {
  const std::uint64_t now = trace::now_ns();
  unsigned protocol = 1;
  std::size_t number = 0;
  {
    const std::lock_guard lock(journal.mutex);
    protocol = journal.protocol;
    // Beyond the limit the last entries are used again: the guest is served, the journal is full.
    number = journal.requests.add_within(options_.requests_kept, fake::kJournalReused);
    ReceivedRequest& received = journal.requests[number];
    received.number = number;
    received.connector = connector;
    received.connection = journal.connections;
    received.ring_index = index;
    received.request = displif::decode_request(packet);
    received.ns = now;
    received.notified = notified;
  }
  recorder_.message(Kind::request, Direction::front_to_back, packet, [&] {
    Json fields{{"connector", connector}, {"index", index}, {"notified", notified}};
    fields.update(displif::describe(journal.requests[number].request, protocol));
    return fields;
  });
  journal.changed.notify_all();
  return number;
}

// --- deciding and doing --------------------------------------------------------------------------

Answer FakeBackend::Service::decide(const ReceivedRequest& request) {
  const std::lock_guard lock(journal.mutex);
  return journal.model.decide(request.connector, request.request, journal.faults);
}

FakeBackend::Service::Reply FakeBackend::Service::handle(std::size_t number) {
  // Entries stay where they are, and only this thread changes them.
  const ReceivedRequest& request = journal.requests[number];
  const std::uint8_t operation = request.request.operation;
  meet_reserved(request.request);
  Reply reply;
  reply.number = number;
  reply.connector = request.connector;
  reply.response.id = request.request.id;
  reply.response.operation = operation;
  const auto injected = strikes_at(&BackendFaults::error_status, operation, "error-status");
  Answer answer = decide(request);
  if (injected) {
    Effect released;
    {
      const std::lock_guard lock(journal.mutex);
      released = journal.model.release_effect(request.request);
    }
    Answer release{0, {}, released};
    carry_out(request, release, reply);
    reply.response.status = injected->status;
    reply.injected = true;
  } else {
    meet_refusal(request, answer);
    if (answer.status == 0) carry_out(request, answer, reply);
    const auto* create = request.request.as<displif::DbufCreate>();
    if (create != nullptr && answer.status != 0 && raw(create->dbuf_cookie) != 0 &&
        strikes(&BackendFaults::refused_buffer_kept, "refused-buffer-kept")) {
      apply(request.connector, CreateBuffer{{.cookie = create->dbuf_cookie,
                                             .width = create->width,
                                             .height = create->height,
                                             .bpp = create->bpp,
                                             .size = create->buffer_sz,
                                             .directory = create->gref_directory}});
    }
    reply.response.status = wire_status(operation, answer.status);
  }
  const auto* flip = request.request.as<displif::PgFlip>();
  if (flip != nullptr && ((answer.status == 0 && !injected) ||
                          strikes(&BackendFaults::flip_event_on_error, "flip-event-on-error"))) {
    reply.flip = flip->fb_cookie;
  }
  update([&](Journal& j) { j.requests[number].answer = std::move(answer); });
  return reply;
}

std::int32_t FakeBackend::Service::wire_status(std::uint8_t operation, std::int32_t status) {
  if (status != 0 && strikes_at(&BackendFaults::failure_reported_as_success, operation,
                                "failure-reported-as-success")) {
    return 0;
  }
  if (status == 0) {
    const auto positive =
        strikes_at(&BackendFaults::positive_status, operation, "response-positive-status");
    if (positive) return positive->status;
    if (strikes_at(&BackendFaults::success_reported_as_failure, operation,
                   "success-reported-as-failure")) {
      return -XEN_EIO;
    }
  }
  return status;
}

// Memory first, then the model: what cannot be done is refused, and leaves no trace.
void FakeBackend::Service::carry_out(const ReceivedRequest& request, Answer& answer, Reply& reply) {
  meet_effect(answer.effect);
  if (const auto* create = std::get_if<CreateBuffer>(&answer.effect)) {
    create_buffer(create->buffer, answer);
  } else if (const auto* gone = std::get_if<DestroyBuffer>(&answer.effect)) {
    bool allocated = false;
    {
      const std::lock_guard lock(journal.mutex);
      const DisplayBuffer* buffer = journal.model.buffer(gone->cookie);
      allocated = buffer != nullptr && buffer->backend_allocated;
    }
    const bool keep =
        strikes(&BackendFaults::mapping_kept_after_destroy, "mapping-kept-after-destroy") ||
        (allocated && strikes(&BackendFaults::be_alloc_kept, "be-alloc-kept"));
    buffers_->destroy(gone->cookie, keep);
  } else if (const auto* edid = std::get_if<ReadEdid>(&answer.effect)) {
    read_edid(request.connector, *edid, answer, reply);
  } else if (const auto* flip = std::get_if<Flip>(&answer.effect)) {
    const std::lock_guard lock(journal.mutex);
    const Framebuffer* fb = journal.model.framebuffer(flip->fb_cookie);
    if (fb != nullptr && strike(journal.faults.buffer_written)) buffers_->scribble(fb->dbuf_cookie);
  }
  if (answer.status == 0) {
    apply(request.connector, answer.effect);
  } else {
    answer.effect = NoEffect{};
  }
}

void FakeBackend::Service::create_buffer(const DisplayBuffer& buffer, Answer& answer) {
  AllocationFaults faults;
  bool writable = options_.writable_buffers;
  if (buffer.backend_allocated) {
    faults.refs_invalid = strikes(&BackendFaults::be_alloc_refs_invalid, "be-alloc-refs-invalid");
    faults.refs_missing = strikes(&BackendFaults::be_alloc_refs_missing, "be-alloc-refs-missing");
    faults.refs_short = strikes(&BackendFaults::be_alloc_refs_short, "be-alloc-refs-short");
    faults.next_page_changed =
        strikes(&BackendFaults::be_alloc_next_page_changed, "be-alloc-next-page-changed");
    faults.read_only = strikes(&BackendFaults::be_alloc_read_only, "be-alloc-read-only");
    faults.not_cleared = strikes(&BackendFaults::be_alloc_not_cleared, "be-alloc-not-cleared");
  }
  if (buffer.pages() > displif::kRefsPerDirectoryPage &&
      strikes(&BackendFaults::directory_first_page_only, "directory-first-page-only")) {
    answer.status = -XEN_ENOMEM;
    answer.reason = "fault directory-first-page-only";
    return;
  }
  {
    const std::lock_guard lock(journal.mutex);
    writable = writable || journal.faults.buffer_written != 0;
  }
  displif::Directory walked;
  const Outcome outcome = buffers_->create(
      buffer, writable ? xen::Access::read_write : xen::Access::read_only, faults, walked);
  recorder_.message(Kind::index, Direction::front_to_back, {},
                    [&] { return directory_fields(buffer.cookie, walked); });
  update([&](Journal& j) { j.directories.insert_or_assign(buffer.cookie, std::move(walked)); });
  if (outcome.ok()) return;
  meet(Situation::directory);
  if (strikes(&BackendFaults::invalid_directory_accepted, "invalid-directory-accepted")) return;
  answer.status = outcome.status;
  answer.reason = outcome.reason;
  trouble(fmt::format("buffer {:#x}: {}", raw(buffer.cookie), outcome.reason));
}

void FakeBackend::Service::read_edid(std::size_t connector, const ReadEdid& read, Answer& answer,
                                     Reply& reply) {
  std::vector<std::byte> edid = options_.connectors[connector].edid;
  if (edid.size() >= XENDISPL_EDID_BLOCK_SIZE &&
      strikes(&BackendFaults::edid_checksum_wrong, "edid-checksum-wrong"))
    edid[XENDISPL_EDID_BLOCK_SIZE - 1] ^= std::byte{1};
  const bool skip = strikes(&BackendFaults::edid_not_written, "edid-not-written");
  // A buffer below the size that the EDID needs passes only where the check was left out.
  const auto fitting = std::span(edid).first(std::min<std::size_t>(edid.size(), read.size));
  const bool keep = strikes(&BackendFaults::edid_kept_mapped, "edid-kept-mapped");
  const Outcome outcome =
      buffers_->write_edid(read, skip ? std::span<const std::byte>() : fitting, keep);
  if (!outcome.ok() &&
      !strikes(&BackendFaults::edid_directory_unchecked, "edid-directory-unchecked")) {
    answer.status = outcome.status;
    answer.reason = outcome.reason;
    return;
  }
  const bool beyond = strikes(&BackendFaults::edid_size_beyond_buffer, "edid-size-beyond-buffer");
  reply.response.edid_sz = beyond ? read.size + 128 : static_cast<std::uint32_t>(fitting.size());
}

void FakeBackend::Service::apply(std::size_t connector, Effect effect) {
  const bool left_out = (std::holds_alternative<Configure>(effect) &&
                         strikes(&BackendFaults::config_not_applied, "config-not-applied")) ||
                        (std::holds_alternative<ResetConnector>(effect) &&
                         strikes(&BackendFaults::reset_not_applied, "reset-not-applied")) ||
                        (std::holds_alternative<Flip>(effect) &&
                         strikes(&BackendFaults::flip_not_applied, "flip-not-applied"));
  if (left_out) return;
  if (std::holds_alternative<Configure>(effect) && connector != 0 &&
      strikes(&BackendFaults::config_on_first_connector, "config-on-first-connector"))
    connector = 0;
  update([&](Journal& j) { j.model.apply(connector, effect); });
  if (std::holds_alternative<DetachFramebuffer>(effect) &&
      strikes(&BackendFaults::others_hidden, "others-hidden"))
    update([&](Journal& j) { j.model.apply(connector, Flip{}); });
}

// --- responses -----------------------------------------------------------------------------------

// What lies in the slot is looked at again when it is answered.
void FakeBackend::Service::meet_change(const Reply& reply) {
  std::uint32_t index = 0;
  displif::Packet before{};
  if (journal.faults.breaks_down.situation != Situation::request_changed) return;
  {
    const std::lock_guard lock(journal.mutex);
    index = journal.requests[reply.number].ring_index;
    before = journal.requests[reply.number].request.packet;
  }
  // As one that works on the request for a while, in its slot.
  const auto until = xen::in(std::chrono::milliseconds(5));
  bool changed = false;
  while (!changed && xen::Clock::now() < until)
    changed = link(reply.connector).ring.shared().read_slot(index) != before;
  if (changed) meet(Situation::request_changed);
}

void FakeBackend::Service::deliver(Reply reply) {
  const std::uint8_t operation = reply.response.operation;
  meet_change(reply);
  if (Breakdown::happened()) return;
  if (strikes_at(&BackendFaults::response_never, operation, "response-never")) return;
  if (strikes_at(&BackendFaults::response_extra_unknown_id, operation,
                 "response-extra-unknown-id")) {
    displif::Response extra = reply.response;
    extra.id = other_id(reply.response.id);
    put_response(reply.connector, displif::encode_response(extra), "fault");
    publish_responses(reply.connector, false);
  }
  if (const auto late = strikes_at(&BackendFaults::response_late, operation, "response-late")) {
    timers_.emplace(xen::in(late->delay), [this, reply] { respond(reply); });
    return;
  }
  respond(reply);
}

void FakeBackend::Service::respond(const Reply& reply) {
  const bool event_first = reply.flip && strikes(&BackendFaults::flip_event_before_response,
                                                 "flip-event-before-response");
  if (event_first) flip_event(reply);
  put_faulty_responses(reply);
  update([&](Journal& j) {
    ReceivedRequest& request = j.requests[reply.number];
    request.status = reply.response.status;
    request.answered_ns = trace::now_ns();
  });
  publish_responses(reply.connector, false);
  if (reply.flip && !event_first) flip_event(reply);
  after_answer(reply.connector);
}

void FakeBackend::Service::put_faulty_responses(const Reply& reply) {
  const std::uint8_t operation = reply.response.operation;
  displif::Response response = reply.response;
  if (strikes_at(&BackendFaults::response_unknown_id, operation, "response-unknown-id")) {
    response.id = other_id(response.id);
  }
  displif::Packet packet = displif::encode_response(response);
  if (strikes_at(&BackendFaults::response_wrong_operation, operation, "response-wrong-operation")) {
    response.operation = other_operation(operation);
    packet = displif::encode_response(response);
  }
  if (strikes_at(&BackendFaults::response_reserved_nonzero, operation,
                 "response-reserved-nonzero")) {
    dirty(packet, displif::reserved_response_bytes(response.operation, 2));
  }
  static const Reason kInjected("fault error-status");
  put_response(reply.connector, packet,
               reply.injected ? kInjected : journal.requests[reply.number].answer.reason);
  if (strikes_at(&BackendFaults::response_duplicate, operation, "response-duplicate")) {
    put_response(reply.connector, packet, "fault response-duplicate");
  }
}

void FakeBackend::Service::put_response(std::size_t connector, const displif::Packet& packet,
                                        const Reason& reason) {
  Link& to = link(connector);
  SentResponse sent;
  sent.connector = connector;
  sent.ring_index = to.ring.rsp_prod_pvt();
  sent.response = displif::decode_response(packet);
  sent.ns = trace::now_ns();
  recorder_.message(Kind::response, Direction::back_to_front, packet, [&] {
    Json fields{{"connector", connector}, {"index", sent.ring_index}};
    fields.update(displif::describe(sent.response));
    if (!reason.empty()) fields["reason"] = reason.text();
    return fields;
  });
  displif::Packet request{};
  if (journal.faults.response_slot_wrong != 0)
    request = to.ring.shared().read_slot(sent.ring_index);
  to.ring.put_response(packet);
  if (sent.ring_index == UINT16_MAX) meet(Situation::long_run);
  if (sent.ring_index >= to.ring.size() &&
      strikes(&BackendFaults::response_slot_wrong, "response-slot-wrong")) {
    to.ring.shared().write_slot(sent.ring_index + 1, packet);
    to.ring.shared().write_slot(sent.ring_index, request);
  }
  update([&](Journal& j) {
    sent.connection = j.connections;
    sent.number = j.responses.size();
    if (j.responses.size() < kJournalLimit) j.responses.push_back(sent);
  });
}

void FakeBackend::Service::publish_responses(std::size_t connector, bool notify_anyway) {
  Link& to = link(connector);
  const std::uint32_t before = to.ring.shared().indices().rsp_prod;
  const bool wanted = to.ring.publish_responses();
  const std::uint32_t published = to.ring.rsp_prod_pvt();
  const std::uint32_t rsp_event = to.ring.shared().indices().rsp_event;
  if (to.rsp_event_seen != rsp_event) {
    to.rsp_event_seen = rsp_event;
    record_index(connector, Direction::front_to_back, "rsp_event", rsp_event);
  }
  record_index(connector, Direction::back_to_front, "rsp_prod", published);
  bool forged = false;
  const auto forge = [&](std::uint32_t value) {
    to.ring.shared().set_rsp_prod(value);
    record_index(connector, Direction::back_to_front, "rsp_prod", value);
    forged = true;
  };
  if (const auto beyond = strikes_with(&BackendFaults::rsp_prod_beyond, "rsp-prod-beyond")) {
    forge(published + beyond->excess);
  }
  if (strikes(&BackendFaults::rsp_prod_backwards, "rsp-prod-backwards")) forge(before - 1);
  if (strikes(&BackendFaults::req_prod_written, "req-prod-written"))
    to.ring.shared().set_req_prod(0);
  const std::uint8_t operation =
      journal.responses.empty() ? 0 : journal.responses.back().response.operation;
  if (strikes_at(&BackendFaults::response_not_notified, operation, "response-not-notified")) return;
  if (wanted || forged || notify_anyway) to.req_port.notify();
}

void FakeBackend::Service::after_answer(std::size_t connector) {
  if (const auto burst =
          strikes_with(&BackendFaults::spurious_notifications, "spurious-notifications")) {
    for (std::uint32_t i = 0; i < burst->count; ++i) {
      link(connector).req_port.notify();
      link(connector).evt_port.notify();
    }
  }
  if (journal.faults.unexpected_state.times == 0) return;
  std::optional<std::uint32_t> state;
  {
    const std::lock_guard lock(journal.mutex);
    StateFault& fault = journal.faults.unexpected_state;
    if (fault.after > 0 && --fault.after > 0) return;
    if (strike(fault.times)) state = fault.state;
  }
  if (!state) return;
  struck("state");
  write_state(std::to_string(*state));
}

// --- events --------------------------------------------------------------------------------------

void FakeBackend::Service::flip_event(const Reply& reply) {
  if (strikes(&BackendFaults::flip_event_never, "flip-event-never")) return;
  const std::size_t connector = reply.connector;
  const FbCookie cookie = *reply.flip;
  if (const auto late = strikes_with(&BackendFaults::flip_event_late, "flip-event-late")) {
    timers_.emplace(xen::in(late->delay),
                    [this, connector, cookie] { put_flip_event(connector, cookie); });
    return;
  }
  put_flip_event(connector, cookie);
}

void FakeBackend::Service::put_flip_event(std::size_t connector, FbCookie cookie) {
  if (links_.size() > 1 &&
      strikes(&BackendFaults::flip_event_other_connector, "flip-event-other-connector")) {
    connector = (connector + 1) % links_.size();
  }
  Link& to = link(connector);
  if (const auto strange = strikes_with(&BackendFaults::event_unknown_type, "event-unknown-type")) {
    for (std::uint32_t i = 0; i < strange->count; ++i) {
      displif::Packet packet =
          displif::encode_event(to.next_event_id++, displif::PgFlipEvent{cookie});
      packet[offsetof(xendispl_evt, type)] = std::byte{0x7f};
      put_event(connector, packet);
    }
  }
  if (strikes(&BackendFaults::event_id_gap, "event-id-gap")) ++to.next_event_id;
  if (strikes(&BackendFaults::flip_event_unknown_cookie, "flip-event-unknown-cookie")) {
    cookie = FbCookie{raw(cookie) ^ 0x5a5a'0000'0000'0001U};
  }
  std::uint32_t copies = 1;
  if (strikes(&BackendFaults::flip_event_duplicate, "flip-event-duplicate")) copies = 2;
  if (const auto flood = strikes_with(&BackendFaults::event_flood, "event-page-overrun")) {
    copies += flood->count;
  }
  const bool reserved = strikes(&BackendFaults::event_reserved_nonzero, "event-reserved-nonzero");
  for (std::uint32_t i = 0; i < copies; ++i) {
    displif::Packet packet =
        displif::encode_event(to.next_event_id++, displif::PgFlipEvent{cookie});
    if (reserved) dirty(packet, displif::reserved_event_bytes(XENDISPL_EVT_PG_FLIP));
    put_event(connector, packet);
  }
  publish_events(connector);
}

void FakeBackend::Service::put_event(std::size_t connector, const displif::Packet& packet) {
  Link& to = link(connector);
  SentEvent sent;
  sent.connector = connector;
  sent.page_index = to.events.in_prod_pvt();
  sent.event = displif::decode_event(packet);
  sent.ns = trace::now_ns();
  recorder_.message(Kind::event, Direction::back_to_front, packet, [&] {
    Json fields{{"connector", connector}, {"index", sent.page_index}};
    fields.update(displif::describe(sent.event));
    return fields;
  });
  // A frontend need not confirm (displif.h, "Back to front events delivery"): never wait for room.
  displif::Packet before{};
  if (journal.faults.event_slot_wrong != 0) before = to.events.shared().read_slot(sent.page_index);
  const bool stops = strikes(&BackendFaults::stops_when_unconfirmed, "stops-when-unconfirmed");
  if (!to.events.put(packet, stops ? displif::WhenFull::refuse : displif::WhenFull::overwrite))
    return;
  if (sent.page_index >= displif::kEventSlots &&
      strikes(&BackendFaults::event_slot_wrong, "event-slot-wrong")) {
    to.events.shared().write_slot(sent.page_index + 1, packet);
    to.events.shared().write_slot(sent.page_index, before);
  }
  update([&](Journal& j) {
    sent.connection = j.connections;
    sent.number = j.events.size();
    if (j.events.size() < kJournalLimit) j.events.push_back(sent);
  });
}

void FakeBackend::Service::publish_events(std::size_t connector) {
  Link& to = link(connector);
  read_confirmations(connector);
  if (to.events.shared().in_prod() != to.in_prod_published) meet(Situation::event_page_written);
  if (Breakdown::happened()) return;
  to.events.publish();
  to.in_prod_published = to.events.in_prod_pvt();
  const std::uint32_t published = to.events.in_prod_pvt();
  record_index(connector, Direction::back_to_front, "in_prod", published);
  if (const auto beyond = strikes_with(&BackendFaults::event_prod_beyond, "event-prod-beyond")) {
    to.events.shared().set_in_prod(published + beyond->excess);
    record_index(connector, Direction::back_to_front, "in_prod", published + beyond->excess);
  }
  if (strikes(&BackendFaults::in_cons_written, "in-cons-written"))
    to.events.shared().set_in_cons(published);
  if (strikes(&BackendFaults::event_not_notified, "event-not-notified")) return;
  to.evt_port.notify();
}

// --- lost notifications --------------------------------------------------------------------------

// Requests that the frontend should have announced, and did not: served in the end, so that a lost
// notification is a finding of its own rather than a stall of everything.
void FakeBackend::Service::rescue_unnotified() {
  for (std::size_t i = 0; i < links_.size(); ++i) {
    Link& link = links_[i];
    if (link.threshold_stale || link.work || link.ring.unconsumed() == 0) {
      link.backlog_since.reset();
      continue;
    }
    const auto now = xen::Clock::now();
    if (!link.backlog_since) link.backlog_since = now;
    if (now - *link.backlog_since < options_.unnotified_after) continue;
    recorder_.message(Kind::index, Direction::front_to_back,
                      Json{{"connector", i},
                           {"what", "unnotified"},
                           {"name", "req_prod"},
                           {"value", link.ring.shared().indices().req_prod}});
    serve(i, false);
  }
}

}  // namespace displif_cts::fake_backend
