#include "fake_backend/test_support/small_xen.h"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <stdexcept>
#include <vector>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}

namespace {

using displif_cts::xen::GrantRef;
using displif_cts::xen::kPageSize;

constexpr std::size_t kMemorySize = 256U << 20U;  // octets

struct RegisteredWatch {
  std::string path;
  std::string token;
  xs_handle* owner;
};

struct World;
World& world();

}  // namespace

struct xs_handle {
  int fd;
  std::deque<std::pair<std::string, std::string>> events;
};

struct xenevtchn_handle {
  int fd;
  std::deque<std::uint32_t> pending;
  std::set<std::uint32_t> masked;
};

struct xengntdev_handle {
  int unused;
};

namespace {

struct Channel {         // by the backend's port
  std::uint32_t remote;  // the frontend's
  xenevtchn_handle* owner;
};

struct Grant {
  std::size_t offset;  // into the memory file
  std::size_t mapped = 0;
};

struct World {
  std::mutex mutex;
  std::map<std::string, std::string> nodes;
  std::vector<RegisteredWatch> watches;
  std::map<std::uint32_t, Grant> frontend_grants;
  std::map<std::uint32_t, std::span<std::byte>> backend_grants;
  std::map<void*, std::vector<std::uint32_t>> mappings;  // by address
  std::set<std::uint32_t> offered;                       // ports of the frontend
  std::map<std::uint32_t, Channel> channels;
  std::map<std::uint32_t, std::size_t> received;  // by the frontend's port
  std::uint32_t next_ref = 8;
  std::uint32_t next_port = 10;
  std::size_t map_calls = 0;
  int memory = -1;                   // the frontend's memory, a sparse file ...
  std::byte* memory_view = nullptr;  // ... and where the frontend sees it
  std::size_t memory_used = 0;       // octets

  void fire(const std::string& path) {
    for (const RegisteredWatch& watch : watches) {
      const bool below = path == watch.path || path.starts_with(watch.path + "/") ||
                         watch.path.starts_with(path + "/");
      if (!below) continue;
      watch.owner->events.emplace_back(path.starts_with(watch.path) ? path : watch.path,
                                       watch.token);
      const std::uint64_t one = 1;
      (void)!::write(watch.owner->fd, &one, sizeof one);
    }
  }
  static std::string absolute(const char* path) {
    return path[0] == '/' ? std::string(path) : "/local/domain/0/" + std::string(path);
  }
  void raise(std::uint32_t port, Channel& channel) {
    auto& pending = channel.owner->pending;
    if (channel.owner->masked.contains(port) || std::ranges::find(pending, port) != pending.end()) {
      if (std::ranges::find(pending, port) == pending.end()) pending.push_back(port);
      return;
    }
    pending.push_back(port);
    const std::uint64_t one = 1;
    (void)!::write(channel.owner->fd, &one, sizeof one);
  }
};

World& world() {
  static World instance;
  return instance;
}

void drain(int fd) {
  std::uint64_t count = 0;
  (void)!::read(fd, &count, sizeof count);
}

bool exists(const World& w, const std::string& path) {
  if (w.nodes.contains(path)) return true;
  const auto next = w.nodes.lower_bound(path + "/");
  return next != w.nodes.end() && next->first.starts_with(path + "/");
}

}  // namespace

// --- XenStore ------------------------------------------------------------------------------------

extern "C" {

xs_handle* xs_open(unsigned long) {
  return new xs_handle{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), {}};
}

void xs_close(xs_handle* handle) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  std::erase_if(w.watches, [&](const RegisteredWatch& watch) { return watch.owner == handle; });
  close(handle->fd);
  delete handle;
}

int xs_fileno(xs_handle* handle) { return handle->fd; }

void* xs_read(xs_handle*, xs_transaction_t, const char* path, unsigned* length) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const std::string where = World::absolute(path);
  const auto found = w.nodes.find(where);
  if (found == w.nodes.end() && !exists(w, where)) {
    errno = ENOENT;
    return nullptr;
  }
  const std::string value = found == w.nodes.end() ? "" : found->second;
  auto* copy = static_cast<char*>(std::malloc(value.size() + 1));
  std::memcpy(copy, value.c_str(), value.size() + 1);
  if (length != nullptr) *length = static_cast<unsigned>(value.size());
  return copy;
}

