// Event channels over libxenevtchn.
//
// One EventChannels is one handle: the ports bound through it, and the queue of those that fired.
// Use its wait() from one thread; BoundPort::notify() may be called from any. Open after fork().
#pragma once

#include <memory>
#include <optional>

#include "harness/xen/error.h"
#include "harness/xen/types.h"

struct xenevtchn_handle;

namespace displif_cts::xen {

// A port of ours. The destructor unbinds it, which closes the channel for the peer, too. Keeps the
// handle open as long as it lives.
class BoundPort {
 public:
  BoundPort(BoundPort&&) noexcept = default;
  BoundPort& operator=(BoundPort&&) noexcept;
  BoundPort(const BoundPort&) = delete;
  BoundPort& operator=(const BoundPort&) = delete;
  ~BoundPort();

  Port port() const { return port_; }
  void notify() const;  // throws Error("xenevtchn_notify", "port N", errno)

 private:
  friend class EventChannels;
  BoundPort(std::shared_ptr<xenevtchn_handle> handle, Port port)
      : handle_(std::move(handle)), port_(port) {}
  void reset() noexcept;

  std::shared_ptr<xenevtchn_handle> handle_;
  Port port_;
};

class EventChannels {
 public:
  static EventChannels open();  // throws Error("xenevtchn_open", ...)

  int fd() const;  // readable when a port has fired. For poll(2) only.

  // Connects to `remote_port`, which `remote` has offered to this domain. Linux marks the new port
  // pending at once: the first wait() may return it though nobody notified.
  [[nodiscard]] BoundPort bind_interdomain(DomId remote, Port remote_port);
  // A new port that only `remote` may connect to.
  [[nodiscard]] BoundPort bind_unbound(DomId remote);

  // The next port that fired; nullopt at the deadline. The port stays masked, so it does not fire
  // again, until unmask(): unmask first, then look at the shared memory.
  std::optional<Port> wait(Deadline deadline);
  // The same at once, for who knows that the descriptor is readable; otherwise it may block.
  std::optional<Port> take();
  void unmask(Port port);
  // For a BoundPort that somebody else owns.
  void notify(Port port);

  xenevtchn_handle* handle() const { return handle_.get(); }

 private:
  explicit EventChannels(std::shared_ptr<xenevtchn_handle> handle) : handle_(std::move(handle)) {}

  std::shared_ptr<xenevtchn_handle> handle_;
};

}  // namespace displif_cts::xen
