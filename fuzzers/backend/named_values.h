// What the numbers of an action stand for where the polite one depends on the others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace displif_cts::fuzz_backend {

// 0: what the picture needs; 1: none; else octets as they are.
std::uint32_t named_size(std::uint32_t named, std::uint32_t width, std::uint32_t height,
                         std::uint32_t depth);
// Up to 64: the usual format of that many bits per pixel; else a FourCC code.
std::uint32_t named_format(std::uint32_t depth);
// The frontend's node that an action means, below its own directory.
std::string named_node(std::uint64_t node, std::size_t connector);

}  // namespace displif_cts::fuzz_backend
