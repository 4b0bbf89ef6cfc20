#include "harness/runner/fold.h"

#include <gtest/gtest.h>

#include <vector>

namespace displif_cts::runner {
namespace {

Json begin(std::vector<std::string> ids) { return {{"t", "begin"}, {"requirements", ids}}; }
Json check(const char* id, bool ok, const char* level = "must", bool timed = false) {
  return {{"t", "check"}, {"requirement", id}, {"level", level}, {"expected", {"x"}},
          {"seen", "y"},  {"ok", ok},          {"timed", timed}};
}
Json health(const char* state, unsigned own_gap_ms = 0) {
  return {{"t", "health"},
          {"state", state},
          {"reason", "why"},
          {"own_gap_ms", own_gap_ms},
          {"tolerance_ms", 1000U}};
}
Json process(int status, int signal, bool timed_out) {
  return {{"t", "process"},
          {"exit_status", static_cast<unsigned>(status)},
          {"signal", static_cast<unsigned>(signal)},
          {"timed_out", timed_out}};
}
const Json error{{"t", "error"}, {"text", "could not open the store"}};
const Json skip{{"t", "skip"}, {"reason", "no EDID"}};

struct FoldCase {
  const char* name;
  std::vector<Json> records;
  Verdict verdict;
};

class FoldVerdict : public testing::TestWithParam<FoldCase> {};

TEST_P(FoldVerdict, is_the_strongest_cause) {
  Fold fold;
  for (const Json& record : GetParam().records) fold.add(record);
  const Judgement judgement = fold.judge();
  EXPECT_EQ(name(judgement.verdict), name(GetParam().verdict)) << judgement.reason;
  EXPECT_EQ(judgement.reason.empty(), judgement.verdict == Verdict::pass);
}

INSTANTIATE_TEST_SUITE_P(
    Table, FoldVerdict,
    testing::Values(
        FoldCase{"all_checks_kept", {begin({"a"}), check("a", true)}, Verdict::pass},
        FoldCase{"must_broken", {begin({"a"}), check("a", false)}, Verdict::fail},
        FoldCase{"robust_broken", {begin({"a"}), check("a", false, "robust")}, Verdict::fail},
        FoldCase{"should_broken", {begin({"a"}), check("a", false, "should")}, Verdict::warn},
        FoldCase{"may_branch", {begin({"a"}), check("a", false, "may")}, Verdict::pass},
        FoldCase{"nothing_checked", {begin({})}, Verdict::infra_error},
        FoldCase{
            "requirement_unchecked", {begin({"a", "b"}), check("a", true)}, Verdict::infra_error},
        FoldCase{
            "failure_outweighs_unchecked", {begin({"a", "b"}), check("a", false)}, Verdict::fail},
        FoldCase{
            "error_outweighs_pass", {begin({"a"}), check("a", true), error}, Verdict::infra_error},
        FoldCase{
            "failure_outweighs_error", {begin({"a"}), check("a", false), error}, Verdict::fail},
        FoldCase{"crash_outweighs_all",
                 {begin({"a"}), check("a", false), error, health("crashed")},
                 Verdict::crash},
        FoldCase{"hang_outweighs_failure",
                 {begin({"a"}), check("a", false), health("hung")},
                 Verdict::hang},
        FoldCase{"hung_once_is_hung",
                 {begin({"a"}), check("a", true), health("hung"), health("ok")},
                 Verdict::hang},
        FoldCase{"late_ourselves_is_no_hang",
                 {begin({"a"}), check("a", true), health("hung", 5000)},
                 Verdict::infra_error},
        FoldCase{"late_ourselves_is_no_timed_failure",
                 {begin({"a"}), check("a", false, "must", true), health("ok", 5000)},
                 Verdict::infra_error},
        FoldCase{"late_ourselves_does_not_excuse_a_wrong_value",
                 {begin({"a"}), check("a", false), health("ok", 5000)},
                 Verdict::fail},
        FoldCase{"timed_failure_in_time",
                 {begin({"a"}), check("a", false, "must", true), health("ok", 5)},
                 Verdict::fail},
        FoldCase{"health_unknown",
                 {begin({"a"}), check("a", true), health("unknown")},
                 Verdict::infra_error},
        FoldCase{"case_process_killed",
                 {begin({"a"}), check("a", true), process(0, 11, false)},
                 Verdict::infra_error},
        FoldCase{"case_process_too_slow",
                 {begin({"a"}), check("a", true), process(0, 0, true)},
                 Verdict::infra_error},
        FoldCase{"skipped", {begin({"a"}), skip}, Verdict::skip}),
    [](const auto& test) { return std::string(test.param.name); });

TEST(FoldMonitor, without_checks_saw_nothing) {
  EXPECT_EQ(Fold().judge_monitor().verdict, Verdict::skip);
}

TEST(FoldMonitor, fails_on_one_bad_check_among_good_ones) {
  Fold fold;
  fold.add(check("a", true));
  fold.add(check("a", false));
  fold.add(check("a", true));
  EXPECT_EQ(fold.judge_monitor().verdict, Verdict::fail);
}

TEST(Fold, reason_names_requirement_expected_and_seen) {
  Fold fold;
  fold.add(check("ring.id-echoed", false));
  EXPECT_EQ(fold.judge().reason, "ring.id-echoed: expected x; saw y");
}

}  // namespace
}  // namespace displif_cts::runner
