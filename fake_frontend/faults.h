// Every way in which the fake frontend can depart from the polite reference. A FrontendFaults at
// its defaults is the conformant frontend.
//
// Kinds (DESIGN.md, "Faults are named, and serve three times"):
//   deviation  illegal on the wire; violates the one requirement named beside it
//   omission   a check or duty that is left out; violates the one requirement named beside it
//   stress     legal but nasty; a conformant backend takes it in its stride
// Each field's comment reads: kind, id, requirement violated (none for stress).
//
// Faults of the transport (XenStore nodes, first indices) strike when a connection is made, so they
// are set before start(); the others strike with the next request, event or state.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "harness/fake/fault.h"

namespace displif_cts::fake_frontend {

using fake::AtOperations;
using fake::Burst;
using fake::ExcessFault;
using fake::FaultKind;
using fake::kAlways;
using fake::Operations;
using fake::strike;
using fake::Times;

// A set of the four transport nodes of a connector.
enum class Node : std::uint8_t {
  req_ring_ref = 1,
  req_event_channel = 2,
  evt_ring_ref = 4,
  evt_event_channel = 8,
};
class Nodes {
 public:
  constexpr Nodes() = default;
  static constexpr Nodes all() { return Nodes(15); }
  static constexpr Nodes refs() { return Nodes(5); }
  static constexpr Nodes only(Node node) { return Nodes(static_cast<std::uint8_t>(node)); }
  constexpr bool contains(Node node) const {
    return (bits_ & static_cast<std::uint8_t>(node)) != 0;
  }
  constexpr bool operator==(const Nodes&) const = default;

 private:
  constexpr explicit Nodes(std::uint8_t bits) : bits_(bits) {}
  std::uint8_t bits_ = 0;
};

// A fault of some of a connector's transport nodes. One strike is one connection; it concerns the
// first connector, and with `every_connector` all.
struct AtNodes {
  Times times = 0;
  Nodes nodes = Nodes::all();
  bool every_connector = false;
  bool operator==(const AtNodes&) const = default;
};

// As AtNodes; the node holds `text`.
struct NodeText {
  Times times = 0;
  Nodes nodes = Nodes::all();
  std::string text;
  bool operator==(const NodeText&) const = default;
};

struct TextFault {
  Times times = 0;
  std::string text;
  bool operator==(const TextFault&) const = default;
};

// A number of a request. On the wire stands `value`, or the true number + value.
struct NumberFault {
  Times times = 0;
  std::uint32_t value = 0;
  bool relative = false;
  bool operator==(const NumberFault&) const = default;

  constexpr std::uint32_t of(std::uint32_t number) const {
    return relative ? number + value : value;
  }
};

struct DelayFault {
  Times times = 0;
  std::chrono::milliseconds delay{0};
  bool operator==(const DelayFault&) const = default;
};

// An additional request with an operation code that the header does not define.
struct CodeFault {
  Times times = 0;
  std::uint8_t code = 0;
  bool operator==(const CodeFault&) const = default;
};

// What the frontend does with its bus state of its own accord, after `after` further requests have
// been sent.
struct StateFault {
  Times times = 0;
  std::uint32_t after = 0;
  std::string text;  // as written to the node; not only XenbusState's values
  bool operator==(const StateFault&) const = default;
};

// When the frontend vanishes as if its process had died: nodes stay as they are.
enum class Moment {
  initialised,        // right after its state has become Initialised
  connected,          // right after its state has become Connected
  request_published,  // right after a request was published, before it could be answered
  request_answered,   // right after a response was taken
  closing,            // right after its state has become Closing
};
struct DeathFault {
  Times times = 0;
  Moment moment = Moment::request_published;
  std::uint32_t after = 0;  // that many such moments pass first
  bool operator==(const DeathFault&) const = default;
};

struct FrontendFaults {
  // --- XenStore nodes ----------------------------------------------------------------------------

