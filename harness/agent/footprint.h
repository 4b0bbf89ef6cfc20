// What a process has of its own: the leak that neither grants nor event channels show.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <span>
#include <vector>

#include "harness/trace/json.h"

namespace displif_cts::agent {

struct Footprint {
  std::uint64_t descriptors = 0;  // open ones
  std::uint64_t memory_kib = 0;   // private pages that are resident (proc(5), RssAnon)
  // Its address space is a sanitizer's, whose allocator keeps what is freed.
  bool sanitized = false;
};

// Of these processes together, from /proc or what a test has instead. One that has ended counts
// nothing. Throws std::system_error when none can be looked at.
Footprint footprint_of(std::span<const pid_t> processes,
                       const std::filesystem::path& proc = "/proc");
// The processes of a group, of those in /proc now.
std::vector<pid_t> processes_of_group(pid_t group);
Json to_json(const Footprint& footprint);  // the answer to the verb `process`

}  // namespace displif_cts::agent
