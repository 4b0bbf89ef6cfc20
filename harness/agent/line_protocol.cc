#include "harness/agent/line_protocol.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <ctime>

namespace displif_cts::agent {
namespace {

bool is_plain(unsigned char c) {
  return c >= 0x21 && c <= 0x7e && c != '%' && c != ',' && c != '=';
}

bool is_word(std::string_view text, std::string_view extra) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           extra.find(c) != std::string_view::npos;
  });
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  int base = 10;
  if (text.starts_with("0x")) {
    base = 16;
    text.remove_prefix(2);
  }
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
  return value;
}

// Encoded text as a request may carry it: no blanks, no control characters.
bool is_encoded(std::string_view text) {
  return std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x21 && c <= 0x7e; });
}

Json answer(std::uint64_t seq, bool ok, const Json& error_name, const Json& fields) {
  Json json;
  json["seq"] = seq;
  json["ok"] = ok;
  json["ret"] = ok ? 0 : -1;
  json["errno"] = error_name;
  json["ns"] = monotonic_ns();
  if (fields.is_object())
    for (const auto& [key, value] : fields.items()) json[key] = value;
  return json;
}

}  // namespace

std::string errno_name(int number) {
  const char* name = strerrorname_np(number);
  return name != nullptr ? name : "errno-" + std::to_string(number);
}

std::uint64_t monotonic_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint64_t>(now.tv_sec) * 1'000'000'000u +
         static_cast<std::uint64_t>(now.tv_nsec);
}

std::string percent_encode(std::string_view octets) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(octets.size());
  for (const char c : octets) {
    const auto u = static_cast<unsigned char>(c);
    if (is_plain(u)) {
      out += c;
    } else {
      out += '%';
      out += kHex[u >> 4];
      out += kHex[u & 15];
    }
  }
  return out;
}

std::optional<std::string> percent_decode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      if (!is_plain(static_cast<unsigned char>(text[i]))) return std::nullopt;
      out += text[i];
      continue;
    }
    if (text.size() - i < 3) return std::nullopt;
    const int high = hex_digit(text[i + 1]);
    const int low = hex_digit(text[i + 2]);
    if (high < 0 || low < 0) return std::nullopt;
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return out;
}

