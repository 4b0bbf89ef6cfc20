#include "harness/xen/poll.h"

#include <poll.h>

#include <algorithm>
#include <cerrno>

#include "harness/xen/error.h"

namespace displif_cts::xen {

int poll_timeout(Deadline deadline, Clock::time_point now) {
  if (deadline <= now) return 0;
  constexpr std::chrono::milliseconds longest = std::chrono::minutes(1);
  if (deadline - now >= longest) return static_cast<int>(longest.count());
  return static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(deadline - now).count());
}

bool wait_readable(int fd, Deadline deadline) {
  for (;;) {
    pollfd entry{fd, POLLIN, 0};
    const int ready = ::poll(&entry, 1, poll_timeout(deadline));
    if (ready > 0) {
      if ((entry.revents & POLLNVAL) != 0) throw Error("poll", "fd " + std::to_string(fd), EBADF);
      return true;
    }
    if (ready < 0 && errno != EINTR) {
      const int number = errno;
      throw Error("poll", "fd " + std::to_string(fd), number);
    }
    if (Clock::now() >= deadline) return false;
  }
}

}  // namespace displif_cts::xen
