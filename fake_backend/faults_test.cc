#include "fake_backend/faults.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "harness/displif/wire.h"

namespace displif_cts::fake_backend {
namespace {

bool id_safe(std::string_view id) {
  return !id.empty() && id.size() <= 100 &&
         id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") == std::string_view::npos;
}

TEST(Faults, ids_are_unique_and_safe_and_name_their_kind) {
  std::set<std::string_view> seen;
  for (const FaultInfo& fault : all_faults()) {
    EXPECT_TRUE(id_safe(fault.id)) << fault.id;
    EXPECT_TRUE(seen.insert(fault.id).second) << fault.id;
    const std::string prefix = "backend." + std::string(name(fault.kind)) + ".";
    EXPECT_EQ(fault.id.substr(0, prefix.size()), prefix);
    EXPECT_FALSE(fault.title.empty()) << fault.id;
    EXPECT_EQ(find_fault(fault.id), &fault);
  }
  EXPECT_EQ(find_fault("backend.stress.no-such"), nullptr);
}

TEST(Faults, deviations_and_omissions_name_a_requirement_and_stress_names_none) {
  for (const FaultInfo& fault : all_faults()) {
    if (fault.kind == FaultKind::stress) {
      EXPECT_TRUE(fault.requirement.empty()) << fault.id;
    } else {
      EXPECT_TRUE(id_safe(fault.requirement)) << fault.id;
      EXPECT_NE(fault.requirement.find('.'), std::string_view::npos) << fault.id;
    }
  }
}

TEST(Faults, each_one_changes_the_polite_reference) {
  for (const FaultInfo& fault : all_faults()) {
    BackendFaults faults;
    fault.apply(faults);
    EXPECT_FALSE(faults == BackendFaults{}) << fault.id;
  }
}

TEST(Strike, counts_down_and_stops_at_zero_but_never_from_always) {
  Times times = 2;
  EXPECT_TRUE(strike(times));
  EXPECT_TRUE(strike(times));
  EXPECT_FALSE(strike(times));
  EXPECT_EQ(times, 0U);
  times = kAlways;
  EXPECT_TRUE(strike(times));
  EXPECT_EQ(times, kAlways);
}

TEST(Operations, sets_hold_defined_codes_and_all_others_as_one) {
  const Operations flips = Operations::only(XENDISPL_OP_PG_FLIP);
  EXPECT_TRUE(flips.contains(XENDISPL_OP_PG_FLIP));
  EXPECT_FALSE(flips.contains(XENDISPL_OP_DBUF_CREATE));
  EXPECT_FALSE(flips.contains(0xff));
  EXPECT_TRUE(Operations::all().contains(0xff));
  EXPECT_TRUE(flips.with(0xfe).contains(0xff));
  EXPECT_TRUE(Operations::none().empty());
}

}  // namespace
}  // namespace displif_cts::fake_backend
