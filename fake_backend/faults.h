// Every way in which the fake backend can depart from the polite reference. A BackendFaults at its
// defaults is the conformant backend.
//
// Kinds (DESIGN.md, "Faults are named, and serve three times"):
//   deviation  illegal on the wire; violates the one requirement named beside it
//   omission   a check or duty that is left out; violates the one requirement named beside it
//   stress     legal but nasty; a conformant frontend takes it in its stride
// Each field's comment reads: kind, id, requirement violated (none for stress).
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "harness/fake/fault.h"

namespace displif_cts::fake_backend {

using fake::AtOperations;
using fake::Burst;
using fake::ExcessFault;
using fake::FaultKind;
using fake::kAlways;
using fake::Operations;
using fake::strike;
using fake::Times;

struct StatusFault {
  Times times = 0;
  Operations operations = Operations::all();
  std::int32_t status = 0;
  bool operator==(const StatusFault&) const = default;
};

struct DelayFault {
  Times times = 0;
  Operations operations = Operations::all();
  std::chrono::milliseconds delay{0};
  bool operator==(const DelayFault&) const = default;
};

struct DelayedFlip {
  Times times = 0;
  std::chrono::milliseconds delay{0};
  bool operator==(const DelayedFlip&) const = default;
};

// What the backend does with its bus state of its own accord, after it has answered `after`
// further requests.
struct StateFault {
  Times times = 0;
  std::uint32_t after = 0;
  std::uint32_t state = 0;  // as written to the node; not only XenbusState's values
  bool operator==(const StateFault&) const = default;
};

// What a backend that was not written with care dies of.
enum class Situation : std::uint8_t {
  none,
  reserved_octets,         // a request whose reserved octets are not 0
  buffer_geometry,         // a buffer whose sizes contradict each other
  directory,               // a page directory that cannot be used
  many_buffers,            // two hundred of them
  allocation_not_offered,  // backend allocation without be-alloc
  buffer_in_use,           // the end of a buffer that has framebuffers
  pixel_format,            // a format that it does not know
  framebuffer_geometry,    // a framebuffer of impossible size
  shown_detached,          // the end of a framebuffer that is shown
  configuration,           // a configuration of impossible size, place or depth
  unconfigured_flip,       // a flip of a connector that is off
  ring_index,              // a request producer that is impossible
  request_changed,         // a request that is another when it is answered
  confirmation,            // a consumer index that is impossible
  event_page_written,      // a producer index that is not its own
  notifications,           // many notifications about nothing
  directory_revoked,       // a directory that cannot be read again when its buffer is destroyed
  version,                 // a version that was not offered
  transport,               // rings or channels that cannot be used
  frontend_state,          // a frontend's state that is none
  nodes_changed,           // other nodes of the frontend change while it is connected
  frontend_gone,           // the frontend's state node vanishes
  frontend_death,          // the device is removed, and its frontend has no nodes any more
  refusals,                // the third request that has to be refused
  long_run,                // the 65,536th response of a connector
  node_flood,              // two hundred changes of a connected frontend's nodes
};

// The backend's process serves nobody any more once `situation` has come up.
struct BreakdownFault {
  Times times = 0;
  Situation situation = Situation::none;
  bool operator==(const BreakdownFault&) const = default;
};

struct BackendFaults {
  // --- responses ---------------------------------------------------------------------------------

  // stress, backend.stress.error-status-<operation> and backend.stress.error-status-all.
  // A request is answered with an error and has no effect, except that DBUF_DESTROY and FB_DETACH
  // give their object up all the same: the guest has no way to try again.
  StatusFault error_status;
  // deviation, backend.deviation.response-positive-status, response.status-zero-or-negative.
  // A request that succeeded is answered with a status above zero.
  StatusFault positive_status;
  // deviation, backend.deviation.response-unknown-id, response.id-echoed.
  // The id in the response belongs to no request; the true answer never comes.
  AtOperations response_unknown_id;
  // deviation, backend.deviation.response-extra-unknown-id, response.one-per-request.
  // A response with an id of no request goes out first, then the true one, which may come late.
  AtOperations response_extra_unknown_id;
  // deviation, backend.deviation.response-duplicate, response.one-per-request.
  AtOperations response_duplicate;
  // deviation, backend.deviation.response-wrong-operation, response.operation-echoed.
  AtOperations response_wrong_operation;
  // deviation, backend.deviation.response-reserved-nonzero, response.reserved-zero.
  AtOperations response_reserved_nonzero;
  // omission, backend.omission.response-never and backend.omission.response-never-<operation>,
  // response.every-request-answered. The request takes effect.
  AtOperations response_never;
  // omission, backend.omission.failure-reported-as-success, response.error-is-negative.
  // A request that had to be refused, and was, is answered with status 0.
  AtOperations failure_reported_as_success;
  // stress, backend.stress.response-late. The answer comes after `delay`.
  DelayFault response_late;
  // stress, backend.stress.response-reversed. Requests that are found together are answered last
  // one first.
  Times responses_reversed = 0;

