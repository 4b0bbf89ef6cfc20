// What the cases of both roles judge with.
//
// A check judges the peer. A GoogleTest assertion or an exception says that the case could not be
// carried out, which is the suite's own trouble (docs/runner.md).
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cases/support/case_spec.h"
#include "harness/fake/awaited.h"
#include "harness/runner/context.h"
#include "harness/trace/recorder.h"

namespace displif_cts::cases {

using fake::Awaited;
using fake::Cursor;

class JudgingCase : public testing::Test {
 protected:
  JudgingCase() : context_(runner::current()) {}

  // Records one judged statement; returns `ok`. `expected` lists every legal outcome.
  bool check(const Requirement& requirement, bool ok, std::vector<std::string> expected,
             std::string seen);
  // As check(), where a limit in time decided.
  bool check_timed(const Requirement& requirement, bool ok, std::vector<std::string> expected,
                   std::string seen);
  template <class T, class U>
  bool check_equal(const Requirement& requirement, const std::string& what, const T& expected,
                   const U& seen) {
    return check(requirement, expected == seen, {what + " " + text(expected)},
                 what + " " + text(seen));
  }
  // A wait that a limit in time may have ended: the failure says what was seen last.
  template <class T>
  bool check_awaited(const Requirement& requirement, const Awaited<T>& awaited,
                     const std::string& expected) {
    return check_timed(requirement, static_cast<bool>(awaited), {expected},
                       awaited ? expected : awaited.failure());
  }
  // Ends the case, as failed, if `ok` is false.
  void require(bool ok) {
    if (!ok) throw PeerFailed();
  }

  const runner::RunContext& run() const { return context_.run; }
  const runner::Peer& peer() const { return context_.run.peer; }
  trace::Recorder& recorder() { return context_.recorder; }

 private:
  static std::string text(const std::string& value) { return value; }
  static std::string text(const char* value) { return value; }
  template <class T>
  requires std::is_arithmetic_v<T>
  static std::string text(T value) { return std::to_string(value); }

  const runner::CaseContext& context_;
};

std::string hex_text(std::uint64_t value);  // "0x1f"

}  // namespace displif_cts::cases
