// What the guest's kernel has allocated and nothing points to any more, as kmemleak sees it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "harness/agent/line_protocol.h"

namespace displif_cts::exerciser {

// The records of /sys/kernel/debug/kmemleak, each as it is written there.
std::vector<std::string> leak_records(std::string_view text);

// The verb. ENOENT where the kernel has no kmemleak.
Json find_leaks(const agent::Arguments& args);

}  // namespace displif_cts::exerciser