  // --- ring and notification ---------------------------------------------------------------------

  // deviation, backend.deviation.rsp-prod-beyond, ring.rsp-prod-within-requests.
  // After a response, rsp_prod is published `excess` too high.
  ExcessFault rsp_prod_beyond;
  // deviation, backend.deviation.rsp-prod-backwards, ring.rsp-prod-monotonic.
  // After a response, rsp_prod is published one less than it was before it.
  Times rsp_prod_backwards = 0;
  // omission, backend.omission.response-not-notified, ring.response-notified.
  AtOperations response_not_notified;
  // omission, backend.omission.event-not-notified, event.notified.
  Times event_not_notified = 0;
  // omission, backend.omission.req-event-not-updated, ring.req-event-updated.
  // req_event is never moved, so that the frontend has no reason to notify again.
  Times req_event_not_updated = 0;
  // stress, backend.stress.spurious-notifications. `count` notifications of both channels that
  // announce nothing, after each request.
  Burst spurious_notifications;
  // omission, backend.omission.ring-index-trusted, backend.ring-index-validated.
  // A request producer index beyond the ring is clamped and served rather than refused.
  Times ring_index_trusted = 0;

  // --- events ------------------------------------------------------------------------------------

  // omission, backend.omission.flip-event-never, flip.event-follows.
  Times flip_event_never = 0;
  // stress, backend.stress.flip-event-late.
  DelayedFlip flip_event_late;
  // stress, backend.stress.flip-event-before-response. The header sets no order between the two.
  Times flip_event_before_response = 0;
  // deviation, backend.deviation.flip-event-duplicate, flip.one-event-per-flip.
  Times flip_event_duplicate = 0;
  // deviation, backend.deviation.flip-event-unknown-cookie, flip.event-cookie-of-flip.
  Times flip_event_unknown_cookie = 0;
  // deviation, backend.deviation.flip-event-other-connector, flip.event-on-own-connector.
  // Strikes only where the device has two connectors or more.
  Times flip_event_other_connector = 0;
  // deviation, backend.deviation.flip-event-on-error, flip.no-event-for-failed-flip.
  Times flip_event_on_error = 0;
  // deviation, backend.deviation.event-unknown-type, event.type-defined.
  // `count` events of an undefined type, with the next ids, go before the true one, announced with
  // it.
  Burst event_unknown_type;
  // deviation, backend.deviation.event-id-gap, event.id-sequential. One id is left out.
  Times event_id_gap = 0;
  // deviation, backend.deviation.event-reserved-nonzero, event.reserved-zero.
  Times event_reserved_nonzero = 0;
  // deviation, backend.deviation.event-prod-beyond, event.in-prod-within-page.
  // After an event, in_prod is published `excess` too high.
  ExcessFault event_prod_beyond;
  // stress, backend.stress.event-page-overrun. `count` flip events of the same flip's cookie at
  // once; a frontend may leave events unconfirmed, so the backend never waits for room.
  Burst event_flood;

  // --- buffers and the page directory ------------------------------------------------------------

  // deviation, backend.deviation.be-alloc-refs-invalid, be-alloc.directory-filled.
  // The directory of a backend-allocated buffer is filled with references that grant nothing.
  Times be_alloc_refs_invalid = 0;
  // omission, backend.omission.be-alloc-refs-missing, be-alloc.directory-filled.
  // The answer is success, the directory stays as it was.
  Times be_alloc_refs_missing = 0;
  // omission, backend.omission.be-alloc-refs-short, be-alloc.all-pages-granted.
  // The last page's reference is left out.
  Times be_alloc_refs_short = 0;
  // deviation, backend.deviation.be-alloc-next-page-changed, be-alloc.next-page-kept.
  // gref_dir_next_page, which is the frontend's, is overwritten.
  Times be_alloc_next_page_changed = 0;
  // omission, backend.omission.be-alloc-refused, be-alloc.honoured-when-offered.
  Times be_alloc_refused = 0;
  // omission, backend.omission.mapping-kept-after-destroy, dbuf-destroy.buffer-unmapped.
  // The buffer stays mapped when DBUF_DESTROY has been answered, until the device is gone.
  Times mapping_kept_after_destroy = 0;
  // omission, backend.omission.mapping-kept-after-close, backend.all-unmapped-on-close.
  // Buffers and rings stay mapped when the frontend has closed, until the fake itself goes.
  Times mapping_kept_after_close = 0;
  // deviation, backend.deviation.buffer-written, backend.buffer-contents-untouched.
  // The backend writes into a buffer of the guest's when it is flipped to. Needs writable mappings.
  Times buffer_written = 0;

