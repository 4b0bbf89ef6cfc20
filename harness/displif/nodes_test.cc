#include "harness/displif/nodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

namespace displif_cts::displif {
namespace {

using xen::GrantRef;
using xen::Port;

TEST(NodeNames, are_the_headers) {
  EXPECT_EQ(node::kDevice, "vdispl");
  EXPECT_EQ(node::kVersions, "versions");
  EXPECT_EQ(node::kVersion, "version");
  EXPECT_EQ(node::kBeAlloc, "be-alloc");
  EXPECT_EQ(node::of_connector(3, node::kResolution), "3/resolution");
  EXPECT_EQ(node::of_connector(0, node::kUniqueId), "0/unique-id");
}

struct NumberCase {
  std::string text;
  std::optional<std::uint32_t> value;
  const char* error;  // part of it
};

TEST(ParseUint32, is_strict) {
  const NumberCase table[] = {
      {"0", 0, ""},
      {"1", 1, ""},
      {"4294967295", 4294967295U, ""},
      {"4294967296", {}, "exceeds 32 bits"},
      {"99999999999999999999999999", {}, "exceeds 32 bits"},
      {"", {}, "empty"},
      {" 1", {}, "no decimal"},
      {"1 ", {}, "no decimal"},
      {"1\n", {}, "no decimal"},
      {std::string("1\0", 2), {}, "no decimal"},
      {"+1", {}, "no decimal"},
      {"-1", {}, "no decimal"},
      {"0x10", {}, "no decimal"},
      {"1.0", {}, "no decimal"},
      {"ten", {}, "no decimal"},
      {"01", {}, "leading zero"},
      {"00", {}, "leading zero"},
  };
  for (const NumberCase& entry : table) {
    const auto parsed = parse_uint32(entry.text);
    ASSERT_EQ(parsed.ok(), entry.value.has_value()) << entry.text;
    if (parsed.ok()) {
      EXPECT_EQ(*parsed, *entry.value);
    } else {
      EXPECT_THAT(parsed.error(), testing::HasSubstr(entry.error));
      EXPECT_THROW(parsed.value(), std::runtime_error);
    }
  }
}

TEST(ParseResolution, is_strict) {
  EXPECT_EQ(*parse_resolution("1920x1080"), (Resolution{1920, 1080}));
  EXPECT_EQ(*parse_resolution("1x4294967295"), (Resolution{1, 4294967295U}));
  for (const char* text : {"", "x", "1920", "1920x", "x1080", "1920X1080", "1920 x 1080",
                           "1920x1080x1", "-1x1", "0x1080", "1920x0", "1920x1080 ", "01920x1080",
                           "4294967296x1", "1920,1080", "1920x1080\n"}) {
    EXPECT_FALSE(parse_resolution(text).ok()) << text;
  }
  EXPECT_EQ(parse_resolution("1920x0").error(), "height: 0 is no valid height");
  EXPECT_EQ(print(Resolution{1920, 1080}), "1920x1080");
}

TEST(ParseVersions, takes_a_list) {
  using List = std::vector<unsigned>;
  EXPECT_EQ(*parse_versions("1"), List({1}));
  EXPECT_EQ(*parse_versions("1,2,3"), List({1, 2, 3}));
  EXPECT_EQ(*parse_versions("10,2"), List({10, 2}));
  for (const char* text : {"", ",", "1,", ",1", "1,,2", "1;2", "1, 2", "0", "1,two", "01", "1.0"}) {
    EXPECT_FALSE(parse_versions(text).ok()) << text;
  }
  EXPECT_EQ(parse_versions("1,x").error(), "version 2 of the list: \"x\" is no decimal number");
  EXPECT_EQ(print_versions({1, 2}), "1,2");
  EXPECT_EQ(*parse_version("2"), 2U);
  EXPECT_FALSE(parse_version("1,2").ok());
}

TEST(ParseBeAlloc, knows_zero_and_one) {
  EXPECT_TRUE(*parse_be_alloc("1"));
  EXPECT_FALSE(*parse_be_alloc("0"));
  for (const char* text : {"", "2", "01", "true", "1 "})
    EXPECT_FALSE(parse_be_alloc(text).ok()) << text;
  EXPECT_EQ(print_be_alloc(true), "1");
  EXPECT_EQ(print_be_alloc(false), "0");
}

TEST(ParseOthers, refuse_what_cannot_be_meant) {
  EXPECT_EQ(*parse_ring_ref("2832"), GrantRef{2832});
  EXPECT_EQ(parse_ring_ref("0").error(), "0 is no valid grant reference");
  EXPECT_EQ(*parse_event_channel("15"), Port{15});
  EXPECT_FALSE(parse_event_channel("0").ok());
  EXPECT_EQ(*parse_unique_id("a b"), "a b");
  EXPECT_FALSE(parse_unique_id("").ok());
  EXPECT_EQ(*parse_connector_index("255"), 255U);
  EXPECT_FALSE(parse_connector_index("256").ok());
  EXPECT_EQ(print(GrantRef{2832}), "2832");
  EXPECT_EQ(print(Port{15}), "15");
}

class Transport : public testing::Test {
 protected:
  std::map<std::string, std::string> nodes_{{"req-ring-ref", "2832"},
                                            {"req-event-channel", "15"},
                                            {"evt-ring-ref", "387"},
                                            {"evt-event-channel", "16"}};

  Parsed<ConnectorTransport> read() {
    return read_transport([&](const std::string& name) -> std::optional<std::string> {
      const auto found = nodes_.find(name);
      return found == nodes_.end() ? std::nullopt : std::optional(found->second);
    });
  }
};

TEST_F(Transport, is_four_nodes) {
  EXPECT_EQ(*read(), (ConnectorTransport{GrantRef{2832}, Port{15}, GrantRef{387}, Port{16}}));
}

TEST_F(Transport, names_the_node_that_is_wrong) {
  const auto sound = nodes_;
  for (const auto& [name, value] : sound) {
    nodes_ = sound;
    nodes_.erase(name);
    EXPECT_EQ(read().error(), name + ": missing");
    nodes_[name] = "x";
    EXPECT_EQ(read().error(), name + ": \"x\" is no decimal number");
  }
}

TEST(CountConnectors, wants_them_contiguous_from_zero) {
  EXPECT_EQ(*count_connectors({}), 0U);
  EXPECT_EQ(*count_connectors({"state", "be-alloc"}), 0U);
  EXPECT_EQ(*count_connectors({"state", "0"}), 1U);
  EXPECT_EQ(*count_connectors({"10", "0", "1", "2", "9", "8", "7", "6", "5", "4", "3"}), 11U);
  EXPECT_EQ(count_connectors({"0", "2"}).error(), "connector 1 is missing, there is 2");
  EXPECT_FALSE(count_connectors({"1"}).ok());
  EXPECT_FALSE(count_connectors({"0", "01"}).ok());
  EXPECT_FALSE(count_connectors({"256"}).ok());
}

}  // namespace
}  // namespace displif_cts::displif
