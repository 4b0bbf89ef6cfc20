// The guest's programs: what they call, each on a task of its own.
#pragma once

#include "fuzzers/input/action.h"

namespace displif_cts::linux_frontend {

void programs_begin();
// The program makes the call when tasks run. Passed over while it is still in another.
// The action stays until the call is over.
void call(const fuzz::Action& action);
// Every program that is not in a call closes its file.
void close_files();
// One of them lets go of all exported buffers.
void drop_exported();
// Does a program hold a file, or a buffer that was exported?
bool anything_held();

}  // namespace displif_cts::linux_frontend