  // --- checks left out ---------------------------------------------------------------------------

  // omission, backend.omission.accepts-duplicate-dbuf-cookie,
  // dbuf-create.duplicate-cookie-rejected.
  Times accepts_duplicate_dbuf_cookie = 0;
  // omission, backend.omission.accepts-duplicate-fb-cookie, fb-attach.duplicate-cookie-rejected.
  Times accepts_duplicate_fb_cookie = 0;
  // omission, backend.omission.accepts-zero-dbuf-cookie, dbuf-create.zero-cookie-rejected.
  Times accepts_zero_dbuf_cookie = 0;
  // omission, backend.omission.accepts-zero-fb-cookie, fb-attach.zero-cookie-rejected.
  Times accepts_zero_fb_cookie = 0;
  // omission, backend.omission.accepts-unknown-dbuf-destroy, dbuf-destroy.unknown-cookie-rejected.
  Times accepts_unknown_dbuf_destroy = 0;
  // omission, backend.omission.accepts-unknown-dbuf-attach, fb-attach.unknown-dbuf-rejected.
  Times accepts_unknown_dbuf_attach = 0;
  // omission, backend.omission.accepts-unknown-fb-detach, fb-detach.unknown-cookie-rejected.
  Times accepts_unknown_fb_detach = 0;
  // omission, backend.omission.accepts-unknown-fb-config, set-config.unknown-fb-rejected.
  Times accepts_unknown_fb_config = 0;
  // omission, backend.omission.accepts-unknown-fb-flip, pg-flip.unknown-fb-rejected.
  Times accepts_unknown_fb_flip = 0;
  // omission, backend.omission.accepts-unknown-flags, dbuf-create.unknown-flags-rejected.
  Times accepts_unknown_flags = 0;
  // omission, backend.omission.accepts-short-buffer, dbuf-create.buffer-holds-picture.
  // width x height x bpp may exceed buffer_sz.
  Times accepts_short_buffer = 0;
  // omission, backend.omission.accepts-large-framebuffer, fb-attach.fits-in-buffer.
  Times accepts_large_framebuffer = 0;
  // omission, backend.omission.accepts-config-beyond-resolution,
  // set-config.beyond-resolution-rejected.
  Times accepts_config_beyond_resolution = 0;
  // omission, backend.omission.accepts-other-ring, ring.generic-operations-on-connector-zero.
  Times accepts_other_ring = 0;
  // omission, backend.omission.accepts-undefined-operation, request.undefined-operation-refused.
  Times accepts_undefined_operation = 0;
  // omission, backend.omission.accepts-short-edid-buffer, get-edid.buffer-at-least-maximum.
  Times accepts_short_edid_buffer = 0;

  // --- effects left out --------------------------------------------------------------------------

  // omission, backend.omission.config-not-applied, set-config.framebuffer-shown.
  Times config_not_applied = 0;
  // omission, backend.omission.reset-not-applied, set-config.reset-hides.
  Times reset_not_applied = 0;
  // omission, backend.omission.flip-not-applied, pg-flip.framebuffer-shown.
  Times flip_not_applied = 0;
  // deviation, backend.deviation.others-hidden, fb-detach.others-kept.
  // The end of any framebuffer takes what is shown off the connector.
  Times others_hidden = 0;
  // deviation, backend.deviation.edid-size-beyond-buffer, get-edid.size-within-buffer.
  Times edid_size_beyond_buffer = 0;
  // omission, backend.omission.edid-not-written, get-edid.buffer-filled.
  Times edid_not_written = 0;

  // --- duties left out ---------------------------------------------------------------------------

