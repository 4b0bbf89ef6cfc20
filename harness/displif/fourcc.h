// Pixel formats as libdrm's drm_fourcc.h names them (displif.h: pixel_format, a FourCC code).
#pragma once

#include <drm_fourcc.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace displif_cts::displif {

// "XR24" for 0x34325258; "0x00000007" for a code with an octet that is not printable.
std::string fourcc_name(std::uint32_t code);
// "XR24" and "0x34325258" both give the code; nullopt for anything else.
std::optional<std::uint32_t> fourcc_from_name(std::string_view name);
// "XRGB8888", drm_fourcc.h's word; nullopt for a format that the table below does not have.
std::optional<std::string_view> fourcc_long_name(std::uint32_t code);

// Octets per pixel of a packed single-plane format; nullopt for planar, compressed and unknown
// ones.
std::optional<std::uint32_t> bytes_per_pixel(std::uint32_t code);
// Bits per pixel, likewise.
std::optional<std::uint32_t> bits_per_pixel(std::uint32_t code);

}  // namespace displif_cts::displif
