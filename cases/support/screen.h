// The guest's screen as a picture for the reports.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace displif_cts::cases {

// A PNG of a framebuffer in DRM_FORMAT_XRGB8888 (four octets B, G, R, X a pixel). `stride` in
// octets. Empty if the pixels do not cover width x height, or either is zero.
std::vector<std::byte> png_of_xrgb8888(std::span<const std::byte> pixels, std::uint32_t width,
                                       std::uint32_t height, std::uint32_t stride);

}  // namespace displif_cts::cases
