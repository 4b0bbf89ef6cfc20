// Watches: xenstored_watch.c.
#include <algorithm>
#include <cerrno>

#include "harness/loopback/store/server.h"
#include "harness/loopback/store/state.h"

namespace displif_cts::loopback::store {
namespace {

constexpr std::size_t kSpecialPathMax = 2048;  // XENSTORE_REL_PATH_MAX

// The path as the watcher knows it: without its domain's directory, if it left that off.
std::string_view as_watched(std::string_view path, std::size_t prefix) {
  path.remove_prefix(std::min(prefix, path.size()));
  if (prefix > 0 && path.starts_with('/')) path.remove_prefix(1);
  return path;
}

long size_of(const std::string& node, const std::string& token) {
  return static_cast<long>(node.size() + token.size());
}

}  // namespace

int Server::watch(Connection& c, std::string_view payload) {
  const auto arguments = strings_of(payload);
  if (arguments.size() != 2) return EINVAL;
  const std::string_view path = arguments[0];
  Connection::Watch watch{absolute(c, path), std::string(arguments[1])};
  if (path.starts_with('@')) {
    if (path.size() > kSpecialPathMax) return EINVAL;
  } else if (!valid(watch.node)) {
    return EINVAL;
  }
  if (watch.node.size() != path.size()) watch.relative_prefix = watch.node.size() - path.size() - 1;
  for (const Connection::Watch& other : c.watches_)
    if (other.node == watch.node && other.token == watch.token) return EEXIST;
  if (unprivileged(&c) && c.domain_->watches > options_.quotas.watches) return E2BIG;
  if (charge(c.id_, size_of(watch.node, watch.token), false) != 0) return ENOMEM;
  if (c.domain_) ++c.domain_->watches;
  c.watches_.push_back(watch);

  acknowledge(c, MessageType::watch);
  // Once at once, whether the node exists or not.
  send_event(c, as_watched(watch.node, watch.relative_prefix), watch.token, nullptr);
  return 0;
}

int Server::unwatch(Connection& c, std::string_view payload) {
  const auto arguments = strings_of(payload);
  if (arguments.size() != 2) return EINVAL;
  const std::string node = absolute(c, arguments[0]);
  const auto at = std::find_if(c.watches_.begin(), c.watches_.end(), [&](const auto& watch) {
    return watch.node == node && watch.token == arguments[1];
  });
  if (at == c.watches_.end()) return ENOENT;
  charge(c.id_, -size_of(at->node, at->token), true);
  if (c.domain_) --c.domain_->watches;
  c.watches_.erase(at);
  return acknowledge(c, MessageType::unwatch);
}

int Server::reset_watches(Connection& c, std::string_view) {
  end_watches(c);
  end_transactions(c);
  return acknowledge(c, MessageType::reset_watches);
}

void Server::end_watches(Connection& c) {
  for (const Connection::Watch& watch : c.watches_) {
    charge(c.id_, -size_of(watch.node, watch.token), true);
    if (c.domain_) --c.domain_->watches;
  }
  c.watches_.clear();
}

// Whoever may read the node, or could before it changed, or may read its parent.
bool Server::may_hear(const Connection& watcher, const std::string& path, const Record* record,
                      const Permissions* before) const {
  if (before && (access(&watcher, *before) & kRead) != 0) return true;
  RecordPointer found;
  if (!record) {
    found = current(nullptr, path);
    if (!found) return false;
    found = with_dead_ignored(std::move(found));
    record = found.get();
  }
  if ((access(&watcher, record->permissions) & kRead) != 0) return true;
  RecordPointer parent = current(nullptr, parent_of(path));
  if (!parent) return false;
  parent = with_dead_ignored(std::move(parent));
  return (access(&watcher, parent->permissions) & kRead) != 0;
}

// `exact`: only watches on the very node hear of it, not those above.
void Server::fire(Connection* c, const std::string& path, const Record* record, bool exact,
                  const Permissions* before) {
  if (c && c->transaction_) {  // when it is committed
    Transaction::Access* access = c->transaction_->find(path);
    if (!access) {
      c->transaction_->failed = true;
    } else if (!access->fire) {
      access->fire = true;
      access->exact = exact;
    } else if (!exact) {
      access->exact = false;
    }
    return;
  }
  const std::shared_ptr<RequestTicket> cause = c && unprivileged(c) ? c->ticket_ : nullptr;
  const bool special = path.starts_with('@');
  const Permissions& special_permissions =
      path == "@releaseDomain" ? release_permissions_ : introduce_permissions_;
  for (const auto& watcher : connections_) {
    std::optional<bool> heard;  // the same for all of its watches
    for (const Connection::Watch& watch : watcher->watches_) {
      if (exact ? path != watch.node : !is_at_or_below(path, watch.node)) continue;
      if (!heard)
        heard = special ? (access(watcher.get(), special_permissions) & kRead) != 0
                        : may_hear(*watcher, path, record, before);
      if (!*heard) break;
      send_event(*watcher, as_watched(path, watch.relative_prefix), watch.token, cause);
    }
  }
}

}  // namespace displif_cts::loopback::store
