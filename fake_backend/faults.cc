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
  add(simple(deviation, "backend.deviation.event-unknown-type", "event.type-defined",
             "an event of an undefined type goes before each flip event",
             &Faults::event_unknown_type));
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
