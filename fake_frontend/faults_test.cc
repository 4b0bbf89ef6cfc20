#include "fake_frontend/faults.h"

#include <gtest/gtest.h>

#include <set>
#include <stdexcept>
#include <string>

#include "harness/displif/wire.h"

namespace displif_cts::fake_frontend {
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
    const std::string prefix = "frontend." + std::string(name(fault.kind)) + ".";
    EXPECT_EQ(fault.id.substr(0, prefix.size()), prefix);
    EXPECT_FALSE(fault.title.empty()) << fault.id;
    EXPECT_EQ(find_fault(fault.id), &fault);
  }
  EXPECT_EQ(find_fault("frontend.stress.no-such"), nullptr);
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

TEST(Faults, each_one_changes_the_polite_reference_and_can_be_counted) {
  for (const FaultInfo& fault : all_faults()) {
    FrontendFaults faults;
    fault.apply(faults);
    EXPECT_FALSE(faults == FrontendFaults{}) << fault.id;
    EXPECT_GT(fault.times(faults), 0U) << fault.id;
    fault.times(faults) = 0;
    FrontendFaults again;
    fault.apply(again);
    EXPECT_FALSE(faults == again) << fault.id;
  }
}

TEST(Faults, no_two_are_the_same) {
  const auto all = all_faults();
  for (std::size_t i = 0; i < all.size(); ++i) {
    for (std::size_t k = i + 1; k < all.size(); ++k) {
      FrontendFaults one;
      FrontendFaults other;
      all[i].apply(one);
      all[k].apply(other);
      EXPECT_FALSE(one == other) << all[i].id << " and " << all[k].id;
    }
  }
}

TEST(Faults, are_set_by_id_and_by_id_and_count) {
  FrontendFaults faults;
  set_fault(faults, "frontend.deviation.req-prod-far");
  EXPECT_EQ(faults.req_prod_beyond.times, kAlways);
  EXPECT_EQ(faults.req_prod_beyond.excess, 1U << 31U);
  set_fault(faults, "frontend.deviation.destroy-twice=3");
  EXPECT_EQ(faults.destroy_twice, 3U);
}

TEST(Faults, a_wrong_setting_says_what_is_wrong) {
  FrontendFaults faults;
  for (const char* text :
       {"", "nonsense", "frontend.deviation.destroy-twice=", "frontend.deviation.destroy-twice=0",
        "frontend.deviation.destroy-twice=-1", "frontend.deviation.destroy-twice=1x",
        "frontend.deviation.destroy-twice=99999999999", "=1"}) {
    EXPECT_THROW(set_fault(faults, text), std::invalid_argument) << text;
  }
  EXPECT_TRUE(faults == FrontendFaults{});
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

TEST(Nodes, hold_what_they_were_made_of) {
  EXPECT_TRUE(Nodes::refs().contains(Node::req_ring_ref));
  EXPECT_TRUE(Nodes::refs().contains(Node::evt_ring_ref));
  EXPECT_FALSE(Nodes::refs().contains(Node::req_event_channel));
  EXPECT_TRUE(Nodes::all().contains(Node::evt_event_channel));
  EXPECT_FALSE(Nodes::only(Node::req_ring_ref).contains(Node::evt_ring_ref));
}

TEST(NumberFault, sets_or_adds) {
  constexpr NumberFault set{1, 7, false};
  constexpr NumberFault add{1, 7, true};
  EXPECT_EQ(set.of(5), 7U);
  EXPECT_EQ(add.of(5), 12U);
}

}  // namespace
}  // namespace displif_cts::fake_frontend
