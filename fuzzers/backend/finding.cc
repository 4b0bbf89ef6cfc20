#include "fuzzers/backend/finding.h"

#include <fnmatch.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <set>
#include <string>

namespace displif_cts::fuzz_backend {
namespace {

std::set<std::string> listed() {
  std::set<std::string> names;
  const char* given = std::getenv("DISPLIF_FUZZ_PASS_OVER");
  std::string_view rest = given == nullptr ? "" : given;
  while (!rest.empty()) {
    const std::size_t comma = rest.find(',');
    names.emplace(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view() : rest.substr(comma + 1);
  }
  return names;
}

}  // namespace

bool passed_over(std::string_view name) {
  static const auto patterns = listed();
  const std::string text(name);
  return std::ranges::any_of(patterns, [&](const std::string& pattern) {
    return fnmatch(pattern.c_str(), text.c_str(), 0) == 0;
  });
}

void finding(std::string_view requirement, std::string_view text) {
  if (passed_over(requirement)) throw PassedOver{};
  std::fprintf(stderr, "FINDING %.*s: %.*s\n", static_cast<int>(requirement.size()),
               requirement.data(), static_cast<int>(text.size()), text.data());
  std::fflush(stderr);
  std::abort();
}

}  // namespace displif_cts::fuzz_backend
