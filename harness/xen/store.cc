#include "harness/xen/store.h"

extern "C" {
#include <xenstore.h>
}

#include <atomic>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "harness/xen/poll.h"

namespace displif_cts::xen {
namespace {

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

unsigned to_bits(NodeAccess access) {
  unsigned bits = XS_PERM_NONE;
  if (access == NodeAccess::read || access == NodeAccess::read_write) bits |= XS_PERM_READ;
  if (access == NodeAccess::write || access == NodeAccess::read_write) bits |= XS_PERM_WRITE;
  return bits;
}

NodeAccess to_access(unsigned bits) {
  const bool read = (bits & XS_PERM_READ) != 0;
  const bool write = (bits & XS_PERM_WRITE) != 0;
  if (read) return write ? NodeAccess::read_write : NodeAccess::read;
  return write ? NodeAccess::write : NodeAccess::none;
}

// libxenstore takes lengths as unsigned int; XenStore itself refuses far shorter ones with E2BIG.
unsigned checked_length(std::string_view call, const std::string& path, std::size_t size) {
  if (size > std::numeric_limits<unsigned>::max()) throw Error(call, path, E2BIG);
  return static_cast<unsigned>(size);
}

}  // namespace

std::optional<std::string> StoreAccess::read(const std::string& path) const {
  unsigned length = 0;
  const Owned<void> value(xs_read(handle_.get(), transaction_, path.c_str(), &length));
  if (!value) {
    if (errno == ENOENT) return std::nullopt;
    throw Error("xs_read", path, errno);
  }
  return std::string(static_cast<const char*>(value.get()), length);
}

std::optional<std::string> StoreAccess::read_if_visible(const std::string& path) const {
  try {
    return read(path);
  } catch (const Error& error) {
    if (error.number() == EACCES) return std::nullopt;
    throw;
  }
}

void StoreAccess::write(const std::string& path, std::string_view value) const {
  const unsigned length = checked_length("xs_write", path, value.size());
  if (!xs_write(handle_.get(), transaction_, path.c_str(), value.data(), length)) {
    throw Error("xs_write", path, errno);
  }
}

void StoreAccess::mkdir(const std::string& path) const {
  if (!xs_mkdir(handle_.get(), transaction_, path.c_str())) throw Error("xs_mkdir", path, errno);
}

bool StoreAccess::remove(const std::string& path) const {
  // xs_rm succeeds where the node is missing and its parent is there: ask first.
  unsigned length = 0;
  const Owned<void> value(xs_read(handle_.get(), transaction_, path.c_str(), &length));
  if (!value && errno == ENOENT) return false;
  if (xs_rm(handle_.get(), transaction_, path.c_str())) return true;
  if (errno == ENOENT) return false;
  throw Error("xs_rm", path, errno);
}

std::optional<std::vector<std::string>> StoreAccess::directory(const std::string& path) const {
  unsigned count = 0;
  const Owned<char*> names(xs_directory(handle_.get(), transaction_, path.c_str(), &count));
  if (!names) {
    if (errno == ENOENT) return std::nullopt;
    throw Error("xs_directory", path, errno);
  }
  return std::vector<std::string>(names.get(), names.get() + count);
}

std::vector<Permission> StoreAccess::permissions(const std::string& path) const {
  unsigned count = 0;
  const Owned<xs_permissions> list(
      xs_get_permissions(handle_.get(), transaction_, path.c_str(), &count));
  if (!list) throw Error("xs_get_permissions", path, errno);
  std::vector<Permission> result;
  result.reserve(count);
  for (unsigned i = 0; i < count; ++i) {
    const xs_permissions& entry = list.get()[i];
    result.push_back({static_cast<DomId>(entry.id), to_access(entry.perms)});
  }
  return result;
}

void StoreAccess::set_permissions(const std::string& path,
                                  const std::vector<Permission>& list) const {
  std::vector<xs_permissions> entries;
  entries.reserve(list.size());
  for (const Permission& entry : list)
    entries.push_back({raw(entry.domain), to_bits(entry.access)});
  const unsigned count = checked_length("xs_set_permissions", path, entries.size());
  if (!xs_set_permissions(handle_.get(), transaction_, path.c_str(), entries.data(), count)) {
    throw Error("xs_set_permissions", path, errno);
  }
}

void StoreAccess::remove_with_empty_parents(const std::string& path) const {
  std::string node = path;
  for (;;) {
    if (!xs_rm(handle_.get(), transaction_, node.c_str()) && errno != ENOENT)
      throw Error("xs_rm", node, errno);
    const std::size_t slash = node.rfind('/');
    if (slash == std::string::npos || slash == 0) return;
    node.erase(slash);
    const auto children = directory(node);
    if (!children || !children->empty()) return;
    const std::optional<std::string> value = read(node);
    if (!value || !value->empty()) return;
  }
}

Watch::Watch(std::shared_ptr<xs_handle> handle, std::string path)
    : handle_(std::move(handle)), path_(std::move(path)) {
  static std::atomic<std::uint64_t> next{1};
  token_ = "w" + std::to_string(next.fetch_add(1));
  if (!xs_watch(handle_.get(), path_.c_str(), token_.c_str())) {
    const int number = errno;
    handle_.reset();
    throw Error("xs_watch", path_, number);
  }
}

Watch& Watch::operator=(Watch&& other) noexcept {
  if (this != &other) {
    reset();
    handle_ = std::move(other.handle_);
    path_ = std::move(other.path_);
    token_ = std::move(other.token_);
  }
  return *this;
}

Watch::~Watch() { reset(); }

void Watch::reset() noexcept {
  // A failure means that the connection is gone, and the watch with it.
  if (handle_) xs_unwatch(handle_.get(), path_.c_str(), token_.c_str());
  handle_.reset();
}

namespace {

std::shared_ptr<xs_handle> connect() {
  xs_handle* handle = xs_open(XS_UNWATCH_FILTER);
  if (handle == nullptr) throw Error("xs_open", "XenStore", errno);
  return {handle, [](xs_handle* h) { xs_close(h); }};
}

}  // namespace

Store Store::open() { return Store(connect()); }

const std::shared_ptr<xs_handle>& Store::watching() {
  if (!watching_) watching_ = connect();
  return watching_;
}

Watch Store::watch(const std::string& path) { return Watch(watching(), path); }

std::optional<WatchEvent> Store::next_event(Deadline deadline) {
  const int descriptor = fd();
  for (;;) {
    const Owned<char*> event(xs_check_watch(watching().get()));
    if (event) return WatchEvent{event.get()[XS_WATCH_PATH], event.get()[XS_WATCH_TOKEN]};
    if (errno != EAGAIN) throw Error("xs_check_watch", "XenStore", errno);
    if (!wait_readable(descriptor, deadline)) return std::nullopt;
  }
}

int Store::fd() {
  const int descriptor = xs_fileno(watching().get());
  if (descriptor < 0) throw Error("xs_fileno", "XenStore", errno);
  return descriptor;
}

std::string Store::domain_path(DomId domain) const {
  const Owned<char> path(xs_get_domain_path(handle_.get(), raw(domain)));
  if (!path) {
    const int number = errno;
    throw Error("xs_get_domain_path", "domain " + std::to_string(raw(domain)), number);
  }
  return path.get();
}

Transaction Store::begin() {
  const xs_transaction_t id = xs_transaction_start(handle_.get());
  if (id == XBT_NULL) throw Error("xs_transaction_start", "XenStore", errno);
  return Transaction(handle_, id);
}

bool Store::end(std::uint32_t transaction, bool abort, bool last_attempt) {
  if (xs_transaction_end(handle_.get(), transaction, abort)) return true;
  if (errno == EAGAIN && !last_attempt) return false;
  throw Error("xs_transaction_end", abort ? "abort" : "commit", errno);
}

}  // namespace displif_cts::xen
