#include "fake_backend/faults.h"

#include <xen/errno.h>

#include <algorithm>
#include <array>
#include <vector>

#include "harness/displif/wire.h"

namespace displif_cts::fake_backend {
namespace {

using enum FaultKind;
using Field = Times BackendFaults::*;
using OpField = AtOperations BackendFaults::*;

constexpr std::chrono::milliseconds kLate{500};  // legal; far below a frontend's patience

FaultInfo simple(FaultKind kind, std::string_view id, std::string_view requirement,
                 std::string_view title, Field field) {
  return {id, kind, requirement, title, [field](BackendFaults& f) { f.*field = kAlways; }};
}

FaultInfo at(FaultKind kind, std::string_view id, std::string_view requirement,
             std::string_view title, OpField field, Operations operations = Operations::all()) {
  return {id, kind, requirement, title, [field, operations](BackendFaults& f) {
            f.*field = {kAlways, operations};
          }};
}

FaultInfo error_status(std::string_view id, std::string_view title, Operations operations) {
  return {id, stress, {}, title, [operations](BackendFaults& f) {
            f.error_status = {kAlways, operations, -XEN_EINVAL};
          }};
}

FaultInfo state_fault(FaultKind kind, std::string_view id, std::string_view requirement,
                      std::string_view title, std::uint32_t state) {
  return {id, kind, requirement, title, [state](BackendFaults& f) {
            f.unexpected_state = {1, 3, state};  // in the middle of a first picture
          }};
}

std::vector<FaultInfo> build() {
  using Faults = BackendFaults;
  const auto only = [](std::uint8_t code) { return Operations::only(code); };
  std::vector<FaultInfo> all;
  const auto add = [&all](FaultInfo info) { all.push_back(std::move(info)); };

  // Responses.
  add(error_status("backend.stress.error-status-all", "every request is answered with -EINVAL",
                   Operations::all()));
  add(error_status("backend.stress.error-status-dbuf-create", "DBUF_CREATE is answered -EINVAL",
                   only(XENDISPL_OP_DBUF_CREATE)));
  add(error_status("backend.stress.error-status-dbuf-destroy", "DBUF_DESTROY is answered -EINVAL",
                   only(XENDISPL_OP_DBUF_DESTROY)));
  add(error_status("backend.stress.error-status-fb-attach", "FB_ATTACH is answered -EINVAL",
                   only(XENDISPL_OP_FB_ATTACH)));
  add(error_status("backend.stress.error-status-fb-detach", "FB_DETACH is answered -EINVAL",
                   only(XENDISPL_OP_FB_DETACH)));
  add(error_status("backend.stress.error-status-set-config", "SET_CONFIG is answered -EINVAL",
                   only(XENDISPL_OP_SET_CONFIG)));
  add(error_status("backend.stress.error-status-pg-flip", "PG_FLIP is answered -EINVAL",
                   only(XENDISPL_OP_PG_FLIP)));
  add(error_status("backend.stress.error-status-get-edid", "GET_EDID is answered -EINVAL",
                   only(XENDISPL_OP_GET_EDID)));
  add({"backend.deviation.response-positive-status", deviation, "response.status-zero-or-negative",
       "success is answered with status 1", [](Faults& f) {
         f.positive_status = {kAlways, Operations::all(), 1};
       }});
  add(at(deviation, "backend.deviation.response-unknown-id", "response.id-echoed",
         "the response carries an id of no request", &Faults::response_unknown_id));
  add(at(deviation, "backend.deviation.response-extra-unknown-id", "response.one-per-request",
         "a response with an id of no request goes before the true one",
         &Faults::response_extra_unknown_id));
  add(at(deviation, "backend.deviation.response-duplicate", "response.one-per-request",
         "each response is sent twice", &Faults::response_duplicate));
  add(at(deviation, "backend.deviation.response-wrong-operation", "response.operation-echoed",
         "the response carries another operation", &Faults::response_wrong_operation));
  add(at(deviation, "backend.deviation.response-reserved-nonzero", "response.reserved-zero",
         "reserved bytes of responses are not zero", &Faults::response_reserved_nonzero));
  add(at(omission, "backend.omission.response-never", "response.every-request-answered",
         "no request is ever answered", &Faults::response_never));
  struct Never {
    std::string_view id;
    std::uint8_t code;
  };
  static constexpr std::array kNever{
      Never{"backend.omission.response-never-dbuf-create", XENDISPL_OP_DBUF_CREATE},
      Never{"backend.omission.response-never-dbuf-destroy", XENDISPL_OP_DBUF_DESTROY},
      Never{"backend.omission.response-never-fb-attach", XENDISPL_OP_FB_ATTACH},
      Never{"backend.omission.response-never-fb-detach", XENDISPL_OP_FB_DETACH},
      Never{"backend.omission.response-never-set-config", XENDISPL_OP_SET_CONFIG},
      Never{"backend.omission.response-never-pg-flip", XENDISPL_OP_PG_FLIP},
      Never{"backend.omission.response-never-get-edid", XENDISPL_OP_GET_EDID}};
  for (const Never& never : kNever) {
    add(at(omission, never.id, "response.every-request-answered",
           "this operation alone is never answered", &Faults::response_never, only(never.code)));
  }
  add(at(omission, "backend.omission.failure-reported-as-success", "response.error-is-negative",
         "a refused request is answered with status 0", &Faults::failure_reported_as_success));
  add({"backend.stress.response-late",
       stress,
       {},
       "each response comes half a second late",
       [](Faults& f) {
         f.response_late = {kAlways, Operations::all(), kLate};
       }});
  add(simple(stress, "backend.stress.response-reversed", {},
             "requests found together are answered last one first", &Faults::responses_reversed));

  // Ring and notification.
  add({"backend.deviation.rsp-prod-beyond", deviation, "ring.rsp-prod-within-requests",
       "rsp_prod is published 1000 too high", [](Faults& f) {
         f.rsp_prod_beyond = {kAlways, 1000};
       }});
  add(simple(deviation, "backend.deviation.rsp-prod-backwards", "ring.rsp-prod-monotonic",
             "rsp_prod goes backwards", &Faults::rsp_prod_backwards));
  add(at(omission, "backend.omission.response-not-notified", "ring.response-notified",
         "responses are not notified", &Faults::response_not_notified));
  add(simple(omission, "backend.omission.event-not-notified", "event.notified",
             "events are not notified", &Faults::event_not_notified));
  add(simple(omission, "backend.omission.req-event-not-updated", "ring.req-event-updated",
             "req_event is never moved", &Faults::req_event_not_updated));
  add({"backend.stress.spurious-notifications",
       stress,
       {},
       "sixteen notifications about nothing after each request",
       [](Faults& f) {
         f.spurious_notifications = {kAlways, 16};
       }});
  add(simple(omission, "backend.omission.ring-index-trusted", "backend.ring-index-validated",
             "a request index beyond the ring is served", &Faults::ring_index_trusted));

  // Events.
  add(simple(omission, "backend.omission.flip-event-never", "flip.event-follows",
             "flips are answered, their events never come", &Faults::flip_event_never));
  add({"backend.stress.flip-event-late",
       stress,
       {},
       "flip events come half a second late",
       [](Faults& f) {
         f.flip_event_late = {kAlways, kLate};
       }});
  add(simple(stress, "backend.stress.flip-event-before-response", {},
             "the flip's event goes before its response", &Faults::flip_event_before_response));
  add(simple(deviation, "backend.deviation.flip-event-duplicate", "flip.one-event-per-flip",
             "each flip has two events", &Faults::flip_event_duplicate));
  add(simple(deviation, "backend.deviation.flip-event-unknown-cookie", "flip.event-cookie-of-flip",
             "flip events name a framebuffer that does not exist",
             &Faults::flip_event_unknown_cookie));
  add(simple(deviation, "backend.deviation.flip-event-other-connector",
             "flip.event-on-own-connector", "flip events come on another connector's page",
             &Faults::flip_event_other_connector));
  add(simple(deviation, "backend.deviation.flip-event-on-error", "flip.no-event-for-failed-flip",
             "a refused flip has an event", &Faults::flip_event_on_error));
  add({"backend.deviation.event-unknown-type", deviation, "event.type-defined",
       "an event of an undefined type goes before each flip event", [](Faults& f) {
         f.event_unknown_type = {kAlways, 1};
       }});
  add(simple(deviation, "backend.deviation.event-id-gap", "event.id-sequential",
             "event ids leave one out", &Faults::event_id_gap));
  add(simple(deviation, "backend.deviation.event-reserved-nonzero", "event.reserved-zero",
             "reserved bytes of events are not zero", &Faults::event_reserved_nonzero));
  add({"backend.deviation.event-prod-beyond", deviation, "event.in-prod-within-page",
       "in_prod is published 1000 too high", [](Faults& f) {
         f.event_prod_beyond = {kAlways, 1000};
       }});
  add({"backend.stress.event-page-overrun",
       stress,
       {},
       "a page's length of flip events, and more, at once",
       [](Faults& f) {
         f.event_flood = {kAlways, 130};
       }});

  // Buffers and the page directory.
  add(simple(deviation, "backend.deviation.be-alloc-refs-invalid", "be-alloc.directory-filled",
             "the directory names references that grant nothing", &Faults::be_alloc_refs_invalid));
  add(simple(omission, "backend.omission.be-alloc-refs-missing", "be-alloc.directory-filled",
             "the directory is not filled", &Faults::be_alloc_refs_missing));
  add(simple(omission, "backend.omission.be-alloc-refs-short", "be-alloc.all-pages-granted",
             "the last page is not granted", &Faults::be_alloc_refs_short));
  add(simple(deviation, "backend.deviation.be-alloc-next-page-changed", "be-alloc.next-page-kept",
             "gref_dir_next_page is overwritten", &Faults::be_alloc_next_page_changed));
  add(simple(omission, "backend.omission.be-alloc-refused", "be-alloc.honoured-when-offered",
             "backend allocation is offered and refused", &Faults::be_alloc_refused));
  add(simple(omission, "backend.omission.mapping-kept-after-destroy",
             "dbuf-destroy.buffer-unmapped", "a destroyed buffer stays mapped",
             &Faults::mapping_kept_after_destroy));
  add(simple(omission, "backend.omission.mapping-kept-after-close", "backend.all-unmapped-on-close",
             "everything stays mapped when the frontend closes",
             &Faults::mapping_kept_after_close));
  add(simple(deviation, "backend.deviation.buffer-written", "backend.buffer-contents-untouched",
             "a buffer of the guest's is written to", &Faults::buffer_written));

  // Checks left out.
  add(simple(omission, "backend.omission.accepts-duplicate-dbuf-cookie",
             "dbuf-create.duplicate-cookie-rejected", "two buffers may share a cookie",
             &Faults::accepts_duplicate_dbuf_cookie));
  add(simple(omission, "backend.omission.accepts-duplicate-fb-cookie",
             "fb-attach.duplicate-cookie-rejected", "two framebuffers may share a cookie",
             &Faults::accepts_duplicate_fb_cookie));
  add(simple(omission, "backend.omission.accepts-zero-dbuf-cookie",
             "dbuf-create.zero-cookie-rejected", "a buffer may have cookie 0",
             &Faults::accepts_zero_dbuf_cookie));
  add(simple(omission, "backend.omission.accepts-zero-fb-cookie", "fb-attach.zero-cookie-rejected",
             "a framebuffer may have cookie 0", &Faults::accepts_zero_fb_cookie));
  add(simple(omission, "backend.omission.accepts-unknown-dbuf-destroy",
             "dbuf-destroy.unknown-cookie-rejected", "a buffer that does not exist is destroyed",
             &Faults::accepts_unknown_dbuf_destroy));
  add(simple(omission, "backend.omission.accepts-unknown-dbuf-attach",
             "fb-attach.unknown-dbuf-rejected", "a framebuffer needs no buffer",
             &Faults::accepts_unknown_dbuf_attach));
  add(simple(omission, "backend.omission.accepts-unknown-fb-detach",
             "fb-detach.unknown-cookie-rejected", "a framebuffer that does not exist is detached",
             &Faults::accepts_unknown_fb_detach));
  add(simple(omission, "backend.omission.accepts-unknown-fb-config",
             "set-config.unknown-fb-rejected", "a framebuffer that does not exist is configured",
             &Faults::accepts_unknown_fb_config));
  add(simple(omission, "backend.omission.accepts-unknown-fb-flip", "pg-flip.unknown-fb-rejected",
             "a framebuffer that does not exist is flipped to", &Faults::accepts_unknown_fb_flip));
  add(simple(omission, "backend.omission.accepts-unknown-flags",
             "dbuf-create.unknown-flags-rejected", "undefined flags are ignored",
             &Faults::accepts_unknown_flags));
  add(simple(omission, "backend.omission.accepts-short-buffer", "dbuf-create.buffer-holds-picture",
             "a buffer may be smaller than its picture", &Faults::accepts_short_buffer));
  add(simple(omission, "backend.omission.accepts-large-framebuffer", "fb-attach.fits-in-buffer",
             "a framebuffer may exceed its buffer", &Faults::accepts_large_framebuffer));
  add(simple(omission, "backend.omission.accepts-config-beyond-resolution",
             "set-config.beyond-resolution-rejected", "a configuration may exceed the resolution",
             &Faults::accepts_config_beyond_resolution));
  add(simple(omission, "backend.omission.accepts-other-ring",
             "ring.generic-operations-on-connector-zero",
             "buffers are managed on any connector's ring", &Faults::accepts_other_ring));
  add(simple(omission, "backend.omission.accepts-undefined-operation",
             "request.undefined-operation-refused", "undefined operations succeed",
             &Faults::accepts_undefined_operation));
  add(simple(omission, "backend.omission.accepts-short-edid-buffer",
             "get-edid.buffer-at-least-maximum", "an EDID buffer may be too small",
             &Faults::accepts_short_edid_buffer));

  // Effects left out.
  add(simple(omission, "backend.omission.config-not-applied", "set-config.framebuffer-shown",
             "SET_CONFIG succeeds and shows nothing", &Faults::config_not_applied));
  add(simple(omission, "backend.omission.reset-not-applied", "set-config.reset-hides",
             "a reset succeeds and the picture stays", &Faults::reset_not_applied));
  add(simple(omission, "backend.omission.flip-not-applied", "pg-flip.framebuffer-shown",
             "PG_FLIP succeeds and the old picture stays", &Faults::flip_not_applied));
  add(simple(deviation, "backend.deviation.others-hidden", "fb-detach.others-kept",
             "the end of any framebuffer takes what is shown off the connector",
             &Faults::others_hidden));
  add(simple(deviation, "backend.deviation.edid-size-beyond-buffer", "get-edid.size-within-buffer",
             "edid_sz exceeds the buffer", &Faults::edid_size_beyond_buffer));
  add(simple(omission, "backend.omission.edid-not-written", "get-edid.buffer-filled",
             "GET_EDID succeeds and the buffer stays as it was", &Faults::edid_not_written));

  // Bus.
  add(simple(omission, "backend.omission.versions-missing", "bus.versions-published",
             "no versions node", &Faults::versions_missing));
  add(simple(deviation, "backend.deviation.versions-malformed", "bus.versions-list-format",
             "the versions node is no list of versions", &Faults::versions_malformed));
  add(simple(stress, "backend.stress.versions-unknown", {}, "only unknown versions are offered",
             &Faults::versions_unknown));
  add(simple(omission, "backend.omission.connects-early", "bus.backend-waits-for-initialised",
             "Connected is published before the frontend is Initialised", &Faults::connects_early));
  add(simple(omission, "backend.omission.never-connects", "bus.backend-connects",
             "the backend stays in InitWait", &Faults::never_connects));
  add(simple(omission, "backend.omission.ignores-closing", "bus.backend-follows-closing",
             "the frontend's closing changes nothing", &Faults::ignores_closing));
  add(simple(omission, "backend.omission.no-recovery", "bus.backend-recovers-to-init-wait",
             "after the frontend has gone the backend stays Closed", &Faults::no_recovery));
  add(state_fault(stress, "backend.stress.state-closing", {}, "goes Closing in mid-service", 5));
  add(state_fault(stress, "backend.stress.state-closed", {}, "goes Closed in mid-service", 6));
  add(state_fault(stress, "backend.stress.state-init-wait", {}, "goes InitWait in mid-service", 2));
  add(state_fault(stress, "backend.stress.state-initialising", {},
                  "goes Initialising in mid-service", 1));
  add(state_fault(deviation, "backend.deviation.state-undefined", "bus.state-defined",
                  "publishes a state that is none", 77));
  // Duties left out.
  add(simple(omission, "backend.omission.refuses-large-buffer", "dbuf-create.accepted",
             "a buffer larger than the connector is refused", &Faults::refuses_large_buffer));
  add(simple(omission, "backend.omission.refuses-second-buffer", "dbuf-create.several",
             "a second buffer is refused", &Faults::refuses_second_buffer));
  add(simple(omission, "backend.omission.dbuf-cookie-spent", "dbuf-create.cookie-reusable",
             "a destroyed buffer's cookie is refused", &Faults::dbuf_cookie_spent));
  add(simple(omission, "backend.omission.fb-cookie-spent", "fb-attach.cookie-reusable",
             "a detached framebuffer's cookie is refused", &Faults::fb_cookie_spent));
  add(simple(omission, "backend.omission.cookies-truncated", "request.cookies-whole",
             "cookies that differ in their upper half are one", &Faults::cookies_truncated));
  add(simple(omission, "backend.omission.refuses-small-framebuffer", "fb-attach.accepted",
             "a framebuffer smaller than the connector is refused",
             &Faults::refuses_small_framebuffer));
  add(simple(omission, "backend.omission.refuses-destroy", "dbuf-destroy.accepted",
             "no buffer can be destroyed", &Faults::refuses_destroy));
  add(simple(omission, "backend.omission.refuses-detach", "fb-detach.accepted",
             "no framebuffer can be detached", &Faults::refuses_detach));
  add(simple(omission, "backend.omission.others-end-with-buffer", "dbuf-destroy.others-kept",
             "once a buffer was destroyed, flips to what is left are refused",
             &Faults::others_end_with_buffer));
  add(simple(omission, "backend.omission.others-end-with-framebuffer", "fb-detach.others-kept",
             "once a framebuffer was detached, flips to what is left are refused",
             &Faults::others_end_with_framebuffer));
  add(simple(omission, "backend.omission.refuses-second-config", "set-config.accepted",
             "a connector that is configured cannot be configured again",
             &Faults::refuses_second_config));
  add(simple(omission, "backend.omission.refuses-reset", "set-config.reset-accepted",
             "a reset is refused", &Faults::refuses_reset));
  add(simple(omission, "backend.omission.refuses-second-flip", "pg-flip.accepted",
             "a connector can be flipped once", &Faults::refuses_second_flip));
  add(simple(omission, "backend.omission.buffers-counted-together", "backend.guests-kept-apart",
             "one guest's buffers are missing to another", &Faults::buffers_counted_together));
  add(simple(
      omission, "backend.omission.data-offset-ignored", "dbuf-create.data-offset-within-buffer",
      "the data offset counts for nothing when sizes are checked", &Faults::data_offset_ignored));
  add(simple(omission, "backend.omission.edid-in-version-1", "get-edid.ignored-in-version-1",
             "GET_EDID is served in version 1", &Faults::edid_in_version_1));
  add(simple(omission, "backend.omission.full-ring-cut", "ring.full-ring-served",
             "the last request of a full ring is never answered", &Faults::full_ring_cut));
  add(simple(omission, "backend.omission.one-per-notification", "ring.batch-served",
             "one request is served for each notification", &Faults::one_per_notification));
  add(simple(omission, "backend.omission.duplicate-id-dropped", "request.duplicate-ids-answered",
             "of requests found together that share an id, one is answered",
             &Faults::duplicate_id_dropped));
  add(simple(deviation, "backend.deviation.response-slot-wrong", "ring.wraps",
             "from the second lap on, responses go into the slot beside theirs",
             &Faults::response_slot_wrong));
  add(simple(deviation, "backend.deviation.req-prod-written", "ring.frontend-fields-untouched",
             "the frontend's request producer is overwritten", &Faults::req_prod_written));
  add(simple(deviation, "backend.deviation.event-slot-wrong", "event.slots-wrap",
             "from the second lap on, events go into the slot beside theirs",
             &Faults::event_slot_wrong));
  add(simple(deviation, "backend.deviation.in-cons-written", "event.consumer-untouched",
             "the frontend's consumer index is overwritten", &Faults::in_cons_written));
  add(simple(omission, "backend.omission.stops-when-unconfirmed", "event.confirmation-optional",
             "no event is sent while a page of them is unconfirmed",
             &Faults::stops_when_unconfirmed));
  add(simple(omission, "backend.omission.outstanding-flip-lost", "pg-flip.outstanding-survived",
             "of flips that are found together one completes", &Faults::outstanding_flip_lost));
  add(simple(deviation, "backend.deviation.config-on-first-connector", "ring.connector-of-ring",
             "SET_CONFIG configures connector 0, whichever ring it came on",
             &Faults::config_on_first_connector));
  add(simple(
      omission, "backend.omission.directory-first-page-only", "dbuf-create.directory-followed",
      "a buffer of more than one directory page is refused", &Faults::directory_first_page_only));
  add(simple(omission, "backend.omission.invalid-directory-accepted",
             "dbuf-create.invalid-directory-rejected",
             "a buffer whose directory cannot be used is created",
             &Faults::invalid_directory_accepted));
  add(simple(omission, "backend.omission.refused-buffer-kept", "dbuf-create.refused-leaves-nothing",
             "a refused buffer can be attached to", &Faults::refused_buffer_kept));
  add(simple(deviation, "backend.deviation.be-alloc-read-only", "be-alloc.pages-writable",
             "backend-allocated pages are granted for reading only", &Faults::be_alloc_read_only));
  add(simple(omission, "backend.omission.be-alloc-not-cleared", "be-alloc.pages-reveal-nothing",
             "backend-allocated pages hold what was there before", &Faults::be_alloc_not_cleared));
  add(simple(omission, "backend.omission.be-alloc-kept", "be-alloc.released-on-destroy",
             "backend-allocated pages stay granted after DBUF_DESTROY", &Faults::be_alloc_kept));
  add(simple(deviation, "backend.deviation.edid-checksum-wrong", "get-edid.whole-blocks",
             "the last octet of the EDID's first block is wrong", &Faults::edid_checksum_wrong));
  add(simple(
      omission, "backend.omission.edid-directory-unchecked", "get-edid.invalid-directory-rejected",
      "GET_EDID succeeds though its directory cannot be used", &Faults::edid_directory_unchecked));
  add(simple(omission, "backend.omission.edid-kept-mapped", "get-edid.buffer-unmapped",
             "the EDID buffer stays mapped until the device is gone", &Faults::edid_kept_mapped));
  add(simple(omission, "backend.omission.stays-initialising", "bus.backend-reaches-init-wait",
             "InitWait is never published", &Faults::stays_initialising));
  add(simple(
      omission, "backend.omission.only-first-connector", "bus.backend-serves-every-connector",
      "requests of other connectors than the first are left alone", &Faults::only_first_connector));
  add(simple(omission, "backend.omission.connects-without-transport",
             "bus.unusable-transport-not-connected",
             "Connected is published though rings or channels could not be had",
             &Faults::connects_without_transport));
  add(simple(deviation, "backend.deviation.connected-after-closed", "bus.backend-states-in-order",
             "when the frontend leaves, the state goes to Closed and Connected",
             &Faults::connected_after_closed));
  add(simple(omission, "backend.omission.connects-once", "bus.backend-reconnects",
             "a second connection is not made", &Faults::connects_once));
  add(simple(omission, "backend.omission.ignores-removal", "bus.backend-closes-on-removal",
             "the tool stack's Closing changes nothing", &Faults::ignores_removal));
  add(simple(
      omission, "backend.omission.channels-kept-after-close", "backend.channels-closed-on-close",
      "event channels stay bound when the frontend has left", &Faults::channels_kept_after_close));
  add(simple(omission, "backend.omission.descriptors-leaked", "health.descriptors-released",
             "each connection leaves open descriptors behind", &Faults::descriptors_leaked));
  add(simple(omission, "backend.omission.memory-leaked", "health.memory-released",
             "each connection leaves memory behind", &Faults::memory_leaked));
  add(simple(
      omission, "backend.omission.objects-kept-after-close", "backend.objects-end-with-connection",
      "cookies of a connection that is over stay in use", &Faults::objects_kept_after_close));
  add(at(omission, "backend.omission.success-reported-as-failure", "response.success-is-zero",
         "what was carried out is answered with an error", &Faults::success_reported_as_failure));
  add({"backend.omission.response-too-late", omission, "response.in-time",
       "each response comes two seconds late", [](Faults& f) {
         f.response_late = {kAlways, Operations::all(), std::chrono::seconds(2)};
       }});
  struct Death {
    std::string_view id;
    std::string_view requirement;
    Situation situation;
  };
  static constexpr std::array kDeaths{
      Death{"backend.omission.breaks-down-at-reserved-octets", "request.reserved-octets-survived",
            Situation::reserved_octets},
      Death{"backend.omission.breaks-down-at-buffer-geometry", "dbuf-create.geometry-survived",
            Situation::buffer_geometry},
      Death{"backend.omission.breaks-down-at-directory", "dbuf-create.hostile-directory-survived",
            Situation::directory},
      Death{"backend.omission.breaks-down-at-many-buffers", "dbuf-create.resources-bounded",
            Situation::many_buffers},
      Death{"backend.omission.breaks-down-at-allocation-not-offered",
            "be-alloc.not-offered-refused", Situation::allocation_not_offered},
      Death{"backend.omission.breaks-down-at-buffer-in-use", "dbuf-destroy.in-use-survived",
            Situation::buffer_in_use},
      Death{"backend.omission.breaks-down-at-pixel-format", "fb-attach.unusual-format-survived",
            Situation::pixel_format},
      Death{"backend.omission.breaks-down-at-framebuffer-geometry", "fb-attach.geometry-survived",
            Situation::framebuffer_geometry},
      Death{"backend.omission.breaks-down-at-shown-detached", "fb-detach.shown-survived",
            Situation::shown_detached},
      Death{"backend.omission.breaks-down-at-configuration", "set-config.geometry-survived",
            Situation::configuration},
      Death{"backend.omission.breaks-down-at-unconfigured-flip", "pg-flip.unconfigured-survived",
            Situation::unconfigured_flip},
      Death{"backend.omission.breaks-down-at-ring-index", "backend.ring-index-survived",
            Situation::ring_index},
      Death{"backend.omission.breaks-down-at-request-changed", "backend.request-copied-once",
            Situation::request_changed},
      Death{"backend.omission.breaks-down-at-confirmation", "event.bogus-confirmation-survived",
            Situation::confirmation},
      Death{"backend.omission.breaks-down-at-event-page-written", "event.page-overwritten-survived",
            Situation::event_page_written},
      Death{"backend.omission.breaks-down-at-notifications", "backend.notification-flood-survived",
            Situation::notifications},
      Death{"backend.omission.breaks-down-at-directory-revoked", "backend.page-revoked-survived",
            Situation::directory_revoked},
      Death{"backend.omission.breaks-down-at-version", "bus.version-not-offered-survived",
            Situation::version},
      Death{"backend.omission.breaks-down-at-transport", "bus.unusable-transport-survived",
            Situation::transport},
      Death{"backend.omission.breaks-down-at-frontend-state", "bus.frontend-state-survived",
            Situation::frontend_state},
      Death{"backend.omission.breaks-down-at-nodes-changed", "bus.nodes-changed-survived",
            Situation::nodes_changed},
      Death{"backend.omission.breaks-down-at-frontend-gone", "bus.frontend-node-gone-survived",
            Situation::frontend_gone},
      Death{"backend.omission.breaks-down-at-frontend-death", "backend.frontend-death-survived",
            Situation::frontend_death},
      Death{"backend.omission.breaks-down-at-refusals", "backend.stays-responsive",
            Situation::refusals},
      Death{"backend.omission.breaks-down-with-neighbour", "bus.connection-limits-device",
            Situation::ring_index},
      Death{"backend.omission.breaks-down-at-long-run", "ring.long-run-survived",
            Situation::long_run},
      Death{"backend.omission.breaks-down-at-node-flood", "xenstore.flood-survived",
            Situation::node_flood},
      Death{"backend.omission.breaks-down-with-other-guest", "backend.guests-kept-apart",
            Situation::frontend_death}};
  for (const Death& death : kDeaths)
    add({death.id, omission, death.requirement, "what it has to survive ends the whole backend",
         [situation = death.situation](Faults& f) {
           f.breaks_down = {kAlways, situation};
         }});
  return all;
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

}  // namespace displif_cts::fake_backend
