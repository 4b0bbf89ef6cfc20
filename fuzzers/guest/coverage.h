// What the driver under test has executed, as the guest's module displif_cts_coverage counts it
// (fuzzers/guest/module): a table in pages that the guest grants to domain 0, whose references it
// writes to data/displif-cts-coverage in its own part of XenStore. Hard interrupts count as
// everything else does.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "harness/xen/grants.h"
#include "harness/xen/types.h"

namespace displif_cts::fuzz_guest {

// Low half of an instrumented place's address, which is enough to tell places of modules apart, and
// how often it was executed.
using Hits = std::map<std::uint32_t, std::uint32_t>;

class Coverage {
 public:
  // None where the guest has no such module.
  static std::optional<Coverage> open(xen::DomId guest);

  Hits read() const;

 private:
  explicit Coverage(xen::Mapping table) : table_(std::move(table)) {}
  xen::Mapping table_;
};

// What was executed between two readings, as "pc:bucket" in hexadecimal digits, blanks between. A
// bucket is how often, to the next power of two: loops that run longer are news, once more is not.
std::string difference(const Hits& before, const Hits& after);

}  // namespace displif_cts::fuzz_guest