bool xs_write(xs_handle*, xs_transaction_t, const char* path, const void* data, unsigned length) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const std::string where = World::absolute(path);
  w.nodes[where] = std::string(static_cast<const char*>(data), length);
  w.fire(where);
  return true;
}

bool xs_mkdir(xs_handle* handle, xs_transaction_t transaction, const char* path) {
  {
    World& w = world();
    const std::lock_guard lock(w.mutex);
    if (exists(w, World::absolute(path))) return true;
  }
  return xs_write(handle, transaction, path, "", 0);
}

bool xs_rm(xs_handle*, xs_transaction_t, const char* path) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const std::string where = World::absolute(path);
  if (!exists(w, where)) {
    errno = ENOENT;
    return false;
  }
  std::erase_if(w.nodes, [&](const auto& node) {
    return node.first == where || node.first.starts_with(where + "/");
  });
  w.fire(where);
  return true;
}

char** xs_directory(xs_handle*, xs_transaction_t, const char* path, unsigned* count) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const std::string base = World::absolute(path) + "/";
  if (!exists(w, World::absolute(path))) {
    errno = ENOENT;
    return nullptr;
  }
  std::set<std::string> names;
  for (const auto& [node, value] : w.nodes) {
    if (node.starts_with(base))
      names.insert(node.substr(base.size(), node.find('/', base.size()) - base.size()));
  }
  std::size_t size = names.size() * sizeof(char*) + 1;
  for (const auto& name : names) size += name.size() + 1;
  auto** list = static_cast<char**>(std::malloc(size));
  char* text = reinterpret_cast<char*>(list + names.size());
  std::size_t i = 0;
  for (const auto& name : names) {
    list[i++] = text;
    std::memcpy(text, name.c_str(), name.size() + 1);
    text += name.size() + 1;
  }
  *count = static_cast<unsigned>(names.size());
  return list;
}

xs_permissions* xs_get_permissions(xs_handle*, xs_transaction_t, const char*, unsigned* count) {
  auto* list = static_cast<xs_permissions*>(std::calloc(1, sizeof(xs_permissions)));
  *count = 1;
  return list;
}

bool xs_set_permissions(xs_handle*, xs_transaction_t, const char*, xs_permissions*, unsigned) {
  return true;
}

bool xs_watch(xs_handle* handle, const char* path, const char* token) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.watches.push_back({World::absolute(path), token, handle});
  handle->events.emplace_back(World::absolute(path), token);
  const std::uint64_t one = 1;
  (void)!::write(handle->fd, &one, sizeof one);
  return true;
}

bool xs_unwatch(xs_handle* handle, const char* path, const char* token) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  std::erase_if(w.watches, [&](const RegisteredWatch& watch) {
    return watch.owner == handle && watch.path == World::absolute(path) && watch.token == token;
  });
  std::erase_if(handle->events, [&](const auto& event) { return event.second == token; });
  return true;
}

char** xs_check_watch(xs_handle* handle) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (handle->events.empty()) {
    drain(handle->fd);
    errno = EAGAIN;
    return nullptr;
  }
  const auto [path, token] = handle->events.front();
  handle->events.pop_front();
  auto** list =
      static_cast<char**>(std::malloc(2 * sizeof(char*) + path.size() + token.size() + 2));
  list[0] = reinterpret_cast<char*>(list + 2);
  list[1] = list[0] + path.size() + 1;
  std::memcpy(list[0], path.c_str(), path.size() + 1);
  std::memcpy(list[1], token.c_str(), token.size() + 1);
  return list;
}

char* xs_get_domain_path(xs_handle*, unsigned domain) {
  return strdup(("/local/domain/" + std::to_string(domain)).c_str());
}

bool xs_is_domain_introduced(xs_handle*, unsigned) { return true; }
xs_transaction_t xs_transaction_start(xs_handle*) { return 1; }
bool xs_transaction_end(xs_handle*, xs_transaction_t, bool) { return true; }

// --- event channels ------------------------------------------------------------------------------

xenevtchn_handle* xenevtchn_open(xentoollog_logger*, unsigned) {
  return new xenevtchn_handle{eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), {}, {}};
}

int xenevtchn_close(xenevtchn_handle* handle) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  std::erase_if(w.channels, [&](const auto& entry) { return entry.second.owner == handle; });
  close(handle->fd);
  delete handle;
  return 0;
}

