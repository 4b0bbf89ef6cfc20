#include "harness/runner/elsewhere.h"

#include <gtest/gtest.h>

#include <fstream>
#include <regex>
#include <string>
#include <thread>
#include <vector>

namespace displif_cts::runner {
namespace {

using namespace std::chrono_literals;

constexpr Requirement kRule{"meta.must", Role::backend, Level::must, "It is.", "test", "", ""};

CaseInfo one_case() {
  return {.id = "backend.meta.one",
          .title = "one",
          .role = Role::backend,
          .requirements = {&kRule},
          .needs = {},
          .make = {}};
}

// What a runner prints of a case whose one check holds, or does not.
std::string told(bool ok) {
  const std::string common = R"("case":"backend.meta.one")";
  return R"(echo '{"v":1,"t":"begin","ns":5,)" + common + R"(,"requirements":["meta.must"]}'; )" +
         R"(echo '{"v":1,"t":"check","ns":6,)" + common +
         R"(,"requirement":"meta.must","level":"must","expected":["x"],"seen":"y","ok":)" +
         (ok ? "true" : "false") + R"(}'; echo '{"v":1,"t":"verdict","ns":7,)" + common +
         R"(,"verdict":")" + (ok ? "pass" : "fail") +
         R"(","reason":"","attempt":1,"ns_spent":9}'; )";
}

struct Row {
  const char* name;
  std::string there;
  std::optional<std::string> backend;
  Verdict verdict;
  const char* reason;  // a part of it
  bool clean;
};

class ElsewhereVerdict : public testing::TestWithParam<Row> {};

TEST_P(ElsewhereVerdict, is_of_what_came_from_there_and_of_the_backend_here) {
  const Row& row = GetParam();
  Elsewhere elsewhere({"sh", "-c", row.there}, row.backend, "^ready");
  std::vector<Json> records;
  const Outlet outlet{.records = [&](const Json& record) { records.push_back(record); }};
  const CaseEnd end = elsewhere.run_case({}, one_case(), outlet, 1);
  EXPECT_EQ(end.judgement.verdict, row.verdict) << end.judgement.reason;
  EXPECT_NE(end.judgement.reason.find(row.reason), std::string::npos) << end.judgement.reason;
  EXPECT_EQ(end.clean, row.clean);
  ASSERT_FALSE(records.empty());
  EXPECT_EQ(records.front()["t"], "begin");
  EXPECT_EQ(records.back()["t"], "verdict");
  EXPECT_EQ(records.back()["verdict"], name(row.verdict));
  Fold again;  // whoever reads the stream comes to the same
  for (const Json& record : records) again.add(record);
  EXPECT_EQ(again.judge().verdict, row.verdict);
}

const std::string kStays = "echo ready; exec sleep 100";

INSTANTIATE_TEST_SUITE_P(
    rows, ElsewhereVerdict,
    testing::Values(
        Row{"pass", told(true), kStays, Verdict::pass, "", true},
        Row{"fail", told(false), kStays, Verdict::fail, "meta.must", true},
        Row{"runs_already", told(true), std::nullopt, Verdict::pass, "", true},
        Row{"backend_dies", "sleep 0.5;" + told(true), "echo ready; echo last words; exit 7",
            Verdict::crash, "the backend ended with status 7: last words", false},
        Row{"backend_is_killed", "sleep 0.5;" + told(false), "echo ready; kill -SEGV $$",
            Verdict::crash, "by SIGSEGV", false},
        Row{"sanitizer", told(true),
            "echo '==7==ERROR: AddressSanitizer: heap-use-after-free'; echo ready; exec sleep 100",
            Verdict::crash, "AddressSanitizer: heap-use-after-free", false},
        Row{"backend_never_ready", told(true), "echo no device; exit 3", Verdict::infra_error,
            "ended with status 3: no device before it was ready", false},
        Row{"runner_ends", "exit 3", kStays, Verdict::infra_error, "ended with status 3", false},
        Row{"runner_is_killed", "kill -9 $$", kStays, Verdict::infra_error, "by signal 9", false},
        Row{"runner_is_not_there", "exec /nowhere/runner", kStays, Verdict::infra_error,
            "status 127", false},
        Row{"no_records", "echo 'xen: bad page'; sleep 100", kStays, Verdict::infra_error, "",
            false}),
    [](const auto& row) { return std::string(row.param.name); });

TEST(Elsewhere, names_the_case_and_its_devices_to_the_runner_there) {
  Elsewhere elsewhere({"sh", "-c", R"(echo '{"v":1,"t":"msg","text":"'"$*"'"}')", "sh"},
                      std::nullopt, "");
  std::string heard;
  const Outlet outlet{.records = [&](const Json& record) { heard += record.value("text", ""); }};
  RunContext run;
  run.seed = 7;
  run.first_device = 32;
  elsewhere.run_case(run, one_case(), outlet, 2);
  EXPECT_EQ(heard.substr(0, heard.find("the runner")),
            "--case backend.meta.one --seed 7 --attempt 2 --first-device 32");
}

// One that has ended may not have been reaped by whoever inherited it.
bool runs(const std::string& process) {
  std::ifstream file("/proc/" + process + "/stat");
  std::string stat;
  return std::getline(file, stat) && stat.find(") Z ") == std::string::npos;
}

TEST(Elsewhere, starts_the_backend_anew_for_each_case_and_leaves_nothing_of_it) {
  Elsewhere elsewhere({"sh", "-c", told(true)}, "sleep 100 & echo ready $$ $!; wait", "^ready");
  std::vector<std::string> said;
  const Outlet outlet{.records = [&](const Json& record) {
    if (record["t"] == "msg") said.push_back(record["fields"]["text"]);
  }};
  for (int i = 0; i < 2; ++i) elsewhere.run_case({}, one_case(), outlet, 1);
  ASSERT_EQ(said.size(), 2U);
  EXPECT_NE(said[0], said[1]);
  std::smatch pids;
  ASSERT_TRUE(std::regex_search(said[1], pids, std::regex("ready ([0-9]+) ([0-9]+)")));
  EXPECT_FALSE(runs(pids[1]));
  for (int i = 0; i < 500 && runs(pids[2]); ++i) std::this_thread::sleep_for(20ms);
  EXPECT_FALSE(runs(pids[2]));  // killed, though nobody waits for it
}

TEST(PeerProgram, keeps_the_beginning_and_the_end_of_a_flood) {
  PeerProgram program("yes flood | head -n 100000; echo the end; echo ready", "^ready");
  EXPECT_THROW(PeerProgram("true", "("), std::regex_error);
  program.restart(10s);
  const std::string said = program.said();
  EXPECT_LT(said.size(), 140'000U);
  EXPECT_TRUE(said.starts_with("flood\n"));
  EXPECT_TRUE(said.ends_with("the end\nready\n"));
  EXPECT_NE(said.find("octets left out"), std::string::npos);
}

TEST(PeerProgram, that_never_says_that_it_is_ready) {
  PeerProgram program("echo hello; exec sleep 100", "^ready");
  try {
    program.restart(100ms);
    FAIL();
  } catch (const std::runtime_error& error) {
    EXPECT_NE(std::string(error.what()).find("did not say /^ready/"), std::string::npos);
  }
}

}  // namespace
}  // namespace displif_cts::runner
