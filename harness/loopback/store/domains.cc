// Domains that come and go, and their accounts: xenstored_domain.c.
#include <algorithm>
#include <cerrno>
#include <cstdlib>

#include "harness/loopback/store/server.h"
#include "harness/loopback/store/state.h"

namespace displif_cts::loopback::store {
namespace {

constexpr DomainId kSelf = 0x7ff0;  // DOMID_SELF

void forget(Permissions& list, DomainId id, DomainId heir) {
  if (list.front().domain == id) list.front().domain = heir;
  list.erase(std::remove_if(list.begin() + 1, list.end(),
                            [&](const Permission& entry) { return entry.domain == id; }),
             list.end());
}

DomainId number_in(std::string_view argument) {
  return static_cast<DomainId>(std::atoi(argument.data()));
}

}  // namespace

std::shared_ptr<Domain> Server::domain(DomainId id) const {
  for (const auto& known : domains_)
    if (known->id == id) return known;
  return nullptr;
}

std::shared_ptr<Domain> Server::domain_or_new(DomainId id) {
  if (auto known = domain(id)) return known;
  auto made = std::make_shared<Domain>();
  made->id = id;
  made->generation = generation_;
  domains_.push_back(made);
  return made;
}

std::shared_ptr<Domain> Server::existing_domain(DomainId id) {
  if (auto known = domain(id)) return known;
  return domain_exists(id) ? domain_or_new(id) : nullptr;
}

void Server::domain_created(DomainId id) { existing_.emplace(id, false); }

void Server::domain_shut_down(DomainId id) {
  if (const auto at = existing_.find(id); at != existing_.end()) at->second = true;
  check_domains();
}

void Server::domain_died(DomainId id) {
  if (id == 0) return;
  existing_.erase(id);
  check_domains();
}

// What xenstored does when Xen tells it that some domain changed.
void Server::check_domains() {
  bool notify = false;
  for (std::size_t i = domains_.size(); i-- > 0;) {
    const std::shared_ptr<Domain> known = domains_[i];
    const auto exists = existing_.find(known->id);
    if (exists != existing_.end()) {
      if (known->introduced && exists->second && !known->shut_down) {
        known->shut_down = true;
        notify = true;
      }
      continue;
    }
    if (!known->introduced) {
      destroy(known);
    } else if (known->connected) {
      known->connected = false;
      if (known->references.empty()) {
        destroy(known);
      } else {  // its target's user keeps it
        known->adopted_by = known->references.back();
        known->references.pop_back();
        close_clients(*known);
      }
      notify = false;  // its end was told
    } else {
      continue;
    }
    i = domains_.size();
  }
  if (notify) fire(nullptr, "@releaseDomain", nullptr, true, nullptr);
}

void Server::destroy(const std::shared_ptr<Domain>& going) {
  close_clients(*going);
  // Those that it had as targets.
  const auto others = domains_;
  for (const auto& other : others) {
    std::erase(other->references, going->id);
    if (other->adopted_by == going->id) destroy(other);
  }
  if (going->nodes > 0) remove_owned_below(*going, "/");
  forget(release_permissions_, going->id, options_.privileged);
  forget(introduce_permissions_, going->id, options_.privileged);
  std::erase(domains_, going);
  if (going->introduced) fire(nullptr, "@releaseDomain", nullptr, true, nullptr);
}

// From the top; a node that the domain owns goes with all below it. False: none can be left.
bool Server::remove_owned_below(Domain& owner, const std::string& path) {
  const RecordPointer node = current(nullptr, path);
  if (!node) return true;
  if (node->permissions.front().domain == owner.id && path != "/") {
    remove_tree(nullptr, path);
    return owner.nodes > 0;
  }
  for (const std::string_view name : strings_of(node->children))
    if (!remove_owned_below(owner, child_of(path, name))) return false;
  return true;
}

void Server::close_clients(const Domain& of) {
  const auto connections = connections_;
  for (const auto& connection : connections)
    if (connection->domain_.get() == &of) close(*connection);
}

int Server::introduce(DomainId id) {
  // xenstored would fail to map the domain's ring.
  if (!domain_exists(id)) return EINVAL;
  const auto known = domain_or_new(id);
  if (!known->introduced) {
    known->introduced = known->connected = true;
    known->shut_down = false;
    fire(nullptr, "@introduceDomain", nullptr, true, nullptr);
  }
  close_clients(*known);
  return 0;
}

bool Server::introduced(DomainId id) const {
  const auto known = domain(id);
  return known && known->introduced;
}

std::shared_ptr<Domain> Server::connected_domain(DomainId id, int& error) const {
  auto known = domain(id);
  error = !known || !known->introduced ? ENOENT : known->connected ? 0 : EINVAL;
  return error == 0 ? known : nullptr;
}

int Server::release(DomainId id) {
  if (id == 0) return EINVAL;
  int error = 0;
  const auto known = connected_domain(id, error);
  if (!known) return error;
  // The first release only ends the hold that a domain with this one as target has on it.
  if (!known->references.empty())
    known->references.pop_back();
  else
    destroy(known);
  return 0;
}

int Server::resume(DomainId id) {
  if (id == 0) return EINVAL;
  int error = 0;
  if (const auto known = connected_domain(id, error)) known->shut_down = false;
  return error;
}

int Server::set_target(DomainId id, DomainId target) {
  int error = 0;
  const auto known = connected_domain(id, error);
  if (!known) return error;
  const auto other = connected_domain(target, error);
  if (!other) return error;
  other->references.push_back(id);
  known->target = other;
  return 0;
}

std::optional<DomainUsage> Server::usage(DomainId id) const {
  const auto known = domain(id);
  if (!known) return std::nullopt;
  return DomainUsage{known->nodes, known->watches, known->transactions, known->outstanding,
                     static_cast<int>(known->memory)};
}

int Server::count_node(Connection* c, DomainId owner, int change) {
  if (c && c->transaction_) {
    auto& changes = c->transaction_->node_changes;
    const auto at = std::find_if(changes.begin(), changes.end(),
                                 [&](const auto& entry) { return entry.first == owner; });
    if (at != changes.end())
      at->second += change;
    else
      changes.emplace_back(owner, change);
    return 0;
  }
  const auto of = change > 0 ? existing_domain(owner) : domain(owner);
  if (of) of->nodes += change;
  return of || change < 0 ? 0 : ENOMEM;
}

// ENOMEM: above the quota, nothing charged. ENOENT: there is no such account.
int Server::charge(DomainId id, long octets, bool unlimited) {
  const auto account = domain(id);
  if (!account) return ENOENT;
  const int limit = options_.quotas.memory;
  if (!unlimited && unprivileged(id) && limit != 0 && account->memory + octets >= limit)
    return ENOMEM;
  account->memory += octets;
  return 0;
}

int Server::introduce_request(Connection& c, std::string_view payload) {
  const auto arguments = strings_of(payload);
  if (arguments.size() < 3) return EINVAL;
  if (std::atoi(arguments[2].data()) == 0) return EINVAL;  // the event channel's port
  if (const int number = introduce(number_in(arguments[0])); number != 0) return number;
  return acknowledge(c, MessageType::introduce);
}

int Server::release_request(Connection& c, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return EINVAL;
  if (const int number = release(number_in(*argument)); number != 0) return number;
  return acknowledge(c, MessageType::release);
}

int Server::resume_request(Connection& c, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return EINVAL;
  if (const int number = resume(number_in(*argument)); number != 0) return number;
  return acknowledge(c, MessageType::resume);
}

int Server::set_target_request(Connection& c, std::string_view payload) {
  const auto arguments = strings_of(payload);
  if (arguments.size() < 2) return EINVAL;
  const int number = set_target(number_in(arguments[0]), number_in(arguments[1]));
  return number != 0 ? number : acknowledge(c, MessageType::set_target);
}

int Server::get_domain_path(Connection& c, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return EINVAL;
  reply(c, MessageType::get_domain_path,
        "/local/domain/" + std::to_string(number_in(*argument)) + '\0');
  return 0;
}

int Server::is_domain_introduced(Connection& c, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument) return EINVAL;
  const DomainId id = number_in(*argument);
  reply(c, MessageType::is_domain_introduced,
        std::string_view(id == kSelf || introduced(id) ? "T" : "F", 2));
  return 0;
}

}  // namespace displif_cts::loopback::store
