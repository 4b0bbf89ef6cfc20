#include "cases/support/leaks.h"

#include <algorithm>
#include <cstdlib>

#include "cases/requirements.gen.h"
#include "cases/support/kernel_log.h"
#include "harness/runner/registry.h"

namespace displif_cts::cases {
namespace {

using std::chrono::milliseconds;

// How long two scans may take that are five seconds apart.
constexpr milliseconds kScanLimit = std::chrono::seconds(60);
constexpr std::size_t kMostFrames = 8;

constexpr const char* kLeakMonitor = "frontend.monitor.lost-memory";
constexpr const char* kNothingLost =
    "nothing allocated since the case's beginning that nothing points to";

// "unreferenced object 0x1 (size 64), from a < b < c".
std::string leak_in_a_line(std::string_view record) {
  std::string line(record.substr(0, record.find_first_of(":\n")));
  std::size_t frames = 0;
  for (auto at = record.find(">] "); at != std::string_view::npos && frames < kMostFrames;
       at = record.find(">] ", at)) {
    at += 3;
    const std::string_view frame = record.substr(at, record.find_first_of("+\n", at) - at);
    line += (frames++ == 0 ? ", from " : " < ") + std::string(frame);
  }
  return line;
}

// "(age 5.040s)", as mm/kmemleak.c prints it. One that does not say is taken for new.
milliseconds age_of(const std::string& record) {
  constexpr std::string_view kWord = "(age ";
  const auto at = record.find(kWord);
  if (at == std::string::npos) return milliseconds(0);
  return milliseconds(
      static_cast<std::int64_t>(std::strtod(record.c_str() + at + kWord.size(), nullptr) * 1000));
}

bool register_leak_monitor() {
  runner::CaseInfo info;
  info.id = kLeakMonitor;
  info.title = "Behind each case the guest's kernel has lost no memory (--leaks, with kmemleak).";
  info.role = Role::frontend;
  info.requirements = {&req::health_memory_released};
  info.monitor = true;
  return runner::Registry::instance().add(std::move(info));
}

}  // namespace

[[maybe_unused]] const bool lost_memory_monitor_registered = register_leak_monitor();

FoundLeaks sift_leaks(const std::vector<std::string>& records, milliseconds oldest,
                      const std::vector<std::string>& words) {
  FoundLeaks found;
  for (const std::string& record : records) {
    if (age_of(record) > oldest) continue;
    const bool known = std::any_of(words.begin(), words.end(), [&](const std::string& word) {
      return record.find(word) != std::string::npos;
    });
    (known ? found.known : found.rest).push_back(leak_in_a_line(record));
  }
  return found;
}

std::string without_leak_counts(std::string_view text) {
  std::string rest;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const auto size = end == std::string_view::npos ? text.size() : end + 1;
    const std::string_view line = text.substr(0, size);
    if (line.find("new suspected memory leaks") == std::string_view::npos) rest += line;
    text.remove_prefix(size);
  }
  return rest;
}

std::vector<std::string> LeakScan::judge(trace::Recorder& recorder) {
  Json answer;
  try {
    answer = agent_.try_call("guest.leaks", {}, kScanLimit);
  } catch (const agent::Error& error) {
    recorder.record(
        "error", Json{{"text", std::string("the guest's kernel was not scanned for lost memory: ") +
                                   error.what()}});
    return {};
  }
  if (!answer.value("ok", false)) {
    const std::string error = answer.value("errno", "");
    recorder.skip_for(kLeakMonitor, error == "ENOENT" ? "the guest's kernel has no kmemleak"
                                                      : "the guest's kernel cannot be scanned: " +
                                                            answer.value("error", error));
    return {};
  }
  const auto records = answer.value("leaks", std::vector<std::string>());
  for (const std::string& record : records)
    recorder.message(trace::Kind::log, trace::Direction::none,
                     Json{{"source", "guest kmemleak"}, {"text", record}});
  const auto lived = std::chrono::steady_clock::now() - begun_;
  const FoundLeaks found =
      sift_leaks(records, std::chrono::duration_cast<milliseconds>(lived), known_);
  recorder.check_for(kLeakMonitor, req::health_memory_released, found.rest.empty(), {kNothingLost},
                     listed(found.rest));
  return found.known;
}

}  // namespace displif_cts::cases
