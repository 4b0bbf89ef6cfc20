#include "harness/agent/line_protocol.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

namespace displif_cts::agent {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(PercentCoding, encodes_what_would_break_a_line) {
  EXPECT_EQ(percent_encode("a b%c,d=e\n\x7f\xff"), "a%20b%25c%2Cd%3De%0A%7F%FF");
  EXPECT_EQ(percent_encode("/plain-TEXT_1.0:~"), "/plain-TEXT_1.0:~");
}

TEST(PercentCoding, every_octet_comes_back) {
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  EXPECT_EQ(percent_decode(percent_encode(all)), all);
}

TEST(PercentCoding, broken_escapes_and_bare_octets_are_refused) {
  for (const char* text : {"%", "%2", "%zz", "a%4", "a b", "a,b", "a=b", "\x80"})
    EXPECT_EQ(percent_decode(text), std::nullopt) << text;
}

TEST(Base64, known_answers) {  // RFC 4648, section 10
  EXPECT_EQ(base64(""), "");
  EXPECT_EQ(base64("f"), "Zg==");
  EXPECT_EQ(base64("fo"), "Zm8=");
  EXPECT_EQ(base64("foo"), "Zm9v");
  EXPECT_EQ(base64("foobar"), "Zm9vYmFy");
}

TEST(ParseRequest, takes_verb_and_arguments) {
  const auto parsed = parse_request("7 start name=r argv=/bin/echo,a%2Cb,%20 n=0x10 on=1");
  const Request& request = std::get<Request>(parsed);
  EXPECT_EQ(request.seq, 7u);
  EXPECT_EQ(request.verb, "start");
  EXPECT_EQ(request.args.text("name"), "r");
  EXPECT_THAT(request.args.list("argv"), ElementsAre("/bin/echo", "a,b", " "));
  EXPECT_EQ(request.args.number("n", 100), 16u);
  EXPECT_TRUE(request.args.flag("on"));
  EXPECT_FALSE(request.args.flag("off"));
  EXPECT_EQ(request.args.number_or("none", 5, 9), 5u);
}

TEST(ParseRequest, what_is_formatted_is_parsed_again) {
  Arguments args = Arguments::of({{"path", "/tmp/a b=c"}, {"empty", ""}});
  std::string line = format_request(18446744073709551615u, "guest.put", args);
  ASSERT_EQ(line.back(), '\n');
  line.pop_back();
  const auto parsed = parse_request(line);
  const Request& request = std::get<Request>(parsed);
  EXPECT_EQ(request.seq, 18446744073709551615u);
  EXPECT_EQ(request.args.text("path"), "/tmp/a b=c");
  EXPECT_EQ(request.args.text("empty"), "");
}

struct BadLine {
  const char* line;
  std::uint64_t seq;
  const char* text;
};

TEST(ParseRequest, refuses_what_is_no_request) {
  const BadLine lines[] = {
      {"hello", 0, "decimal number"},
      {"-1 hello", 0, "decimal number"},
      {"0x1 hello", 0, "decimal number"},
      {"18446744073709551616 hello", 0, "decimal number"},
      {" 1 hello", 0, "decimal number"},
      {"1", 1, "no verb"},
      {"1 ", 1, "a verb is"},
      {"1 Hello", 1, "a verb is"},
      {"1 hello ", 1, "not key=value"},
      {"1 hello a", 1, "not key=value"},
      {"1 hello =a", 1, "not key=value"},
      {"1 hello A=a", 1, "not key=value"},
      {"1 hello a=1 a=2", 1, "twice"},
      {"1 hello a=\x01", 1, "percent-encoded"},
      {"1 hello\r", 1, "a verb is"},
  };
  for (const BadLine& bad : lines) {
    const auto parsed = parse_request(bad.line);
    ASSERT_TRUE(std::holds_alternative<BadRequest>(parsed)) << bad.line;
    EXPECT_EQ(std::get<BadRequest>(parsed).seq, bad.seq) << bad.line;
    EXPECT_THAT(std::get<BadRequest>(parsed).text, HasSubstr(bad.text)) << bad.line;
  }
  std::string many = "1 hello";
  for (std::size_t i = 0; i <= kMaxArguments; ++i) many += " k" + std::to_string(i) + "=1";
  EXPECT_EQ(std::get<BadRequest>(parse_request(many)).number, E2BIG);
}

TEST(Arguments, say_which_key_is_wrong) {
  Arguments args = Arguments::of({{"n", "12x"}, {"big", "300"}, {"flag", "2"}});
  args.set_encoded("broken", "%zz");
  const auto error = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const VerbError& e) {
      EXPECT_EQ(e.number(), EINVAL);
      return e.what();
    }
    return "nothing thrown";
  };
  EXPECT_THAT(error([&] { (void)args.number("n", 100); }), HasSubstr("n=12x"));
  EXPECT_THAT(error([&] { (void)args.number("big", 255); }), HasSubstr("255"));
  EXPECT_THAT(error([&] { (void)args.flag("flag"); }), HasSubstr("flag="));
  EXPECT_THAT(error([&] { (void)args.text("broken"); }), HasSubstr("broken="));
  EXPECT_THAT(error([&] { (void)args.list("broken"); }), HasSubstr("broken="));
  EXPECT_THAT(error([&] { (void)args.text("none"); }), HasSubstr("none="));
}

