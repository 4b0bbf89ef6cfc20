#include <array>
#include <charconv>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <vector>

#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"
#include "fuzzers/linux_frontend/shim/text.h"

namespace displif_cts::shim {

bool (*g_config_hook)() = nullptr;

namespace {

constexpr std::size_t kValueSize = 264;
constexpr std::size_t kMostNodes = 128;  // more than there are names

struct Node {
  char value[kValueSize];
  bool present;
};

enum class Watch : std::uint8_t { backend, plug, unplug };

Path g_paths[kMostNodes];  // of g_nodes
std::array<Node, kMostNodes> g_nodes;
std::size_t g_count = 0;
std::uint64_t g_generation = 0;
struct xenbus_driver* g_driver = nullptr;
struct xenbus_device* g_device = nullptr;
std::vector<Watch> g_watches;
int g_removals = 0;
int g_configured = 0;
bool g_disconnecting = false;
bool g_switching = false;  // the frontend's state is being written
std::uint32_t g_number = 0;
bool g_watched = false;   // the watch on the backend's state is registered
struct mutex g_callback;  // xenwatch_mutex: held while a watch's callback runs
struct mutex g_binding;   // the device's lock

// Of these two tables alone, and in them: no checks.
[[gnu::no_sanitize_address]] std::size_t index_of(Path path) {
  std::size_t at = 0;
  while (at < g_count && g_paths[at] != path) ++at;
  return at;
}

Node* node_at(Path path) {
  const std::size_t at = index_of(path);
  return at < g_count ? &g_nodes[at] : nullptr;
}

Node& made_node(Path path) {
  const std::size_t at = index_of(path);
  if (at == kMostNodes) finding("store-full", "more than %zu nodes", kMostNodes);
  if (at == g_count) g_paths[g_count++] = path;
  return g_nodes[at];
}

void probe() {
  mutex_lock(&g_binding);
  if (g_device == nullptr && g_driver != nullptr) {
    auto* device = static_cast<struct xenbus_device*>(std::calloc(1, sizeof(struct xenbus_device)));
    device->devicetype = "vdispl";
    device->nodename = kFrontend;
    device->otherend = kBackend;
    device->state = XenbusStateInitialising;
    g_device = device;
    ++g_number;
    say("[%s] probe", running());
    if (g_driver->probe(device, g_driver->ids) != 0) {
      g_device = nullptr;
      device_memory_free();
      std::free(device);
    } else {
      g_watched = true;
      g_watches.push_back(Watch::backend);  // a new watch fires at once
    }
  }
  mutex_unlock(&g_binding);
}

// xenbus_dev_remove(): with the device's lock held, its watch goes first. Whoever is not xenwatch
// waits for a callback that runs (unregister_xenbus_watch()).
void remove(bool in_xenwatch) {
  mutex_lock(&g_binding);
  if (g_device != nullptr) {
    say("[%s] remove", running());
    g_watched = false;
    std::erase(g_watches, Watch::backend);
    if (!in_xenwatch) {
      mutex_lock(&g_callback);
      mutex_unlock(&g_callback);
    }
    struct xenbus_device* device = g_device;
    g_driver->remove(device);
    xenbus_switch_state(device, XenbusStateClosed);
    g_device = nullptr;
    device_memory_free();
    std::free(device);
  }
  --g_removals;
  mutex_unlock(&g_binding);
}

void changed() {
  mutex_lock(&g_callback);
  if (g_watched) {
    const unsigned state = xenbus_read_unsigned(kBackend, "state", XenbusStateUnknown);
    say("[%s] backend state is %u, frontend %d", running(), state, g_device->state);
    // What ends a connection: see close_while_waiting.
    g_disconnecting = state <= XenbusStateInitWait || state == XenbusStateClosed;
    while (g_disconnecting && masked(Known::close_while_waiting) && any_client_waits()) msleep(10);
    const bool reads =
        state == XenbusStateInitWait &&
        (g_device->state == XenbusStateInitialising || g_device->state == XenbusStateConnected);
    if (!reads || g_config_hook == nullptr || g_config_hook()) {
      g_driver->otherend_changed(g_device, static_cast<enum xenbus_state>(state));
    }
    g_disconnecting = false;
  }
  mutex_unlock(&g_callback);
}

void xenwatch(void* /*unused*/) {
  while (!g_watches.empty()) {
    const Watch watch = g_watches.front();
    g_watches.erase(g_watches.begin());
    switch (watch) {
      case Watch::backend:
        changed();
        break;
      case Watch::plug:
        probe();
        break;
      case Watch::unplug:
        remove(true);
        break;
    }
  }
}

void fire(Watch watch) {
  g_watches.push_back(watch);
  if (is_idle(Thread::xenwatch)) start(Thread::xenwatch, xenwatch, nullptr);
}

void unbind(void* /*unused*/) {
  remove(false);
  probe();
  if (!g_watches.empty() && is_idle(Thread::xenwatch)) start(Thread::xenwatch, xenwatch, nullptr);
}

}  // namespace

const char* store_read(Path path) {
  const Node* node = node_at(path);
  return node != nullptr && node->present ? node->value : nullptr;
}

void store_write(Path path, std::string_view value) {
  Node& node = made_node(path);
  const std::size_t size = value.size() < kValueSize - 1 ? value.size() : kValueSize - 1;
  std::memcpy(node.value, value.data(), size);
  node.value[size] = '\0';
  node.present = true;
  ++g_generation;
}

void store_write(Path path, std::uint32_t value) {
  char text[12];
  const auto end = std::to_chars(std::begin(text), std::end(text), value);
  store_write(path, std::string_view(text, static_cast<std::size_t>(end.ptr - text)));
}

void store_remove(Path path) {
  if (Node* node = node_at(path)) node->present = false;
  ++g_generation;
}

std::uint64_t store_generation() { return g_generation; }

void store_begin() {
  g_count = 0;
  store_write(kFrontendState, "1");
  store_write(below(below(kFrontendPath, 0U), "resolution"), "64x16");
  store_write(kBackendState, "1");
}

struct xenbus_device* bus_device() {
  return g_device;
}
std::uint32_t device_number() { return g_device != nullptr ? g_number : 0; }
bool device_disconnects() { return g_disconnecting; }
int configured_connectors() { return g_configured; }
bool device_goes() { return g_removals > 0; }

void backend_state_written() {
  if (g_watched) fire(Watch::backend);
}

void plug_device() { fire(Watch::plug); }
void unplug_device() {
  ++g_removals;
  fire(Watch::unplug);
}
void unbind_device() {
  if (!is_idle(Thread::unbind)) return;
  ++g_removals;
  start(Thread::unbind, unbind, nullptr);
}

void bus_begin() {
  g_driver = nullptr;
  g_device = nullptr;
  g_watches.clear();
  g_removals = 0;
  g_configured = 0;
  g_disconnecting = false;
  g_watched = false;
  g_callback.owner = nullptr;
  g_binding.owner = nullptr;
}

}  // namespace displif_cts::shim