int xenevtchn_fd(xenevtchn_handle* handle) { return handle->fd; }

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle* handle, std::uint32_t,
                                                     evtchn_port_t remote) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (w.offered.erase(remote) == 0) {
    errno = EINVAL;
    return -1;
  }
  const std::uint32_t port = w.next_port++;
  Channel& channel = w.channels.emplace(port, Channel{remote, handle}).first->second;
  w.raise(port, channel);  // as Linux does
  return static_cast<int>(port);
}

xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle*, std::uint32_t) {
  errno = ENOSYS;
  return -1;
}

int xenevtchn_unbind(xenevtchn_handle* handle, evtchn_port_t port) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  std::erase(handle->pending, port);
  return w.channels.erase(port) == 1 ? 0 : -1;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle* handle) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const auto found = std::ranges::find_if(
      handle->pending, [&](std::uint32_t port) { return !handle->masked.contains(port); });
  if (found == handle->pending.end()) {
    drain(handle->fd);
    errno = EAGAIN;
    return -1;
  }
  const std::uint32_t port = *found;
  handle->pending.erase(found);
  handle->masked.insert(port);
  if (handle->pending.empty()) drain(handle->fd);
  return static_cast<int>(port);
}

int xenevtchn_unmask(xenevtchn_handle* handle, evtchn_port_t port) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  handle->masked.erase(port);
  if (std::ranges::find(handle->pending, port) != handle->pending.end()) {
    const std::uint64_t one = 1;
    (void)!::write(handle->fd, &one, sizeof one);
  }
  return 0;
}

int xenevtchn_notify(xenevtchn_handle*, evtchn_port_t port) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const auto found = w.channels.find(port);
  if (found == w.channels.end()) {
    errno = EINVAL;
    return -1;
  }
  ++w.received[found->second.remote];
  return 0;
}

// --- grants --------------------------------------------------------------------------------------

xengnttab_handle* xengnttab_open(xentoollog_logger*, unsigned) { return new xengntdev_handle{0}; }

int xengnttab_close(xengnttab_handle* handle) {
  delete handle;
  return 0;
}

void* xengnttab_map_domain_grant_refs(xengnttab_handle*, std::uint32_t count, std::uint32_t,
                                      std::uint32_t* refs, int protection) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  ++w.map_calls;
  for (std::uint32_t i = 0; i < count; ++i) {
    if (!w.frontend_grants.contains(refs[i])) {
      errno = EINVAL;
      return nullptr;
    }
  }
  void* area = mmap(nullptr, count * kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (area == MAP_FAILED) return nullptr;
  for (std::uint32_t i = 0; i < count; ++i) {
    Grant& grant = w.frontend_grants.at(refs[i]);
    ++grant.mapped;
    if (mmap(static_cast<char*>(area) + i * kPageSize, kPageSize, protection,
             MAP_SHARED | MAP_FIXED, w.memory, static_cast<off_t>(grant.offset)) == MAP_FAILED) {
      std::abort();
    }
  }
  w.mappings.emplace(area, std::vector<std::uint32_t>(refs, refs + count));
  return area;
}

void* xengnttab_map_grant_ref_notify(xengnttab_handle*, std::uint32_t, std::uint32_t, int,
                                     std::uint32_t, evtchn_port_t) {
  errno = ENOSYS;
  return nullptr;
}

int xengnttab_unmap(xengnttab_handle*, void* start, std::uint32_t count) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const auto found = w.mappings.find(start);
  if (found == w.mappings.end() || found->second.size() != count) {
    errno = EINVAL;
    return -1;
  }
  for (const std::uint32_t ref : found->second) {
    const auto grant = w.frontend_grants.find(ref);
    if (grant != w.frontend_grants.end()) --grant->second.mapped;
  }
  w.mappings.erase(found);
  munmap(start, count * kPageSize);
  return 0;
}

xengntshr_handle* xengntshr_open(xentoollog_logger*, unsigned) { return new xengntdev_handle{0}; }

int xengntshr_close(xengntshr_handle* handle) {
  delete handle;
  return 0;
}

