// The line protocol of displif-cts-agent and displif-cts-exerciser (lab/guest/PROTOCOL.md):
//   request  SEQ VERB key=value ...\n       (`put` is followed by `size` raw octets)
//   answer   {"seq":N,"ok":true,"ret":0,"errno":0,"ns":...,...}\n
// Strict and bounded: whoever is at the other end may send anything.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "harness/trace/json.h"

namespace displif_cts::agent {

inline constexpr std::size_t kMaxLine = 1 << 20;          // octets, newline excluded
inline constexpr std::size_t kMaxPayload = 128u << 20;    // octets after one `put`
inline constexpr std::size_t kMaxArguments = 64;          // a request
inline constexpr std::size_t kMaxAnswerLine = 16u << 20;  // octets, what a client accepts

// Ends a request with ok=false. `number` is an errno value; what() becomes the answer's `error`.
class VerbError : public std::runtime_error {
 public:
  VerbError(int number, const std::string& text) : std::runtime_error(text), number_(number) {}
  int number() const { return number_; }
  // Further fields of the answer.
  Json fields = Json::object();

 private:
  int number_;
};

// "EINVAL" for EINVAL; "errno-1234" for what libc has no name for.
std::string errno_name(int number);

// CLOCK_MONOTONIC of the domain that asks, in nanoseconds.
std::uint64_t monotonic_ns();

// Octets outside 0x21-0x7e, and `%`, `,`, `=`, become %XX.
std::string percent_encode(std::string_view octets);
// nullopt: a bare byte that had to be encoded, or a broken escape.
std::optional<std::string> percent_decode(std::string_view text);

std::string base64(std::string_view octets);
std::string hex(std::string_view octets);  // "0011ff"

// The arguments of a request. Values are kept encoded: only who asks knows whether it is a list.
// All getters throw VerbError(EINVAL) that names the key.
class Arguments {
 public:
  // Of values as they are: encodes them.
  static Arguments of(const std::vector<std::pair<std::string, std::string>>& plain);

  bool has(std::string_view key) const;
  std::string text(std::string_view key) const;  // required
  std::string text(std::string_view key, std::string_view fallback) const;
  std::vector<std::string> list(std::string_view key) const;  // empty when the key is absent
  std::uint64_t number(std::string_view key, std::uint64_t max) const;  // decimal or 0x...
  std::uint64_t number_or(std::string_view key, std::uint64_t fallback, std::uint64_t max) const;
  bool flag(std::string_view key) const;  // absent = false; 0 or 1

  void set_encoded(std::string key, std::string encoded);
  void erase(std::string_view key);
  const std::vector<std::pair<std::string, std::string>>& encoded() const { return pairs_; }

 private:
  const std::string* find(std::string_view key) const;
  std::vector<std::pair<std::string, std::string>> pairs_;
};

struct Request {
  std::uint64_t seq = 0;
  std::string verb;
  Arguments args;
  std::string payload;  // of `put`
};

// A line that is no request. `seq` is 0 when not even that could be read.
struct BadRequest {
  std::uint64_t seq = 0;
  int number = 0;  // errno
  std::string text;
};

// One line without its newline. The payload stays empty.
std::variant<Request, BadRequest> parse_request(std::string_view line);
// With its newline, without a payload.
std::string format_request(std::uint64_t seq, std::string_view verb, const Arguments& args);

// The verbs that carry a payload after their line: `put`, and `guest.put` through the agent.
bool has_payload(std::string_view verb);

// Cuts a byte stream into requests.
class RequestReader {
 public:
  void feed(std::string_view octets) { buffer_.append(octets); }
  std::optional<std::variant<Request, BadRequest>> next();
  void reset() { *this = RequestReader(); }
  bool empty() const { return buffer_.empty() && !waiting_; }

 private:
  std::string buffer_;
  std::size_t scanned_ = 0;         // no newline before this offset
  bool skipping_line_ = false;      // the rest of a line that is too long
  std::uint64_t skipping_ = 0;      // octets of a payload that nobody wants
  std::optional<Request> waiting_;  // for its payload
  std::size_t missing_ = 0;
};

// {"seq":..,"ok":true,"ret":0,"errno":0,"ns":..} and then `fields` (an object, or null for none).
Json answer_ok(std::uint64_t seq, const Json& fields = nullptr);
Json answer_error(std::uint64_t seq, int number, std::string_view text,
                  const Json& fields = nullptr);
Json answer_unsupported(std::uint64_t seq, std::string_view verb);
// One line with its newline; octets that are not UTF-8 become U+FFFD.
std::string format_answer(const Json& answer);

// One verb of a program: what it takes is declared, so that a misspelt key is an error and `hello`,
// PROTOCOL.md and the code cannot drift apart.
struct VerbSpec {
  std::string_view name;
  std::vector<std::string_view> required;
  std::vector<std::string_view> optional;
};
// Throws VerbError(EINVAL) for a missing, unknown or repeated key. `common` keys are always taken.
void check_arguments(const VerbSpec& verb, const Arguments& args,
                     const std::vector<std::string_view>& common);

}  // namespace displif_cts::agent
