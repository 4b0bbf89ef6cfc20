// libxenevtchn (xenevtchn.h) on the loopback machine, as Xen's library and Linux's /dev/xen/evtchn
// are together.
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/loopback/client/handle.h"
#include "harness/loopback/client/link.h"

extern "C" {
#include <xenevtchn.h>
}

namespace loopback = displif_cts::loopback;
using loopback::Call;
using loopback::EventMemory;
using loopback::Fd;
using loopback::Message;
using loopback::client::Link;

struct xenevtchn_handle final : loopback::client::Listed {
 public:
  explicit xenevtchn_handle(xentoollog_logger* logger) : log(logger, "xenevtchn") {}

  int restrict_to(std::uint32_t domain) override {
    return link ? result(link->call(Call::restrict, {domain})) : no_device();
  }

  // 0, or -1 with errno set.
  static int result(const Message& answer) { return answer.code == 0 ? 0 : -1; }
  // What an ioctl() says of a descriptor that is no event channel device.
  static int no_device() {
    errno = ENOTTY;
    return -1;
  }

  int bind(Call call, std::array<std::uint32_t, 6> args);
  int unbind(std::uint32_t port);
  int notify(std::uint32_t port);
  int pending();
  int unmask(std::uint32_t port);

  loopback::client::Log log;
  pid_t opener = getpid();
  Fd wake;
  std::unique_ptr<Link> link;  // none: given to xenevtchn_fdopen() and not ours

  std::mutex mutex;  // of what follows
  struct Port {
    loopback::HandleId reader = 0;  // whose eventfd `fd` is
    Fd fd;
  };
  std::map<std::uint32_t, Port> ports;
  // Events that lay unread when their port was unbound: the kernel's queue keeps them, too.
  std::deque<std::uint32_t> stale;

 private:
  loopback::PortWord& word(std::uint32_t port) const {
    return link->events().at(link->slot(), port);
  }
  // The ports with events queued: which one's came first, and whether there are others.
  struct Queued {
    std::optional<std::uint32_t> first;
    bool more = false;
  };
  Queued look() const;
  void drain();
  bool settle();
};

int xenevtchn_handle::bind(Call call, std::array<std::uint32_t, 6> args) {
  if (!link) return no_device();
  const std::lock_guard lock(mutex);
  const Message answer = link->call(call, args);
  if (answer.code != 0) return -1;
  ports.try_emplace(answer.args[0]);
  return static_cast<int>(answer.args[0]);
}

int xenevtchn_handle::unbind(std::uint32_t port) {
  if (!link) return no_device();
  const std::lock_guard lock(mutex);
  const auto found = ports.find(port);
  if (found == ports.end()) {
    // The limit is Xen's for the FIFO ABI (xen/event_channel.h, EVTCHN_FIFO_NR_CHANNELS).
    errno = port >= EVTCHN_FIFO_NR_CHANNELS ? EINVAL : ENOTCONN;
    return -1;
  }
  // Masked first, as unbind_from_irqhandler() does: what came between the last look and the host's
  // unbinding would be forgotten, and its wake-up would not.
  EventMemory::mask(word(port));
  while (EventMemory::take(word(port))) stale.push_back(port);
  ports.erase(found);
  return result(link->call(Call::unbind, {port}));
}

int xenevtchn_handle::notify(std::uint32_t port) {
  if (!link) return no_device();
  const std::lock_guard lock(mutex);
  const auto found = ports.find(port);
  if (found == ports.end()) {
    errno = ENOTCONN;
    return -1;
  }
  const loopback::HandleId reader = link->events().notify(link->slot(), port);
  if (reader == 0) return 0;
  Port& own = found->second;
  if (own.reader != reader) {
    // Once for every peer: from then on no other process is between the two.
    Message answer = link->call(Call::wake_fd, {reader});
    if (answer.code != 0 || answer.fds.empty()) {  // it has just closed
      link->events().woken(link->slot(), port);
      return 0;
    }
    own = {reader, std::move(answer.fds[0])};
  }
  const std::uint64_t one = 1;
  (void)!::write(own.fd.get(), &one, sizeof one);
  link->events().woken(link->slot(), port);
  return 0;
}

xenevtchn_handle::Queued xenevtchn_handle::look() const {
  Queued queued;
  std::uint64_t order = 0;
  for (const auto& [port, own] : ports) {
    if (!EventMemory::queued(word(port))) continue;
    const std::uint64_t its_order = word(port).order.load();
    queued.more = queued.first.has_value();
    if (!queued.first || its_order < order) {
      queued.first = port;
      order = its_order;
    }
  }
  return queued;
}

