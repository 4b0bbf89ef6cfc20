#include "fuzzers/input/mutator.h"

namespace displif_cts::fuzz {
namespace {

constexpr unsigned kB = kBackendAttacks;
constexpr unsigned kBG = kBackendAttacks | kGuestPrograms;

constexpr Idiom kIdioms[] = {
    {"connect", kBG, "bus\nserve\nbus state=connected\nclient\n"},
    {"show", kBG, "client call=create\nclient call=attach\nclient call=configure\n"},
    {"flip", kBG, "client call=create\nclient call=attach\nclient call=flip flags=1\n"},
    {"flips", kBG, "client call=flip flags=1\ntime ms=20\nclient call=flip object=1\ntime ms=20\n"},
    {"hide", kBG, "client call=off\nclient call=detach\nclient call=destroy\n"},
    {"two-connectors", kBG,
     "store connector=1 value=\"64x16\"\nbus state=closed\nbus\nbus state=connected\nclient "
     "who=1\n"},
    {"reconnect", kBG, "bus state=closed\nbus\nbus state=connected\nclient who=1\n"},
    {"be-alloc", kBG,
     "store node=be-alloc value=\"1\"\nbus state=closed\nbus\nbus state=connected\nclient who=1\n"
     "client who=1 call=create width=64 height=64\n"},
    {"directory", kBG,
     "serve on=0\nclient call=create width=64 height=64\ndirectory count=4\nresponse\nserve\n"},
    {"answer", kBG, "serve on=0\nclient call=create\nresponse\nclient call=attach\nresponse\n"},
    {"prime", kBG,
     "client call=import-foreign\nclient call=export-buffer\nclient who=1\nclient who=1 "
     "call=import-own\n"},
    {"importer", kBG, "client call=export-map\nclient call=export-vmap\nclient call=map\n"},
    {"remove", kBG, "device\ndevice what=probe\nbus\nbus state=connected\nclient\n"},
    {"module", kBG, "device what=module\nbus\nbus state=connected\nclient\n"},
    {"allocation-fails", kBG, "fail after=3\nclient call=create\n"},
    {"connection-fails", kBG, "bus state=closed\nfail after=4\nbus\nbus state=connected\n"},
    {"held", kBG, "hold what=buffer\nclient call=destroy\nhold what=buffer release=1\n"},
    {"close-while-waiting", kBG, "serve on=0\nclient call=create\nbus state=closed\n"},
    {"interrupted", kBG, "interleave points=5\nclient call=create\nresponse\n"},
    {"time-out", kBG, "serve on=0\nclient call=create\ntime ms=3001\nserve\n"},

    // One for each fault of the fake backend that can be said in actions.
    {"backend.stress.error-status-dbuf-create", kBG,
     "serve on=0\nclient call=create\nresponse status=-22\nserve\n"},
    {"backend.stress.error-status-dbuf-destroy", kBG,
     "serve on=0\nclient call=destroy\nresponse status=-22\nserve\n"},
    {"backend.stress.error-status-fb-attach", kBG,
     "serve on=0\nclient call=attach\nresponse status=-22\nserve\n"},
    {"backend.stress.error-status-fb-detach", kBG,
     "serve on=0\nclient call=detach\nresponse status=-22\nserve\n"},
    {"backend.stress.error-status-set-config", kBG,
     "serve on=0\nclient call=configure\nresponse status=-22\nserve\n"},
    {"backend.stress.error-status-pg-flip", kBG,
     "serve on=0\nclient call=flip flags=1\nresponse status=-22\nserve\n"},
    {"backend.deviation.response-positive-status", kB, "response status=1\n"},
    {"backend.deviation.response-unknown-id", kB, "response id=7\n"},
    {"backend.deviation.response-extra-unknown-id", kB, "response id=7\nresponse\n"},
    {"backend.deviation.response-duplicate", kB, "response count=2\n"},
    {"backend.deviation.response-wrong-operation", kB, "response operation=17\n"},
    {"backend.deviation.response-reserved-nonzero", kB, "response fill=ones\n"},
    {"backend.omission.response-never", kB, "serve on=0\ntime ms=3001\n"},
    {"backend.stress.response-late", kB, "serve on=0\ntime ms=500\nresponse\n"},
    {"backend.deviation.rsp-prod-beyond", kB, "index value=1000\n"},
    {"backend.deviation.rsp-prod-backwards", kB, "index value=4294967295\n"},
    {"backend.omission.response-not-notified", kB, "response notify=0\n"},
    {"backend.omission.event-not-notified", kB, "event notify=0\n"},
    {"backend.omission.req-event-not-updated", kB, "index which=req-event value=1000 notify=0\n"},
    {"backend.stress.spurious-notifications", kB,
     "index value=0\nindex value=0\nindex which=in-prod value=0\n"},
    {"backend.omission.flip-event-never", kBG,
     "serve events=0\nclient call=flip flags=1\ntime ms=3101\n"},
    {"backend.stress.flip-event-late", kBG,
     "serve events=0\nclient call=flip flags=1\ntime ms=500\nevent\n"},
    {"backend.stress.flip-event-before-response", kBG,
     "serve on=0\nclient call=flip flags=1\nevent\nresponse\nserve\n"},
    {"backend.deviation.flip-event-duplicate", kB, "event\nevent\n"},
    {"backend.deviation.flip-event-unknown-cookie", kB, "event cookie=garbage\n"},
    {"backend.deviation.flip-event-other-connector", kB, "event connector=1\n"},
    {"backend.deviation.event-unknown-type", kB, "event type=9\n"},
    {"backend.deviation.event-id-gap", kB, "event id=1\n"},
    {"backend.deviation.event-prod-beyond", kB, "index which=in-prod value=1000\n"},
    {"backend.stress.event-page-overrun", kB, "event count=64\n"},
    {"backend.deviation.be-alloc-refs-invalid", kB, "directory gref=revoked count=4\n"},
    {"backend.omission.be-alloc-refs-missing", kB, "directory gref=zero count=4\n"},
    {"backend.deviation.be-alloc-next-page-changed", kB,
     "directory entry=65535 gref=absolute value=5\n"},
    {"backend.omission.mapping-kept-after-destroy", kB, "hold\nhold what=directory\n"},
    {"backend.omission.mapping-kept-after-close", kB, "hold what=ring\nbus state=closed\n"},

    // Requests of a frontend that attacks a backend.
    {"connect", kFrontendAttacks | kFrontendBus, "bus state=initialised\nbus state=connected\n"},
    {"buffer", kFrontendAttacks,
     "request\nrequest operation=fb-attach\nrequest operation=set-config\nrequest "
     "operation=pg-flip\n"},
    {"undo", kFrontendAttacks,
     "request operation=set-config fb=0 width=0 height=0 depth=0\nrequest operation=fb-detach\n"
     "request operation=dbuf-destroy\n"},
    // More references than a directory's page holds.
    {"many-pages", kFrontendAttacks,
     "request size=4190209\nrequest operation=dbuf-destroy\nrequest flags=1 size=4190209\n"},
    {"edid", kFrontendAttacks, "request operation=get-edid size=32768\n"},
    {"other-connector", kFrontendAttacks,
     "request connector=1 operation=set-config\nrequest connector=1 operation=pg-flip\n"},
    {"frontend.deviation.duplicate-dbuf-cookie", kFrontendAttacks, "request\nrequest\n"},
    {"frontend.deviation.duplicate-fb-cookie", kFrontendAttacks,
     "request\nrequest operation=fb-attach\nrequest operation=fb-attach\n"},
    {"frontend.deviation.index-beyond", kFrontendAttacks, "index which=req-prod value=33\n"},
    {"frontend.deviation.zero-dbuf-cookie", kFrontendAttacks, "request dbuf=0\n"},
    {"frontend.deviation.unknown-flags", kFrontendAttacks, "request flags=2\n"},
    {"frontend.deviation.unknown-operation", kFrontendAttacks, "request operation=1\n"},
    {"be-alloc", kFrontendAttacks, "request flags=1\nrequest operation=dbuf-destroy\n"},
    {"allocation-unwritable", kFrontendAttacks, "request flags=1 gref=3\n"},
    {"directory", kFrontendAttacks, "directory gref=zero\nrequest\n"},
    {"directory-link", kFrontendAttacks,
     "directory entry=65535 gref=directory\nrequest width=1024 height=1024\n"},
    {"directory-moves", kFrontendAttacks,
     "interleave points=1\nrequest\ndirectory gref=revoked count=8\ntime\n"},
    {"flips", kFrontendAttacks,
     "request operation=pg-flip\nrequest operation=pg-flip\ntime\nindex which=in-cons\n"},
    {"pushed-late", kFrontendAttacks, "request push=0 notify=0\nrequest push=2\n"},
    {"again", kFrontendAttacks | kFrontendBus,
     "bus state=closing\nbus state=closed\nbus state=initialising\nbus state=initialised\nbus "
     "state=connected\n"},
};

}  // namespace

std::span<const Idiom> idioms() { return kIdioms; }

}  // namespace displif_cts::fuzz
