// xenbus of a real machine: the devices below device/vdispl, the watches, XenStore's calls. As
// drivers/xen/xenbus/{xenbus_probe,xenbus_probe_frontend,xenbus_client,xenbus_xs}.c of 6.1 have it.
extern "C" {
#include <xenstore.h>
}

#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <utility>

#include "fuzzers/linux_frontend/peer/bus.h"
#include "fuzzers/linux_frontend/peer/kernel.h"
#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::shim {
void device_memory_free(const struct device* device);  // memory.cc
}

namespace displif_cts::linux_guest {
namespace {

constexpr const char* kDevices = "device/vdispl";
constexpr const char* kDevicesToken = "devices";

struct Device {
  struct xenbus_device bus {};
  std::string nodename, otherend;
  bool bound = false;
  bool watched = false;
};

struct Change {
  std::string path, token;
};

xs_handle* g_store = nullptr;
xs_handle* g_watching = nullptr;  // libxenstore serves a connection with watches through a thread
struct xenbus_driver* g_driver = nullptr;
std::map<std::string, std::unique_ptr<Device>> g_devices;  // by nodename
std::deque<Change> g_changes;
struct mutex g_callback;

std::optional<std::string> read(std::uint32_t transaction, const std::string& path) {
  unsigned int size = 0;
  char* value = static_cast<char*>(xs_read(g_store, transaction, path.c_str(), &size));
  if (value == nullptr) return std::nullopt;
  std::string text(value, size);
  std::free(value);
  return text;
}

std::string join(const char* dir, const char* node) {
  return *node == '\0' ? dir : std::string(dir) + "/" + node;
}

std::string token_of(const Device& device) { return "otherend " + device.nodename; }

void unwatch(Device& device) {
  if (!device.watched) return;
  device.watched = false;
  xs_unwatch(g_watching, (device.otherend + "/state").c_str(), token_of(device).c_str());
}

// xenbus_probe_node(), xenbus_dev_probe()
void probe(const std::string& nodename) {
  const auto state = read(XBT_NULL, nodename + "/state");
  if (g_driver == nullptr || !state || std::atoi(state->c_str()) != XenbusStateInitialising) return;
  auto device = std::make_unique<Device>();
  Device& made = *device;
  made.nodename = nodename;
  made.bus.devicetype = "vdispl";
  made.bus.nodename = made.nodename.c_str();
  made.bus.state = XenbusStateInitialising;
  g_devices[nodename] = std::move(device);
  const auto backend = read(XBT_NULL, nodename + "/backend");
  const auto id = read(XBT_NULL, nodename + "/backend-id");
  if (!backend || !id || backend->empty()) return;  // read_otherend_details(): the probe fails
  made.otherend = *backend;
  made.bus.otherend = made.otherend.c_str();
  made.bus.otherend_id = std::atoi(id->c_str());
  if (g_driver->probe(&made.bus, g_driver->ids) != 0) {
    shim::device_memory_free(&made.bus.dev);
    return;
  }
  made.bound = true;
  made.watched = xs_watch(g_watching, (made.otherend + "/state").c_str(), token_of(made).c_str());
}

// xenbus_dev_remove()
void remove(const std::string& nodename) {
  const auto found = g_devices.find(nodename);
  Device& device = *found->second;
  unwatch(device);
  if (device.bound) {
    g_driver->remove(&device.bus);
    xenbus_switch_state(&device.bus, XenbusStateClosed);
    shim::device_memory_free(&device.bus.dev);
  }
  g_devices.erase(nodename);
}

// xenbus_dev_changed(): `path` is at or below a device's directory.
void devices_changed(const std::string& path) {
  const std::string own = path.substr(0, path.find('/', path.find("vdispl/") + 7));
  if (own.find("vdispl/") == std::string::npos) {
    // The directory itself: all that are there, and all that were.
    unsigned int count = 0;
    if (char** names = xs_directory(g_store, XBT_NULL, kDevices, &count)) {
      for (unsigned int i = 0; i < count; ++i)
        devices_changed(std::string(kDevices) + "/" + names[i]);
      std::free(names);
    }
    std::vector<std::string> all;
    for (const auto& [nodename, device] : g_devices) all.push_back(nodename);
    for (const std::string& nodename : all) devices_changed(nodename);
    return;
  }
  const bool exists = read(XBT_NULL, own).has_value();
  const bool known = g_devices.contains(own);
  if (exists && !known) probe(own);
  if (!exists && known) remove(own);
}

void otherend_changed(const std::string& token) {
  for (auto& [nodename, device] : g_devices) {
    if (token_of(*device) != token || !device->watched) continue;
    const unsigned state = xenbus_read_unsigned(device->bus.otherend, "state", XenbusStateUnknown);
    g_driver->otherend_changed(&device->bus, static_cast<enum xenbus_state>(state));
    return;
  }
}

void xenwatch(void* /*unused*/) {
  while (!g_changes.empty()) {
    const Change change = g_changes.front();
    g_changes.pop_front();
    mutex_lock(&g_callback);
    if (change.token == kDevicesToken) {
      devices_changed(change.path);
    } else {
      otherend_changed(change.token);
    }
    mutex_unlock(&g_callback);
  }
}

void take_changes() {
  for (int n = 0; n < 64; ++n) {
    char** event = xs_check_watch(g_watching);
    if (event == nullptr) break;
    g_changes.push_back({event[XS_WATCH_PATH], event[XS_WATCH_TOKEN]});
    std::free(event);
  }
  if (!g_changes.empty() && shim::is_idle(shim::Thread::xenwatch))
    shim::start(shim::Thread::xenwatch, xenwatch, nullptr);
}

}  // namespace

void bus_open() {
  g_store = xs_open(0);
  g_watching = xs_open(0);
  if (g_store == nullptr || g_watching == nullptr)
    throw std::system_error(errno, std::generic_category(), "XenStore cannot be reached");
}

Source store_source() { return {xs_fileno(g_watching), take_changes}; }

bool has_device(const std::string& nodename) { return g_devices.contains(nodename); }

}  // namespace displif_cts::linux_guest

