#include "fake_frontend/faults.h"

#include <drm_fourcc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <stdexcept>
#include <vector>

#include "harness/displif/wire.h"

namespace displif_cts::fake_frontend {
namespace {

using enum FaultKind;
using Faults = FrontendFaults;

constexpr std::chrono::milliseconds kLate{500};  // legal; far below a backend's patience

// Collects the entries. Requirement ids and fault ids are literals: they outlive the registry.
class Builder {
 public:
  // `setting`: what the field is in force with; its member `times` is set here.
  template <class Field>
  void add(FaultKind kind, std::string_view id, std::string_view requirement,
           std::string_view title, Field Faults::*field, Field setting) {
    setting.times = kAlways;
    all_.push_back({id, kind, requirement, title,
                    [field, setting](Faults& faults) { faults.*field = setting; },
                    [field](Faults& faults) -> Times& { return (faults.*field).times; }});
  }
  void add(FaultKind kind, std::string_view id, std::string_view requirement,
           std::string_view title, Times Faults::*field) {
    all_.push_back({id, kind, requirement, title,
                    [field](Faults& faults) { faults.*field = kAlways; },
                    [field](Faults& faults) -> Times& { return faults.*field; }});
  }
  void add(FaultKind kind, std::string_view id, std::string_view requirement,
           std::string_view title, AtOperations Faults::*field) {
    add(kind, id, requirement, title, field, AtOperations{});
  }
  // A state of its own accord happens once.
  void state(FaultKind kind, std::string_view id, std::string_view title, const char* text) {
    const StateFault setting{1, 3, text};  // in the middle of a first picture
    all_.push_back({id, kind, kind == stress ? "" : "bus.states-in-order", title,
                    [setting](Faults& faults) { faults.unexpected_state = setting; },
                    [](Faults& faults) -> Times& { return faults.unexpected_state.times; }});
  }
  void death(std::string_view id, std::string_view title, Moment moment, std::uint32_t after) {
    const DeathFault setting{1, moment, after};
    all_.push_back({id,
                    stress,
                    {},
                    title,
                    [setting](Faults& faults) { faults.death = setting; },
                    [](Faults& faults) -> Times& { return faults.death.times; }});
  }

  std::vector<FaultInfo> take() { return std::move(all_); }

