#include "harness/xen/event_channels.h"

extern "C" {
#include <xenevtchn.h>
}

#include <cerrno>
#include <string>
#include <utility>

#include "harness/xen/poll.h"

namespace displif_cts::xen {
namespace {

// Take errno before the object's text is built: building it may change errno.
[[noreturn]] void fail(const char* call, Port port) {
  const int number = errno;
  throw Error(call, "port " + std::to_string(raw(port)), number);
}
[[noreturn]] void fail(const char* call, DomId domain) {
  const int number = errno;
  throw Error(call, "domain " + std::to_string(raw(domain)), number);
}
[[noreturn]] void fail(const char* call, DomId domain, Port port) {
  const int number = errno;
  throw Error(call, "domain " + std::to_string(raw(domain)) + " port " + std::to_string(raw(port)),
              number);
}

}  // namespace

BoundPort& BoundPort::operator=(BoundPort&& other) noexcept {
  if (this != &other) {
    reset();
    handle_ = std::move(other.handle_);
    port_ = other.port_;
  }
  return *this;
}

BoundPort::~BoundPort() { reset(); }

void BoundPort::reset() noexcept {
  // Unbinding an own port fails only when it is not bound any more.
  if (handle_) xenevtchn_unbind(handle_.get(), raw(port_));
  handle_.reset();
}

void BoundPort::notify() const {
  if (xenevtchn_notify(handle_.get(), raw(port_)) != 0) fail("xenevtchn_notify", port_);
}

EventChannels EventChannels::open() {
  xenevtchn_handle* handle = xenevtchn_open(nullptr, 0);
  if (handle == nullptr) throw Error("xenevtchn_open", "event channels", errno);
  return EventChannels(
      std::shared_ptr<xenevtchn_handle>(handle, [](xenevtchn_handle* h) { xenevtchn_close(h); }));
}

int EventChannels::fd() const {
  const int descriptor = xenevtchn_fd(handle_.get());
  if (descriptor < 0) throw Error("xenevtchn_fd", "event channels", errno);
  return descriptor;
}

BoundPort EventChannels::bind_interdomain(DomId remote, Port remote_port) {
  const int port = xenevtchn_bind_interdomain(handle_.get(), raw(remote), raw(remote_port));
  if (port < 0) fail("xenevtchn_bind_interdomain", remote, remote_port);
  return BoundPort(handle_, static_cast<Port>(port));
}

BoundPort EventChannels::bind_unbound(DomId remote) {
  const int port = xenevtchn_bind_unbound_port(handle_.get(), raw(remote));
  if (port < 0) fail("xenevtchn_bind_unbound_port", remote);
  return BoundPort(handle_, static_cast<Port>(port));
}

std::optional<Port> EventChannels::wait(Deadline deadline) {
  const int descriptor = fd();
  for (;;) {
    if (!wait_readable(descriptor, deadline)) return std::nullopt;
    if (const auto port = take()) return port;
  }
}

std::optional<Port> EventChannels::take() {
  const int port = xenevtchn_pending(handle_.get());
  if (port >= 0) return static_cast<Port>(port);
  if (errno != EINTR && errno != EAGAIN) throw Error("xenevtchn_pending", "event channels", errno);
  return std::nullopt;
}

void EventChannels::unmask(Port port) {
  if (xenevtchn_unmask(handle_.get(), raw(port)) != 0) fail("xenevtchn_unmask", port);
}

void EventChannels::notify(Port port) {
  if (xenevtchn_notify(handle_.get(), raw(port)) != 0) fail("xenevtchn_notify", port);
}

}  // namespace displif_cts::xen
