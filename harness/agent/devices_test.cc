#include "harness/agent/devices.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace displif_cts::agent {
namespace {

TEST(DevicesTest, a_creation_is_the_same_on_both_sides_of_the_line) {
  bus::DeviceConfig config;
  config.frontend = xen::DomId{7};
  config.dev_id = 300;
  config.overrides[{bus::Side::frontend, "0/resolution"}] = std::string("\xff\0x=,%", 6);
  const bus::Creation creation = bus::compose_creation(config);
  const bus::Creation parsed = parse_creation(format_creation(creation));
  EXPECT_EQ(parsed.absent, creation.absent);
  EXPECT_EQ(parsed.nodes, creation.nodes);
}

TEST(DevicesTest, what_is_no_creation_is_an_error) {
  for (const char* text : {"", "{}", "[]", R"({"absent":[],"nodes":[{"path":"/a"}]})",
                           R"({"absent":[],"nodes":[{"path":1,"value":null,"permissions":[]}]})"}) {
    try {
      parse_creation(text);
      FAIL() << text;
    } catch (const VerbError& error) {
      EXPECT_EQ(error.number(), EINVAL) << text;
    }
  }
}

}  // namespace
}  // namespace displif_cts::agent
