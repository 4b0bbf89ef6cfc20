#include "fuzzers/linux_frontend/peer/complaints.h"

#include <execinfo.h>
#include <sanitizer/common_interface_defs.h>

#include <array>
#include <chrono>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <utility>

#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::linux_guest {
namespace {

constexpr unsigned kEmergency = 0, kError = 3, kWarning = 4;
constexpr std::size_t kMostLines =
    5'000;  // then only what is worst: a driver may say the same for ever

std::mutex g_mutex;
std::vector<LogLine> g_lines;

// Where the bed's agent looks for what a guest's kernel says (displif-cts-agent --guest-console).
std::FILE* console() {
  static std::FILE* const file = [] {
    const char* machine = std::getenv("DISPLIF_LOOPBACK");
    return machine == nullptr ? nullptr
                              : std::fopen((std::string(machine) + "/console").c_str(), "ae");
  }();
  return file;
}

void say(unsigned level, std::string text) {
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const std::lock_guard lock(g_mutex);
  if (g_lines.size() >= kMostLines && level != kEmergency) return;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  const auto us = std::chrono::duration_cast<std::chrono::microseconds>(now).count();
  if (std::FILE* file = console()) {
    std::fprintf(file, "[%5lld.%06lld] %s\n", static_cast<long long>(us / 1'000'000),
                 static_cast<long long>(us % 1'000'000), text.c_str());
    std::fflush(file);
  }
  g_lines.push_back({level, std::move(text), g_lines.size(), static_cast<std::uint64_t>(us)});
}

std::string formatted(const char* format, va_list arguments) {
  std::array<char, 512> text{};
  std::vsnprintf(text.data(), text.size(), format, arguments);
  return text.data();
}

// As a kernel prints it, as far as cases look at it. The functions make it this driver's.
void warn(const std::string& what) {
  say(kWarning, "------------[ cut here ]------------");
  say(kWarning, "WARNING: " + what);
  std::array<void*, 12> frames{};
  const int count = backtrace(frames.data(), static_cast<int>(frames.size()));
  for (int i = 1; i < count; ++i) {
    std::array<char, 256> name{};
    __sanitizer_symbolize_pc(frames[static_cast<std::size_t>(i)], "%f", name.data(), name.size());
    say(kWarning, std::string(" ") + name.data() + "+0x0/0x0 [drm_xen_front]");
  }
  say(kWarning, "---[ end trace 0000000000000000 ]---");
}

}  // namespace

void soft_lockup(unsigned seconds) {
  say(kEmergency, "watchdog: BUG: soft lockup - CPU#0 stuck for " + std::to_string(seconds) + "s!");
}

std::vector<LogLine> kernel_log(std::uint64_t offset) {
  const std::lock_guard lock(g_mutex);
  if (offset >= g_lines.size()) return {};
  return {g_lines.begin() + static_cast<std::ptrdiff_t>(offset), g_lines.end()};
}

std::uint64_t next_line() {
  const std::lock_guard lock(g_mutex);
  return g_lines.size();
}

}  // namespace displif_cts::linux_guest

namespace displif_cts::shim {

bool g_verbose = false;
bool masked(Known /*finding*/) { return false; }

void finding(const char* name, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  linux_guest::say(linux_guest::kError,
                   std::string("BUG: ") + name + ": " + linux_guest::formatted(format, arguments));
  va_end(arguments);
  __sanitizer_print_stack_trace();
  std::abort();
}

// What a kernel does about these: it complains, or does not notice.
void finding_unless(Known known, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const std::string text = linux_guest::formatted(format, arguments);
  va_end(arguments);
  switch (known) {
    case Known::released_device_referenced: {
      static bool said = false;  // as refcount_warn_saturate() does
      if (!std::exchange(said, true)) linux_guest::warn(text);
      break;
    }
    case Known::fb_status_below_errno:
      linux_guest::say(linux_guest::kError, "BUG: unable to handle page fault: " + text);
      std::abort();
    default:
      linux_guest::say(linux_guest::kError, text);
  }
}

void say(const char* /*format*/, ...) {}

}  // namespace displif_cts::shim

void shim_log(const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  displif_cts::linux_guest::say(displif_cts::linux_guest::kError,
                                displif_cts::linux_guest::formatted(format, arguments));
  va_end(arguments);
}

void shim_warn(const char* file, int line, const char* condition) {
  displif_cts::linux_guest::warn(std::string(file) + ":" + std::to_string(line) + ": " + condition);
}
