// How a finding of the oracle ends the process: as a crash does, by the requirement that is broken.
#pragma once

#include <string_view>

namespace displif_cts::fuzz_backend {

// "FINDING requirement: text" on stderr, then abort().
[[noreturn]] void finding(std::string_view requirement, std::string_view text);

// Thrown in the place of a finding that is passed over: what the backend does from there on can
// only be guessed.
struct PassedOver {};

// Is that a finding which is known of this backend, or a requirement that it need not keep? As
// DISPLIF_FUZZ_PASS_OVER lists them, with commas; `*` stands for anything.
bool passed_over(std::string_view name);

}  // namespace displif_cts::fuzz_backend