  // omission, frontend.omission.<node>-missing, xenstore.<node>. Ids: req-ring-ref,
  // req-event-channel, evt-ring-ref, evt-event-channel, here and below.
  AtNodes node_missing;
  // deviation, frontend.deviation.<node>-invalid, xenstore.<node>.
  // A reference that grants nothing, or a port that nobody has offered.
  AtNodes node_invalid;
  // deviation, frontend.deviation.<node>-foreign, xenstore.<node>.
  // The page is granted, or the channel offered, to another domain (Options::stranger).
  AtNodes node_foreign;
  // deviation, frontend.deviation.req-ring-ref-read-only and evt-ring-ref-read-only,
  // xenstore.req-ring-ref and xenstore.evt-ring-ref. The page is granted for reading only.
  AtNodes page_read_only;
  // deviation, frontend.deviation.<node>-zero for the two references,
  // xenstore.reference-zero-unused.
  AtNodes reference_zero;
  // deviation, frontend.deviation.number-negative, number-hexadecimal, number-trailing-text,
  // number-too-large, number-empty, xenstore.numbers-decimal.
  NodeText number_malformed;
  // deviation, frontend.deviation.transport-shared, xenstore.transport-per-connector.
  // Every connector publishes connector 0's page and channels. Strikes only where the device has
  // two connectors or more.
  Times transport_shared = 0;
  // deviation, frontend.deviation.event-page-is-ring, xenstore.transport-per-connector.
  // One page is published as request ring and as event page.
  Times event_page_is_ring = 0;
  // omission, frontend.omission.version-missing, xenstore.version-published.
  Times version_missing = 0;
  // deviation, frontend.deviation.version-unsupported, xenstore.version-supported.
  Times version_unsupported = 0;
  // deviation, frontend.deviation.version-malformed, xenstore.numbers-decimal.
  TextFault version_malformed;
  // omission, frontend.omission.resolution-ignored, xenstore.resolution-adopted.
  // The visible area is taken to be 16x16 pixels smaller than the node says.
  Times resolution_ignored = 0;
  // stress, frontend.stress.nodes-written-singly. No transaction; last connector first.
  Times nodes_written_singly = 0;
  // deviation, frontend.deviation.transport-changed-later, xenstore.transport-kept.
  // Once Connected, the transport nodes are overwritten.
  Times transport_changed_later = 0;

  // --- bus ---------------------------------------------------------------------------------------

  // omission, frontend.omission.initialises-early, bus.waits-for-backend.
  Times initialises_early = 0;
  // omission, frontend.omission.never-initialises, bus.reaches-initialised.
  Times never_initialises = 0;
  // omission, frontend.omission.transport-late, bus.transport-before-initialised.
  // The transport nodes are written after the state has become Initialised.
  Times transport_late = 0;
  // omission, frontend.omission.connects-early, bus.connected-after-backend.
  Times connects_early = 0;
  // omission, frontend.omission.never-connects, bus.connected-after-backend.
  Times never_connects = 0;
  // omission, frontend.omission.connector-left-out, bus.connectors-as-configured.
  // The last connector is not set up.
  Times connector_left_out = 0;
  // deviation, frontend.deviation.connector-added, bus.connectors-as-configured.
  // One more than configured is set up.
  Times connector_added = 0;
  // stress, frontend.stress.state-closing, state-closed (a driver's removal), state-removed.
  // deviation, frontend.deviation.state-initialising, state-init-wait, state-initialised,
  // state-reconfiguring, state-reconfigured, state-undefined, state-malformed, state-empty:
  // bus.states-in-order. While connected; the frontend goes on as if nothing was. The text "-"
  // removes the node.
  StateFault unexpected_state;
  // omission, frontend.omission.close-ignored, bus.close-final-state.
  // The backend's end changes nothing.
  Times close_ignored = 0;
  // omission, frontend.omission.close-keeps-channels, bus.close-removes-channels.
  Times close_keeps_channels = 0;
  // omission, frontend.omission.close-keeps-device, bus.close-removes-device.
  // When the backend has closed, clients can still open the device.
  Times close_keeps_device = 0;
  // omission, frontend.omission.reconfiguring-for-ever, recovery.unused-device-reinitialises.
  Times reconfiguring_for_ever = 0;
  // omission, frontend.omission.failure-ignored-while-used, recovery.used-device-waits.
  // With clients the backend's failure changes nothing.
  Times failure_ignored_while_used = 0;
  // omission, frontend.omission.clients-not-told, recovery.clients-see-errors.
  // Calls without a backend report success.
  Times clients_not_told = 0;
  // omission, frontend.omission.new-clients-while-reconfiguring, recovery.no-new-clients.
  Times new_clients_while_reconfiguring = 0;
  // omission, frontend.omission.requests-without-backend, recovery.no-requests-without-backend.
  // Requests are put into the old ring when the backend has closed.
  Times requests_without_backend = 0;
  // omission, frontend.omission.no-reconnection, recovery.reconnects.
  // Back in Initialising, InitWait is not followed any more.
  Times no_reconnection = 0;
  // omission, frontend.omission.outstanding-request-kept, recovery.outstanding-request-ends.
  // When the backend closes, calls that wait for a response wait on.
  Times outstanding_request_kept = 0;
  // omission, frontend.omission.restart-missed, recovery.pause-survived.
  // A backend that is in InitWait again, and was not seen to leave Connected, is not followed.
  Times restart_missed = 0;
  // omission, frontend.omission.store-flood-fatal, xenstore.flood-survived.
  // Two hundred changes of the backend's state node are more than the frontend bears.
  Times store_flood_fatal = 0;
  // stress, frontend.stress.leaves-abruptly. leave() goes straight to Closed and takes everything
  // away without waiting for the backend.
  Times leaves_abruptly = 0;
  // stress, frontend.stress.initialised-late, frontend.stress.connected-late.
  DelayFault initialised_late;
  DelayFault connected_late;

