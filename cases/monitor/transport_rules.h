// Rules about the connection itself: indexes of ring and event page, and the bus.
#pragma once

#include <memory>
#include <vector>

#include "cases/monitor/rule.h"

namespace displif_cts::cases::monitor {

std::vector<std::unique_ptr<Rule>> transport_rules();

}  // namespace displif_cts::cases::monitor
