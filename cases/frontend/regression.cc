// What fuzzing found on a frontend, minimised and named: each text in regressions/ is a case. A new
// one comes by `./displif-cts fuzz triage INPUT --promote NAME`.
#include "cases/regressions.gen.h"

namespace displif_cts::cases {
namespace {

bool register_regressions() {
  for (const Regression& regression : kRegressions) register_input(regression);
  return true;
}

[[maybe_unused]] const bool regressions_registered = register_regressions();

}  // namespace
}  // namespace displif_cts::cases