  // --- request ring ------------------------------------------------------------------------------

  // deviation, frontend.deviation.ring-indexes-nonzero, ring.initial-indexes.
  // The shared indices start at `value`; the frontend counts from there, too.
  NumberFault ring_start;
  // deviation, frontend.deviation.ring-padding-dirty, ring.initial-indexes.
  Times ring_padding_dirty = 0;
  // deviation, frontend.deviation.req-prod-beyond-by-one, req-prod-beyond-ring, req-prod-far,
  // ring.producer-advances. After a request req_prod is published `excess` too high.
  ExcessFault req_prod_beyond;
  // deviation, frontend.deviation.req-prod-backwards, ring.producer-advances.
  Times req_prod_backwards = 0;
  // deviation, frontend.deviation.ring-overfull, ring.never-overfull.
  // With a request, `count` more like it are put, regardless of who has answered what.
  Burst ring_overfull;
  // omission, frontend.omission.request-not-notified, ring.notifies.
  AtOperations request_not_notified;
  // deviation, frontend.deviation.notified-on-event-channel, ring.notifies.
  // The notification of a request goes over the event page's channel.
  AtOperations notified_on_event_channel;
  // stress, frontend.stress.spurious-notifications. On both channels, about nothing.
  Burst spurious_notifications;
  // omission, frontend.omission.rsp-event-not-updated, ring.asks-for-notification.
  Times rsp_event_not_updated = 0;
  // deviation, frontend.deviation.rsp-event-beyond, ring.asks-for-notification.
  // The threshold is set `excess` beyond what is outstanding.
  ExcessFault rsp_event_beyond;
  // deviation, frontend.deviation.backend-indexes-overwritten, ring.backend-indexes-untouched.
  // With a request, rsp_prod and req_event, which are the backend's, are overwritten.
  Times backend_indexes_overwritten = 0;
  // deviation, frontend.deviation.request-changed-later, ring.request-kept-until-answered.
  // A published request is overwritten again and again until it is answered: its cookie, size and
  // reference change.
  AtOperations request_changed_later;
  // deviation, frontend.deviation.control-request-on-other-ring,
  // ring.control-requests-on-connector-0. Strikes only where there are two connectors or more, as
  // the next.
  AtOperations control_request_on_other_ring;
  // deviation, frontend.deviation.connector-request-on-other-ring,
  // ring.connector-requests-on-own-ring.
  AtOperations connector_request_on_other_ring;
  // deviation, frontend.deviation.id-repeated, ring.ids-distinguish-outstanding.
  // Each request is put twice at once, with one id.
  AtOperations id_repeated;
  // stress, frontend.stress.ids-scattered: ids in no order; and frontend.stress.id-constant: always
  // the same one, legal as long as one request is outstanding.
  Times ids_scattered = 0;
  Times id_constant = 0;
  // omission, frontend.omission.response-unmatched, ring.response-matched-by-id.
  // Any response completes the oldest request.
  Times response_unmatched = 0;
  // omission, frontend.omission.unknown-response-fatal, ring.unknown-response-id-ignored.
  // A response with an id of no request ends the frontend.
  Times unknown_response_fatal = 0;
  // omission, frontend.omission.waits-for-ever, ring.unanswered-request-ends.
  Times waits_for_ever = 0;
  // omission, frontend.omission.late-response-taken, ring.late-response-ignored.
  // The response to a request that was given up completes the next one.
  Times late_response_taken = 0;
  // omission, frontend.omission.rsp-prod-trusted, ring.response-producer-beyond-ring.
  // An rsp_prod beyond the ring is believed: the frontend is stuck in its slots for good.
  Times rsp_prod_trusted = 0;
  // omission, frontend.omission.untouched-slot-taken, ring.response-without-request.
  // A request that still lies in the slot passes for its own response.
  Times untouched_slot_taken = 0;

