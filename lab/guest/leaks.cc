#include "lab/guest/leaks.h"

#include <chrono>
#include <thread>

#include "harness/agent/files.h"

namespace displif_cts::exerciser {
namespace {

constexpr const char* kKmemleak = "/sys/kernel/debug/kmemleak";
constexpr std::size_t kMost = 1U << 20U;
// Younger objects are not reported (mm/kmemleak.c, MSECS_MIN_AGE), and one whose contents changed
// since the last scan is not, either: hence two scans.
constexpr std::uint64_t kAgeMs = 5200;

}  // namespace

std::vector<std::string> leak_records(std::string_view text) {
  std::vector<std::string> records;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.starts_with("unreferenced object")) records.emplace_back();
    if (!records.empty()) records.back().append(line).append("\n");
  }
  return records;
}

Json find_leaks(const agent::Arguments& args) {
  const auto begun = std::chrono::steady_clock::now();
  agent::write_existing(kKmemleak, "scan");
  std::this_thread::sleep_until(
      begun + std::chrono::milliseconds(args.number_or("settle_ms", kAgeMs, 60'000)));
  agent::write_existing(kKmemleak, "scan");
  Json found = leak_records(agent::read_file(kKmemleak, kMost));
  agent::write_existing(kKmemleak, "clear");  // told once
  return {{"leaks", std::move(found)}};
}

}  // namespace displif_cts::exerciser
