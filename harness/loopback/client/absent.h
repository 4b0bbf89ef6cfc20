// What the generated functions do, which the loopback machine does not have.
#pragma once

namespace displif_cts::loopback::client {

// Says on stderr which function of which library was called in vain; sets errno to ENOSYS.
void absent(const char* library, const char* function);

}  // namespace displif_cts::loopback::client