  // omission, frontend.omission.request-ids-wide, ring.long-run-survived.
  // Beyond the 65,536th request of a connection responses are awaited with ids that no 16 bits
  // hold.
  Times request_ids_wide = 0;

  // --- requests ----------------------------------------------------------------------------------

  // deviation, frontend.deviation.reserved-header-nonzero, packet.reserved-zero. Octets 3 to 7.
  AtOperations reserved_header_nonzero;
  // deviation, frontend.deviation.reserved-tail-nonzero, packet.reserved-zero.
  // The octets behind the operation's own fields.
  AtOperations reserved_tail_nonzero;
  // omission, frontend.omission.slot-not-cleared, packet.reserved-zero.
  // Reserved octets stay as the slot's last use left them: seen from the second lap on.
  Times slot_not_cleared = 0;
  // deviation, frontend.deviation.operation-zero, operation-below-range, operation-above-range,
  // operation-maximal, packet.operation-known. A request of that code goes before each.
  CodeFault operation_undefined;
  // deviation, frontend.deviation.edid-in-version-1, packet.operation-in-version.
  // GET_EDID is sent on a connection of version 1. (The polite frontend refuses the call.)
  Times edid_in_version_1 = 0;
  // deviation, frontend.deviation.dbuf-cookie-zero, packet.dbuf-cookie-valid.
  // In every operation that names a buffer.
  AtOperations dbuf_cookie_zero;
  // deviation, frontend.deviation.fb-cookie-zero, packet.fb-cookie-valid.
  // In every operation that names a framebuffer.
  AtOperations fb_cookie_zero;
  // stress, frontend.stress.request-late. Each request is held back that long.
  DelayFault request_late;

  // --- event page --------------------------------------------------------------------------------

  // deviation, frontend.deviation.event-indexes-nonzero, event-page.initial-indexes.
  // Both indices start at `value`; the frontend counts from there, too.
  NumberFault event_start;
  // deviation, frontend.deviation.event-header-dirty, event-page.header-reserved-zero.
  Times event_header_dirty = 0;
  // deviation, frontend.deviation.in-cons-beyond, event-page.consumer-behind-producer.
  // in_cons is published `excess` too high after an event.
  ExcessFault in_cons_beyond;
  // deviation, frontend.deviation.in-cons-backwards, event-page.consumer-behind-producer.
  Times in_cons_backwards = 0;
  // deviation, frontend.deviation.in-prod-overwritten, event-page.producer-untouched.
  // After an event in_prod, which is the backend's, is set back to 0.
  Times in_prod_overwritten = 0;
  // stress, frontend.stress.events-unconfirmed. Taken, never confirmed.
  Times events_unconfirmed = 0;
  // stress, frontend.stress.events-confirmed-in-groups. Only each `count`-th is confirmed.
  Burst events_confirmed_in_groups;
  // omission, frontend.omission.event-slots-miscounted, event-page.wraps.
  // The slot is taken as the index modulo 64.
  Times event_slots_miscounted = 0;
  // omission, frontend.omission.full-page-left, event-page.taken-to-producer.
  // Of a page full of events the last one stays until the next notification.
  Times full_page_left = 0;
  // omission, frontend.omission.event-ids-wide, event-page.ids-wrap.
  // Events are counted in more than 16 bits, and one whose id is not its number is dropped.
  Times event_ids_wide = 0;
  // omission, frontend.omission.in-prod-trusted, event-page.producer-beyond-ring.
  // An in_prod beyond the page is believed: the frontend is stuck in its slots for good.
  Times in_prod_trusted = 0;

