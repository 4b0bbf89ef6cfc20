// The display devices of this domain.
#pragma once

#include <string>

namespace displif_cts::linux_guest {

// On the kernel's thread: does the bus know a device of this name, e.g. "device/vdispl/0"?
bool has_device(const std::string& nodename);

}  // namespace displif_cts::linux_guest