using namespace displif_cts::linux_guest;

int xenbus_register_frontend(struct xenbus_driver* driver) {
  mutex_init(&g_callback);
  g_driver = driver;
  return xs_watch(g_watching, kDevices, kDevicesToken) ? 0 : -EIO;
}

void xenbus_unregister_driver(struct xenbus_driver* /*driver*/) { g_driver = nullptr; }

const char* xenbus_strstate(enum xenbus_state state) {
  static constexpr const char* kNames[] = {"Unknown",     "Initialising",  "InitWait",
                                           "Initialised", "Connected",     "Closing",
                                           "Closed",      "Reconfiguring", "Reconfigured"};
  return static_cast<unsigned>(state) < std::size(kNames) ? kNames[state] : "INVALID";
}

int xenbus_scanf(struct xenbus_transaction t, const char* dir, const char* node, const char* format,
                 ...) {
  const auto value = read(t.id, join(dir, node));
  if (!value) return -ENOENT;
  va_list arguments;
  va_start(arguments, format);
  const int found = std::vsscanf(value->c_str(), format, arguments);
  va_end(arguments);
  return found <= 0 ? -ERANGE : found;
}

unsigned int xenbus_read_unsigned(const char* dir, const char* node, unsigned int fallback) {
  unsigned int value = 0;
  return xenbus_scanf(XBT_NIL, dir, node, "%u", &value) > 0 ? value : fallback;
}

int xenbus_printf(struct xenbus_transaction t, const char* dir, const char* node,
                  const char* format, ...) {
  char value[512];
  va_list arguments;
  va_start(arguments, format);
  const int size = std::vsnprintf(value, sizeof(value), format, arguments);
  va_end(arguments);
  return xs_write(g_store, t.id, join(dir, node).c_str(), value, static_cast<unsigned int>(size))
             ? 0
             : -errno;
}

int xenbus_transaction_start(struct xenbus_transaction* t) {
  t->id = xs_transaction_start(g_store);
  return t->id == XBT_NULL ? -errno : 0;
}

int xenbus_transaction_end(struct xenbus_transaction t, int abort) {
  return xs_transaction_end(g_store, t.id, abort != 0) ? 0 : -errno;
}

int xenbus_switch_state(struct xenbus_device* dev, enum xenbus_state state) {
  if (state == dev->state) return 0;
  int error = 0;
  do {
    struct xenbus_transaction t;
    error = xenbus_transaction_start(&t);
    if (error != 0) return 0;
    const bool absent = !read(t.id, join(dev->nodename, "state"));
    const int wrong = absent ? 1 : xenbus_printf(t, dev->nodename, "state", "%d", state);
    error = xenbus_transaction_end(t, wrong != 0 ? 1 : 0);
    if (error == 0) dev->state = state;  // also where the node is gone, as in Linux
  } while (error == -EAGAIN);
  return 0;
}

int xenbus_frontend_closed(struct xenbus_device* dev) {
  return xenbus_switch_state(dev, XenbusStateClosed);
}

void xenbus_dev_error(struct xenbus_device* /*dev*/, int error, const char* format, ...) {
  shim_log("xenbus: error %d: %s", error, format);
}

void xenbus_dev_fatal(struct xenbus_device* dev, int error, const char* format, ...) {
  shim_log("xenbus: fatal error %d: %s", error, format);
  xenbus_switch_state(dev, XenbusStateClosing);
}
