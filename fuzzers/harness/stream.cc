// The stream's readers (docs/stream.md): whoever verifies a bundle, or judges a board's run, reads
// what others wrote. Verdicts are folded, and messages handed to where monitors listen. What is no
// stream is said by an exception.
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <sstream>
#include <string>

#include "harness/runner/fold.h"
#include "harness/runner/replay.h"

namespace {

namespace runner = displif_cts::runner;

void fold(std::istream& lines) {
  runner::Fold fold;
  for (std::string line; std::getline(lines, line);) {
    const auto record = displif_cts::Json::parse(line, nullptr, false);
    if (record.is_object()) fold.add(record);
  }
  (void)fold.judge();
  (void)fold.judge_monitor();
}

void listen(std::istream& lines) {
  static std::FILE* const nowhere = std::fopen("/dev/null", "w");
  runner::replay(
      lines, [](displif_cts::trace::Recorder&) { return std::unique_ptr<runner::Monitors>(); },
      nowhere);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  for (void (*const read)(std::istream&) : {fold, listen}) {
    std::istringstream lines(text);
    try {
      read(lines);
    } catch (const std::exception&) {
    }
  }
  return 0;
}
