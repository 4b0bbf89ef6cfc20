#include "harness/displif/fourcc.h"

#include <algorithm>
#include <charconv>

namespace displif_cts::displif {
namespace {

struct Format {
  std::string_view name;
  std::uint32_t code;
  std::uint32_t bits;  // per pixel; 0: not packed in one plane
};

#define DISPLIF_CTS_FORMAT(name, bits) \
  { #name, DRM_FORMAT_##name, bits }
constexpr Format kFormats[] = {
    DISPLIF_CTS_FORMAT(C8, 8),           DISPLIF_CTS_FORMAT(R8, 8),
    DISPLIF_CTS_FORMAT(R16, 16),         DISPLIF_CTS_FORMAT(RGB332, 8),
    DISPLIF_CTS_FORMAT(BGR233, 8),       DISPLIF_CTS_FORMAT(XRGB4444, 16),
    DISPLIF_CTS_FORMAT(XBGR4444, 16),    DISPLIF_CTS_FORMAT(RGBX4444, 16),
    DISPLIF_CTS_FORMAT(BGRX4444, 16),    DISPLIF_CTS_FORMAT(ARGB4444, 16),
    DISPLIF_CTS_FORMAT(ABGR4444, 16),    DISPLIF_CTS_FORMAT(RGBA4444, 16),
    DISPLIF_CTS_FORMAT(BGRA4444, 16),    DISPLIF_CTS_FORMAT(XRGB1555, 16),
    DISPLIF_CTS_FORMAT(XBGR1555, 16),    DISPLIF_CTS_FORMAT(RGBX5551, 16),
    DISPLIF_CTS_FORMAT(BGRX5551, 16),    DISPLIF_CTS_FORMAT(ARGB1555, 16),
    DISPLIF_CTS_FORMAT(ABGR1555, 16),    DISPLIF_CTS_FORMAT(RGBA5551, 16),
    DISPLIF_CTS_FORMAT(BGRA5551, 16),    DISPLIF_CTS_FORMAT(RGB565, 16),
    DISPLIF_CTS_FORMAT(BGR565, 16),      DISPLIF_CTS_FORMAT(RGB888, 24),
    DISPLIF_CTS_FORMAT(BGR888, 24),      DISPLIF_CTS_FORMAT(XRGB8888, 32),
    DISPLIF_CTS_FORMAT(XBGR8888, 32),    DISPLIF_CTS_FORMAT(RGBX8888, 32),
    DISPLIF_CTS_FORMAT(BGRX8888, 32),    DISPLIF_CTS_FORMAT(ARGB8888, 32),
    DISPLIF_CTS_FORMAT(ABGR8888, 32),    DISPLIF_CTS_FORMAT(RGBA8888, 32),
    DISPLIF_CTS_FORMAT(BGRA8888, 32),    DISPLIF_CTS_FORMAT(XRGB2101010, 32),
    DISPLIF_CTS_FORMAT(XBGR2101010, 32), DISPLIF_CTS_FORMAT(RGBX1010102, 32),
    DISPLIF_CTS_FORMAT(BGRX1010102, 32), DISPLIF_CTS_FORMAT(ARGB2101010, 32),
    DISPLIF_CTS_FORMAT(ABGR2101010, 32), DISPLIF_CTS_FORMAT(RGBA1010102, 32),
    DISPLIF_CTS_FORMAT(BGRA1010102, 32), DISPLIF_CTS_FORMAT(YUYV, 16),
    DISPLIF_CTS_FORMAT(YVYU, 16),        DISPLIF_CTS_FORMAT(UYVY, 16),
    DISPLIF_CTS_FORMAT(VYUY, 16),        DISPLIF_CTS_FORMAT(AYUV, 32),
    DISPLIF_CTS_FORMAT(NV12, 0),         DISPLIF_CTS_FORMAT(NV21, 0),
    DISPLIF_CTS_FORMAT(NV16, 0),         DISPLIF_CTS_FORMAT(YUV420, 0),
    DISPLIF_CTS_FORMAT(YVU420, 0),       DISPLIF_CTS_FORMAT(YUV422, 0),
    DISPLIF_CTS_FORMAT(YUV444, 0),
};
#undef DISPLIF_CTS_FORMAT

const Format* find(std::uint32_t code) {
  const auto* found = std::find_if(std::begin(kFormats), std::end(kFormats),
                                   [&](const Format& format) { return format.code == code; });
  return found == std::end(kFormats) ? nullptr : found;
}

bool printable(char c) { return c >= 0x20 && c <= 0x7e; }

}  // namespace

std::string fourcc_name(std::uint32_t code) {
  std::string text;
  for (unsigned shift = 0; shift < 32; shift += 8) {
    text += static_cast<char>(static_cast<unsigned char>(code >> shift));
  }
  if (std::all_of(text.begin(), text.end(), printable)) return text;
  constexpr std::string_view digits = "0123456789abcdef";
  std::string number = "0x";
  for (unsigned shift = 32; shift > 0; shift -= 4) number += digits[(code >> (shift - 4)) & 0xfU];
  return number;
}

std::optional<std::uint32_t> fourcc_from_name(std::string_view name) {
  if (name.size() == 10 && name.starts_with("0x")) {
    std::uint32_t code = 0;
    const char* last = name.data() + name.size();
    const auto [end, error] = std::from_chars(name.data() + 2, last, code, 16);
    if (error != std::errc() || end != last) return std::nullopt;
    return code;
  }
  if (name.size() != 4 || !std::all_of(name.begin(), name.end(), printable)) return std::nullopt;
  std::uint32_t code = 0;
  for (std::size_t i = 0; i < 4; ++i) {
    code |= static_cast<std::uint32_t>(static_cast<unsigned char>(name[i])) << (8 * i);
  }
  return code;
}

std::optional<std::string_view> fourcc_long_name(std::uint32_t code) {
  const Format* format = find(code);
  if (format == nullptr) return std::nullopt;
  return format->name;
}

std::optional<std::uint32_t> bits_per_pixel(std::uint32_t code) {
  const Format* format = find(code);
  if (format == nullptr || format->bits == 0) return std::nullopt;
  return format->bits;
}

std::optional<std::uint32_t> bytes_per_pixel(std::uint32_t code) {
  const std::optional<std::uint32_t> bits = bits_per_pixel(code);
  if (!bits) return std::nullopt;
  return *bits / 8;
}

}  // namespace displif_cts::displif
