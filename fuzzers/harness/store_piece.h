// Inputs of the target store-server: pieces, one after the other. Each is an octet with the
// connection, the transaction and how it is sent; one with the kind of message; the payload's
// length; and the payload.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace displif_cts::fuzz_harness {

struct PieceView {
  std::uint8_t control = 0;
  std::uint8_t type = 0;
  std::string_view payload;
};

// The first piece of `rest`, which moves behind it; a payload that is cut off is as long as it is.
inline std::optional<PieceView> take_piece(std::string_view& rest) {
  if (rest.size() < 3) return std::nullopt;
  const auto octet = [&](std::size_t at) { return static_cast<std::uint8_t>(rest[at]); };
  const std::size_t length = std::min<std::size_t>(octet(2), rest.size() - 3);
  const PieceView piece{octet(0), octet(1), rest.substr(3, length)};
  rest.remove_prefix(3 + length);
  return piece;
}

}  // namespace displif_cts::fuzz_harness