TEST(CheckArguments, wants_what_the_verb_declares_and_nothing_else) {
  const VerbSpec verb{"open", {"name"}, {"driver"}};
  check_arguments(verb, Arguments::of({{"name", "a"}, {"driver", "b"}, {"lane", "1"}}), {"lane"});
  EXPECT_THROW(check_arguments(verb, Arguments::of({{"driver", "b"}}), {}), VerbError);
  EXPECT_THROW(check_arguments(verb, Arguments::of({{"name", "a"}, {"nmae", "b"}}), {}), VerbError);
}

std::vector<std::string> read_all(RequestReader& reader) {
  std::vector<std::string> out;
  while (auto item = reader.next()) {
    if (const auto* request = std::get_if<Request>(&*item))
      out.push_back(request->verb + ":" + request->payload);
    else
      out.push_back(errno_name(std::get<BadRequest>(*item).number));
  }
  return out;
}

TEST(RequestReader, cuts_lines_wherever_the_chunks_end) {
  const std::string stream = "1 a\n\n2 put path=x size=5\nab\ncd3 b\nbad\n4 c\n";
  for (std::size_t step = 1; step <= stream.size(); ++step) {
    RequestReader reader;
    std::vector<std::string> seen;
    for (std::size_t at = 0; at < stream.size(); at += step) {
      reader.feed(std::string_view(stream).substr(at, step));
      for (std::string& item : read_all(reader)) seen.push_back(std::move(item));
    }
    EXPECT_THAT(seen, ElementsAre("a:", "put:ab\ncd", "b:", "EINVAL", "c:")) << step;
    EXPECT_TRUE(reader.empty());
  }
}

TEST(RequestReader, skips_a_payload_that_is_too_big) {
  RequestReader reader;
  const std::size_t size = kMaxPayload + 1;
  reader.feed("1 put path=x size=" + std::to_string(size) + "\n");
  EXPECT_THAT(read_all(reader), ElementsAre("EFBIG"));
  const std::string chunk(1 << 20, '\n');
  for (std::size_t fed = 0; fed < size; fed += chunk.size()) {
    reader.feed(std::string_view(chunk).substr(0, std::min(chunk.size(), size - fed)));
    EXPECT_THAT(read_all(reader), ElementsAre());
  }
  reader.feed("2 b\n");
  EXPECT_THAT(read_all(reader), ElementsAre("b:"));
}

TEST(RequestReader, skips_a_line_that_is_too_long) {
  RequestReader reader;
  std::vector<std::string> seen;
  for (int i = 0; i < 3; ++i) {
    reader.feed(std::string(kMaxLine, 'x'));
    for (std::string& item : read_all(reader)) seen.push_back(std::move(item));
  }
  reader.feed("\n1 a\n");
  for (std::string& item : read_all(reader)) seen.push_back(std::move(item));
  EXPECT_THAT(seen, ElementsAre("EMSGSIZE", "a:"));
}

TEST(RequestReader, an_empty_payload_is_complete_at_once) {
  RequestReader reader;
  reader.feed("1 put path=x size=0\n");
  EXPECT_THAT(read_all(reader), ElementsAre("put:"));
}

TEST(Answers, have_the_fields_of_the_contract) {
  const Json ok = answer_ok(3, {{"loaded", true}});
  EXPECT_EQ(ok["seq"], 3);
  EXPECT_EQ(ok["ok"], true);
  EXPECT_EQ(ok["ret"], 0);
  EXPECT_EQ(ok["errno"], 0);
  EXPECT_GT(ok["ns"], 0);
  EXPECT_EQ(ok["loaded"], true);
  const Json error = answer_error(4, EINVAL, "no");
  EXPECT_EQ(error["ok"], false);
  EXPECT_EQ(error["ret"], -1);
  EXPECT_EQ(error["errno"], "EINVAL");
  EXPECT_EQ(error["error"], "no");
  EXPECT_EQ(answer_unsupported(5, "x")["unsupported"], true);
  EXPECT_EQ(errno_name(123456), "errno-123456");
}

TEST(Answers, stay_one_line_of_utf8) {
  const std::string line = format_answer(answer_ok(1, {{"text", "a\nb\xff\x80"}}));
  EXPECT_EQ(line.find('\n'), line.size() - 1);
  EXPECT_EQ(Json::parse(line)["text"], "a\nb\xef\xbf\xbd\xef\xbf\xbd");
}

}  // namespace
}  // namespace displif_cts::agent
