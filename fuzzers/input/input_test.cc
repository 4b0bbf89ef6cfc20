#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "fake_backend/faults.h"
#include "fuzzers/input/codec.h"
#include "fuzzers/input/engine.h"
#include "fuzzers/input/mutator.h"

namespace displif_cts::fuzz {

namespace {

constexpr unsigned kRoles = kBackendAttacks | kGuestPrograms | kWorld;

constexpr std::string_view kHead = "displif-cts fuzz input 1\n";

std::string message_of(std::string_view text) {
  try {
    parse(text);
  } catch (const InputError& error) {
    return error.what();
  }
  return "";
}

TEST(Text, says_only_what_is_not_polite) {
  Action action = make(Kind::response);
  EXPECT_EQ(print({action}), std::string(kHead) + "response\n");
  action.values[Respond::status] = static_cast<std::uint64_t>(std::int64_t{-22});
  action.values[Respond::fill] = 2;
  EXPECT_EQ(print({action}), std::string(kHead) + "response status=-22 fill=ones\n");
}

TEST(Text, escapes_what_a_node_holds) {
  Action action = make(Kind::store);
  action.text = std::string("a\"\\\n\0z", 6);
  EXPECT_EQ(print({action}), std::string(kHead) + "store value=\"a\\x22\\x5c\\x0a\\x00z\"\n");
  EXPECT_EQ(parse(print({action})), Input{action});
}

TEST(Text, allows_comments_and_empty_lines) {
  EXPECT_EQ(parse(std::string(kHead) + "# begin\n\n  bus state=connected  # on\n").size(), 1U);
}

TEST(Text, names_the_line_that_is_wrong) {
  EXPECT_EQ(message_of(std::string(kHead) + "bus\nreply\n"), "line 3: there is no action 'reply'");
  EXPECT_EQ(message_of(std::string(kHead) + "response stauts=1\n"),
            "line 2: response has no field 'stauts'");
  EXPECT_EQ(message_of(std::string(kHead) + "response id=70000\n"),
            "line 2: id=70000 does not fit");
  EXPECT_EQ(message_of(std::string(kHead) + "response status=x\n"), "line 2: status=x is no value");
  EXPECT_EQ(message_of(std::string(kHead) + "store value=\"ab\n"), "line 2: the text has no end");
  EXPECT_EQ(message_of("displif-cts fuzz input 9\nbus\n"),
            "a fuzz input of format version 9; this suite reads version 1: print it with the suite "
            "that made it");
  EXPECT_NE(message_of("hello").find("not a readable fuzz input"), std::string::npos);
}

TEST(Binary, refuses_what_it_did_not_write) {
  const std::vector<std::uint8_t> good =
      encode(parse(std::string(kHead) + "response status=-22\nstore value=\"1\"\n"));
  for (std::size_t size = 0; size < good.size(); ++size) {
    Input input;
    const char* wrong = decode_into(std::span(good).first(size), input);
    // Only a cut between two actions leaves an input.
    if (wrong == nullptr) {
      EXPECT_LT(input.size(), 2U) << size;
    }
  }
  std::vector<std::uint8_t> old = good;
  old[3] = 0;
  EXPECT_THROW(
      {
        try {
          decode(old);
        } catch (const InputError& error) {
          EXPECT_NE(std::string(error.what()).find("format version 0"), std::string::npos);
          throw;
        }
      },
      InputError);
  std::vector<std::uint8_t> undefined = good;
  undefined[4] = 0xee;
  EXPECT_THROW(decode(undefined), InputError);
}

TEST(Mutator, what_it_makes_round_trips_in_both_forms) {
  for (const unsigned roles : {kBackendAttacks | kGuestPrograms | kWorld,
                               kFrontendAttacks | kWorld | kEdids | kNamedFaults}) {
    Mutator mutator(roles, 7);
    Input input;
    for (int i = 0; i < 3000; ++i) {
      mutator.mutate(input, 64);
      ASSERT_LE(input.size(), 64U);
      for (const Action& action : input) ASSERT_NE(spec_of(action.kind).roles & roles, 0U);
      ASSERT_EQ(decode(encode(input)), input);
      ASSERT_EQ(parse(print(input)), input);
      if (input.size() == 64) input.resize(8);
    }
  }
}

TEST(Mutator, reaches_every_kind_of_its_roles) {
  const unsigned roles = kBackendAttacks | kGuestPrograms | kWorld;
  Mutator mutator(roles, 1);
  std::vector<bool> seen(kKinds + 1);
  for (int i = 0; i < 2000; ++i) {
    for (const Action& action : mutator.generate())
      seen[static_cast<std::size_t>(action.kind)] = true;
  }
  for (const KindSpec& spec : kinds()) {
    EXPECT_EQ(seen[static_cast<std::size_t>(spec.kind)], (spec.roles & roles) != 0) << spec.name;
  }
}

TEST(Mutator, is_the_seeds_alone) {
  std::uint8_t one[512];
  std::uint8_t other[512];
  const std::size_t size = mutate_octets(kRoles, nullptr, 0, one, sizeof(one), 3);
  ASSERT_EQ(size, mutate_octets(kRoles, nullptr, 0, other, sizeof(other), 3));
  EXPECT_TRUE(std::equal(one, one + size, other));
}

TEST(Mutator, keeps_to_the_room_it_is_given) {
  std::uint8_t out[4096];
  for (std::size_t room = 0; room < 64; ++room) {
    for (std::uint64_t seed = 0; seed < 50; ++seed)
      EXPECT_LE(mutate_octets(kRoles, nullptr, 0, out, room, seed), room);
  }
}

TEST(Idioms, can_be_read_and_name_faults_that_exist) {
  for (const Idiom& idiom : idioms()) {
    EXPECT_FALSE(parse(std::string(kHead) + std::string(idiom.text)).empty()) << idiom.name;
    if (!idiom.name.starts_with("backend.")) continue;
    const auto faults = fake_backend::all_faults();
    EXPECT_TRUE(std::any_of(faults.begin(), faults.end(), [&](const auto& fault) {
      return fault.id == idiom.name;
    })) << idiom.name;
  }
}

}  // namespace
}  // namespace displif_cts::fuzz
