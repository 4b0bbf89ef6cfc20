// What a frontend does when its kernel has no memory for it, one allocation after the other: the
// first that a guest's call causes fails, then the second, ... until the call needs no more of
// them. The kernel under the frontend must have fault injection (./displif-cts kernel debug-guest).
#include <fmt/format.h>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"

namespace displif_cts::cases::frontend_memory_shortage {
namespace {

using displif::Operation;

// More allocations than any of the calls makes.
constexpr unsigned kMost = 400;

std::vector<std::pair<CaseSpec, Cause>> specs() {
  std::vector<std::pair<CaseSpec, Cause>> list;
  for (const Cause& cause : all_causes()) {
    CaseSpec spec;
    spec.id = "frontend.memory-shortage." + cause.name;
    spec.title = "The guest's kernel has no memory for the call that causes " +
                 name_of(cause.operation) + (cause.switches_off ? " (reset)" : "") +
                 ", at each place where it asks for some: the guest goes on, nothing stays "
                 "granted, and afterwards everything works.";
    spec.requirements =
        of(req::health_peer_alive, req::health_grants_released, req::health_clients_served);
    spec.timeout = seconds(240);
    list.emplace_back(std::move(spec), cause);
  }
  return list;
}

// A step's outcome.
struct Shortage {
  bool injected;  // an allocation failed
  Result call;
};

// Everything anew, so that a call which succeeds in spite of a failure leaves nothing to the next.
Shortage fail_nth(Guest& guest, const Cause& cause, unsigned nth) {
  guest.open();
  const GuestConnector connector = guest.connector();
  arrange(guest, cause, connector);
  GuestCall wanted = call_of(cause, connector);
  wanted.args.emplace_back("fail-nth", std::to_string(nth));
  const Result result = guest.call(wanted.verb, wanted.args);
  if (result.ok && cause.operation == Operation::pg_flip) guest.wait_event(seconds(5));
  guest.close();
  return {result.answer.value("injected", false), result};
}

FRONTEND_CASES(MemoryShortage, Cause, specs()) {
  if (const std::string lacking = lacks_verb("objects"); !lacking.empty()) GTEST_SKIP() << lacking;
  const Result able = guest.call("objects", {{"fail-nth", "1"}});
  if (!able.ok)
    GTEST_SKIP() << "the guest's kernel cannot let an allocation fail (" << able.error
                 << "): ./displif-cts kernel debug-guest";
  FakeBackend& backend = connect();
  guest.open();
  guest.close();
  const std::uint64_t grants_before = guest_grants();
  unsigned nth = 1;
  unsigned refused = 0;
  for (; nth < kMost; ++nth) {
    const Shortage step = fail_nth(guest, param, nth);
    if (!step.injected) {
      check(req::health_clients_served, step.call.ok, {"without a failure the call succeeds"},
            step.call.text());
      break;
    }
    refused += step.call.ok ? 0 : 1;
    require(check_timed(req::health_peer_alive, guest_answers(), {"the guest answers"},
                        fmt::format("the guest is silent after allocation {} failed", nth)));
  }
  recorder().log(fmt::format("{} allocations failed, one at a time; the call failed {} times",
                             nth - 1, refused));
  ASSERT_LT(nth, kMost) << "the call causes more allocations than the case tries";
  const std::uint64_t grants =
      settle([this] { return guest_grants(); }, grants_before, after_removal_limit());
  check_timed(req::health_grants_released, grants <= grants_before,
              {fmt::format("at most {} grants in use", grants_before)}, std::to_string(grants));
  check_usable(req::health_clients_served, backend);
  if (nth == 1) GTEST_SKIP() << "the call asks for no memory here: there is nothing to fail";
}

}  // namespace
}  // namespace displif_cts::cases::frontend_memory_shortage
