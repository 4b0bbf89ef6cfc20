#include "harness/displif/fourcc.h"

#include <gtest/gtest.h>

namespace displif_cts::displif {
namespace {

TEST(Fourcc, names_and_reads_back) {
  EXPECT_EQ(fourcc_name(DRM_FORMAT_XRGB8888), "XR24");
  EXPECT_EQ(fourcc_name(DRM_FORMAT_R8), "R8  ");
  EXPECT_EQ(fourcc_name(0), "0x00000000");
  EXPECT_EQ(fourcc_name(DRM_FORMAT_XRGB8888 | DRM_FORMAT_BIG_ENDIAN), "0xb4325258");
  for (const std::uint32_t code : {DRM_FORMAT_XRGB8888, DRM_FORMAT_R8, 0U, 0xffffffffU, 7U}) {
    EXPECT_EQ(fourcc_from_name(fourcc_name(code)), code);
  }
}

TEST(Fourcc, refuses_other_text) {
  for (const char* text :
       {"", "XR2", "XR240", "0x", "0x3432525", "0x3432525g", "XR\n4", "0x+3432525"}) {
    EXPECT_EQ(fourcc_from_name(text), std::nullopt) << text;
  }
}

TEST(Fourcc, knows_sizes_of_packed_formats) {
  EXPECT_EQ(bytes_per_pixel(DRM_FORMAT_XRGB8888), 4U);
  EXPECT_EQ(bytes_per_pixel(DRM_FORMAT_RGB888), 3U);
  EXPECT_EQ(bytes_per_pixel(DRM_FORMAT_RGB565), 2U);
  EXPECT_EQ(bits_per_pixel(DRM_FORMAT_YUYV), 16U);
  EXPECT_EQ(bytes_per_pixel(DRM_FORMAT_NV12), std::nullopt);
  EXPECT_EQ(bytes_per_pixel(0), std::nullopt);
  EXPECT_EQ(fourcc_long_name(DRM_FORMAT_XRGB8888), "XRGB8888");
  EXPECT_EQ(fourcc_long_name(DRM_FORMAT_NV12), "NV12");
  EXPECT_EQ(fourcc_long_name(1), std::nullopt);
}

}  // namespace
}  // namespace displif_cts::displif