 private:
  std::vector<FaultInfo> all_;
};

void add_nodes(Builder& to) {
  struct Row {
    Node node;
    std::string_view requirement, missing, invalid, foreign;
  };
  static constexpr std::array kRows{
      Row{Node::req_ring_ref, "xenstore.req-ring-ref", "frontend.omission.req-ring-ref-missing",
          "frontend.deviation.req-ring-ref-invalid", "frontend.deviation.req-ring-ref-foreign"},
      Row{Node::req_event_channel, "xenstore.req-event-channel",
          "frontend.omission.req-event-channel-missing",
          "frontend.deviation.req-event-channel-invalid",
          "frontend.deviation.req-event-channel-foreign"},
      Row{Node::evt_ring_ref, "xenstore.evt-ring-ref", "frontend.omission.evt-ring-ref-missing",
          "frontend.deviation.evt-ring-ref-invalid", "frontend.deviation.evt-ring-ref-foreign"},
      Row{Node::evt_event_channel, "xenstore.evt-event-channel",
          "frontend.omission.evt-event-channel-missing",
          "frontend.deviation.evt-event-channel-invalid",
          "frontend.deviation.evt-event-channel-foreign"}};
  for (const Row& row : kRows) {
    const AtNodes at{0, Nodes::only(row.node), false};
    to.add(omission, row.missing, row.requirement, "this node is not published",
           &Faults::node_missing, at);
    to.add(deviation, row.invalid, row.requirement, "this node names what was never made",
           &Faults::node_invalid, at);
    to.add(deviation, row.foreign, row.requirement, "this node names what is for another domain",
           &Faults::node_foreign, at);
  }
  const AtNodes ring{0, Nodes::only(Node::req_ring_ref), false};
  const AtNodes page{0, Nodes::only(Node::evt_ring_ref), false};
  to.add(deviation, "frontend.deviation.req-ring-ref-read-only", "xenstore.req-ring-ref",
         "the ring is granted for reading only", &Faults::page_read_only, ring);
  to.add(deviation, "frontend.deviation.evt-ring-ref-read-only", "xenstore.evt-ring-ref",
         "the event page is granted for reading only", &Faults::page_read_only, page);
  to.add(deviation, "frontend.deviation.req-ring-ref-zero", "xenstore.reference-zero-unused",
         "req-ring-ref is 0", &Faults::reference_zero, ring);
  to.add(deviation, "frontend.deviation.evt-ring-ref-zero", "xenstore.reference-zero-unused",
         "evt-ring-ref is 0", &Faults::reference_zero, page);
  struct Text {
    std::string_view id, title;
    const char* text;
  };
  static constexpr std::array kTexts{
      Text{"frontend.deviation.number-negative", "a negative reference", "-1"},
      Text{"frontend.deviation.number-hexadecimal", "a hexadecimal reference", "0x8"},
      Text{"frontend.deviation.number-trailing-text", "text behind a reference", "8 and more"},
      Text{"frontend.deviation.number-too-large", "a reference beyond 32 bits", "4294967304"},
      Text{"frontend.deviation.number-empty", "a reference without digits", ""}};
  for (const Text& row : kTexts) {
    to.add(deviation, row.id, "xenstore.numbers-decimal", row.title, &Faults::number_malformed,
           NodeText{0, Nodes::only(Node::req_ring_ref), row.text});
  }
  to.add(deviation, "frontend.deviation.transport-shared", "xenstore.transport-per-connector",
         "all connectors publish the first one's transport", &Faults::transport_shared);
  to.add(deviation, "frontend.deviation.event-page-is-ring", "xenstore.transport-per-connector",
         "one page is request ring and event page", &Faults::event_page_is_ring);
  to.add(omission, "frontend.omission.version-missing", "xenstore.version-published",
         "the version in use is not published", &Faults::version_missing);
  to.add(deviation, "frontend.deviation.version-unsupported", "xenstore.version-supported",
         "a version that was not offered is published", &Faults::version_unsupported);
  to.add(deviation, "frontend.deviation.version-malformed", "xenstore.numbers-decimal",
         "the version is no number", &Faults::version_malformed, TextFault{0, "two"});
  to.add(omission, "frontend.omission.resolution-ignored", "xenstore.resolution-adopted",
         "the visible area is not the node's", &Faults::resolution_ignored);
  to.add(stress, "frontend.stress.nodes-written-singly", {},
         "nodes are written one by one, last connector first", &Faults::nodes_written_singly);
  to.add(deviation, "frontend.deviation.transport-changed-later", "xenstore.transport-kept",
         "transport nodes are overwritten once Connected", &Faults::transport_changed_later);
}

void add_bus(Builder& to) {
  to.add(omission, "frontend.omission.initialises-early", "bus.waits-for-backend",
         "Initialised without waiting for InitWait", &Faults::initialises_early);
  to.add(omission, "frontend.omission.never-initialises", "bus.reaches-initialised",
         "stays in Initialising", &Faults::never_initialises);
  to.add(omission, "frontend.omission.transport-late", "bus.transport-before-initialised",
         "transport is published after Initialised", &Faults::transport_late);
  to.add(omission, "frontend.omission.connects-early", "bus.connected-after-backend",
         "Connected before the backend", &Faults::connects_early);
  to.add(omission, "frontend.omission.never-connects", "bus.connected-after-backend",
         "stays in Initialised", &Faults::never_connects);
  to.add(omission, "frontend.omission.connector-left-out", "bus.connectors-as-configured",
         "the last connector is not set up", &Faults::connector_left_out);
  to.add(deviation, "frontend.deviation.connector-added", "bus.connectors-as-configured",
         "one connector too many is set up", &Faults::connector_added);
  to.state(stress, "frontend.stress.state-closing", "goes Closing in mid-service", "5");
  to.state(stress, "frontend.stress.state-closed", "goes Closed in mid-service", "6");
  to.state(stress, "frontend.stress.state-removed", "its state node goes in mid-service", "-");
  to.state(deviation, "frontend.deviation.state-initialising", "goes Initialising in mid-service",
           "1");
  to.state(deviation, "frontend.deviation.state-init-wait", "goes InitWait in mid-service", "2");
  to.state(deviation, "frontend.deviation.state-initialised", "goes Initialised in mid-service",
           "3");
  to.state(deviation, "frontend.deviation.state-reconfiguring", "goes Reconfiguring in mid-service",
           "7");
  to.state(deviation, "frontend.deviation.state-reconfigured", "goes Reconfigured in mid-service",
           "8");
  to.state(deviation, "frontend.deviation.state-undefined", "publishes a state that is none", "77");
  to.state(deviation, "frontend.deviation.state-malformed", "publishes a state in words",
           "Connected");
  to.state(deviation, "frontend.deviation.state-empty", "publishes an empty state", "");
  to.add(omission, "frontend.omission.close-ignored", "bus.close-final-state",
         "the backend's end changes nothing", &Faults::close_ignored);
  to.add(omission, "frontend.omission.close-keeps-channels", "bus.close-removes-channels",
         "channels stay when the backend has closed", &Faults::close_keeps_channels);
  to.add(omission, "frontend.omission.close-keeps-device", "bus.close-removes-device",
         "the device can be opened when the backend has closed", &Faults::close_keeps_device);
  to.add(omission, "frontend.omission.reconfiguring-for-ever",
         "recovery.unused-device-reinitialises",
         "Reconfiguring, also without clients, and for ever", &Faults::reconfiguring_for_ever);
  to.add(omission, "frontend.omission.failure-ignored-while-used", "recovery.used-device-waits",
         "with clients the backend's failure changes nothing", &Faults::failure_ignored_while_used);
  to.add(omission, "frontend.omission.clients-not-told", "recovery.clients-see-errors",
         "calls without a backend report success", &Faults::clients_not_told);
  to.add(omission, "frontend.omission.new-clients-while-reconfiguring", "recovery.no-new-clients",
         "accepts clients while Reconfiguring", &Faults::new_clients_while_reconfiguring);
  to.add(omission, "frontend.omission.requests-without-backend",
         "recovery.no-requests-without-backend", "requests go into the old ring",
         &Faults::requests_without_backend);
  to.add(omission, "frontend.omission.no-reconnection", "recovery.reconnects",
         "takes part in no second connection", &Faults::no_reconnection);
  to.add(omission, "frontend.omission.outstanding-request-kept",
         "recovery.outstanding-request-ends", "calls wait on when the backend has closed",
         &Faults::outstanding_request_kept);
  to.add(omission, "frontend.omission.restart-missed", "recovery.pause-survived",
         "a backend that was not seen to leave is not followed", &Faults::restart_missed);
  to.add(omission, "frontend.omission.store-flood-fatal", "xenstore.flood-survived",
         "ends with two hundred changes of the backend's state", &Faults::store_flood_fatal);
  to.add(stress, "frontend.stress.leaves-abruptly", {}, "Closed at once, everything taken away",
         &Faults::leaves_abruptly);
  to.add(stress, "frontend.stress.initialised-late", {}, "Initialised half a second late",
         &Faults::initialised_late, DelayFault{0, kLate});
  to.add(stress, "frontend.stress.connected-late", {}, "Connected half a second late",
         &Faults::connected_late, DelayFault{0, kLate});
}

void add_ring(Builder& to) {
  to.add(deviation, "frontend.deviation.ring-indexes-nonzero", "ring.initial-indexes",
         "the ring's indices start at 7", &Faults::ring_start, NumberFault{0, 7, false});
  to.add(deviation, "frontend.deviation.ring-padding-dirty", "ring.initial-indexes",
         "the ring's padding is not zero", &Faults::ring_padding_dirty);
  to.add(deviation, "frontend.deviation.req-prod-beyond-by-one", "ring.producer-advances",
         "req_prod is published one too high", &Faults::req_prod_beyond, ExcessFault{0, 1});
  to.add(deviation, "frontend.deviation.req-prod-beyond-ring", "ring.producer-advances",
         "req_prod is published 1000 too high", &Faults::req_prod_beyond, ExcessFault{0, 1000});
  to.add(deviation, "frontend.deviation.req-prod-far", "ring.producer-advances",
         "req_prod is published 2^31 too high", &Faults::req_prod_beyond,
         ExcessFault{0, 1U << 31U});
  to.add(deviation, "frontend.deviation.req-prod-backwards", "ring.producer-advances",
         "req_prod goes backwards", &Faults::req_prod_backwards);
  to.add(deviation, "frontend.deviation.ring-overfull", "ring.never-overfull",
         "64 more requests go with each", &Faults::ring_overfull, Burst{0, 64});
  to.add(omission, "frontend.omission.request-not-notified", "ring.notifies",
         "requests are not notified", &Faults::request_not_notified);
  to.add(deviation, "frontend.deviation.notified-on-event-channel", "ring.notifies",
         "requests are notified on the event page's channel", &Faults::notified_on_event_channel);
  to.add(stress, "frontend.stress.spurious-notifications", {},
         "sixteen notifications about nothing with each request", &Faults::spurious_notifications,
         Burst{0, 16});
  to.add(omission, "frontend.omission.rsp-event-not-updated", "ring.asks-for-notification",
         "rsp_event is never moved", &Faults::rsp_event_not_updated);
  to.add(deviation, "frontend.deviation.rsp-event-beyond", "ring.asks-for-notification",
         "rsp_event is 1000 too high", &Faults::rsp_event_beyond, ExcessFault{0, 1000});
  to.add(deviation, "frontend.deviation.backend-indexes-overwritten",
         "ring.backend-indexes-untouched", "rsp_prod and req_event are overwritten",
         &Faults::backend_indexes_overwritten);
  to.add(deviation, "frontend.deviation.request-changed-later", "ring.request-kept-until-answered",
         "a published request changes until it is answered", &Faults::request_changed_later);
  to.add(deviation, "frontend.deviation.control-request-on-other-ring",
         "ring.control-requests-on-connector-0", "buffers are managed on connector 1's ring",
         &Faults::control_request_on_other_ring);
  to.add(deviation, "frontend.deviation.connector-request-on-other-ring",
         "ring.connector-requests-on-own-ring", "flips and modes go on the next connector's ring",
         &Faults::connector_request_on_other_ring);
  to.add(deviation, "frontend.deviation.id-repeated", "ring.ids-distinguish-outstanding",
         "each request goes twice with one id", &Faults::id_repeated);
  to.add(stress, "frontend.stress.ids-scattered", {}, "ids are in no order",
         &Faults::ids_scattered);
  to.add(stress, "frontend.stress.id-constant", {}, "every request has id 0", &Faults::id_constant);
  to.add(omission, "frontend.omission.response-unmatched", "ring.response-matched-by-id",
         "any response completes a request", &Faults::response_unmatched);
  to.add(omission, "frontend.omission.unknown-response-fatal", "ring.unknown-response-id-ignored",
         "a response to nothing ends the frontend", &Faults::unknown_response_fatal);
  to.add(omission, "frontend.omission.waits-for-ever", "ring.unanswered-request-ends",
         "calls wait for ever", &Faults::waits_for_ever);
  to.add(omission, "frontend.omission.late-response-taken", "ring.late-response-ignored",
         "a late response completes the next request", &Faults::late_response_taken);
  to.add(omission, "frontend.omission.rsp-prod-trusted", "ring.response-producer-beyond-ring",
         "an impossible rsp_prod is believed", &Faults::rsp_prod_trusted);
  to.add(omission, "frontend.omission.untouched-slot-taken", "ring.response-without-request",
         "a request passes for its own response", &Faults::untouched_slot_taken);
  to.add(omission, "frontend.omission.request-ids-wide", "ring.long-run-survived",
         "no response is recognised beyond the 65,536th", &Faults::request_ids_wide);
}

void add_packets(Builder& to) {
  to.add(deviation, "frontend.deviation.reserved-header-nonzero", "packet.reserved-zero",
         "reserved octets 3 to 7 are not zero", &Faults::reserved_header_nonzero);
  to.add(deviation, "frontend.deviation.reserved-tail-nonzero", "packet.reserved-zero",
         "octets behind the fields are not zero", &Faults::reserved_tail_nonzero);
  to.add(omission, "frontend.omission.slot-not-cleared", "packet.reserved-zero",
         "reserved octets stay as the slot had them", &Faults::slot_not_cleared);
  to.add(deviation, "frontend.deviation.operation-zero", "packet.operation-known",
         "a request of code 0x00 before each", &Faults::operation_undefined, CodeFault{0, 0x00});
  to.add(deviation, "frontend.deviation.operation-below-range", "packet.operation-known",
         "a request of code 0x0f before each", &Faults::operation_undefined, CodeFault{0, 0x0f});
  to.add(deviation, "frontend.deviation.operation-above-range", "packet.operation-known",
         "a request of code 0x17 before each", &Faults::operation_undefined, CodeFault{0, 0x17});
  to.add(deviation, "frontend.deviation.operation-maximal", "packet.operation-known",
         "a request of code 0xff before each", &Faults::operation_undefined, CodeFault{0, 0xff});
  to.add(deviation, "frontend.deviation.edid-in-version-1", "packet.operation-in-version",
         "GET_EDID is sent under version 1", &Faults::edid_in_version_1);
  to.add(deviation, "frontend.deviation.dbuf-cookie-zero", "packet.dbuf-cookie-valid",
         "buffers have cookie 0", &Faults::dbuf_cookie_zero);
  to.add(deviation, "frontend.deviation.fb-cookie-zero", "packet.fb-cookie-valid",
         "framebuffers have cookie 0", &Faults::fb_cookie_zero);
  to.add(stress, "frontend.stress.request-late", {}, "each request comes half a second late",
         &Faults::request_late, DelayFault{0, kLate});
}

void add_events(Builder& to) {
  to.add(deviation, "frontend.deviation.event-indexes-nonzero", "event-page.initial-indexes",
         "the event page's indices start at 7", &Faults::event_start, NumberFault{0, 7, false});
  to.add(deviation, "frontend.deviation.event-header-dirty", "event-page.header-reserved-zero",
         "reserved octets of the event page are not zero", &Faults::event_header_dirty);
  to.add(deviation, "frontend.deviation.in-cons-beyond", "event-page.consumer-behind-producer",
         "in_cons is published 1000 too high", &Faults::in_cons_beyond, ExcessFault{0, 1000});
  to.add(deviation, "frontend.deviation.in-cons-backwards", "event-page.consumer-behind-producer",
         "in_cons goes backwards", &Faults::in_cons_backwards);
  to.add(deviation, "frontend.deviation.in-prod-overwritten", "event-page.producer-untouched",
         "in_prod is set back to 0", &Faults::in_prod_overwritten);
  to.add(stress, "frontend.stress.events-unconfirmed", {}, "no event is ever confirmed",
         &Faults::events_unconfirmed);
  to.add(stress, "frontend.stress.events-confirmed-in-groups", {},
         "only each fifth event is confirmed", &Faults::events_confirmed_in_groups, Burst{0, 5});
  to.add(omission, "frontend.omission.event-slots-miscounted", "event-page.wraps",
         "event slots are counted modulo 64", &Faults::event_slots_miscounted);
  to.add(omission, "frontend.omission.full-page-left", "event-page.taken-to-producer",
         "the last event of a full page waits for the next notification", &Faults::full_page_left);
  to.add(omission, "frontend.omission.event-ids-wide", "event-page.ids-wrap",
         "event ids are expected to go on beyond 65,535", &Faults::event_ids_wide);
  to.add(omission, "frontend.omission.in-prod-trusted", "event-page.producer-beyond-ring",
         "an impossible in_prod is believed", &Faults::in_prod_trusted);
}

void add_directories(Builder& to) {
  to.add(omission, "frontend.omission.directory-short", "page-directory.covers-buffer",
         "the last reference is left out", &Faults::directory_short);
  to.add(omission, "frontend.omission.directory-chain-short", "page-directory.next-page",
         "the first of several directory pages is said to be the last",
         &Faults::directory_chain_short);
  to.add(deviation, "frontend.deviation.directory-long", "page-directory.end",
         "the last directory page names one more", &Faults::directory_long);
  to.add(deviation, "frontend.deviation.directory-cyclic", "page-directory.end",
         "each directory page names itself as the next", &Faults::directory_cyclic);
  to.add(deviation, "frontend.deviation.references-duplicated",
         "page-directory.references-distinct", "every entry is the first page",
         &Faults::references_duplicated);
  constexpr std::string_view kValid = "page-directory.references-valid";
  to.add(deviation, "frontend.deviation.reference-foreign", kValid,
         "the last page is granted to another domain", &Faults::reference_foreign);
  to.add(deviation, "frontend.deviation.reference-revoked", kValid,
         "the last page's grant has been ended", &Faults::reference_revoked);
  to.add(deviation, "frontend.deviation.reference-invalid", kValid,
         "the last reference is beyond every grant table", &Faults::reference_invalid);
  to.add(deviation, "frontend.deviation.reference-zero", kValid, "the first reference is 0",
         &Faults::entry_zero);
  to.add(deviation, "frontend.deviation.pages-read-only", kValid,
         "the buffer is granted for reading only", &Faults::pages_read_only);
  constexpr std::string_view kDirectory = "dbuf-create.directory";
  to.add(deviation, "frontend.deviation.directory-reference-zero", kDirectory,
         "gref_directory is 0", &Faults::directory_reference_zero);
  to.add(deviation, "frontend.deviation.directory-reference-invalid", kDirectory,
         "gref_directory is beyond every grant table", &Faults::directory_reference_invalid);
  to.add(deviation, "frontend.deviation.directory-reference-foreign", kDirectory,
         "gref_directory is for another domain", &Faults::directory_reference_foreign);
  to.add(deviation, "frontend.deviation.directory-reference-revoked", kDirectory,
         "gref_directory's grant has been ended", &Faults::directory_reference_revoked);
  to.add(deviation, "frontend.deviation.directory-read-only", "be-alloc.directory-provided",
         "the directory is granted for reading only", &Faults::directory_read_only);
  to.add(deviation, "frontend.deviation.directory-changing", "page-directory.kept-while-read",
         "the directory changes until the request is answered", &Faults::directory_changing);
}

// Numbers that are wrong, and such that overflow what is computed of them.
struct NumberRow {
  std::string_view id, requirement, title;
  NumberFault Faults::*field;
  NumberFault setting;
};

void add_numbers(Builder& to, std::span<const NumberRow> rows) {
  for (const NumberRow& row : rows) {
    to.add(deviation, row.id, row.requirement, row.title, row.field, row.setting);
  }
}

constexpr NumberFault off_by(std::uint32_t by) { return {0, by, true}; }
constexpr NumberFault fixed(std::uint32_t value) { return {0, value, false}; }

void add_buffers(Builder& to) {
  to.add(deviation, "frontend.deviation.dbuf-cookie-repeated", "dbuf-create.cookie-unique",
         "two buffers have one cookie", &Faults::dbuf_cookie_repeated);
  static const std::array kRows{
      NumberRow{"frontend.deviation.dbuf-width-wrong", "dbuf-create.width", "width is 1 too small",
                &Faults::dbuf_width, off_by(-1U)},
      NumberRow{"frontend.deviation.dbuf-width-huge", "dbuf-create.width", "width is 2^32 - 1",
                &Faults::dbuf_width, fixed(0xffffffff)},
      NumberRow{"frontend.deviation.dbuf-height-wrong", "dbuf-create.height",
                "height is 1 too small", &Faults::dbuf_height, off_by(-1U)},
      NumberRow{"frontend.deviation.dbuf-height-huge", "dbuf-create.height", "height is 2^32 - 1",
                &Faults::dbuf_height, fixed(0xffffffff)},
      NumberRow{"frontend.deviation.dbuf-bpp-wrong", "dbuf-create.bpp", "bpp is 8 too small",
                &Faults::dbuf_bpp, off_by(-8U)},
      NumberRow{"frontend.deviation.dbuf-bpp-huge", "dbuf-create.bpp", "bpp is 2^31",
                &Faults::dbuf_bpp, fixed(1U << 31U)},
      NumberRow{"frontend.deviation.dbuf-size-zero", "dbuf-create.buffer-size", "buffer_sz is 0",
                &Faults::dbuf_size, fixed(0)},
      NumberRow{"frontend.deviation.dbuf-size-short", "dbuf-create.buffer-size",
                "buffer_sz is a page too small", &Faults::dbuf_size, off_by(-4096U)},
      NumberRow{"frontend.deviation.dbuf-size-huge", "dbuf-create.buffer-size",
                "buffer_sz is 2^32 - 1", &Faults::dbuf_size, fixed(0xffffffff)},
      NumberRow{"frontend.deviation.dbuf-flags-undefined", "dbuf-create.flags",
                "an undefined flag is set", &Faults::dbuf_flags, off_by(0x80000000U)}};
  add_numbers(to, kRows);
  to.add(deviation, "frontend.deviation.allocation-unoffered", "dbuf-create.allocates-itself",
         "asks for backend allocation that was not offered", &Faults::allocation_unoffered);
  static const std::array kOffsets{
      NumberRow{"frontend.deviation.data-offset-wrong", "dbuf-create.data-offset",
                "data_ofs is not where the data are", &Faults::dbuf_data_offset, off_by(4)},
      NumberRow{"frontend.deviation.data-offset-beyond", "dbuf-create.data-offset",
                "data_ofs is 2^32 - 4", &Faults::dbuf_data_offset, fixed(0xfffffffc)}};
  add_numbers(to, kOffsets);
  to.add(deviation, "frontend.deviation.contents-elsewhere", "dbuf-create.contents-shared",
         "the directory names the pages last one first", &Faults::contents_elsewhere);
  to.add(omission, "frontend.omission.small-buffer-refused", "dbuf-create.smallest",
         "no buffer smaller than the connector", &Faults::small_buffer_refused);
  to.add(omission, "frontend.omission.large-buffer-refused", "dbuf-create.bigger-than-connector",
         "no buffer bigger than the connector", &Faults::large_buffer_refused);
  to.add(omission, "frontend.omission.create-error-hidden", "dbuf-create.error-reported",
         "a refused buffer passes for a buffer", &Faults::create_error_hidden);
  to.add(omission, "frontend.omission.out-of-grants-fatal", "dbuf-create.out-of-grants-survived",
         "ends when it has no grants left", &Faults::out_of_grants_fatal);
  to.add(deviation, "frontend.deviation.destroy-other-cookie", "dbuf-destroy.cookie",
         "destroys a buffer that does not exist", &Faults::destroy_other_cookie);
  to.add(deviation, "frontend.deviation.destroy-twice", "dbuf-destroy.only-existing",
         "destroys each buffer twice", &Faults::destroy_twice);
  to.add(omission, "frontend.omission.destroy-without-detach", "dbuf-destroy.after-detach",
         "destroys buffers under their framebuffers", &Faults::destroy_without_detach);
  to.add(omission, "frontend.omission.grants-kept-after-destroy", "dbuf-destroy.releases-grants",
         "a destroyed buffer stays granted", &Faults::grants_kept_after_destroy);
  to.add(omission, "frontend.omission.backend-pages-kept", "be-alloc.pages-given-back",
         "a destroyed buffer of the backend's stays mapped", &Faults::backend_pages_kept);
  to.add(deviation, "frontend.deviation.grants-ended-before-destroy",
         "dbuf-destroy.not-before-response", "grants end before the buffer is destroyed",
         &Faults::grants_ended_before_destroy);
  to.add(omission, "frontend.omission.destroy-error-fatal", "dbuf-destroy.error-survived",
         "a refused destruction ends the frontend", &Faults::destroy_error_fatal);
}

void add_framebuffers(Builder& to) {
  to.add(deviation, "frontend.deviation.attach-unknown-dbuf", "fb-attach.dbuf-cookie",
         "a framebuffer of a buffer that does not exist", &Faults::attach_unknown_dbuf);
  to.add(deviation, "frontend.deviation.fb-cookie-repeated", "fb-attach.cookie-unique",
         "two framebuffers have one cookie", &Faults::fb_cookie_repeated);
  static const std::array kRows{
      NumberRow{"frontend.deviation.fb-width-wrong", "fb-attach.width", "width is 1 too small",
                &Faults::fb_width, off_by(-1U)},
      NumberRow{"frontend.deviation.fb-width-huge", "fb-attach.width", "width is 2^30 + 1",
                &Faults::fb_width, fixed((1U << 30U) + 1)},
      NumberRow{"frontend.deviation.fb-height-wrong", "fb-attach.height", "height is 1 too small",
                &Faults::fb_height, off_by(-1U)},
      NumberRow{"frontend.deviation.fb-height-huge", "fb-attach.height", "height is 2^30 + 1",
                &Faults::fb_height, fixed((1U << 30U) + 1)},
      NumberRow{"frontend.deviation.pixel-format-wrong", "fb-attach.pixel-format",
                "pixel_format is RGB565", &Faults::pixel_format, fixed(DRM_FORMAT_RGB565)},
      NumberRow{"frontend.deviation.pixel-format-unknown", "fb-attach.pixel-format",
                "pixel_format is no FourCC code", &Faults::pixel_format, fixed(0x01020304)}};
  add_numbers(to, kRows);
  to.add(omission, "frontend.omission.attach-error-hidden", "fb-attach.error-reported",
         "a refused framebuffer passes for one", &Faults::attach_error_hidden);
  to.add(omission, "frontend.omission.attach-unknown-error-fatal",
         "fb-attach.unknown-error-survived", "an unknown error code ends the frontend",
         &Faults::attach_unknown_error_fatal);
  to.add(deviation, "frontend.deviation.detach-other-cookie", "fb-detach.cookie",
         "detaches a framebuffer that does not exist", &Faults::detach_other_cookie);
  to.add(deviation, "frontend.deviation.detach-twice", "fb-detach.only-attached",
         "detaches each framebuffer twice", &Faults::detach_twice);
  to.add(omission, "frontend.omission.detach-error-fatal", "fb-detach.error-survived",
         "a refused detachment ends the frontend", &Faults::detach_error_fatal);
}

void add_configuration(Builder& to) {
  to.add(deviation, "frontend.deviation.config-unknown-fb", "set-config.cookie",
         "configures a framebuffer that does not exist", &Faults::config_unknown_fb);
  constexpr std::string_view kWithin = "set-config.within-resolution";
  static const std::array kRows{
      NumberRow{"frontend.deviation.config-x-wrong", "set-config.x", "x is not 0",
                &Faults::config_x, off_by(1)},
      NumberRow{"frontend.deviation.config-y-wrong", "set-config.y", "y is not 0",
                &Faults::config_y, off_by(1)},
      NumberRow{"frontend.deviation.config-x-beyond", kWithin, "x is 2^32 - 1", &Faults::config_x,
                fixed(0xffffffff)},
      NumberRow{"frontend.deviation.config-y-beyond", kWithin, "y is 2^32 - 1", &Faults::config_y,
                fixed(0xffffffff)},
      NumberRow{"frontend.deviation.config-width-wrong", "set-config.width", "width is 1 too small",
                &Faults::config_width, off_by(-1U)},
      NumberRow{"frontend.deviation.config-height-wrong", "set-config.height",
                "height is 1 too small", &Faults::config_height, off_by(-1U)},
      NumberRow{"frontend.deviation.config-width-beyond", kWithin, "width is 2^31 and more",
                &Faults::config_width, off_by(1U << 31U)},
      NumberRow{"frontend.deviation.config-height-beyond", kWithin, "height is 2^31 and more",
                &Faults::config_height, off_by(1U << 31U)},
      NumberRow{"frontend.deviation.config-bpp-wrong", "set-config.bpp", "bpp is 8 too small",
                &Faults::config_bpp, off_by(-8U)}};
  add_numbers(to, kRows);
  to.add(deviation, "frontend.deviation.reset-nonzero", "set-config.reset-all-zero",
         "a reset keeps a cookie", &Faults::reset_nonzero);
  to.add(omission, "frontend.omission.config-error-hidden", "set-config.error-visible",
         "a refused configuration passes for one", &Faults::config_error_hidden);
  to.add(omission, "frontend.omission.config-error-final", "set-config.error-recoverable",
         "after a refused configuration there is no other", &Faults::config_error_final);
  to.add(omission, "frontend.omission.reset-error-fatal", "set-config.reset-error-survived",
         "a refused reset ends the frontend", &Faults::reset_error_fatal);
}

void add_flips(Builder& to) {
  to.add(deviation, "frontend.deviation.flip-unknown-fb", "pg-flip.cookie",
         "flips to a framebuffer that does not exist", &Faults::flip_unknown_fb);
  to.add(omission, "frontend.omission.flip-before-contents", "pg-flip.contents-before-request",
         "what is drawn is shared after the flip", &Faults::flip_before_contents);
  to.add(omission, "frontend.omission.flip-event-ignored", "pg-flip.completes-by-event",
         "the event does not complete the flip", &Faults::flip_event_ignored);
  to.add(omission, "frontend.omission.flip-completed-by-response", "pg-flip.not-before-event",
         "the response completes the flip", &Faults::flip_completed_by_response);
  to.add(omission, "frontend.omission.flip-cookie-ignored", "pg-flip.other-cookie-ignored",
         "any flip event completes the flip", &Faults::flip_cookie_ignored);
  to.add(omission, "frontend.omission.unknown-event-fatal", "pg-flip.unknown-cookie-survived",
         "an event for no flip ends the frontend", &Faults::unknown_event_fatal);
  to.add(omission, "frontend.omission.lost-event-final", "pg-flip.lost-event-released",
         "a flip without event pends for ever", &Faults::lost_event_final);
  to.add(omission, "frontend.omission.flip-error-hidden", "pg-flip.error-visible",
         "a refused flip passes for one", &Faults::flip_error_hidden);
  to.add(omission, "frontend.omission.flip-error-final", "pg-flip.error-recoverable",
         "after a refused flip there is no other", &Faults::flip_error_final);
  to.add(omission, "frontend.omission.detach-displayed", "order.displayed-framebuffer-kept",
         "detaches what is displayed", &Faults::detach_displayed);
  to.add(omission, "frontend.omission.flip-unconfigured", "order.flip-when-configured",
         "flips on a connector that is off", &Faults::flip_unconfigured);
}

void add_rest(Builder& to) {
  constexpr std::string_view kSize = "get-edid.buffer-size";
  static const std::array kRows{
      NumberRow{"frontend.deviation.edid-buffer-short", kSize, "buffer_sz is one octet too small",
                &Faults::edid_buffer_size, off_by(-1U)},
      NumberRow{"frontend.deviation.edid-buffer-zero", kSize, "buffer_sz is 0",
                &Faults::edid_buffer_size, fixed(0)},
      NumberRow{"frontend.deviation.edid-buffer-huge", kSize, "buffer_sz is 2^32 - 1",
                &Faults::edid_buffer_size, fixed(0xffffffff)}};
  add_numbers(to, kRows);
  to.add(omission, "frontend.omission.grants-leaked", "health.grants-released",
         "pages stay granted when the connection ends", &Faults::grants_leaked);
  to.add(omission, "frontend.omission.channels-leaked", "health.event-channels-released",
         "channels stay bound when the connection ends", &Faults::channels_leaked);
  to.death("frontend.stress.dies-initialised", "dies when it is Initialised", Moment::initialised,
           0);
  to.death("frontend.stress.dies-connected", "dies when it is Connected", Moment::connected, 0);
  to.death("frontend.stress.dies-with-request-outstanding",
           "dies with its third request unanswered", Moment::request_published, 2);
  to.death("frontend.stress.dies-after-response", "dies when its third request is answered",
           Moment::request_answered, 2);
  to.death("frontend.stress.dies-closing", "dies between Closing and Closed", Moment::closing, 0);
}

std::vector<FaultInfo> build() {
  Builder builder;
  add_nodes(builder);
  add_bus(builder);
  add_ring(builder);
  add_packets(builder);
  add_events(builder);
  add_directories(builder);
  add_buffers(builder);
  add_framebuffers(builder);
  add_configuration(builder);
  add_flips(builder);
  add_rest(builder);
  return builder.take();
}

}  // namespace

std::span<const FaultInfo> all_faults() {
  static const std::vector<FaultInfo> all = build();
  return all;
}

const FaultInfo* find_fault(std::string_view id) {
  const auto all = all_faults();
  const auto found = std::ranges::find(all, id, &FaultInfo::id);
  return found == all.end() ? nullptr : &*found;
}

void set_fault(FrontendFaults& faults, std::string_view text) {
  const std::size_t equals = text.find('=');
  const std::string_view id = text.substr(0, equals);
  const FaultInfo* fault = find_fault(id);
  if (fault == nullptr) throw std::invalid_argument(std::string(id) + ": no such fault");
  std::optional<Times> times;
  if (equals != std::string_view::npos) {
    const std::string_view number = text.substr(equals + 1);
    Times value = 0;
    const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), value);
    if (error != std::errc{} || end != number.data() + number.size() || value == 0) {
      throw std::invalid_argument(std::string(text) + ": N of ID=N is a count of strikes");
    }
    times = value;
  }
  fault->apply(faults);
  if (times) fault->times(faults) = *times;
}

}  // namespace displif_cts::fake_frontend
