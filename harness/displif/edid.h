// What a backend put into an EDID buffer (displif.h, "Request EDID"; VESA E-EDID, base block).
#pragma once

#include <cstddef>
#include <span>
#include <string>

namespace displif_cts::displif {

// Why the octets are no EDID of whole blocks; empty if they are.
std::string edid_trouble(std::span<const std::byte> edid);

}  // namespace displif_cts::displif
