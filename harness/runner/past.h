// What an earlier runner left of a run: `run --resume` goes on behind it.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "harness/runner/fold.h"
#include "harness/trace/json.h"

namespace displif_cts::runner {

struct Past {
  std::string plan;              // the hash of its list of cases; empty if it came to none
  std::string boot;              // the kernel's boot that it ended in
  std::set<std::string> judged;  // cases that have a verdict
  std::optional<std::string> interrupted;  // the case that was running
  Fold seen_of_it;                         // and what it had shown by then
  bool sealed = false;                     // the run is whole
};

// Takes each whole line of the stream with its newline, and the record in it unless no verdict
// depends on it.
using TakeLine = std::function<void(std::string_view line, const Json* record)>;

// Reads the stream, and takes the line off its end that was being written. Throws
// std::runtime_error for a file that is no stream.
Past read_past(const std::filesystem::path& stream, const TakeLine& take);

// Differs after a reboot; empty where the kernel does not say.
std::string boot_id();

}  // namespace displif_cts::runner
