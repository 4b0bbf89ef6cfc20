// libFuzzer's mutator for streams: whole records in lines (docs/stream.md), then their members,
// then octets, so that an engine need not discover JSON before it comes to what reads it.
#include <algorithm>
#include <array>
#include <cstdint>
#include <sstream>
#include <string>
#include <vector>

#include "fuzzers/harness/mutation.h"
#include "harness/trace/json.h"

namespace {

using displif_cts::Json;
using displif_cts::fuzz_harness::below;
using displif_cts::fuzz_harness::mutate_list;
using displif_cts::fuzz_harness::mutate_octets;
using displif_cts::fuzz_harness::one_of;
using displif_cts::fuzz_harness::Random;

constexpr std::size_t kMaxLines = 64;

constexpr std::array kRecords{
    R"({"t":"begin","case":"a","requirements":["r"]})",
    R"({"t":"msg","case":"a","kind":"req","dir":"f2b","hex":"00ff","fields":{}})",
    R"({"t":"check","case":"a","requirement":"r","level":"must","expected":["x"],"seen":"y"})",
    R"({"t":"error","case":"a","text":"x"})",
    R"({"t":"skip","case":"a","reason":"x"})",
    R"({"t":"process","case":"a","signal":9})",
    R"({"t":"health","case":"a","state":"hung","reason":"x"})",
    R"({"t":"verdict","case":"a","verdict":"pass"})",
};
constexpr std::array kMembers{
    "t",           "case",       "attempt",      "requirements", "kind",     "dir",
    "hex",         "level",      "ok",           "timed",        "expected", "seen",
    "requirement", "text",       "state",        "reason",       "signal",   "exit_status",
    "timed_out",   "own_gap_ms", "tolerance_ms", "fields"};
constexpr std::array kValues{R"("a")",
                             R"("b")",
                             R"("begin")",
                             R"("msg")",
                             R"("check")",
                             R"("verdict")",
                             R"("evt")",
                             R"("state")",
                             R"("log")",
                             R"("b2f")",
                             R"("-")",
                             R"("robust")",
                             R"("should")",
                             R"("crashed")",
                             R"("unknown")",
                             R"("7f80f")",
                             R"("")",
                             "[]",
                             R"(["a",1])",
                             "{}",
                             R"({"a":[]})",
                             "null",
                             "true",
                             "false",
                             "0",
                             "1",
                             "-1",
                             "4294967296",
                             "1e400",
                             "18446744073709551615"};

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

void mutate_members(Random& random, std::string& line) {
  Json record = Json::parse(line, nullptr, false);
  if (!record.is_object()) return;
  const std::string member = one_of(random, kMembers);
  if (below(random, 3) == 0) {
    record.erase(member);
  } else {
    record[member] = Json::parse(one_of(random, kValues), nullptr, false);
  }
  line = record.dump(-1, ' ', false, Json::error_handler_t::replace);
}

void mutate_line(Random& random, std::string& line) {
  if (below(random, 4) == 0) {
    mutate_octets(random, line);
  } else {
    mutate_members(random, line);
  }
}

}  // namespace

extern "C" std::size_t LLVMFuzzerCustomMutator(std::uint8_t* data, std::size_t size,
                                               std::size_t max_size, unsigned seed) {
  Random random(seed);
  auto lines = lines_of(std::string(reinterpret_cast<const char*>(data), size));
  for (std::size_t n = 1 + below(random, 4); n > 0; --n)
    mutate_list(
        random, lines, kMaxLines, [&] { return one_of(random, kRecords); },
        [&](std::string& line) { mutate_line(random, line); });
  std::string text;
  for (const std::string& line : lines) text += line + "\n";
  // Mostly the last line has its end, as a stream that was cut off has not.
  if (!text.empty() && below(random, 8) == 0) text.pop_back();
  text.resize(std::min(text.size(), max_size));
  std::copy(text.begin(), text.end(), data);
  return text.size();
}