  // --- page directories --------------------------------------------------------------------------
  // Of display buffers and of EDID buffers: `operations` tells them apart (DBUF_CREATE, GET_EDID).

  // omission, frontend.omission.directory-short, page-directory.covers-buffer.
  // The last reference is left out.
  AtOperations directory_short;
  // omission, frontend.omission.directory-chain-short, page-directory.next-page.
  // The first directory page says that none follows. Strikes only for buffers of more than 1023
  // pages.
  AtOperations directory_chain_short;
  // deviation, frontend.deviation.directory-long, page-directory.end.
  // The last directory page names one more.
  AtOperations directory_long;
  // deviation, frontend.deviation.directory-cyclic, page-directory.end.
  // Each directory page names itself as the next.
  AtOperations directory_cyclic;
  // deviation, frontend.deviation.references-duplicated, page-directory.references-distinct.
  // All entries are the first page's reference.
  AtOperations references_duplicated;
  // deviation, frontend.deviation.reference-foreign, page-directory.references-valid.
  // The last page is granted to another domain (Options::stranger).
  AtOperations reference_foreign;
  // deviation, frontend.deviation.reference-revoked, page-directory.references-valid.
  // The last page's grant has been ended.
  AtOperations reference_revoked;
  // deviation, frontend.deviation.reference-invalid, page-directory.references-valid.
  // The last reference is far beyond every grant table.
  AtOperations reference_invalid;
  // deviation, frontend.deviation.reference-zero, page-directory.references-valid.
  // The first reference is 0.
  AtOperations entry_zero;
  // deviation, frontend.deviation.pages-read-only, page-directory.references-valid.
  // The buffer's pages are granted for reading only.
  AtOperations pages_read_only;
  // deviation, frontend.deviation.directory-reference-zero, -invalid, -foreign, -revoked,
  // -read-only, dbuf-create.directory. The directory's first page, as gref_directory names it.
  AtOperations directory_reference_zero;
  AtOperations directory_reference_invalid;
  AtOperations directory_reference_foreign;
  AtOperations directory_reference_revoked;
  AtOperations directory_read_only;
  // deviation, frontend.deviation.directory-changing, page-directory.kept-while-read.
  // Until the request is answered, links and entries change again and again.
  AtOperations directory_changing;

  // --- display buffers ---------------------------------------------------------------------------

