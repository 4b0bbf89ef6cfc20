// Nodes and their permissions: xenstored_core.c, read_node to do_set_perms.
#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "harness/loopback/store/server.h"
#include "harness/loopback/store/state.h"

namespace displif_cts::loopback::store {

bool Server::unprivileged(DomainId id) const { return id != 0 && id != options_.privileged; }

bool Server::unprivileged(const Connection* c) const {
  return c && c->domain_ && unprivileged(c->id_);
}

unsigned Server::access(const Connection* c, const Permissions& list) const {
  const auto target = c && c->domain_ ? c->domain_->target.lock() : nullptr;
  const auto meant = [&](DomainId id) { return id == c->id_ || (target && id == target->id); };
  if (!unprivileged(c) || meant(list.front().domain)) return kRead | kWrite | kOwner;
  for (std::size_t i = 1; i < list.size(); ++i)
    if (!list[i].ignored && meant(list[i].domain)) return list[i].access;
  return list.front().access;
}

std::string Server::absolute(const Connection& c, std::string_view path) const {
  if (path.starts_with('/') || path.starts_with('@')) return std::string(path);
  return "/local/domain/" + std::to_string(c.id_) + "/" + std::string(path);
}

bool Server::valid(const std::string& path) const {
  return is_valid_path(path, static_cast<std::size_t>(options_.quotas.path_max));
}

const Record* Server::find(const std::string& path) const {
  const auto at = nodes_.find(path);
  return at == nodes_.end() ? nullptr : at->second.get();
}

// As the client sees it: out of its transaction where that has touched it.
RecordPointer Server::current(const Connection* c, const std::string& path) const {
  if (c && c->transaction_)
    if (const Transaction::Access* access = c->transaction_->find(path)) return access->copy;
  const auto at = nodes_.find(path);
  return at == nodes_.end() ? nullptr : at->second;
}

// The entry was made before its domain came, or after it went (chk_domain_generation).
bool Server::dead(const Permission& entry, std::uint64_t generation) const {
  if (entry.ignored) return false;
  const auto of = domain(entry.domain);
  return !of || of->generation > generation;
}

RecordPointer Server::with_dead_ignored(RecordPointer record) const {
  const auto is_dead = [&](const Permission& entry) { return dead(entry, record->generation); };
  const Permissions& list = record->permissions;
  if (std::none_of(list.begin() + 1, list.end(), is_dead)) return record;
  auto copy = std::make_shared<Record>(*record);
  for (std::size_t i = 1; i < copy->permissions.size(); ++i)
    if (is_dead(copy->permissions[i])) copy->permissions[i].ignored = true;
  return copy;
}

int Server::lookup(Connection* c, const std::string& path, RecordPointer& out) {
  RecordPointer record = current(c, path);
  if (record) record = with_dead_ignored(std::move(record));
  if (const int number = note_read(c, path, record); number != 0) return number;
  if (!record) return ENOENT;
  out = std::move(record);
  return 0;
}

int Server::lookup_allowed(Connection* c, const std::string& path, unsigned wanted,
                           RecordPointer& out) {
  if (!valid(path)) return EINVAL;
  RecordPointer record;
  int number = lookup(c, path, record);
  if (number == 0 && (access(c, record->permissions) & wanted) != wanted) number = EACCES;
  if (number == 0) {
    out = std::move(record);
    return 0;
  }
  return always_told(number) ? number : hide_error(c, path, number, wanted);
}

// Whoever may not have what it wants from the nearest parent that exists learns nothing but EACCES.
int Server::hide_error(Connection* c, const std::string& path, int number, unsigned wanted) {
  std::string parent = path;
  do {
    parent = parent_of(parent);
    RecordPointer record;
    const int failed = lookup(c, parent, record);
    if (failed == 0) return (access(c, record->permissions) & wanted) != 0 ? number : EACCES;
    if (always_told(failed)) return failed;
  } while (parent != "/");
  return EACCES;
}

// Takes part in a transaction's conflicts, and is what it goes on seeing.
int Server::note_read(Connection* c, const std::string& path, const RecordPointer& record) {
  if (!c || !c->transaction_ || c->transaction_->find(path)) return 0;
  Transaction& transaction = *c->transaction_;
  if (unprivileged(c) &&
      transaction.accessed.size() >= static_cast<std::size_t>(options_.quotas.transaction_nodes)) {
    transaction.failed = true;
    return ENOSPC;
  }
  Transaction::Access& access = transaction.add(path);
  access.check = true;
  access.generation = record ? record->generation : Transaction::kMissing;
  if (record) {
    access.permissions = record->permissions;
    access.copy = record;
    charge(c->id_, static_cast<long>(record->size()) + transaction.key_size(path), true);
  }
  return 0;
}

int Server::note_change(Connection* c, const std::string& path, Record& record, Touch touch) {
  record.generation = ++generation_;
  if (!c || !c->transaction_) return 0;
  Transaction& transaction = *c->transaction_;
  Transaction::Access* access = transaction.find(path);
  if (!access) {
    if (unprivileged(c) && transaction.accessed.size() >=
                               static_cast<std::size_t>(options_.quotas.transaction_nodes)) {
      transaction.failed = true;
      return ENOSPC;
    }
    access = &transaction.add(path);
    if (touch == Touch::write) access->permissions = record.permissions;
  }
  access->modified = true;
  return 0;
}

int Server::store(Connection* c, const std::string& path, Record record, bool unlimited) {
  if (const int number = note_change(c, path, record, Touch::write); number != 0) return number;
  const int number = put(c, path, std::move(record), unlimited);
  if (number != 0 && c && c->transaction_) c->transaction_->failed = true;
  return number;
}

// Within the quota of a node's size.
int Server::put(Connection* c, const std::string& path, Record record, bool unlimited) {
  for (std::size_t i = 1; i < record.permissions.size(); ++i)
    if (dead(record.permissions[i], record.generation)) record.permissions[i].ignored = true;
  if (!unlimited && unprivileged(c) &&
      record.size() >= static_cast<std::size_t>(options_.quotas.node_size))
    return ENOSPC;
  return keep(c, path, std::move(record), unlimited);
}

// Within the quota of memory. A transaction's copies are on the account of whose it is, all others
// on their owner's.
int Server::keep(Connection* c, const std::string& path, Record record, bool unlimited) {
  Transaction* transaction = c ? c->transaction_ : nullptr;
  const auto account = [&](const Record& of) {
    return transaction ? c->id_ : of.permissions.front().domain;
  };
  const long key = transaction ? transaction->key_size(path) : static_cast<long>(path.size());
  const RecordPointer old = current(c, path);
  const long old_size = old ? static_cast<long>(old->size()) + key : 0;
  if (old) charge(account(*old), -old_size, true);
  if (charge(account(record), static_cast<long>(record.size()) + key, unlimited) != 0) {
    if (old) charge(account(*old), old_size, true);
    return EIO;
  }
  auto written = std::make_shared<const Record>(std::move(record));
  if (transaction)
    transaction->find(path)->copy = std::move(written);
  else
    nodes_[path] = std::move(written);
  return 0;
}

void Server::erase(Connection* c, const std::string& path) {
  const RecordPointer old = current(c, path);
  if (!old) return;
  const long size = static_cast<long>(old->size());
  if (c && c->transaction_) {
    charge(c->id_, -size - c->transaction_->key_size(path), true);
    c->transaction_->find(path)->copy = nullptr;
  } else {
    charge(old->permissions.front().domain, -size - static_cast<long>(path.size()), true);
    nodes_.erase(path);
  }
}

// The node with all that is missing above it. Everything inherits the permissions of the nearest
// parent there is; what an unprivileged domain makes, it owns.
int Server::create(Connection& c, const std::string& path, std::string_view value,
                   RecordPointer& out) {
  struct Level {
    std::string path;
    Record record;
  };
  std::vector<Level> levels;  // the node first, then upwards; the last one exists already
  RecordPointer above;
  for (std::string at = path; !above;) {
    levels.push_back({at, {}});
    at = parent_of(at);
    const int number = lookup(&c, at, above);
    if (number != 0 && (number != ENOENT || at == "/")) return number;
    if (above) levels.push_back({at, *above});
  }
  const std::size_t existing = levels.size() - 1;
  for (std::size_t i = existing; i > 0; --i) {
    levels[i].record.children.append(name_of(levels[i - 1].path)).append(1, '\0');
    Permissions& list = levels[i - 1].record.permissions;
    list = levels[i].record.permissions;
    if (unprivileged(&c)) list.front().domain = c.id_;
  }
  levels.front().record.value = value;
  if (c.transaction_) c.transaction_->created = true;

  int number = 0;
  std::size_t done = 0;
  for (; done < levels.size() && number == 0; ++done) {
    const bool is_new = done < existing;
    const int owned = unprivileged(&c) ? c.domain_->nodes : 0;
    if (is_new && owned >= options_.quotas.nodes) {
      number = ENOSPC;
      break;
    }
    number = store(&c, levels[done].path, levels[done].record, false);
    if (number != 0) break;
    if (is_new) number = count_node(&c, levels[done].record.permissions.front().domain, 1);
  }
  if (number == 0) {
    out = current(&c, path);
    return 0;
  }
  for (std::size_t i = 0; i < done; ++i) {
    erase(&c, levels[i].path);
    count_node(&c, levels[i].record.permissions.front().domain, -1);
    if (c.transaction_) c.transaction_->failed = true;
  }
  return number;
}

int Server::remove_tree(Connection* c, const std::string& path) {
  const std::string parent = parent_of(path);
  RecordPointer record;
  if (const int number = lookup(c, parent, record); number != 0)
    return always_told(number) ? number : EINVAL;
  if (remove_below(c, path, path) != 0) return EIO;
  return remove_child(c, parent, std::string(name_of(path)));
}

// Leaves first; every parent is written again for each child that goes.
int Server::remove_below(Connection* c, const std::string& root, const std::string& path) {
  RecordPointer found;
  if (const int number = lookup(c, path, found); number != 0) return number;
  Record record = *found;
  while (!record.children.empty()) {
    const std::string name(record.children.c_str());
    if (const int number = remove_below(c, root, child_of(path, name)); number != 0) return number;
    record.children.erase(0, name.size() + 1);
    if (const int number = store(c, path, record, true); number != 0) return number;
  }
  if (const int number = note_change(c, path, record, Touch::remove); number != 0) return number;
  erase(c, path);
  fire(c, path, &record, path != root, nullptr);
  count_node(c, record.permissions.front().domain, -1);
  return 0;
}

int Server::remove_child(Connection* c, const std::string& parent, const std::string& name) {
  const RecordPointer found = current(c, parent);
  if (!found) return EIO;
  Record record = *with_dead_ignored(found);
  for (std::size_t at = 0; at < record.children.size();) {
    const std::string_view child(record.children.c_str() + at);
    if (child == name) {
      record.children.erase(at, child.size() + 1);
      return store(c, parent, std::move(record), true) != 0 ? EIO : 0;
    }
    at += child.size() + 1;
  }
  return EIO;
}

int Server::directory(Connection& c, std::string_view payload) {
  const auto path = only_string(payload);
  if (!path) return EINVAL;
  RecordPointer node;
  if (const int number = lookup_allowed(&c, absolute(c, *path), kRead, node); number != 0)
    return number;
  reply(c, MessageType::directory, node->children);
  return 0;
}

int Server::directory_part(Connection& c, std::string_view payload) {
  const auto arguments = strings_of(payload);
  if (arguments.size() != 2) return EINVAL;
  RecordPointer node;
  if (const int number = lookup_allowed(&c, absolute(c, arguments[0]), kRead, node); number != 0)
    return number;
  const auto offset = static_cast<unsigned>(std::atoi(arguments[1].data()));

  std::string answer = std::to_string(node->generation) + '\0';
  if (offset >= node->children.size()) {  // behind the end
    answer += '\0';
    reply(c, MessageType::directory_part, answer);
    return 0;
  }
  // Whole names only, and room left for the NUL that says that there are no more.
  const std::size_t room = kPayloadMax - answer.size() - 1;
  std::size_t at = offset;
  while (at < node->children.size()) {
    const std::size_t length = std::string_view(node->children.c_str() + at).size();
    if (at - offset + length >= room) break;
    at += length + 1;
  }
  answer.append(node->children, offset, at - offset);
  if (at == node->children.size()) answer += '\0';
  reply(c, MessageType::directory_part, answer);
  return 0;
}

int Server::read(Connection& c, std::string_view payload) {
  const auto path = only_string(payload);
  if (!path) return EINVAL;
  RecordPointer node;
  if (const int number = lookup_allowed(&c, absolute(c, *path), kRead, node); number != 0)
    return number;
  reply(c, MessageType::read, node->value);
  return 0;
}

int Server::write(Connection& c, std::string_view payload) {
  const std::size_t nul = payload.find('\0');
  if (nul == std::string_view::npos) return EINVAL;
  const std::string path = absolute(c, payload.substr(0, nul));
  const std::string_view value = payload.substr(nul + 1);
  RecordPointer node;
  int number = lookup_allowed(&c, path, kWrite, node);
  if (number == ENOENT) {
    number = create(c, path, value, node);
  } else if (number == 0) {
    Record record = *node;
    record.value = value;
    number = store(&c, path, std::move(record), false);
  }
  if (number != 0) return number;
  fire(&c, path, node.get(), false, nullptr);
  return acknowledge(c, MessageType::write);
}

int Server::mkdir(Connection& c, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return EINVAL;
  const std::string path = absolute(c, *argument);
  RecordPointer node;
  int number = lookup_allowed(&c, path, kWrite, node);
  if (number == ENOENT) {
    number = create(c, path, {}, node);
    if (number == 0) fire(&c, path, node.get(), false, nullptr);
  }
  if (number != 0) return number;
  return acknowledge(c, MessageType::mkdir);
}

int Server::remove(Connection& c, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return EINVAL;
  const std::string path = absolute(c, *argument);
  RecordPointer node;
  int number = lookup_allowed(&c, path, kWrite, node);
  if (number == ENOENT) {  // gone already is as good, if it could have been there
    number = lookup(&c, parent_of(path), node);
    if (number != 0) return always_told(number) ? number : ENOENT;
    return acknowledge(c, MessageType::remove);
  }
  if (number != 0) return number;
  if (path == "/") return EINVAL;
  number = remove_tree(&c, path);
  return number != 0 ? number : acknowledge(c, MessageType::remove);
}

int Server::get_permissions(Connection& c, std::string_view payload) {
  const auto path = only_string(payload);
  if (!path) return EINVAL;
  RecordPointer node;
  if (const int number = lookup_allowed(&c, absolute(c, *path), kRead, node); number != 0)
    return number;
  std::string words;
  for (const Permission& entry : node->permissions) words += to_word(entry) + '\0';
  reply(c, MessageType::get_permissions, words);
  return 0;
}

int Server::set_permissions(Connection& c, std::string_view payload) {
  const auto arguments = strings_of(payload);
  if (arguments.size() < 2) return EINVAL;
  if (unprivileged(&c) &&
      arguments.size() - 1 > static_cast<std::size_t>(options_.quotas.permissions))
    return ENOSPC;
  Permissions list;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    const auto entry = to_permission(arguments[i].data());
    if (!entry) return EINVAL;
    list.push_back(*entry);
  }
  for (Permission& entry : list) entry.ignored = !existing_domain(entry.domain);
  if (list.front().ignored) return ENOENT;
  if (arguments[0].starts_with('@')) return set_special_permissions(c, arguments[0], list);

