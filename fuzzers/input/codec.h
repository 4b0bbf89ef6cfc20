// Inputs on disk: a compact binary form for the engines, and a readable text form for people and
// for the committed corpora. Both carry a version; both are exact inverses of their readers.
#pragma once

#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "fuzzers/input/action.h"

namespace displif_cts::fuzz {

inline constexpr unsigned kFormatVersion = 1;

// What is wrong with an input, in words, with the line or octet where.
class InputError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// "DFI", the version's octet, then for each action its kind, a mask of the fields that are not
// polite, these fields (little endian), and its text with a length before it.
std::vector<std::uint8_t> encode(const Input& input);
// Throws InputError.
Input decode(std::span<const std::uint8_t> octets);
// Null, or what is wrong; `input` is only good without an error. Does not throw: for the engines,
// which hand in anything.
const char* decode_into(std::span<const std::uint8_t> octets, Input& input) noexcept;
// What an engine hands to a target: the same, and no octets, or its first single one, are an input
// without actions. False: they are none.
bool take_octets(std::span<const std::uint8_t> octets, Input& input) noexcept;

// One line per action: its kind, and `field=value` for each field that is not polite. `#` starts a
// comment.
std::string print(const Input& input);
// Throws InputError.
Input parse(std::string_view text);

// Either form, told apart by how it begins. Throws InputError.
Input read_any(std::span<const std::uint8_t> octets);

}  // namespace displif_cts::fuzz
