#include "fuzzers/input/action.h"
#include "fuzzers/input/engine.h"

namespace displif_cts::fuzz {

unsigned target_roles() {
  return kFrontendAttacks | kWorld |
         (DISPLIF_FUZZ_WHOLE_CONNECTIONS != 0 ? unsigned{kFrontendBus} : 0U);
}

}  // namespace displif_cts::fuzz