// Makes the descriptor unreadable; never waits.
void xenevtchn_handle::drain() {
  std::uint64_t count;
  const iovec part{&count, sizeof count};
  if (preadv2(wake.get(), &part, 1, -1, RWF_NOWAIT) >= 0 || errno == EAGAIN) return;
  pollfd item{wake.get(), POLLIN, 0};
  if (poll(&item, 1, 0) == 1) (void)!::read(wake.get(), &count, sizeof count);
}

int xenevtchn_handle::pending() {
  if (!link) return no_device();
  for (;;) {
    {
      const std::lock_guard lock(mutex);
      if (!stale.empty()) {
        const std::uint32_t port = stale.front();
        stale.pop_front();
        if (stale.empty() && !look().first) settle();
        return static_cast<int>(port);
      }
      const Queued queued = look();
      if (queued.first && EventMemory::take(word(*queued.first))) {
        if (!queued.more) settle();
        return static_cast<int>(*queued.first);
      }
      if (settle()) continue;
    }
    if ((fcntl(wake.get(), F_GETFL) & O_NONBLOCK) != 0) {
      errno = EAGAIN;
      return -1;
    }
    pollfd item{wake.get(), POLLIN, 0};
    if (poll(&item, 1, -1) < 0) return -1;
  }
}

// Makes the descriptor unreadable, unless events are queued. Whoever has queued one before the
// draining has had its signal drained. Returns whether there are any.
bool xenevtchn_handle::settle() {
  drain();
  if (!look().first) return false;
  eventfd_write(wake.get(), 1);
  return true;
}

int xenevtchn_handle::unmask(std::uint32_t port) {
  if (!link) return no_device();
  const std::lock_guard lock(mutex);
  // The kernel takes no notice of ports that are not this handle's (evtchn_write()).
  if (ports.contains(port) && link->events().unmask(word(port))) eventfd_write(wake.get(), 1);
  return 0;
}

extern "C" {

xenevtchn_handle* xenevtchn_open(xentoollog_logger* logger, unsigned flags) {
  if ((flags & ~static_cast<unsigned>(XENEVTCHN_NO_CLOEXEC)) != 0) {
    errno = EINVAL;
    return nullptr;
  }
  const bool inherited = (flags & XENEVTCHN_NO_CLOEXEC) != 0;
  auto handle = std::make_unique<xenevtchn_handle>(logger);
  handle->wake.reset(eventfd(0, inherited ? 0 : EFD_CLOEXEC));
  std::string problem = "eventfd";
  if (handle->wake) {
    handle->link =
        Link::open(loopback::HandleKind::event_channels, handle->wake.get(), inherited, problem);
  }
  if (!handle->link) {
    handle->log.error(problem);
    const int number = errno;
    handle.reset();
    errno = number;
    return nullptr;
  }
  return handle.release();
}

xenevtchn_handle* xenevtchn_fdopen(xentoollog_logger* logger, int fd, unsigned flags) {
  if (flags != 0) {
    errno = EINVAL;
    return nullptr;
  }
  auto handle = std::make_unique<xenevtchn_handle>(logger);
  handle->wake.reset(fd);
  std::vector<std::uint32_t> ports;
  std::string problem;
  handle->link = Link::adopt(fd, ports, problem);
  for (const std::uint32_t port : ports) handle->ports.try_emplace(port);
  return handle.release();
}

int xenevtchn_close(xenevtchn_handle* handle) {
  if (handle == nullptr) return 0;
  // A child of fork() lets go of its copy only.
  if (handle->link && handle->opener == getpid()) handle->link->close();
  delete handle;
  return 0;
}

int xenevtchn_fd(xenevtchn_handle* handle) { return handle->wake.get(); }

int xenevtchn_restrict(xenevtchn_handle* handle, domid_t domain) {
  return handle->restrict_to(domain);
}

int xenevtchn_notify(xenevtchn_handle* handle, evtchn_port_t port) { return handle->notify(port); }

xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle* handle,
                                                      std::uint32_t domain) {
  return handle->bind(Call::bind_unbound, {domain});
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle* handle, std::uint32_t domain,
                                                     evtchn_port_t remote_port) {
  return handle->bind(Call::bind_interdomain, {domain, remote_port});
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle* handle, unsigned virq) {
  return handle->bind(Call::bind_virq, {virq});
}

int xenevtchn_unbind(xenevtchn_handle* handle, evtchn_port_t port) { return handle->unbind(port); }

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle* handle) { return handle->pending(); }

int xenevtchn_unmask(xenevtchn_handle* handle, evtchn_port_t port) { return handle->unmask(port); }

}  // extern "C"
