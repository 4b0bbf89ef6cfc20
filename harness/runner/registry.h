// The case registry. A case is a GoogleTest test that registers itself here with its requirements;
// it is handed to GoogleTest (testing::RegisterTest) only in the process that runs it.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/trace/requirement.h"

namespace displif_cts::runner {

// What a peer must be able to do for a case to make sense; the descriptor's `capabilities` lists
// what it can. A case whose need is missing is skipped with that reason.
using Capability = std::string;

struct CaseInfo {
  std::string id;     // role.group.situation[.parameter], [a-z0-9.-], at most 100 characters
  std::string title;  // one sentence: what must hold
  Role role;
  std::vector<const Requirement*> requirements;  // never empty but for monitors' plan entries
  std::vector<Capability> needs;
  std::chrono::milliseconds timeout{20'000};  // wall clock
  bool monitor = false;                       // judged by a passive monitor during other cases
  std::function<testing::Test*()> make;       // empty for a monitor

  std::string_view group() const;  // second part of the id
};

class Registry {
 public:
  static Registry& instance();

  // Ends the program with a message when the id is malformed or taken, or no requirement is named:
  // a suite with a broken case must not run. Returns true, so that a static can be initialised.
  bool add(CaseInfo info);

  // All cases, ordered by id.
  std::vector<const CaseInfo*> all() const;
  const CaseInfo* find(std::string_view id) const;

  // Cases of `role` that match one of `globs` (all if empty) and none of `excludes`. Monitors that
  // match are part of it. In the order of the globs, and by id. Globs are fnmatch(3)'s.
  std::vector<const CaseInfo*> select(Role role, const std::vector<std::string>& globs,
                                      const std::vector<std::string>& excludes) const;

 private:
  std::vector<CaseInfo> cases_;
};

// Why `id` is no case id; empty if it is one.
std::string id_trouble(std::string_view id);

}  // namespace displif_cts::runner
