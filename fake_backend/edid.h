// EDIDs for backends that have none of their own to give.
#pragma once

#include <cstddef>
#include <vector>

namespace displif_cts::fake_backend {

// The smallest block that is an EDID, 128 octets: header, a manufacturer, version, checksum (VESA
// E-EDID 1.4, 3).
std::vector<std::byte> smallest_edid();

}  // namespace displif_cts::fake_backend
