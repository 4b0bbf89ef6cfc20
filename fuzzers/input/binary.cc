#include <cstring>

#include "fuzzers/input/codec.h"

namespace displif_cts::fuzz {
namespace {

constexpr std::uint8_t kMagic[3] = {'D', 'F', 'I'};

void put(std::vector<std::uint8_t>& out, std::uint64_t value, unsigned octets) {
  for (unsigned i = 0; i < octets; ++i) out.push_back(static_cast<std::uint8_t>(value >> (8 * i)));
}

// Reads little endian numbers; `ok` turns false at the end of the octets and stays so.
struct Reader {
  std::span<const std::uint8_t> octets;
  bool ok = true;

  std::uint64_t take(unsigned count) {
    if (octets.size() < count) {
      ok = false;
      return 0;
    }
    std::uint64_t value = 0;
    for (unsigned i = 0; i < count; ++i) value |= static_cast<std::uint64_t>(octets[i]) << (8 * i);
    octets = octets.subspan(count);
    return value;
  }
};

const char* read_action(Reader& reader, Action& action) {
  const KindSpec* spec = spec_of(static_cast<std::uint8_t>(reader.take(1)));
  if (spec == nullptr) return "an action of an undefined kind";
  action.kind = spec->kind;
  const auto mask = static_cast<std::uint16_t>(reader.take(2));
  std::size_t at = 0;
  for (const Field& field : spec->fields) {
    action.values[at] =
        (mask >> at & 1) != 0 ? fit(field, reader.take(field.octets)) : field.polite;
    ++at;
  }
  if (at < kMaxFields && mask >> at != 0)
    return "an action with fields that its kind does not have";
  if (!spec->text.empty()) {
    const std::uint64_t length = reader.take(2);
    if (length > kMaxText) return "an action's text that is too long";
    if (length > reader.octets.size()) return "the end in the middle of an action";
    action.text.assign(reinterpret_cast<const char*>(reader.octets.data()), length);
    reader.octets = reader.octets.subspan(length);
  }
  return reader.ok ? nullptr : "the end in the middle of an action";
}

}  // namespace

std::vector<std::uint8_t> encode(const Input& input) {
  std::vector<std::uint8_t> out(kMagic, kMagic + 3);
  out.push_back(static_cast<std::uint8_t>(kFormatVersion));
  for (const Action& action : input) {
    const KindSpec& spec = spec_of(action.kind);
    out.push_back(static_cast<std::uint8_t>(action.kind));
    std::uint16_t mask = 0;
    for (std::size_t i = 0; i < spec.fields.size(); ++i) {
      if (action.values[i] != spec.fields[i].polite)
        mask = static_cast<std::uint16_t>(mask | 1U << i);
    }
    put(out, mask, 2);
    for (std::size_t i = 0; i < spec.fields.size(); ++i) {
      if ((mask >> i & 1) != 0) put(out, action.values[i], spec.fields[i].octets);
    }
    if (!spec.text.empty()) {
      put(out, action.text.size(), 2);
      out.insert(out.end(), action.text.begin(), action.text.end());
    }
  }
  return out;
}

const char* decode_into(std::span<const std::uint8_t> octets, Input& input) noexcept {
  input.clear();
  if (octets.size() < 4 || std::memcmp(octets.data(), kMagic, 3) != 0)
    return "no fuzz input of this suite";
  if (octets[3] != kFormatVersion) return "another version of the format";
  Reader reader{octets.subspan(4)};
  while (!reader.octets.empty()) {
    if (input.size() == kMaxActions) return "too many actions";
    if (const char* wrong = read_action(reader, input.emplace_back())) return wrong;
  }
  return nullptr;
}

bool take_octets(std::span<const std::uint8_t> octets, Input& input) noexcept {
  if (octets.size() > 1) return decode_into(octets, input) == nullptr;
  input.clear();
  return true;
}

Input decode(std::span<const std::uint8_t> octets) {
  Input input;
  const char* wrong = decode_into(octets, input);
  if (wrong == nullptr) return input;
  if (octets.size() >= 4 && std::memcmp(octets.data(), kMagic, 3) == 0 &&
      octets[3] != kFormatVersion) {
    throw InputError("a fuzz input of format version " + std::to_string(octets[3]) +
                     "; this suite reads version " + std::to_string(kFormatVersion) +
                     ": print it with the suite that made it");
  }
  throw InputError("not a readable fuzz input: " + std::string(wrong) +
                   (input.empty() ? "" : " (action " + std::to_string(input.size()) + ")"));
}

}  // namespace displif_cts::fuzz
