// displif-cts-runner: every case of the suite and all that it takes to run them on a board.
#include "cases/monitor/frontend_monitors.h"
#include "cases/requirements.gen.h"
#include "cases/support/health.h"
#include "harness/runner/program.h"

int main(int argc, char** argv) {
  using namespace displif_cts;
  runner::Hooks hooks;
  hooks.make_health = cases::make_health;
  hooks.attach_monitors = cases::attach_frontend_monitors;
  return runner::program(argc, argv, {req::all.begin(), req::all.end()}, hooks);
}
