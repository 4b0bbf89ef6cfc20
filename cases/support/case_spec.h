// What a case says about itself, and how it gets into the registry: common to both roles.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <exception>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "harness/runner/registry.h"
#include "harness/trace/requirement.h"

namespace displif_cts::cases {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct CaseSpec {
  std::string id;
  std::string title;  // one sentence: what must hold
  std::vector<const Requirement*> requirements;
  std::vector<runner::Capability> needs{};
  milliseconds timeout{20'000};
};

// The requirements that a case judges; at least one.
template <class... R>
std::vector<const Requirement*> of(const R&... requirements) {
  static_assert(sizeof...(R) > 0, "a case names the requirements that it judges");
  return {&requirements...};
}

// Ends a case whose peer has failed a check without which the rest makes no sense.
struct PeerFailed : std::exception {
  const char* what() const noexcept override { return "the peer failed; see the checks"; }
};

// Registration. Use the macros.
bool register_case(CaseSpec spec, std::function<testing::Test*()> make);

template <class Case, class Param>
bool register_each(std::vector<std::pair<CaseSpec, Param>> list) {
  for (auto& [spec, param] : list)
    register_case(std::move(spec), [param = param]() -> testing::Test* { return new Case(param); });
  return true;
}

}  // namespace displif_cts::cases
