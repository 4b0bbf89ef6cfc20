// What the shim itself finds (the sanitizers find the rest), and the findings that are known: a run
// goes on past these when they are masked, and says which.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "fuzzers/known.h"

namespace displif_cts::shim {

using fuzz::Known;

struct KnownFinding {
  Known known;
  std::string_view what;
  std::string_view avoided;  // what the run does not do, or does not report, while it is masked
  std::string_view seen;     // the suite's case that shows it in the real guest; empty: none does
};
std::span<const KnownFinding> known_findings();

// Masked by the environment: DISPLIF_FUZZ_MASK is "all" (the default), "none", or names with commas
// between. A name that is none ends the program with status 2.
bool masked(Known finding);
void read_masks();

// Ends the process like a crash, after "FINDING name: ..." and the stack on stderr.
[[noreturn]] void finding(const char* name, const char* format, ...)
    __attribute__((format(printf, 2, 3)));
// The same, unless it is masked.
void finding_unless(Known known, const char* format, ...) __attribute__((format(printf, 2, 3)));

// Is every step to be printed? (DISPLIF_FUZZ_VERBOSE)
extern bool g_verbose;
void say(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace displif_cts::shim