using namespace displif_cts::shim;

int xenbus_register_frontend(struct xenbus_driver* driver) {
  g_driver = driver;
  plug_device();
  return 0;
}

void xenbus_unregister_driver(struct xenbus_driver* /*driver*/) {
  if (g_device != nullptr) finding("driver-left", "the driver goes while it has a device");
  g_driver = nullptr;
}

const char* xenbus_strstate(enum xenbus_state state) {
  static constexpr const char* kNames[] = {"Unknown",     "Initialising",  "InitWait",
                                           "Initialised", "Connected",     "Closing",
                                           "Closed",      "Reconfiguring", "Reconfigured"};
  return static_cast<unsigned>(state) < std::size(kNames) ? kNames[state] : "INVALID";
}

int xenbus_scanf(struct xenbus_transaction /*t*/, const char* dir, const char* node,
                 const char* format, ...) {
  shim_point();
  const bool resolution = std::string_view(node) == "resolution";
  // Not where a state is heard: the driver may not read then.
  if (resolution && std::string_view(dir).ends_with("/0")) g_configured = 0;
  const bool must = resolution && masked(Known::reconnect_with_other_connectors);
  const char* value =
      !must && fails(Failure::store) ? nullptr : store_read(below(path_of(dir), node));
  if (value == nullptr) return -ENOENT;
  va_list arguments;
  va_start(arguments, format);
  const int found = scan_text(value, format, arguments);
  va_end(arguments);
  if (resolution && found > 0) ++g_configured;
  return found <= 0 ? -ERANGE : found;
}

