#include "harness/runner/printers.h"

#include <fmt/format.h>

#include <map>
#include <stdexcept>
#include <string>
#include <utility>

namespace displif_cts::runner {
namespace {

class NullPrinter : public Printer {
 public:
  using Printer::Printer;

  void take(const Json&) override {}
};

// A line per case, and for each failed check what was expected and seen.
class HumanPrinter : public Printer {
 public:
  using Printer::Printer;

  void take(const Json& record) override {
    const std::string type = record.value("t", "");
    if (type == "plan") fmt::print(out_, "{} cases\n", record.value("count", 0));
    if (type == "check" && !record.value("ok", false)) print_failed(record);
    if (type == "verdict") print_verdict(record);
    if (type == "end") fmt::print(out_, "{}\n", record.value("counts", Json::object()).dump());
    std::fflush(out_);
  }

 private:
  void print_failed(const Json& record) {
    fmt::print(out_, "  {} [{}] of {}\n", record.value("requirement", ""),
               record.value("level", ""), record.value("case", ""));
    for (const auto& outcome : record.value("expected", Json::array()))
      fmt::print(out_, "    expected {}\n", outcome.get<std::string>());
    fmt::print(out_, "    saw      {}\n", record.value("seen", ""));
  }

  void print_verdict(const Json& record) {
    fmt::print(out_, "{:<11} {}", record.value("verdict", ""), record.value("case", ""));
    if (const std::string reason = record.value("reason", ""); !reason.empty())
      fmt::print(out_, "  ({})", reason);
    fmt::print(out_, "\n");
  }
};

// The kernel's KTAP version 1 (Documentation/dev-tools/ktap.rst): plan, one line per test, the
// reason as a diagnostic line before it. An infra-error is `not ok` too: nothing was proven.
class KtapPrinter : public Printer {
 public:
  using Printer::Printer;

  void take(const Json& record) override {
    const std::string type = record.value("t", "");
    if (type == "plan") fmt::print(out_, "KTAP version 1\n1..{}\n", record.value("count", 0));
    if (type == "verdict") print_verdict(record);
    std::fflush(out_);
  }

 private:
  void print_verdict(const Json& record) {
    const std::string verdict = record.value("verdict", "");
    const std::string reason = record.value("reason", "");
    if (!reason.empty()) fmt::print(out_, "# {}: {}\n", verdict, reason);
    const bool ok = verdict == "pass" || verdict == "warn" || verdict == "skip";
    fmt::print(out_, "{} {} {}{}\n", ok ? "ok" : "not ok", ++number_, record.value("case", ""),
               verdict == "skip" ? fmt::format(" # SKIP {}", reason) : std::string{});
  }

  unsigned number_ = 0;
};

// LAVA's signals, each on a line of its own (lava-test-case and lava-test-set print the same), for
// a job whose only way out of the board is its console. What was planned and what was said stand
// in the first and the last line, so that a lost line is noticed. Words: reports/statuses.yaml.
class LavaPrinter : public Printer {
 public:
  using Printer::Printer;

  void take(const Json& record) override {
    const std::string type = record.value("t", "");
    if (type == "plan")
      fmt::print(out_, "\n<LAVA_SIGNAL_TESTSET START displif-cts>\ndisplif-cts: {} planned\n",
                 record.value("count", 0));
    if (type == "verdict") print_verdict(record);
    if (type == "end")
      fmt::print(out_, "displif-cts: {} told\n<LAVA_SIGNAL_TESTSET STOP>\n", told_);
    std::fflush(out_);
  }

 private:
  void print_verdict(const Json& record) {
    const std::string verdict = record.value("verdict", "");
    const char* result = verdict == "pass" || verdict == "warn" ? "pass"
                         : verdict == "skip"                    ? "skip"
                         : verdict == "infra-error"             ? "unknown"
                                                                : "fail";
    fmt::print(
        out_, "<LAVA_SIGNAL_TESTCASE TEST_CASE_ID={} RESULT={} MEASUREMENT={:.3f} UNITS=seconds>\n",
        record.value("case", ""), result, 1e-9 * record.value("ns_spent", 0.0));
    ++told_;
  }

  unsigned told_ = 0;
};

}  // namespace

void Printer::went_before(const Json& record) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> nowhere(std::fopen("/dev/null", "we"),
                                                                &std::fclose);
  if (!nowhere) throw std::runtime_error("/dev/null does not open");
  std::FILE* const out = std::exchange(out_, nowhere.get());
  take(record);
  out_ = out;
}

std::unique_ptr<Printer> make_printer(std::string_view format, std::FILE* out) {
  if (format == "human") return std::make_unique<HumanPrinter>(out);
  if (format == "ktap") return std::make_unique<KtapPrinter>(out);
  if (format == "lava") return std::make_unique<LavaPrinter>(out);
  if (format == "none") return std::make_unique<NullPrinter>(out);
  return nullptr;
}

}  // namespace displif_cts::runner
