// Verdicts and the fold that makes them (docs/stream.md, "Verdict").
#pragma once

#include <string>
#include <string_view>

namespace displif_cts::runner {

// In rising strength, but for skip, which is possible only before the first message.
enum class Verdict { pass, skip, warn, infra_error, fail, hang, crash };

constexpr std::string_view name(Verdict verdict) {
  switch (verdict) {
    case Verdict::pass:
      return "pass";
    case Verdict::skip:
      return "skip";
    case Verdict::warn:
      return "warn";
    case Verdict::infra_error:
      return "infra-error";
    case Verdict::fail:
      return "fail";
    case Verdict::hang:
      return "hang";
    case Verdict::crash:
      return "crash";
  }
  return "?";
}

struct Judgement {
  Verdict verdict;
  std::string reason;  // one line; empty for a pass
};

}  // namespace displif_cts::runner
