// The one owner of a file descriptor.
#pragma once

#include "harness/agent/unique_fd.h"

namespace displif_cts::loopback {

using Fd = agent::UniqueFd;

}  // namespace displif_cts::loopback
