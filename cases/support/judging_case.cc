#include "cases/support/judging_case.h"

#include <fmt/format.h>

namespace displif_cts::cases {

std::string hex_text(std::uint64_t value) { return fmt::format("{:#x}", value); }

bool JudgingCase::check(const Requirement& requirement, bool ok, std::vector<std::string> expected,
                        std::string seen) {
  return recorder().check(requirement, ok, std::move(expected), std::move(seen));
}

bool JudgingCase::check_timed(const Requirement& requirement, bool ok,
                              std::vector<std::string> expected, std::string seen) {
  return recorder().check(requirement, ok, std::move(expected), std::move(seen), true);
}

}  // namespace displif_cts::cases
