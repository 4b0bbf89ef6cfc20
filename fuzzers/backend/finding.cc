#include "fuzzers/backend/finding.h"

#include <cstdio>
#include <cstdlib>

namespace displif_cts::fuzz_backend {

void finding(std::string_view requirement, std::string_view text) {
  std::fprintf(stderr, "FINDING %.*s: %.*s\n", static_cast<int>(requirement.size()),
               requirement.data(), static_cast<int>(text.size()), text.data());
  std::fflush(stderr);
  std::abort();
}

}  // namespace displif_cts::fuzz_backend
