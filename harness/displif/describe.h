// Packets and indices as JSON, for the trace and for people.
#pragma once

#include "harness/displif/ring.h"
#include "harness/displif/wire.h"
#include "harness/trace/json.h"

namespace displif_cts::displif {

// {"op":"DBUF_CREATE","id":3,"dbuf_cookie":"0x1","width":640,...}. Cookies are hexadecimal strings,
// for JSON's numbers do not hold 64 bits everywhere; pixel formats carry their FourCC name; an
// unknown operation carries its payload. "reserved_nonzero" lists the offsets of reserved octets
// that are not 0, and appears only then.
Json describe(const Request& request, unsigned protocol_version = 2);
Json describe(const Response& response, unsigned protocol_version = 2);
Json describe(const Event& event);
Json describe(const RingIndices& indices);

}  // namespace displif_cts::displif
