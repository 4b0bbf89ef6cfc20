// How a finding of the oracle ends the process: as a crash does, by the requirement that is broken.
#pragma once

#include <string_view>

namespace displif_cts::fuzz_backend {

// "FINDING requirement: text" on stderr, then abort().
[[noreturn]] void finding(std::string_view requirement, std::string_view text);

}  // namespace displif_cts::fuzz_backend
