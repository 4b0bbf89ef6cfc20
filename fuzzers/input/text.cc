#include <array>
#include <charconv>

#include "fuzzers/input/codec.h"

namespace displif_cts::fuzz {
namespace {

constexpr std::string_view kFirstLine = "displif-cts fuzz input ";

void print_value(std::string& out, const Field& field, std::uint64_t value) {
  if (value < field.names.size() && !field.names[value].empty()) {
    out += field.names[value];
  } else if (field.is_signed) {
    out += std::to_string(static_cast<std::int64_t>(value));
  } else {
    out += std::to_string(value);
  }
}

// Printable ASCII as it is; the rest, the quote and the backslash as \xNN.
void print_text(std::string& out, std::string_view text) {
  constexpr char kHex[] = "0123456789abcdef";
  out += '"';
  for (const char c : text) {
    const auto octet = static_cast<std::uint8_t>(c);
    if (octet >= 0x20 && octet < 0x7f && c != '"' && c != '\\') {
      out += c;
    } else {
      out += "\\x";
      out += kHex[octet >> 4];
      out += kHex[octet & 15];
    }
  }
  out += '"';
}

class Line {
 public:
  Line(std::string_view text, std::size_t number) : rest_(text), number_(number) {}

  [[noreturn]] void fail(const std::string& what) const {
    throw InputError("line " + std::to_string(number_) + ": " + what);
  }

  // The next word, up to white space, or `=`, or the end; empty at the end of the line.
  std::string_view word() {
    skip();
    const std::size_t end = rest_.find_first_of(" \t\r=#");
    return take(end == std::string_view::npos ? rest_.size() : end);
  }
  bool accept(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool at_end() {
    skip();
    return rest_.empty() || rest_.front() == '#';
  }

  std::string quoted() {
    if (!accept('"')) fail("a text in quotes is expected");
    std::string text;
    while (!accept('"')) {
      if (rest_.empty()) fail("the text has no end");
      text += accept('\\') ? escaped() : take(1).front();
      if (text.size() > kMaxText)
        fail("the text is longer than " + std::to_string(kMaxText) + " octets");
    }
    return text;
  }

 private:
  void skip() {
    const std::size_t begin = rest_.find_first_not_of(" \t\r");
    rest_.remove_prefix(begin == std::string_view::npos ? rest_.size() : begin);
  }
  std::string_view take(std::size_t count) {
    const std::string_view taken = rest_.substr(0, count);
    rest_.remove_prefix(taken.size());
    return taken;
  }
  char escaped() {
    unsigned octet = 0;
    const std::string_view digits =
        rest_.size() >= 3 && rest_.front() == 'x' ? rest_.substr(1, 2) : "";
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), octet, 16);
    if (digits.empty() || error != std::errc() || end != digits.data() + 2)
      fail("\\ stands before xNN only");
    rest_.remove_prefix(3);
    return static_cast<char>(octet);
  }

  std::string_view rest_;
  std::size_t number_;
};

std::uint64_t parse_value(const Line& line, const Field& field, std::string_view word) {
  for (std::size_t i = 0; i < field.names.size(); ++i) {
    if (!word.empty() && field.names[i] == word) return i;
  }
  std::uint64_t value = 0;
  std::int64_t negative = 0;
  const char* const end = word.data() + word.size();
  const bool minus = word.starts_with('-');
  const auto result = minus ? std::from_chars(word.data(), end, negative)
                            : std::from_chars(word.data(), end, value);
  if (word.empty() || result.ec != std::errc() || result.ptr != end) {
    line.fail(std::string(field.name) + "=" + std::string(word) + " is no value");
  }
  if (minus) value = static_cast<std::uint64_t>(negative);
  if (fit(field, value) != value)
    line.fail(std::string(field.name) + "=" + std::string(word) + " does not fit");
  return value;
}

Action parse_action(Line& line, std::string_view name) {
  const KindSpec* spec = spec_named(name);
  if (spec == nullptr) line.fail("there is no action '" + std::string(name) + "'");
  Action action = make(spec->kind);
  while (!line.at_end()) {
    const std::string_view key = line.word();
    if (!line.accept('=')) line.fail("field=value is expected at '" + std::string(key) + "'");
    if (!spec->text.empty() && key == spec->text) {
      action.text = line.quoted();
      continue;
    }
    std::size_t at = 0;
    while (at < spec->fields.size() && spec->fields[at].name != key) ++at;
    if (at == spec->fields.size())
      line.fail(std::string(name) + " has no field '" + std::string(key) + "'");
    action.values[at] = parse_value(line, spec->fields[at], line.word());
  }
  return action;
}

void check_first_line(std::string_view line) {
  if (!line.starts_with(kFirstLine)) {
    throw InputError("not a readable fuzz input: the first line is not '" +
                     std::string(kFirstLine) + std::to_string(kFormatVersion) + "'");
  }
  std::string_view version = line.substr(kFirstLine.size());
  while (version.ends_with('\r') || version.ends_with(' ')) version.remove_suffix(1);
  if (version != std::to_string(kFormatVersion)) {
    throw InputError("a fuzz input of format version " + std::string(version) +
                     "; this suite reads version " + std::to_string(kFormatVersion) +
                     ": print it with the suite that made it");
  }
}

}  // namespace

std::string print(const Input& input) {
  std::string out(kFirstLine);
  out += std::to_string(kFormatVersion) + "\n";
  for (const Action& action : input) {
    const KindSpec& spec = spec_of(action.kind);
    out += spec.name;
    for (std::size_t i = 0; i < spec.fields.size(); ++i) {
      if (action.values[i] == spec.fields[i].polite) continue;
      out += ' ';
      out += spec.fields[i].name;
      out += '=';
      print_value(out, spec.fields[i], action.values[i]);
    }
    if (!action.text.empty()) {
      out += ' ';
      out += spec.text;
      out += '=';
      print_text(out, action.text);
    }
    out += '\n';
  }
  return out;
}

Input parse(std::string_view text) {
  Input input;
  std::size_t number = 0;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view content = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (++number == 1) {
      check_first_line(content);
      continue;
    }
    Line line(content, number);
    if (line.at_end()) continue;
    if (input.size() == kMaxActions)
      line.fail("more than " + std::to_string(kMaxActions) + " actions");
    input.push_back(parse_action(line, line.word()));
  }
  if (number == 0) check_first_line("");
  return input;
}

Input read_any(std::span<const std::uint8_t> octets) {
  const std::string_view text(reinterpret_cast<const char*>(octets.data()), octets.size());
  return text.starts_with(kFirstLine) ? parse(text) : decode(octets);
}

}  // namespace displif_cts::fuzz
