// What `fill` of the exerciser puts into a buffer, as pure functions of (seed, octet offset):
// whoever maps the buffer at the other end computes any octet alone, and needs no copy to compare
// with.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

namespace displif_cts::pattern {

// Word `index` (8 octets, little-endian in memory) of the stream that `seed` names: one step of
// xorshift64* (Marsaglia 2003, Vigna 2014) on a state made of seed and index.
constexpr std::uint64_t word(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t x = seed + (index + 1) * 0x9E3779B97F4A7C15u;
  if (x == 0) x = 0x9E3779B97F4A7C15u;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  return x * 0x2545F4914F6CDD1Du;
}

// The octet at `offset` from the buffer's beginning.
constexpr std::uint8_t octet(std::uint64_t seed, std::uint64_t offset) {
  return static_cast<std::uint8_t>(word(seed, offset / 8) >> (offset % 8 * 8));
}

// The octets from `offset` on.
constexpr void octets(std::uint64_t seed, std::uint64_t offset, std::span<std::uint8_t> out) {
  std::size_t at = 0;
  if constexpr (std::endian::native == std::endian::little) {
    if (!std::is_constant_evaluated() && offset % 8 == 0) {
      for (; at + 8 <= out.size(); at += 8) {
        const std::uint64_t bits = word(seed, (offset + at) / 8);
        std::memcpy(out.data() + at, &bits, 8);
      }
    }
  }
  while (at < out.size()) {
    std::uint64_t bits = word(seed, (offset + at) / 8) >> ((offset + at) % 8 * 8);
    const std::size_t left = 8 - static_cast<std::size_t>((offset + at) % 8);
    for (std::size_t k = 0; k < left && at < out.size(); ++k, ++at) {
      out[at] = static_cast<std::uint8_t>(bits);
      bits >>= 8;
    }
  }
}

// The first octet of `seen` (which begins at `offset` of the buffer) that differs from the pattern;
// seen.size() when none does. `seen` is read once, front to back: it may be shared memory.
constexpr std::size_t first_difference(std::uint64_t seed, std::uint64_t offset,
                                       std::span<const std::uint8_t> seen) {
  std::size_t at = 0;
  if constexpr (std::endian::native == std::endian::little) {
    if (!std::is_constant_evaluated() && offset % 8 == 0) {
      for (std::uint64_t bits = 0; at + 8 <= seen.size(); at += 8) {
        std::memcpy(&bits, seen.data() + at, 8);
        bits ^= word(seed, (offset + at) / 8);
        if (bits != 0) return at + static_cast<std::size_t>(std::countr_zero(bits)) / 8;
      }
    }
  }
  while (at < seen.size()) {
    std::uint64_t bits = word(seed, (offset + at) / 8) >> ((offset + at) % 8 * 8);
    const std::size_t left = 8 - static_cast<std::size_t>((offset + at) % 8);
    for (std::size_t k = 0; k < left && at < seen.size(); ++k, ++at) {
      if (seen[at] != static_cast<std::uint8_t>(bits)) return at;
      bits >>= 8;
    }
  }
  return seen.size();
}

// Colour bars: white, yellow, cyan, green, magenta, red, blue, black from left to right, as
// XRGB8888.
constexpr std::uint32_t bar(std::uint32_t x, std::uint32_t width) {
  constexpr std::uint32_t kBars[8] = {0xFFFFFF, 0xFFFF00, 0x00FFFF, 0x00FF00,
                                      0xFF00FF, 0xFF0000, 0x0000FF, 0x000000};
  if (width == 0 || x >= width) return 0;
  return kBars[static_cast<std::uint64_t>(x) * 8 / width];
}

}  // namespace displif_cts::pattern
