#include "harness/loopback/client/absent.h"

#include <cerrno>
#include <cstdio>

namespace displif_cts::loopback::client {

void absent(const char* library, const char* function) {
  std::fprintf(stderr, "displif-loopback: %s: %s() is not there without a hypervisor (ENOSYS)\n",
               library, function);
  errno = ENOSYS;
}

}  // namespace displif_cts::loopback::client