  // deviation, frontend.deviation.dbuf-cookie-repeated, dbuf-create.cookie-unique.
  // The cookie is that of a buffer that lives. Strikes only where there is one.
  Times dbuf_cookie_repeated = 0;
  // deviation, frontend.deviation.dbuf-width-wrong, dbuf-width-huge, dbuf-create.width.
  NumberFault dbuf_width;
  // deviation, frontend.deviation.dbuf-height-wrong, dbuf-height-huge, dbuf-create.height.
  NumberFault dbuf_height;
  // deviation, frontend.deviation.dbuf-bpp-wrong, dbuf-bpp-huge, dbuf-create.bpp.
  NumberFault dbuf_bpp;
  // deviation, frontend.deviation.dbuf-size-zero, dbuf-size-short, dbuf-size-huge,
  // dbuf-create.buffer-size. Pages and directory are as for the true size.
  NumberFault dbuf_size;
  // deviation, frontend.deviation.dbuf-flags-undefined, dbuf-create.flags. The value is added in.
  NumberFault dbuf_flags;
  // deviation, frontend.deviation.allocation-unoffered, dbuf-create.allocates-itself.
  // Backend allocation is requested where it was not offered.
  Times allocation_unoffered = 0;
  // deviation, frontend.deviation.data-offset-wrong, data-offset-beyond, dbuf-create.data-offset.
  NumberFault dbuf_data_offset;
  // deviation, frontend.deviation.contents-elsewhere, dbuf-create.contents-shared.
  // The directory names the buffer's pages last one first.
  Times contents_elsewhere = 0;
  // omission, frontend.omission.small-buffer-refused, dbuf-create.smallest.
  Times small_buffer_refused = 0;
  // omission, frontend.omission.large-buffer-refused, dbuf-create.bigger-than-connector.
  Times large_buffer_refused = 0;
  // omission, frontend.omission.create-error-hidden, dbuf-create.error-reported.
  // The client is told of success.
  Times create_error_hidden = 0;
  // omission, frontend.omission.out-of-grants-fatal, dbuf-create.out-of-grants-survived.
  Times out_of_grants_fatal = 0;
  // deviation, frontend.deviation.destroy-other-cookie, dbuf-destroy.cookie.
  Times destroy_other_cookie = 0;
  // deviation, frontend.deviation.destroy-twice, dbuf-destroy.only-existing.
  Times destroy_twice = 0;
  // omission, frontend.omission.destroy-without-detach, dbuf-destroy.after-detach.
  // The buffer's framebuffers are not detached first.
  Times destroy_without_detach = 0;
  // omission, frontend.omission.grants-kept-after-destroy, dbuf-destroy.releases-grants.
  Times grants_kept_after_destroy = 0;
  // omission, frontend.omission.backend-pages-kept, be-alloc.pages-given-back.
  Times backend_pages_kept = 0;
  // deviation, frontend.deviation.grants-ended-before-destroy, dbuf-destroy.not-before-response.
  Times grants_ended_before_destroy = 0;
  // omission, frontend.omission.destroy-error-fatal, dbuf-destroy.error-survived.
  Times destroy_error_fatal = 0;

  // --- framebuffers ------------------------------------------------------------------------------

  // deviation, frontend.deviation.attach-unknown-dbuf, fb-attach.dbuf-cookie.
  Times attach_unknown_dbuf = 0;
  // deviation, frontend.deviation.fb-cookie-repeated, fb-attach.cookie-unique. Strikes only where
  // a framebuffer lives.
  Times fb_cookie_repeated = 0;
  // deviation, frontend.deviation.fb-width-wrong, fb-width-huge, fb-attach.width.
  NumberFault fb_width;
  // deviation, frontend.deviation.fb-height-wrong, fb-height-huge, fb-attach.height.
  NumberFault fb_height;
  // deviation, frontend.deviation.pixel-format-wrong, pixel-format-unknown, fb-attach.pixel-format.
  NumberFault pixel_format;
  // omission, frontend.omission.attach-error-hidden, fb-attach.error-reported.
  Times attach_error_hidden = 0;
  // omission, frontend.omission.attach-unknown-error-fatal, fb-attach.unknown-error-survived.
  // A status below -4095 ends the frontend.
  Times attach_unknown_error_fatal = 0;
  // deviation, frontend.deviation.detach-other-cookie, fb-detach.cookie.
  Times detach_other_cookie = 0;
  // deviation, frontend.deviation.detach-twice, fb-detach.only-attached.
  Times detach_twice = 0;
  // omission, frontend.omission.detach-error-fatal, fb-detach.error-survived.
  Times detach_error_fatal = 0;

  // --- configuration -----------------------------------------------------------------------------

