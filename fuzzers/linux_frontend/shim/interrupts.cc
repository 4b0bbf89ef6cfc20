#include <array>

#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::shim {
namespace {

constexpr std::uint32_t kFirstPort = 10;
constexpr std::size_t kMost = 256;  // event channels of one execution; they are not used again

struct Port {
  irq_handler_t handler = nullptr;  // null: not bound
  void* data = nullptr;
  bool open = false;
  bool notified = false;
  std::uint32_t device = 0;  // that bound it
};

std::array<Port, kMost> g_ports;
std::size_t g_count = 0;

Port* port_at(std::uint32_t port) {
  return port >= kFirstPort && port - kFirstPort < g_count ? &g_ports[port - kFirstPort] : nullptr;
}
Port* irq_at(int irq) {
  return irq >= 1 && static_cast<std::size_t>(irq) <= g_count
             ? &g_ports[static_cast<std::size_t>(irq) - 1]
             : nullptr;
}

}  // namespace

int irq_of_port(std::uint32_t port) {
  const Port* found = port_at(port);
  return found != nullptr && found->open && found->handler != nullptr
             ? static_cast<int>(port - kFirstPort) + 1
             : 0;
}

bool take_notification(std::uint32_t port) {
  Port* found = port_at(port);
  if (found == nullptr || !found->notified) return false;
  found->notified = false;
  return true;
}

void call_handler(int irq) {
  Port* port = irq_at(irq);
  if (port == nullptr || port->handler == nullptr) return;
  // A handler that its device has left behind: see channels_leak.
  if (port->device != device_number() && masked(Known::channels_leak)) return;
  port->handler(irq, port->data);
}

void interrupts_begin() {
  for (std::size_t i = 0; i < g_count; ++i) g_ports[i] = {};
  g_count = 0;
}

void interrupts_end() {
  for (std::size_t i = 0; i < g_count; ++i) {
    if (g_ports[i].handler == nullptr && !g_ports[i].open) continue;
    finding_unless(Known::channels_leak, "event channel %zu is never closed%s", i + kFirstPort,
                   g_ports[i].handler != nullptr ? ", and its handler stays" : "");
  }
}

}  // namespace displif_cts::shim

using namespace displif_cts::shim;

int xenbus_alloc_evtchn(struct xenbus_device* /*dev*/, unsigned int* port) {
  shim_point();
  if (fails(Failure::channels) || g_count == kMost) return -ENOSPC;
  g_ports[g_count].open = true;
  *port = static_cast<unsigned int>(kFirstPort + g_count++);
  return 0;
}

int xenbus_free_evtchn(struct xenbus_device* /*dev*/, unsigned int port) {
  shim_point();
  Port* found = port_at(port);
  if (found == nullptr || !found->open) return -EINVAL;  // unbinding has closed it: as in Linux
  found->open = false;
  return 0;
}

int bind_evtchn_to_irqhandler(unsigned int port, irq_handler_t handler, unsigned long /*flags*/,
                              const char* /*name*/, void* data) {
  shim_point();
  if (fails(Failure::channels)) return -ENOMEM;
  Port* found = port_at(port);
  if (found == nullptr || !found->open || found->handler != nullptr) return -EINVAL;
  found->handler = handler;
  found->device = device_number();
  found->data = data;
  return static_cast<int>(port - kFirstPort) + 1;
}

void unbind_from_irqhandler(unsigned int irq, void* data) {
  shim_point();
  Port* found = irq_at(static_cast<int>(irq));
  if (found == nullptr || found->handler == nullptr)
    finding("irq-unbound-twice", "interrupt %u is not bound", irq);
  if (found->data != data)
    finding("irq-of-another", "interrupt %u is unbound with another's data", irq);
  found->handler = nullptr;
  found->open = false;
}

void notify_remote_via_irq(int irq) {
  shim_point();
  if (Port* found = irq_at(irq)) found->notified = true;
}