unsigned int xenbus_read_unsigned(const char* dir, const char* node, unsigned int fallback) {
  unsigned int value = 0;
  return xenbus_scanf(XBT_NIL, dir, node, "%u", &value) > 0 ? value : fallback;
}

static bool write_fails() {
  return !(g_switching && masked(Known::state_write_fails)) && fails(Failure::store);
}

int xenbus_printf(struct xenbus_transaction /*t*/, const char* dir, const char* node,
                  const char* format, ...) {
  shim_point();
  if (write_fails()) return -EIO;
  char value[kValueSize];
  va_list arguments;
  va_start(arguments, format);
  const std::size_t size = print_text(value, sizeof(value), format, arguments);
  va_end(arguments);
  store_write(below(path_of(dir), node), std::string_view(value, size));
  return 0;
}

int xenbus_transaction_start(struct xenbus_transaction* t) {
  shim_point();
  t->id = 1;
  return write_fails() ? -EIO : 0;
}

int xenbus_transaction_end(struct xenbus_transaction /*t*/, int abort) {
  shim_point();
  return abort == 0 && fails(Failure::conflict) ? -EAGAIN : 0;
}

static void switch_state(struct xenbus_device* dev, enum xenbus_state state, bool nested);

// xenbus_switch_fatal(): what cannot be told ends the device, if that can be told.
static void switch_fatal(struct xenbus_device* dev, bool nested) {
  if (!nested) switch_state(dev, XenbusStateClosing, true);
}

// __xenbus_switch_state()
static void switch_state(struct xenbus_device* dev, enum xenbus_state state, bool nested) {
  if (state == dev->state) return;
  const Path path = below(path_of(dev->nodename), "state");
  int error = 0;
  do {
    struct xenbus_transaction t;
    if (xenbus_transaction_start(&t) != 0) return switch_fatal(dev, nested);
    const bool absent = store_read(path) == nullptr;
    const int wrong = absent ? 1 : xenbus_printf(t, dev->nodename, "state", "%d", state);
    if (wrong < 0) switch_fatal(dev, nested);
    error = xenbus_transaction_end(t, wrong != 0 ? 1 : 0);
    if (error == 0) dev->state = state;  // also where the node is gone, as in Linux
  } while (error == -EAGAIN);
  say("[%s] frontend state is %d", running(), dev->state);
}

int xenbus_switch_state(struct xenbus_device* dev, enum xenbus_state state) {
  g_switching = true;
  switch_state(dev, state, false);
  g_switching = false;
  return 0;
}

int xenbus_frontend_closed(struct xenbus_device* dev) {
  return xenbus_switch_state(dev, XenbusStateClosed);
}

void xenbus_dev_error(struct xenbus_device* /*dev*/, int error, const char* format, ...) {
  shim_point();
  say("[%s] error %d: %s", running(), error, format);
}

void xenbus_dev_fatal(struct xenbus_device* dev, int error, const char* format, ...) {
  say("[%s] fatal error %d: %s", running(), error, format);
  xenbus_switch_state(dev, XenbusStateClosing);
}

// Without sanitizers a list of arguments needs no red zones, which cost more than the rest.
[[gnu::no_sanitize_address]] void shim_log(const char* format, ...) {
  shim_point();
  if (!g_verbose) return;
  std::fprintf(stderr, "[%s] log: ", running());
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  va_end(arguments);
  if (!std::string_view(format).ends_with('\n')) std::fputc('\n', stderr);
}

void shim_warn(const char* file, int line, const char* condition) {
  finding("warning", "WARN_ON(%s) at %s:%d", condition, file, line);
}
