// The peer's health after each case, from outside: kernel logs, heartbeat, grants and event
// channels against the baseline taken before the case (requirements health.*).
#pragma once

#include <memory>

#include "harness/runner/context.h"

namespace displif_cts::cases {

std::unique_ptr<runner::HealthProbe> make_health(const runner::RunContext& run);

}  // namespace displif_cts::cases
