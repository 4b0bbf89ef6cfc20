#include "harness/runner/registry.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace displif_cts::runner {
namespace {

using Globs = std::vector<std::string>;

// The first of `globs` that matches.
Globs::const_iterator match_of(const std::string& id, const Globs& globs) {
  return std::find_if(globs.begin(), globs.end(), [&](const std::string& glob) {
    return fnmatch(glob.c_str(), id.c_str(), 0) == 0;
  });
}

[[noreturn]] void reject(const std::string& text) {
  fmt::print(stderr, "displif-cts: {}\n", text);
  std::exit(2);
}

}  // namespace

std::string id_trouble(std::string_view id) {
  if (id.empty() || id.size() > 100) return "an id has 1 to 100 characters";
  if (id.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-") != std::string_view::npos)
    return "an id is made of [a-z0-9.-]";
  if (std::count(id.begin(), id.end(), '.') < 2) return "an id is role.group.situation";
  if (!id.starts_with("frontend.") && !id.starts_with("backend.") && !id.starts_with("meta."))
    return "an id begins with the peer's role";
  return {};
}

std::string_view CaseInfo::group() const {
  const auto first = id.find('.');
  const auto second = id.find('.', first + 1);
  return std::string_view(id).substr(first + 1, second - first - 1);
}

Registry& Registry::instance() {
  static Registry registry;
  return registry;
}

bool Registry::add(CaseInfo info) {
  if (const std::string trouble = id_trouble(info.id); !trouble.empty())
    reject(fmt::format("case {}: {}", info.id, trouble));
  if (info.requirements.empty()) reject(fmt::format("case {} names no requirement", info.id));
  if (find(info.id) != nullptr) reject(fmt::format("case {} is registered twice", info.id));
  cases_.push_back(std::move(info));
  return true;
}

std::vector<const CaseInfo*> Registry::all() const {
  std::vector<const CaseInfo*> sorted;
  for (const auto& info : cases_) sorted.push_back(&info);
  std::sort(sorted.begin(), sorted.end(),
            [](const CaseInfo* a, const CaseInfo* b) { return a->id < b->id; });
  return sorted;
}

const CaseInfo* Registry::find(std::string_view id) const {
  const auto it = std::find_if(cases_.begin(), cases_.end(),
                               [&](const CaseInfo& info) { return info.id == id; });
  return it == cases_.end() ? nullptr : &*it;
}

std::vector<const CaseInfo*> Registry::select(Role role, const std::vector<std::string>& globs,
                                              const std::vector<std::string>& excludes) const {
  std::vector<const CaseInfo*> selected;
  for (const CaseInfo* info : all()) {
    if (info->role != role) continue;
    if (!globs.empty() && match_of(info->id, globs) == globs.end()) continue;
    if (match_of(info->id, excludes) != excludes.end()) continue;
    selected.push_back(info);
  }
  std::stable_sort(selected.begin(), selected.end(), [&](const CaseInfo* a, const CaseInfo* b) {
    return match_of(a->id, globs) < match_of(b->id, globs);
  });
  return selected;
}

}  // namespace displif_cts::runner