  // deviation, frontend.deviation.config-unknown-fb, set-config.cookie.
  Times config_unknown_fb = 0;
  // deviation, frontend.deviation.config-x-wrong, set-config.x, config-y-wrong, set-config.y; and
  // config-x-beyond, config-y-beyond, set-config.within-resolution.
  NumberFault config_x;
  NumberFault config_y;
  // deviation, frontend.deviation.config-width-wrong, set-config.width, config-height-wrong,
  // set-config.height; and
  // config-width-beyond, config-height-beyond, set-config.within-resolution.
  NumberFault config_width;
  NumberFault config_height;
  // deviation, frontend.deviation.config-bpp-wrong, set-config.bpp.
  NumberFault config_bpp;
  // deviation, frontend.deviation.reset-nonzero, set-config.reset-all-zero.
  // A reset keeps the cookie of what was shown.
  Times reset_nonzero = 0;
  // omission, frontend.omission.config-error-hidden, set-config.error-visible.
  Times config_error_hidden = 0;
  // omission, frontend.omission.config-error-final, set-config.error-recoverable.
  // After a refused configuration every later one is refused to the client.
  Times config_error_final = 0;
  // omission, frontend.omission.reset-error-fatal, set-config.reset-error-survived.
  Times reset_error_fatal = 0;

  // --- page flips --------------------------------------------------------------------------------

  // deviation, frontend.deviation.flip-unknown-fb, pg-flip.cookie.
  Times flip_unknown_fb = 0;
  // omission, frontend.omission.flip-before-contents, pg-flip.contents-before-request.
  // What is drawn reaches the shared pages only with the flip's response.
  Times flip_before_contents = 0;
  // omission, frontend.omission.flip-event-ignored, pg-flip.completes-by-event.
  // The event does not complete the flip.
  Times flip_event_ignored = 0;
  // omission, frontend.omission.flip-completed-by-response, pg-flip.not-before-event.
  Times flip_completed_by_response = 0;
  // omission, frontend.omission.flip-cookie-ignored, pg-flip.other-cookie-ignored.
  Times flip_cookie_ignored = 0;
  // omission, frontend.omission.unknown-event-fatal, pg-flip.unknown-cookie-survived.
  // An event for no pending flip ends the frontend.
  Times unknown_event_fatal = 0;
  // omission, frontend.omission.lost-event-final, pg-flip.lost-event-released.
  // A flip whose event never comes pends for ever.
  Times lost_event_final = 0;
  // omission, frontend.omission.flip-error-hidden, pg-flip.error-visible.
  Times flip_error_hidden = 0;
  // omission, frontend.omission.flip-error-final, pg-flip.error-recoverable.
  // After a refused flip every later one is refused to the client.
  Times flip_error_final = 0;

  // --- order -------------------------------------------------------------------------------------

  // omission, frontend.omission.detach-displayed, order.displayed-framebuffer-kept.
  // What shows the framebuffer is not reset first.
  Times detach_displayed = 0;
  // omission, frontend.omission.flip-unconfigured, order.flip-when-configured.
  // A flip goes out though the connector is off.
  Times flip_unconfigured = 0;

  // --- EDID --------------------------------------------------------------------------------------

  // deviation, frontend.deviation.edid-buffer-short, edid-buffer-zero, edid-buffer-huge,
  // get-edid.buffer-size. Pages and directory are as for the true size.
  NumberFault edid_buffer_size;

  // --- what is left behind, and death ------------------------------------------------------------

  // omission, frontend.omission.grants-leaked, health.grants-released.
  // The pages of rings and buffers stay granted when the connection ends, until the fake goes.
  Times grants_leaked = 0;
  // omission, frontend.omission.channels-leaked, health.event-channels-released.
  // The channels stay bound when the connection ends, until the fake goes.
  Times channels_leaked = 0;
  // stress, frontend.stress.dies-initialised, dies-connected, dies-with-request-outstanding,
  // dies-after-response, dies-closing.
  DeathFault death;

  bool operator==(const FrontendFaults&) const = default;
};

struct FaultInfo : fake::FaultInfo<FrontendFaults> {
  // The field's count of strikes, to change after apply().
  std::function<Times&(FrontendFaults&)> times;
};

// Every fault, in the order of the struct.
std::span<const FaultInfo> all_faults();
// nullptr when there is none of that id.
const FaultInfo* find_fault(std::string_view id);

// "ID" or "ID=N", N strikes. Throws std::invalid_argument that says what is wrong.
void set_fault(FrontendFaults& faults, std::string_view text);

}  // namespace displif_cts::fake_frontend
