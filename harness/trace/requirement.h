// A requirement as the build generates it from cases/requirements.yaml (docs/requirements.md).
#pragma once

#include <string_view>

namespace displif_cts {

// must, should, may: the specification's own words. robust: not spelled out, but a sane peer owes
// it: survive, stay responsive, leak nothing, reveal nothing.
enum class Level { must, should, may, robust };
enum class Role { frontend, backend, both };

struct Requirement {
  std::string_view id;
  Role role;
  Level level;
  std::string_view text;     // paraphrase
  std::string_view file;     // where it stands: file ...
  std::string_view section;  // ... and section of it
  std::string_view reading;  // how this suite reads an ambiguous statement; empty if it is clear
};

constexpr std::string_view name(Level level) {
  switch (level) {
    case Level::must:
      return "must";
    case Level::should:
      return "should";
    case Level::may:
      return "may";
    case Level::robust:
      return "robust";
  }
  return "?";
}

constexpr std::string_view name(Role role) {
  switch (role) {
    case Role::frontend:
      return "frontend";
    case Role::backend:
      return "backend";
    case Role::both:
      return "both";
  }
  return "?";
}

}  // namespace displif_cts
