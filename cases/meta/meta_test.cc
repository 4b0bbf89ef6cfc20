// Runs the meta cases in their own program, as users run cases, and looks at stream, formats and
// exit status.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>

#include "harness/trace/json.h"

namespace displif_cts {
namespace {

struct Outcome {
  int status;
  std::string text;
};

Outcome run_meta(const std::string& arguments) {
  const std::string peer = testing::TempDir() + "/meta-peer.json";
  std::ofstream(peer) << R"({"name": "nobody", "version": "0"})";
  const std::string command = std::string(META_RUNNER) + " " + arguments +
                              (arguments.starts_with("run") ? " --domain 0 --peer " + peer : "") +
                              " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string text;
  std::array<char, 4096> buffer;
  for (std::size_t got; (got = fread(buffer.data(), 1, buffer.size(), pipe)) > 0;)
    text.append(buffer.data(), got);
  return {WEXITSTATUS(pclose(pipe)), text};
}

std::vector<Json> lines(const std::string& text) {
  std::vector<Json> records;
  for (std::size_t start = 0, end; (end = text.find('\n', start)) != std::string::npos;
       start = end + 1)
    records.push_back(Json::parse(text.substr(start, end - start)));
  return records;
}

std::map<std::string, Json> verdicts(const std::vector<Json>& records) {
  std::map<std::string, Json> by_case;
  for (const Json& record : records)
    if (record["t"] == "verdict") by_case[record["case"]] = record;
  return by_case;
}

TEST(Meta, every_case_gets_the_verdict_that_its_id_names) {
  const Outcome outcome = run_meta("run --format jsonl");
  EXPECT_EQ(outcome.status, 3);  // there are infra-errors, and 3 beats 1
  const auto by_case = verdicts(lines(outcome.text));
  EXPECT_EQ(by_case.size(), 19U);
  for (const auto& [id, record] : by_case) {
    if (id == "meta.monitor.bad-message") {
      EXPECT_EQ(record["verdict"], "fail");
    } else if (id == "meta.monitor.sees-nothing") {
      EXPECT_EQ(record["verdict"], "skip");
    } else {
      const auto dot = id.find('.') + 1;
      EXPECT_EQ(record["verdict"], id.substr(dot, id.find('.', dot) - dot)) << id << record;
    }
    EXPECT_EQ(record["reason"].get_ref<const std::string&>().empty(), record["verdict"] == "pass")
        << id;
  }
}

TEST(Meta, a_killed_case_process_says_by_which_signal) {
  const auto by_case = verdicts(lines(run_meta("run --format jsonl --case '*signal'").text));
  EXPECT_EQ(by_case.at("meta.infra-error.signal")["reason"],
            "the case process was ended by signal 9");
}

TEST(Meta, stream_opens_with_run_and_plan_and_ends_sealed) {
  const auto records = lines(run_meta("run --format jsonl --case meta.pass.kept").text);
  ASSERT_GE(records.size(), 6U);
  EXPECT_EQ(records[0]["t"], "run");
  EXPECT_EQ(records[1]["t"], "plan");
  EXPECT_EQ(records[1]["count"], 1);
  EXPECT_EQ(records.back()["t"], "end");
  EXPECT_EQ(records.back()["sha256"].get<std::string>().size(), 64U);
  for (std::size_t i = 0; i < records.size(); ++i) EXPECT_EQ(records[i]["seq"], i);
}

TEST(Meta, exit_status_follows_the_verdicts) {
  EXPECT_EQ(run_meta("run --case 'meta.pass.*'").status, 0);
  EXPECT_EQ(run_meta("run --case 'meta.warn.*'").status, 0);
  EXPECT_EQ(run_meta("run --case 'meta.fail.*'").status, 1);
  EXPECT_EQ(run_meta("run --case 'meta.crash.*'").status, 1);
  EXPECT_EQ(run_meta("run --case 'meta.hang.*'").status, 1);
  EXPECT_EQ(run_meta("run --case 'meta.fail.*' --case 'meta.infra-error.signal'").status, 3);
  EXPECT_EQ(run_meta("run --case no-such-case").status, 3);
  EXPECT_EQ(run_meta("run --bogus").status, 2);
}

TEST(Meta, ktap_numbers_every_case_and_gives_the_reason) {
  const Outcome outcome =
      run_meta("run --format ktap --case meta.fail.must-broken --case meta.skip.by-itself");
  EXPECT_EQ(outcome.text,
            "KTAP version 1\n1..2\n"
            "# fail: meta.must: expected yes; saw no\n"
            "not ok 1 meta.fail.must-broken\n"
            "# skip: nothing to try\n"
            "ok 2 meta.skip.by-itself # SKIP nothing to try\n");
}

TEST(Meta, human_text_shows_requirement_expected_and_seen) {
  const Outcome outcome = run_meta("run --case meta.fail.must-broken");
  EXPECT_NE(outcome.text.find("meta.must [must]"), std::string::npos);
  EXPECT_NE(outcome.text.find("expected yes"), std::string::npos);
  EXPECT_NE(outcome.text.find("saw      no"), std::string::npos);
}

TEST(Meta, list_prints_cases_then_requirements) {
  const auto records = lines(run_meta("list --format jsonl --case 'meta.pass.*'").text);
  EXPECT_EQ(records.front()["id"], "meta.pass.kept");
  EXPECT_EQ(records.back()["requirement"], "meta.may");
}

}  // namespace
}  // namespace displif_cts
