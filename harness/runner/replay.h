// The monitors once more, over the messages of a recorded stream.
#pragma once

#include <cstdio>
#include <functional>
#include <istream>
#include <memory>

#include "harness/runner/context.h"

namespace displif_cts::runner {

using AttachMonitors = std::function<std::unique_ptr<Monitors>(trace::Recorder& recorder)>;

// Reads the stream's records (docs/stream.md) and prints a `check` record for each thing that the
// monitors judge now; whoever recorded the stream should have had the same. Cases may interleave.
// Throws std::runtime_error for a message that no recorder wrote.
void replay(std::istream& stream, const AttachMonitors& attach, std::FILE* out);

}  // namespace displif_cts::runner
