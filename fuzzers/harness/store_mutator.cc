// libFuzzer's mutator for conversations with xenstored: whole pieces as store_server.cc reads them,
// whose payloads are made of words that belong to requests; then octets.
#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "fuzzers/harness/mutation.h"
#include "fuzzers/harness/store_piece.h"
#include "harness/loopback/store/wire.h"

namespace {

using namespace std::string_view_literals;
namespace store = displif_cts::loopback::store;
using displif_cts::fuzz_harness::below;
using displif_cts::fuzz_harness::mutate_list;
using displif_cts::fuzz_harness::mutate_octets;
using displif_cts::fuzz_harness::one_of;
using displif_cts::fuzz_harness::Random;

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

std::vector<Piece> pieces_of(std::string_view rest) {
  std::vector<Piece> pieces;
  while (const auto piece = displif_cts::fuzz_harness::take_piece(rest))
    pieces.push_back({piece->control, piece->type, std::string(piece->payload)});
  return pieces;
}

std::string payload_of(Random& random) {
  std::string payload;
  for (std::size_t words = below(random, 4); words > 0; --words) payload += one_of(random, kWords);
  return payload;
}

Piece piece_of(Random& random) {
  Piece piece;
  piece.control = static_cast<std::uint8_t>(below(random, 3));
  if (below(random, 3) == 0) piece.control |= static_cast<std::uint8_t>(below(random, 16) << 4U);
  piece.type = static_cast<std::uint8_t>(one_of(random, kTypes));
  piece.payload = payload_of(random);
  return piece;
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
      piece.payload += one_of(random, kWords);
      break;
    default:
      mutate_octets(random, piece.payload);
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  Random random(seed);
  auto pieces = pieces_of({reinterpret_cast<const char*>(data), size});
  for (std::size_t n = 1 + below(random, 4); n > 0; --n)
    mutate_list(
        random, pieces, kMaxPieces, [&] { return piece_of(random); },
        [&](Piece& piece) { mutate_piece(random, piece); });
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
