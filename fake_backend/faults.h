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
  // A response with an id of no request goes out first, then the true one.
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
  // An event of an undefined type, with the next id, goes before the true one.
  Times event_unknown_type = 0;
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
  // deviation, backend.deviation.edid-size-beyond-buffer, get-edid.size-within-buffer.
  Times edid_size_beyond_buffer = 0;
  // omission, backend.omission.edid-not-written, get-edid.buffer-filled.
  Times edid_not_written = 0;

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
