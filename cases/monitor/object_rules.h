// Rules about the life of display buffers, framebuffers and configurations: what a request names
// must exist, and cookies must be free when they are given out.
#pragma once

#include <memory>
#include <vector>

#include "cases/monitor/rule.h"

namespace displif_cts::cases::monitor {

std::vector<std::unique_ptr<Rule>> object_rules();

}  // namespace displif_cts::cases::monitor
