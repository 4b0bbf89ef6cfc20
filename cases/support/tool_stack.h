// The tool stack's connection to XenStore, for cases whose process sits in the frontend's domain
// and may not make or remove devices itself (harness/bus/device.h has the steps).
#pragma once

#include "harness/xen/store.h"

namespace displif_cts::cases {

// Domain 0's, by the socket that the bed names in DISPLIF_CTS_CONTROL_STORE; without that our own
// domain's. Throws xen::Error.
xen::Store open_tool_stack_store();

}  // namespace displif_cts::cases
