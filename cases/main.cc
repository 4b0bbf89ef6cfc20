// displif-cts-runner: every case of the suite and all that it takes to run them on a board.
#include "cases/monitor/frontend_monitors.h"
#include "cases/requirements.gen.h"
#include "cases/support/health.h"
#include "harness/agent/steady_heap.h"
#include "harness/runner/program.h"

int main(int argc, char** argv) {
  using namespace displif_cts;
  agent::keep_heap();
  runner::Hooks hooks;
  // A backend's health is looked at by its cases (cases/support/backend_case.h) and by the bed,
  // which has the peer's process.
  hooks.make_health = [](const runner::RunContext& run) {
    return run.role == Role::frontend ? cases::make_health(run) : nullptr;
  };
  hooks.attach_monitors = [](trace::Recorder& recorder) {
    return runner::current().run.role == Role::frontend ? cases::attach_frontend_monitors(recorder)
                                                        : nullptr;
  };
  return runner::program(argc, argv, {req::all.begin(), req::all.end()}, hooks,
                         cases::attach_frontend_monitors);
}
