// Rules about single packets: reserved octets, operation codes, cookies, ids, the ring they came
// on, and whether they were announced.
#pragma once

#include <memory>
#include <vector>

#include "cases/monitor/rule.h"

namespace displif_cts::cases::monitor {

std::vector<std::unique_ptr<Rule>> packet_rules();

}  // namespace displif_cts::cases::monitor