void* xengntshr_share_pages(xengntshr_handle*, std::uint32_t, int count, std::uint32_t* refs, int) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const std::size_t pages = static_cast<std::size_t>(count);
  auto* area = static_cast<std::byte*>(
      mmap(nullptr, pages * kPageSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
  for (std::size_t i = 0; i < pages; ++i) {
    refs[i] = w.next_ref++;
    w.backend_grants.emplace(refs[i], std::span(area + i * kPageSize, kPageSize));
  }
  return area;
}

void* xengntshr_share_page_notify(xengntshr_handle*, std::uint32_t, std::uint32_t*, int,
                                  std::uint32_t, evtchn_port_t) {
  errno = ENOSYS;
  return nullptr;
}

int xengntshr_unshare(xengntshr_handle*, void* start, std::uint32_t count) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const auto* first = static_cast<std::byte*>(start);
  std::erase_if(w.backend_grants, [&](const auto& grant) {
    return grant.second.data() >= first && grant.second.data() < first + count * kPageSize;
  });
  munmap(start, count * kPageSize);
  return 0;
}

}  // extern "C"

// --- the frontend's side -------------------------------------------------------------------------

namespace displif_cts::fake_backend::small_xen {

void reset() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (!w.channels.empty() || !w.mappings.empty()) throw std::logic_error("something is open");
  if (w.memory >= 0) {
    munmap(w.memory_view, kMemorySize);
    close(w.memory);
  }
  w.memory = memfd_create("frontend", MFD_CLOEXEC);
  if (ftruncate(w.memory, static_cast<off_t>(kMemorySize)) != 0) std::abort();
  void* view = mmap(nullptr, kMemorySize, PROT_READ | PROT_WRITE, MAP_SHARED, w.memory, 0);
  if (view == MAP_FAILED) std::abort();
  w.memory_view = static_cast<std::byte*>(view);
  w.memory_used = 0;
  w.nodes = {{"/local/domain/0/domid", "0"}};
  w.watches.clear();
  w.frontend_grants.clear();
  w.backend_grants.clear();
  w.offered.clear();
  w.received.clear();
  w.map_calls = 0;
}

void write(const std::string& path, const std::string& value) {
  xs_write(nullptr, 0, path.c_str(), value.data(), static_cast<unsigned>(value.size()));
}

std::optional<std::string> read(const std::string& path) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const auto found = w.nodes.find(path);
  return found == w.nodes.end() ? std::nullopt : std::optional(found->second);
}

bool remove(const std::string& path) { return xs_rm(nullptr, 0, path.c_str()); }

std::size_t nodes_below(const std::string& path) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return static_cast<std::size_t>(std::ranges::count_if(
      w.nodes, [&](const auto& node) { return node.first.starts_with(path); }));
}

GrantedPage grant_page() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  if (w.memory_used == kMemorySize) std::abort();
  const std::size_t offset = w.memory_used;
  w.memory_used += kPageSize;
  const std::uint32_t ref = w.next_ref++;
  w.frontend_grants.emplace(ref, Grant{offset});
  return {GrantRef{ref}, {w.memory_view + offset, kPageSize}};
}

void end_grant(xen::GrantRef ref) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  w.frontend_grants.erase(xen::raw(ref));
}

std::size_t mapped(xen::GrantRef ref) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const auto found = w.frontend_grants.find(xen::raw(ref));
  return found == w.frontend_grants.end() ? 0 : found->second.mapped;
}

std::size_t mapped_pages() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  std::size_t pages = 0;
  for (const auto& [address, refs] : w.mappings) pages += refs.size();
  return pages;
}

std::size_t map_calls() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return w.map_calls;
}

std::span<std::byte> map_of_backend(xen::GrantRef ref) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const auto found = w.backend_grants.find(xen::raw(ref));
  return found == w.backend_grants.end() ? std::span<std::byte>() : found->second;
}

std::size_t granted_by_backend() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return w.backend_grants.size();
}

xen::Port offer_port() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  const std::uint32_t port = w.next_port++;
  w.offered.insert(port);
  return xen::Port{port};
}

void notify(xen::Port port) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  for (auto& [own, channel] : w.channels) {
    if (channel.remote == xen::raw(port)) w.raise(own, channel);
  }
}

std::size_t notifications(xen::Port port) {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return w.received[xen::raw(port)];
}

std::size_t bound_ports() {
  World& w = world();
  const std::lock_guard lock(w.mutex);
  return w.channels.size();
}

}  // namespace displif_cts::fake_backend::small_xen
