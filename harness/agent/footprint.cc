#include "harness/agent/footprint.h"

#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <iterator>
#include <string>
#include <system_error>

namespace displif_cts::agent {
namespace {

// Shadow memory makes it tens of terabytes; nothing else comes near.
constexpr std::uint64_t kSanitizedKib = 1ULL << 30;

// Adds one process; false: it cannot be looked at.
bool add(const std::filesystem::path& folder, Footprint& sum) {
  std::error_code error;
  const std::filesystem::directory_iterator open_ones(folder / "fd", error);
  std::ifstream status(folder / "status");
  if (error || !status) return false;
  sum.descriptors += static_cast<std::uint64_t>(std::distance(begin(open_ones), end(open_ones)));
  std::string key;
  while (status >> key) {
    std::uint64_t kib = 0;
    if (key == "VmSize:" && status >> kib) sum.sanitized |= kib > kSanitizedKib;
    if (key == "RssAnon:" && status >> kib) sum.memory_kib += kib;
    std::getline(status, key);
  }
  return true;
}

}  // namespace

Footprint footprint_of(std::span<const pid_t> processes, const std::filesystem::path& proc) {
  Footprint sum;
  bool any = false;
  for (const pid_t process : processes) any |= add(proc / std::to_string(process), sum);
  if (!any) throw std::system_error(ESRCH, std::generic_category(), "no such process");
  return sum;
}

std::vector<pid_t> processes_of_group(pid_t group) {
  std::vector<pid_t> found;
  for (const auto& entry : std::filesystem::directory_iterator("/proc")) {
    const std::string name = entry.path().filename();
    pid_t process = 0;
    const auto [rest, error] = std::from_chars(name.data(), name.data() + name.size(), process);
    if (error == std::errc{} && *rest == '\0' && getpgid(process) == group)
      found.push_back(process);
  }
  return found;
}

Json to_json(const Footprint& footprint) {
  return {{"descriptors", footprint.descriptors},
          {"memory_kib", footprint.memory_kib},
          {"sanitized", footprint.sanitized}};
}

}  // namespace displif_cts::agent
