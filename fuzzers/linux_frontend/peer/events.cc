// Event channels of a real machine, as interrupts of the driver's.
extern "C" {
#include <xenevtchn.h>
}

#include <poll.h>

#include <cerrno>
#include <map>
#include <system_error>

#include "fuzzers/linux_frontend/peer/kernel.h"
#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::linux_guest {
namespace {

struct Port {
  irq_handler_t handler = nullptr;  // null: not bound
  void* data = nullptr;
};

xenevtchn_handle* g_channels = nullptr;
std::map<unsigned int, Port> g_ports;  // open ones. An interrupt has its port's number.

void take_events() {
  // Not for ever: the rest of the kernel has its turn.
  for (int n = 0; n < 64; ++n) {
    pollfd entry{xenevtchn_fd(g_channels), POLLIN, 0};
    if (poll(&entry, 1, 0) <= 0) return;
    const int port = xenevtchn_pending(g_channels);
    if (port < 0) return;
    xenevtchn_unmask(g_channels, static_cast<evtchn_port_t>(port));
    shim::raise(port);
  }
}

}  // namespace

void events_open() {
  g_channels = xenevtchn_open(nullptr, 0);
  if (g_channels == nullptr)
    throw std::system_error(errno, std::generic_category(), "event channels cannot be opened");
}

Source events_source() { return {xenevtchn_fd(g_channels), take_events}; }

}  // namespace displif_cts::linux_guest

namespace displif_cts::shim {

void call_handler(int irq) {
  const auto found = linux_guest::g_ports.find(static_cast<unsigned int>(irq));
  if (found == linux_guest::g_ports.end() || found->second.handler == nullptr) return;
  found->second.handler(irq, found->second.data);
}

}  // namespace displif_cts::shim

using namespace displif_cts::linux_guest;
using displif_cts::shim::finding;

int xenbus_alloc_evtchn(struct xenbus_device* dev, unsigned int* port) {
  const int opened =
      xenevtchn_bind_unbound_port(g_channels, static_cast<std::uint32_t>(dev->otherend_id));
  if (opened < 0) return -ENOSPC;
  *port = static_cast<unsigned int>(opened);
  g_ports[*port] = {};
  return 0;
}

int xenbus_free_evtchn(struct xenbus_device* /*dev*/, unsigned int port) {
  if (g_ports.erase(port) == 0) return -EINVAL;  // unbinding has closed it: as in Linux
  xenevtchn_unbind(g_channels, port);
  return 0;
}

int bind_evtchn_to_irqhandler(unsigned int port, irq_handler_t handler, unsigned long /*flags*/,
                              const char* /*name*/, void* data) {
  const auto found = g_ports.find(port);
  if (found == g_ports.end() || found->second.handler != nullptr) return -EINVAL;
  found->second = {handler, data};
  return static_cast<int>(port);
}

void unbind_from_irqhandler(unsigned int irq, void* /*data*/) {
  const auto found = g_ports.find(irq);
  if (found == g_ports.end() || found->second.handler == nullptr)
    finding("irq-unbound-twice", "interrupt %u is not bound", irq);
  g_ports.erase(found);
  xenevtchn_unbind(g_channels, irq);
}

void notify_remote_via_irq(int irq) {
  if (g_ports.contains(static_cast<unsigned int>(irq)))
    xenevtchn_notify(g_channels, static_cast<evtchn_port_t>(irq));
}
