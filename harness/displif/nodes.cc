#include "harness/displif/nodes.h"

#include <algorithm>
#include <charconv>
#include <limits>

namespace displif_cts::displif {
namespace {

std::string quoted(std::string_view text) { return "\"" + std::string(text) + "\""; }

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

template <class T>
Parsed<T> failure(std::string error) {
  return Parsed<T>::failure(std::move(error));
}

// The number, or why not; 0 is refused, as it is no value of `what`.
Parsed<std::uint32_t> parse_positive(std::string_view text, const char* what) {
  auto number = parse_uint32(text);
  if (number.ok() && *number == 0) {
    return failure<std::uint32_t>(std::string("0 is no valid ") + what);
  }
  return number;
}

}  // namespace

namespace node {
std::string of_connector(unsigned connector, std::string_view name) {
  return std::to_string(connector) + "/" + std::string(name);
}
}  // namespace node

Parsed<std::uint32_t> parse_uint32(std::string_view text) {
  if (text.empty()) return failure<std::uint32_t>("empty, not a decimal number");
  if (!all_digits(text)) return failure<std::uint32_t>(quoted(text) + " is no decimal number");
  if (text.size() > 1 && text.front() == '0') {
    return failure<std::uint32_t>(quoted(text) + " has a leading zero");
  }
  std::uint32_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc()) return failure<std::uint32_t>(quoted(text) + " exceeds 32 bits");
  return value;
}

Parsed<Resolution> parse_resolution(std::string_view text) {
  const std::size_t separator = text.find(XENDISPL_RESOLUTION_SEPARATOR);
  if (separator == std::string_view::npos) {
    return failure<Resolution>(quoted(text) + " is not WIDTHxHEIGHT");
  }
  const auto width = parse_positive(text.substr(0, separator), "width");
  if (!width.ok()) return failure<Resolution>("width: " + width.error());
  const auto height = parse_positive(text.substr(separator + 1), "height");
  if (!height.ok()) return failure<Resolution>("height: " + height.error());
  return Resolution{*width, *height};
}

Parsed<unsigned> parse_version(std::string_view text) {
  return parse_positive(text, "protocol version");
}

Parsed<std::vector<unsigned>> parse_versions(std::string_view text) {
  std::vector<unsigned> versions;
  for (;;) {
    const std::size_t separator = text.find(XENDISPL_LIST_SEPARATOR);
    const auto version = parse_version(text.substr(0, separator));
    if (!version.ok()) {
      return failure<std::vector<unsigned>>("version " + std::to_string(versions.size() + 1) +
                                            " of the list: " + version.error());
    }
    versions.push_back(*version);
    if (separator == std::string_view::npos) return versions;
    text.remove_prefix(separator + 1);
  }
}

Parsed<bool> parse_be_alloc(std::string_view text) {
  if (text == "1") return true;
  if (text == "0") return false;
  return failure<bool>(quoted(text) + " is neither 0 nor 1");
}

Parsed<std::string> parse_unique_id(std::string_view text) {
  if (text.empty()) return failure<std::string>("empty");
  return std::string(text);
}

Parsed<xen::GrantRef> parse_ring_ref(std::string_view text) {
  const auto number = parse_positive(text, "grant reference");
  if (!number.ok()) return failure<xen::GrantRef>(number.error());
  return static_cast<xen::GrantRef>(*number);
}

Parsed<xen::Port> parse_event_channel(std::string_view text) {
  const auto number = parse_positive(text, "event channel");
  if (!number.ok()) return failure<xen::Port>(number.error());
  return static_cast<xen::Port>(*number);
}

Parsed<unsigned> parse_connector_index(std::string_view text) {
  const auto number = parse_uint32(text);
  if (!number.ok()) return failure<unsigned>(number.error());
  if (*number > std::numeric_limits<std::uint8_t>::max()) {
    return failure<unsigned>(quoted(text) + " exceeds 8 bits");
  }
  return *number;
}

std::string print(const Resolution& resolution) {
  return std::to_string(resolution.width) + XENDISPL_RESOLUTION_SEPARATOR +
         std::to_string(resolution.height);
}

std::string print_versions(const std::vector<unsigned>& versions) {
  std::string text;
  for (const unsigned version : versions) {
    if (!text.empty()) text += XENDISPL_LIST_SEPARATOR;
    text += std::to_string(version);
  }
  return text;
}

std::string print_be_alloc(bool enabled) { return enabled ? "1" : "0"; }
std::string print(xen::GrantRef ref) { return std::to_string(raw(ref)); }
std::string print(xen::Port port) { return std::to_string(raw(port)); }

Parsed<unsigned> count_connectors(const std::vector<std::string>& children) {
  std::set<unsigned> indices;
  for (const std::string& child : children) {
    if (!all_digits(child)) continue;
    const auto index = parse_connector_index(child);
    if (!index.ok()) return failure<unsigned>("connector " + index.error());
    indices.insert(*index);
  }
  unsigned expected = 0;
  for (const unsigned index : indices) {
    if (index != expected) {
      return failure<unsigned>("connector " + std::to_string(expected) + " is missing, there is " +
                               std::to_string(index));
    }
    ++expected;
  }
  return expected;
}

}  // namespace displif_cts::displif