  // omission, backend.omission.refuses-large-buffer, dbuf-create.accepted.
  // A buffer larger than the connector is refused.
  Times refuses_large_buffer = 0;
  // omission, backend.omission.refuses-second-buffer, dbuf-create.several.
  // A second buffer is refused.
  Times refuses_second_buffer = 0;
  // omission, backend.omission.dbuf-cookie-spent, dbuf-create.cookie-reusable.
  // A destroyed buffer's cookie is refused.
  Times dbuf_cookie_spent = 0;
  // omission, backend.omission.fb-cookie-spent, fb-attach.cookie-reusable.
  // A detached framebuffer's cookie is refused.
  Times fb_cookie_spent = 0;
  // omission, backend.omission.cookies-truncated, request.cookies-whole.
  // Cookies that differ in their upper half are one.
  Times cookies_truncated = 0;
  // omission, backend.omission.refuses-small-framebuffer, fb-attach.accepted.
  // A framebuffer smaller than the connector is refused.
  Times refuses_small_framebuffer = 0;
  // omission, backend.omission.refuses-destroy, dbuf-destroy.accepted.
  // No buffer can be destroyed.
  Times refuses_destroy = 0;
  // omission, backend.omission.refuses-detach, fb-detach.accepted.
  // No framebuffer can be detached.
  Times refuses_detach = 0;
  // omission, backend.omission.others-end-with-buffer, dbuf-destroy.others-kept.
  // Once a buffer was destroyed, flips to what is left are refused.
  Times others_end_with_buffer = 0;
  // omission, backend.omission.others-end-with-framebuffer, fb-detach.others-kept.
  // Once a framebuffer was detached, flips to what is left are refused.
  Times others_end_with_framebuffer = 0;
  // omission, backend.omission.refuses-second-config, set-config.accepted.
  // A connector that is configured cannot be configured again.
  Times refuses_second_config = 0;
  // omission, backend.omission.refuses-reset, set-config.reset-accepted.
  // A reset is refused.
  Times refuses_reset = 0;
  // omission, backend.omission.refuses-second-flip, pg-flip.accepted.
  // A connector can be flipped once.
  Times refuses_second_flip = 0;
  // omission, backend.omission.buffers-counted-together, backend.guests-kept-apart.
  // Two hundred buffers are all that the process makes, whichever guests they were for.
  Times buffers_counted_together = 0;
  // omission, backend.omission.data-offset-ignored, dbuf-create.data-offset-within-buffer.
  // The data offset counts for nothing when sizes are checked.
  Times data_offset_ignored = 0;
  // omission, backend.omission.edid-in-version-1, get-edid.ignored-in-version-1.
  // GET_EDID is served in version 1.
  Times edid_in_version_1 = 0;
  // omission, backend.omission.full-ring-cut, ring.full-ring-served.
  // The last request of a full ring is never answered.
  Times full_ring_cut = 0;
  // omission, backend.omission.one-per-notification, ring.batch-served.
  // One request is served for each notification.
  Times one_per_notification = 0;
  // omission, backend.omission.duplicate-id-dropped, request.duplicate-ids-answered.
  // Of requests found together that share an id, one is answered.
  Times duplicate_id_dropped = 0;
  // deviation, backend.deviation.response-slot-wrong, ring.wraps.
  // From the second lap on, responses go into the slot beside theirs.
  Times response_slot_wrong = 0;
  // deviation, backend.deviation.req-prod-written, ring.frontend-fields-untouched.
  // The frontend's request producer is overwritten.
  Times req_prod_written = 0;
  // deviation, backend.deviation.event-slot-wrong, event.slots-wrap.
  // From the second lap on, events go into the slot beside theirs.
  Times event_slot_wrong = 0;
  // deviation, backend.deviation.in-cons-written, event.consumer-untouched.
  // The frontend's consumer index is overwritten.
  Times in_cons_written = 0;
  // omission, backend.omission.stops-when-unconfirmed, event.confirmation-optional.
  // No event is sent while a page of them is unconfirmed.
  Times stops_when_unconfirmed = 0;
  // omission, backend.omission.outstanding-flip-lost, pg-flip.outstanding-survived.
  // Of flips that are found together one completes.
  Times outstanding_flip_lost = 0;
  // deviation, backend.deviation.config-on-first-connector, ring.connector-of-ring.
  // SET_CONFIG configures connector 0, whichever ring it came on.
  Times config_on_first_connector = 0;
  // omission, backend.omission.directory-first-page-only, dbuf-create.directory-followed.
  // A buffer of more than one directory page is refused.
  Times directory_first_page_only = 0;
  // omission, backend.omission.invalid-directory-accepted, dbuf-create.invalid-directory-rejected.
  // A buffer whose directory cannot be used is created.
  Times invalid_directory_accepted = 0;
  // omission, backend.omission.refused-buffer-kept, dbuf-create.refused-leaves-nothing.
  // A refused buffer can be attached to.
  Times refused_buffer_kept = 0;
  // deviation, backend.deviation.be-alloc-read-only, be-alloc.pages-writable.
  // Backend-allocated pages are granted for reading only.
  Times be_alloc_read_only = 0;
  // omission, backend.omission.be-alloc-not-cleared, be-alloc.pages-reveal-nothing.
  // Backend-allocated pages hold what was there before.
  Times be_alloc_not_cleared = 0;
  // omission, backend.omission.be-alloc-kept, be-alloc.released-on-destroy.
  // Backend-allocated pages stay granted after DBUF_DESTROY.
  Times be_alloc_kept = 0;
  // deviation, backend.deviation.edid-checksum-wrong, get-edid.whole-blocks.
  // The last octet of the EDID's first block is wrong.
  Times edid_checksum_wrong = 0;
  // omission, backend.omission.edid-directory-unchecked, get-edid.invalid-directory-rejected.
  // GET_EDID succeeds though its directory cannot be used.
  Times edid_directory_unchecked = 0;
  // omission, backend.omission.edid-kept-mapped, get-edid.buffer-unmapped.
  // The EDID buffer stays mapped until the device is gone.
  Times edid_kept_mapped = 0;
  // omission, backend.omission.stays-initialising, bus.backend-reaches-init-wait.
  // InitWait is never published.
  Times stays_initialising = 0;
  // omission, backend.omission.only-first-connector, bus.backend-serves-every-connector.
  // Requests of other connectors than the first are left alone.
  Times only_first_connector = 0;
  // omission, backend.omission.connects-without-transport, bus.unusable-transport-not-connected.
  // Connected is published though rings or channels could not be had.
  Times connects_without_transport = 0;
  // deviation, backend.deviation.connected-after-closed, bus.backend-states-in-order.
  // When the frontend leaves, the state goes to Closed and Connected.
  Times connected_after_closed = 0;
  // omission, backend.omission.connects-once, bus.backend-reconnects.
  // A second connection is not made.
  Times connects_once = 0;
  // omission, backend.omission.ignores-removal, bus.backend-closes-on-removal.
  // The tool stack's Closing changes nothing.
  Times ignores_removal = 0;
  // omission, backend.omission.channels-kept-after-close, backend.channels-closed-on-close.
  // Event channels stay bound when the frontend has left.
  Times channels_kept_after_close = 0;
  // omission, backend.omission.descriptors-leaked, health.descriptors-released.
  // Each connection leaves some open descriptors behind.
  Times descriptors_leaked = 0;
  // omission, backend.omission.memory-leaked, health.memory-released.
  // Each connection leaves as much memory behind as two large pictures have.
  Times memory_leaked = 0;
  // omission, backend.omission.objects-kept-after-close, backend.objects-end-with-connection.
  // Cookies of a connection that is over stay in use.
  Times objects_kept_after_close = 0;
  // omission, backend.omission.success-reported-as-failure, response.success-is-zero.
  // What was carried out is answered with an error.
  AtOperations success_reported_as_failure;
  // omission, backend.omission.breaks-down-at-<situation>, one requirement for each.
  BreakdownFault breaks_down;