std::string base64(std::string_view octets) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  out.reserve((octets.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < octets.size(); i += 3) {
    std::uint32_t word = 0;
    for (std::size_t k = 0; k < 3; ++k)
      word = word << 8 | (i + k < octets.size() ? static_cast<unsigned char>(octets[i + k]) : 0u);
    for (std::size_t k = 0; k < 4; ++k)
      out += i + k <= octets.size() ? kDigits[word >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

std::string hex(std::string_view octets) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (const char c : octets) {
    out += kDigits[static_cast<unsigned char>(c) >> 4];
    out += kDigits[static_cast<unsigned char>(c) & 15];
  }
  return out;
}

Arguments Arguments::of(const std::vector<std::pair<std::string, std::string>>& plain) {
  Arguments args;
  for (const auto& [key, value] : plain) args.pairs_.emplace_back(key, percent_encode(value));
  return args;
}

const std::string* Arguments::find(std::string_view key) const {
  for (const auto& [name, value] : pairs_)
    if (name == key) return &value;
  return nullptr;
}

bool Arguments::has(std::string_view key) const { return find(key) != nullptr; }

std::string Arguments::text(std::string_view key) const {
  const std::string* value = find(key);
  if (value == nullptr) throw VerbError(EINVAL, "missing argument " + std::string(key) + "=");
  std::optional<std::string> decoded = percent_decode(*value);
  if (!decoded)
    throw VerbError(EINVAL, "argument " + std::string(key) + "= is not percent-encoded");
  return *std::move(decoded);
}

std::string Arguments::text(std::string_view key, std::string_view fallback) const {
  return has(key) ? text(key) : std::string(fallback);
}

std::vector<std::string> Arguments::list(std::string_view key) const {
  std::vector<std::string> out;
  const std::string* value = find(key);
  if (value == nullptr) return out;
  std::string_view rest = *value;
  for (;;) {
    const std::size_t comma = rest.find(',');
    std::optional<std::string> decoded = percent_decode(rest.substr(0, comma));
    if (!decoded)
      throw VerbError(EINVAL, "argument " + std::string(key) + "= is not percent-encoded");
    out.push_back(*std::move(decoded));
    if (comma == std::string_view::npos) return out;
    rest.remove_prefix(comma + 1);
  }
}

std::uint64_t Arguments::number(std::string_view key, std::uint64_t max) const {
  const std::string value = text(key);
  const std::optional<std::uint64_t> parsed = parse_number(value);
  if (!parsed || *parsed > max)
    throw VerbError(EINVAL, "argument " + std::string(key) + "=" + value.substr(0, 40) +
                                " is no number from 0 to " + std::to_string(max));
  return *parsed;
}

std::uint64_t Arguments::number_or(std::string_view key, std::uint64_t fallback,
                                   std::uint64_t max) const {
  return has(key) ? number(key, max) : fallback;
}

bool Arguments::flag(std::string_view key) const { return number_or(key, 0, 1) == 1; }

void Arguments::set_encoded(std::string key, std::string encoded) {
  erase(key);
  pairs_.emplace_back(std::move(key), std::move(encoded));
}

void Arguments::erase(std::string_view key) {
  std::erase_if(pairs_, [&](const auto& pair) { return pair.first == key; });
}

std::variant<Request, BadRequest> parse_request(std::string_view line) {
  Request request;
  std::vector<std::string_view> words;
  for (std::size_t at = 0; at <= line.size();) {
    const std::size_t blank = std::min(line.find(' ', at), line.size());
    words.push_back(line.substr(at, blank - at));
    at = blank + 1;
    if (words.size() > kMaxArguments + 2) break;
  }
  const std::optional<std::uint64_t> seq =
      words[0].starts_with("0x") ? std::nullopt : parse_number(words[0]);
  if (!seq) return BadRequest{0, EINVAL, "a request begins with a decimal number"};
  const auto bad = [&](int number, std::string text) {
    return BadRequest{*seq, number, std::move(text)};
  };
  if (words.size() < 2) return bad(EINVAL, "no verb");
  if (words.size() > kMaxArguments + 2) return bad(E2BIG, "too many arguments");
  if (!is_word(words[1], "-.")) return bad(EINVAL, "a verb is of [a-z0-9.-]");
  request.seq = *seq;
  request.verb = words[1];
  for (std::size_t i = 2; i < words.size(); ++i) {
    const std::size_t equals = words[i].find('=');
    if (equals == std::string_view::npos || !is_word(words[i].substr(0, equals), "-_"))
      return bad(EINVAL, "argument " + std::to_string(i - 1) + " is not key=value");
    const std::string key(words[i].substr(0, equals));
    const std::string_view value = words[i].substr(equals + 1);
    if (!is_encoded(value)) return bad(EINVAL, "argument " + key + "= is not percent-encoded");
    if (request.args.has(key)) return bad(EINVAL, "argument " + key + "= is given twice");
    request.args.set_encoded(key, std::string(value));
  }
  return request;
}

std::string format_request(std::uint64_t seq, std::string_view verb, const Arguments& args) {
  std::string line = std::to_string(seq) + " " + std::string(verb);
  for (const auto& [key, value] : args.encoded())
    line.append(" ").append(key).append("=").append(value);
  return line + "\n";
}

bool has_payload(std::string_view verb) { return verb == "put" || verb == "guest.put"; }

std::optional<std::variant<Request, BadRequest>> RequestReader::next() {
  for (;;) {
    if (skipping_ > 0) {
      const std::size_t count =
          static_cast<std::size_t>(std::min<std::uint64_t>(skipping_, buffer_.size()));
      buffer_.erase(0, count);
      skipping_ -= count;
      if (skipping_ > 0) return std::nullopt;
    }
    if (waiting_) {
      const std::size_t count = std::min(missing_, buffer_.size());
      waiting_->payload.append(buffer_, 0, count);
      buffer_.erase(0, count);
      missing_ -= count;
      if (missing_ > 0) return std::nullopt;
      std::optional<Request> done;
      done.swap(waiting_);
      return *std::move(done);
    }
    const std::size_t newline = buffer_.find('\n', scanned_);
    if (newline == std::string::npos) {
      scanned_ = buffer_.size();
      if (scanned_ <= kMaxLine) return std::nullopt;
      buffer_.clear();
      scanned_ = 0;
      if (skipping_line_) return std::nullopt;
      skipping_line_ = true;
      return BadRequest{0, EMSGSIZE, "the line is too long"};
    }
    const std::string line = buffer_.substr(0, newline);
    buffer_.erase(0, newline + 1);
    scanned_ = 0;
    if (skipping_line_) {
      skipping_line_ = false;
      continue;
    }
    if (line.empty()) continue;
    if (line.size() > kMaxLine) return BadRequest{0, EMSGSIZE, "the line is too long"};
    std::variant<Request, BadRequest> parsed = parse_request(line);
    auto* request = std::get_if<Request>(&parsed);
    if (request == nullptr || !has_payload(request->verb)) return parsed;
    // Whatever is wrong with a `put`: what follows its line is no request.
    std::uint64_t size = 0;
    try {
      size = request->args.number("size", UINT64_MAX);
    } catch (const VerbError& error) {
      return BadRequest{request->seq, EINVAL, error.what()};
    }
    if (size > kMaxPayload) {
      skipping_ = size;
      return BadRequest{request->seq, EFBIG,
                        "at most " + std::to_string(kMaxPayload) + " octets a put"};
    }
    missing_ = static_cast<std::size_t>(size);
    waiting_ = std::move(*request);
  }
}

Json answer_ok(std::uint64_t seq, const Json& fields) { return answer(seq, true, 0, fields); }

Json answer_error(std::uint64_t seq, int number, std::string_view text, const Json& fields) {
  Json json = answer(seq, false, errno_name(number), fields);
  json["error"] = text;
  return json;
}

Json answer_unsupported(std::uint64_t seq, std::string_view verb) {
  Json json = answer(seq, false, "ENOSYS", nullptr);
  json["unsupported"] = true;
  json["error"] = "unknown verb " + std::string(verb);
  return json;
}

std::string format_answer(const Json& answer) {
  return answer.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

void check_arguments(const VerbSpec& verb, const Arguments& args,
                     const std::vector<std::string_view>& common) {
  for (const std::string_view key : verb.required)
    if (!args.has(key)) throw VerbError(EINVAL, "missing argument " + std::string(key) + "=");
  const auto in = [](const std::vector<std::string_view>& keys, std::string_view key) {
    return std::find(keys.begin(), keys.end(), key) != keys.end();
  };
  for (const auto& [key, value] : args.encoded())
    if (!in(verb.required, key) && !in(verb.optional, key) && !in(common, key))
      throw VerbError(EINVAL, std::string(verb.name) + " takes no argument " + key + "=");
}

}  // namespace displif_cts::agent
