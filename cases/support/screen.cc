#include "cases/support/screen.h"

#include <png.h>

namespace displif_cts::cases {

std::vector<std::byte> png_of_xrgb8888(std::span<const std::byte> pixels, std::uint32_t width,
                                       std::uint32_t height, std::uint32_t stride) {
  constexpr std::uint64_t kOctetsPerPixel = 4;
  if (width == 0 || height == 0 || stride < width * kOctetsPerPixel) return {};
  if (pixels.size() < std::uint64_t{stride} * (height - 1) + width * kOctetsPerPixel) return {};

  // The X octet is undefined, and an alpha of zero would hide the picture.
  std::vector<png_byte> rgb;
  rgb.reserve(std::size_t{width} * height * 3);
  for (std::uint32_t y = 0; y < height; ++y) {
    const auto row = pixels.subspan(std::size_t{y} * stride, width * kOctetsPerPixel);
    for (std::uint32_t x = 0; x < width; ++x)
      for (const unsigned channel : {2U, 1U, 0U})
        rgb.push_back(std::to_integer<png_byte>(row[x * kOctetsPerPixel + channel]));
  }

  png_image image{};
  image.version = PNG_IMAGE_VERSION;
  image.width = width;
  image.height = height;
  image.format = PNG_FORMAT_RGB;
  image.flags = PNG_IMAGE_FLAG_FAST;
  // The most that it may become: to ask for its size is to compress it twice.
  png_alloc_size_t size = PNG_IMAGE_PNG_SIZE_MAX(image);
  std::vector<std::byte> file(size);
  if (png_image_write_to_memory(&image, file.data(), &size, 0, rgb.data(), 0, nullptr) == 0)
    return {};
  file.resize(size);
  return file;
}

}  // namespace displif_cts::cases
