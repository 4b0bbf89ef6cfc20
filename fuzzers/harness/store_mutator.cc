// libFuzzer's mutator for conversations with xenstored: whole pieces as store_server.cc reads them,
// whose payloads are made of words that belong to requests; then octets.
#include <algorithm>
#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "harness/loopback/store/wire.h"

namespace {

using namespace std::string_view_literals;
namespace store = displif_cts::loopback::store;
using Random = std::minstd_rand;

constexpr std::size_t kMaxPieces = 32;
constexpr std::size_t kMaxPayload = 255;

struct Piece {
  std::uint8_t control = 0;  // connection, transaction, and how it is sent
  std::uint8_t type = 0;
  std::string payload;
};

constexpr std::array kTypes{
    store::MessageType::directory,
    store::MessageType::directory_part,
    store::MessageType::read,
    store::MessageType::write,
    store::MessageType::mkdir,
    store::MessageType::remove,
    store::MessageType::get_permissions,
    store::MessageType::set_permissions,
    store::MessageType::watch,
    store::MessageType::unwatch,
    store::MessageType::transaction_start,
    store::MessageType::transaction_end,
    store::MessageType::introduce,
    store::MessageType::release,
};
// With the octet that ends them, where one does.
constexpr std::array kWords{
    "/\0"sv,
    "/a\0"sv,
    "/a/b\0"sv,
    "a\0"sv,
    "/local/domain/1\0"sv,
    "@releaseDomain\0"sv,
    "token\0"sv,
    "T\0"sv,
    "F\0"sv,
    "0\0"sv,
    "1\0"sv,
    "2\0"sv,
    "65535\0"sv,
    "n0\0"sv,
    "b1\0"sv,
    "r1\0"sv,
    "r\0"sv,
    "w65535\0"sv,
    "\0"sv,
    "value"sv,
    "/a"sv,
};

std::size_t below(Random& random, std::size_t limit) { return random() % limit; }

std::vector<Piece> pieces_of(std::string_view rest) {
  std::vector<Piece> pieces;
  while (rest.size() >= 3) {
    const std::size_t length =
        std::min<std::size_t>(static_cast<std::uint8_t>(rest[2]), rest.size() - 3);
    pieces.push_back({static_cast<std::uint8_t>(rest[0]), static_cast<std::uint8_t>(rest[1]),
                      std::string(rest.substr(3, length))});
    rest.remove_prefix(3 + length);
  }
  return pieces;
}

std::string payload_of(Random& random) {
  std::string payload;
  for (std::size_t words = below(random, 4); words > 0; --words)
    payload += kWords[below(random, kWords.size())];
  return payload;
}

Piece piece_of(Random& random) {
  Piece piece;
  piece.control = static_cast<std::uint8_t>(below(random, 3));
  if (below(random, 3) == 0) piece.control |= static_cast<std::uint8_t>(below(random, 16) << 4U);
  piece.type = static_cast<std::uint8_t>(kTypes[below(random, kTypes.size())]);
  piece.payload = payload_of(random);
  return piece;
}

void mutate_octets(Random& random, std::string& text) {
  const std::size_t at = below(random, text.size() + 1);
  const char octet = static_cast<char>(below(random, 256));
  if (at == text.size() || below(random, 3) == 0) {
    text.insert(at, 1, octet);
  } else if (below(random, 2) == 0) {
    text.erase(at, 1 + below(random, 4));
  } else {
    text[at] = octet;
  }
}

void mutate_piece(Random& random, Piece& piece) {
  switch (below(random, 5)) {
    case 0:
      piece.control ^= static_cast<std::uint8_t>(1U << below(random, 8));
      break;
    case 1:
      piece.type = static_cast<std::uint8_t>(below(random, 256));
      break;
    case 2:
      piece.payload = payload_of(random);
      break;
    case 3:
      piece.payload += kWords[below(random, kWords.size())];
      break;
    default:
      mutate_octets(random, piece.payload);
  }
}

void mutate_pieces(Random& random, std::vector<Piece>& pieces) {
  const std::size_t at = below(random, pieces.size() + 1);
  const auto place = pieces.begin() + static_cast<std::ptrdiff_t>(at);
  if (at == pieces.size() || below(random, 3) == 0) {
    if (pieces.size() < kMaxPieces) pieces.insert(place, piece_of(random));
  } else if (below(random, 4) == 0) {
    pieces.erase(place);
  } else if (below(random, 4) == 0) {
    if (pieces.size() < kMaxPieces) pieces.insert(place, Piece(*place));
  } else if (below(random, 6) == 0) {
    std::swap(pieces[at], pieces[below(random, pieces.size())]);
  } else {
    mutate_piece(random, *place);
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  Random random(seed);
  auto pieces = pieces_of({reinterpret_cast<const char*>(data), size});
  for (std::size_t n = 1 + below(random, 4); n > 0; --n) mutate_pieces(random, pieces);
  std::string octets;
  for (Piece& piece : pieces) {
    piece.payload.resize(std::min(piece.payload.size(), kMaxPayload));
    octets += {static_cast<char>(piece.control), static_cast<char>(piece.type),
               static_cast<char>(piece.payload.size())};
    octets += piece.payload;
  }
  octets.resize(std::min(octets.size(), max_size));
  std::copy(octets.begin(), octets.end(), data);
  return octets.size();
}
