// displif-cts-runner: every case of the suite and all that it takes to run them on a board.
#include <cstdio>
#include <cstdlib>
#include <stdexcept>

#include "cases/monitor/frontend_monitors.h"
#include "cases/requirements.gen.h"
#include "cases/support/health.h"
#include "cases/support/input_case.h"
#include "harness/agent/steady_heap.h"
#include "harness/runner/program.h"

namespace {

// Inputs of a fuzzing session, as cases. False: one is none.
bool register_session() {
  const char* folder = std::getenv("DISPLIF_FUZZ_INPUTS");
  if (folder == nullptr) return true;
  try {
    displif_cts::cases::register_inputs(folder);
    return true;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "displif-cts-runner: %s\n", error.what());
    return false;
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace displif_cts;
  agent::keep_heap();
  if (!register_session()) return 2;
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
