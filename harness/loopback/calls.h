// Carries out what a process asks (message.h) on the machine.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "harness/loopback/machine.h"
#include "harness/loopback/message.h"

namespace displif_cts::loopback {

// One open device file of a process, as the machine knows it.
struct Caller {
  pid_t process = 0;
  HandleId handle = 0;  // 0: not opened yet, or closed
};

// Answers with code 0, or an errno. `machine_number` tells machines apart for those that open.
Message carry_out(Machine& machine, std::uint64_t machine_number, Caller& caller, Message request);

}  // namespace displif_cts::loopback
