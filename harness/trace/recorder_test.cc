#include "harness/trace/recorder.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

namespace displif_cts::trace {
namespace {

constexpr Requirement kRequirement{"ring.example", Role::frontend, Level::must, "", "", "", ""};

struct RecorderTest : testing::Test {
  std::vector<Json> records;
  Recorder recorder{[this](const Json& record) { records.push_back(record); }, "frontend.a.case"};
};

TEST_F(RecorderTest, message_carries_time_direction_hex_and_fields) {
  const std::array raw{std::byte{0x00}, std::byte{0xfe}};
  recorder.message(Kind::request, Direction::front_to_back, raw, Json{{"op", "PG_FLIP"}});
  ASSERT_EQ(records.size(), 1U);
  EXPECT_EQ(records[0]["t"], "msg");
  EXPECT_EQ(records[0]["case"], "frontend.a.case");
  EXPECT_EQ(records[0]["dir"], "f2b");
  EXPECT_EQ(records[0]["hex"], "00fe");
  EXPECT_EQ(records[0]["fields"]["op"], "PG_FLIP");
  EXPECT_GT(records[0]["ns"].get<std::uint64_t>(), 0U);
}

TEST_F(RecorderTest, observers_see_the_message_before_the_record_is_written) {
  std::size_t records_then = 99;
  recorder.observe([&](const Message& message) {
    EXPECT_EQ(message.kind, Kind::state);
    records_then = records.size();
  });
  recorder.message(Kind::state, Direction::none, Json{{"to", "Connected"}});
  EXPECT_EQ(records_then, 0U);
}

TEST(QuietRecorderTest, fields_are_made_for_those_who_listen_only) {
  Recorder quiet{nullptr};
  unsigned made = 0;
  const auto fields = [&] {
    ++made;
    return Json{{"to", "Connected"}};
  };
  quiet.message(Kind::state, Direction::none, {}, fields);
  quiet.log("nobody hears it");
  EXPECT_EQ(made, 0U);
  std::string seen;
  quiet.observe([&](const Message& message) { seen = message.fields.at("to"); });
  quiet.message(Kind::state, Direction::none, {}, fields);
  EXPECT_EQ(made, 1U);
  EXPECT_EQ(seen, "Connected");
}

TEST_F(RecorderTest, check_says_what_was_expected_and_seen) {
  EXPECT_FALSE(recorder.check(kRequirement, false, {"0", "1"}, "7"));
  EXPECT_EQ(records[0]["requirement"], "ring.example");
  EXPECT_EQ(records[0]["level"], "must");
  EXPECT_THAT(records[0]["expected"].get<std::vector<std::string>>(),
              testing::ElementsAre("0", "1"));
  EXPECT_EQ(records[0]["seen"], "7");
  EXPECT_EQ(records[0]["ok"], false);
  EXPECT_FALSE(records[0].contains("during"));
}

TEST_F(RecorderTest, a_monitors_check_is_its_own_case_during_the_running_one) {
  EXPECT_TRUE(recorder.check_for("frontend.monitor.x", kRequirement, true, {"y"}, "y"));
  EXPECT_EQ(records[0]["case"], "frontend.monitor.x");
  EXPECT_EQ(records[0]["during"], "frontend.a.case");
}

TEST_F(RecorderTest, artifact_carries_its_bytes_as_base64) {
  const std::array raw{std::byte{'M'}, std::byte{'a'}, std::byte{'n'}, std::byte{'!'}};
  recorder.artifact("screen.png", "image/png", raw);
  EXPECT_EQ(records[0]["data"], "TWFuIQ==");
}

TEST_F(RecorderTest, stopped_messages_leave_a_word_and_what_is_not_of_the_wire) {
  unsigned seen = 0;
  recorder.observe([&](const Message& message) { seen += message.kind != Kind::log; });
  recorder.message(Kind::request, Direction::front_to_back, Json{{"op", "PG_FLIP"}});
  recorder.stop_messages();
  for (const Kind kind : {Kind::request, Kind::response, Kind::event, Kind::index})
    recorder.message(kind, Direction::front_to_back, Json{{"index", 1}});
  recorder.message(Kind::state, Direction::front_to_back, Json{{"state", 5}});
  recorder.check(kRequirement, true, {"a"}, "a");
  EXPECT_EQ(seen, 2U);
  ASSERT_EQ(records.size(), 4U);
  EXPECT_EQ(records[1]["kind"], "log");
  EXPECT_EQ(records[2]["kind"], "state");
  EXPECT_EQ(records[3]["t"], "check");
}

TEST(Base64, of_nothing_is_nothing) { EXPECT_EQ(base64({}), ""); }

}  // namespace
}  // namespace displif_cts::trace