  // --- bus ---------------------------------------------------------------------------------------

  // omission, backend.omission.versions-missing, bus.versions-published.
  Times versions_missing = 0;
  // deviation, backend.deviation.versions-malformed, bus.versions-list-format.
  Times versions_malformed = 0;
  // stress, backend.stress.versions-unknown. Only versions that nobody knows are offered.
  Times versions_unknown = 0;
  // omission, backend.omission.connects-early, bus.backend-waits-for-initialised.
  // Connected is published without waiting for the frontend.
  Times connects_early = 0;
  // omission, backend.omission.never-connects, bus.backend-connects.
  Times never_connects = 0;
  // omission, backend.omission.ignores-closing, bus.backend-follows-closing.
  // The frontend's Closing and Closed change nothing.
  Times ignores_closing = 0;
  // omission, backend.omission.no-recovery, bus.backend-recovers-to-init-wait.
  // After the frontend has gone, the backend stays Closed.
  Times no_recovery = 0;
  // stress, backend.stress.state-closing, backend.stress.state-closed,
  // backend.stress.state-init-wait, backend.stress.state-initialising: the backend goes there while
  // connected ("unrecoverable errors"), keeps serving, and follows the frontend afterwards.
  // deviation, backend.deviation.state-undefined, bus.state-defined: a value of no XenbusState.
  StateFault unexpected_state;
  bool operator==(const BackendFaults&) const = default;
};

using FaultInfo = fake::FaultInfo<BackendFaults>;

// Every fault, in the order of the struct.
std::span<const FaultInfo> all_faults();
// nullptr when there is none of that id.
const FaultInfo* find_fault(std::string_view id);

}  // namespace displif_cts::fake_backend
