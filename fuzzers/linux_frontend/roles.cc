#include "fuzzers/input/action.h"
#include "fuzzers/input/engine.h"

namespace displif_cts::fuzz {

unsigned target_roles() { return kBackendAttacks | kGuestPrograms | kWorld; }

}  // namespace displif_cts::fuzz
