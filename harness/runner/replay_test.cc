#include "harness/runner/replay.h"

#include <gtest/gtest.h>

#include <array>
#include <sstream>
#include <stdexcept>
#include <string>

namespace displif_cts::runner {
namespace {

constexpr Requirement kRule{"meta.must", Role::frontend, Level::must, "No odd octet.", "test", "",
                            ""};

// Judges the first octet of every request.
class FirstOctet : public Monitors {
 public:
  explicit FirstOctet(trace::Recorder& recorder) {
    recorder.observe([this](const trace::Message& message) {
      if (message.kind == trace::Kind::request && message.fields.value("op", "") == "PG_FLIP")
        odd_ += std::to_integer<unsigned>(message.raw[0]) % 2;
    });
  }
  void finish(trace::Recorder& recorder) override {
    recorder.check_for("meta.monitor.odd", kRule, odd_ == 0, {"none"}, std::to_string(odd_));
  }

 private:
  unsigned odd_ = 0;
};

std::string replayed(const std::string& stream) {
  std::istringstream in(stream);
  std::array<char, 8192> buffer{};
  std::FILE* out = fmemopen(buffer.data(), buffer.size() - 1, "w");
  try {
    replay(
        in, [](trace::Recorder& recorder) { return std::make_unique<FirstOctet>(recorder); }, out);
  } catch (...) {
    std::fclose(out);
    throw;
  }
  std::fclose(out);
  return buffer.data();
}

std::string begin(const std::string& id) {
  return R"({"v":1,"t":"begin","case":")" + id + R"(","requirements":[]})" + "\n";
}

std::string request(const std::string& id, const std::string& hex) {
  return R"({"v":1,"t":"msg","case":")" + id + R"(","kind":"req","dir":"f2b","hex":")" + hex +
         R"(","fields":{"op":"PG_FLIP"}})" + "\n";
}

std::string verdict(const std::string& id) {
  return R"({"v":1,"t":"verdict","case":")" + id + R"(","verdict":"pass"})" + "\n";
}

TEST(Replay, each_case_is_watched_by_itself) {
  const std::string text = replayed(begin("a.b") + begin("c.d") + request("a.b", "01ff") +
                                    request("c.d", "02ff") + verdict("a.b") + verdict("c.d"));
  std::istringstream lines(text);
  std::string line;
  ASSERT_TRUE(std::getline(lines, line));
  const Json first = Json::parse(line);
  EXPECT_EQ(first["during"], "a.b");
  EXPECT_EQ(first["case"], "meta.monitor.odd");
  EXPECT_EQ(first["ok"], false);
  EXPECT_EQ(first["seen"], "1");
  ASSERT_TRUE(std::getline(lines, line));
  EXPECT_EQ(Json::parse(line)["during"], "c.d");
  EXPECT_EQ(Json::parse(line)["ok"], true);
}

TEST(Replay, what_is_no_record_is_passed_over) {
  EXPECT_EQ(replayed("not json\n[]\n{}\n" + request("a.b", "01")), "");
}

TEST(Replay, a_message_that_no_recorder_wrote_is_refused) {
  EXPECT_THROW(replayed(begin("a.b") + request("a.b", "0g")), std::runtime_error);
  EXPECT_THROW(replayed(begin("a.b") + R"({"v":1,"t":"msg","case":"a.b","kind":"x","dir":"-"})"
                                       "\n"),
               std::runtime_error);
}

}  // namespace
}  // namespace displif_cts::runner
