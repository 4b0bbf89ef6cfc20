#include "harness/runner/registry.h"

#include <gtest/gtest.h>

namespace displif_cts::runner {
namespace {

constexpr Requirement kRequirement{"a.b", Role::frontend, Level::must, "", "", "", ""};

CaseInfo make_case(std::string id, Role role = Role::frontend) {
  CaseInfo info;
  info.id = std::move(id);
  info.role = role;
  info.requirements = {&kRequirement};
  return info;
}

TEST(Registry, lists_by_id_and_selects_by_role_and_glob) {
  Registry registry;
  registry.add(make_case("frontend.ring.wrap"));
  registry.add(make_case("frontend.bus.connect"));
  registry.add(make_case("backend.bus.connect", Role::backend));
  EXPECT_EQ(registry.all().size(), 3U);
  const auto selected = registry.select(Role::frontend, {"*bus*", "*.wrap"}, {});
  ASSERT_EQ(selected.size(), 2U);
  EXPECT_EQ(selected[0]->id, "frontend.bus.connect");
  EXPECT_EQ(registry.select(Role::frontend, {"*.wrap", "*"}, {})[0]->id, "frontend.ring.wrap");
  EXPECT_EQ(registry.select(Role::frontend, {}, {"*.wrap"}).size(), 1U);
  EXPECT_TRUE(registry.select(Role::frontend, {"nothing"}, {}).empty());
}

TEST(Registry, group_is_the_ids_second_part) {
  EXPECT_EQ(make_case("frontend.pg-flip.event.late").group(), "pg-flip");
}

TEST(RegistryDeathTest, refuses_a_case_without_requirement) {
  Registry registry;
  CaseInfo info = make_case("frontend.a.b");
  info.requirements.clear();
  EXPECT_EXIT(registry.add(info), testing::ExitedWithCode(2), "names no requirement");
}

TEST(RegistryDeathTest, refuses_a_second_case_of_the_same_id) {
  Registry registry;
  registry.add(make_case("frontend.a.b"));
  EXPECT_EXIT(registry.add(make_case("frontend.a.b")), testing::ExitedWithCode(2), "twice");
}

TEST(CaseId, accepts_only_safe_words) {
  EXPECT_EQ(id_trouble("frontend.dbuf-create.size.1023"), "");
  for (const char* id :
       {"", "frontend", "frontend.x", "frontend.A.b", "other.a.b", "frontend.a.b_c"})
    EXPECT_NE(id_trouble(id), "") << id;
  EXPECT_NE(id_trouble("frontend.a." + std::string(100, 'b')), "");
}

}  // namespace
}  // namespace displif_cts::runner