  const std::string path = absolute(c, arguments[0]);
  RecordPointer node;
  if (const int number = lookup_allowed(&c, path, kWrite | kOwner, node); number != 0)
    return number;
  const Permissions before = node->permissions;
  const DomainId owner = before.front().domain;
  if (unprivileged(&c) && list.front().domain != owner) return EPERM;

  count_node(&c, owner, -1);
  if (count_node(&c, list.front().domain, 1) != 0) {
    count_node(&c, owner, 1);
    return ENOMEM;
  }
  Record record = *node;
  record.permissions = list;
  if (const int number = store(&c, path, record, false); number != 0) {
    count_node(&c, list.front().domain, -1);
    count_node(&c, owner, 1);
    return number;
  }
  fire(&c, path, &record, false, &before);
  return acknowledge(c, MessageType::set_permissions);
}

int Server::set_special_permissions(Connection& c, std::string_view name, const Permissions& list) {
  Permissions* special = name == "@releaseDomain"     ? &release_permissions_
                         : name == "@introduceDomain" ? &introduce_permissions_
                                                      : nullptr;
  if (!special) return EINVAL;
  constexpr unsigned kWanted = kWrite | kOwner;
  if ((access(&c, *special) & kWanted) != kWanted) return EACCES;
  *special = list;
  return acknowledge(c, MessageType::set_permissions);
}

}  // namespace displif_cts::loopback::store
