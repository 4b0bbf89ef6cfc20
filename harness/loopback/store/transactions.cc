// Transactions: xenstored_transaction.c.
#include <algorithm>
#include <cerrno>

#include "harness/loopback/store/server.h"
#include "harness/loopback/store/state.h"

namespace displif_cts::loopback::store {

int Server::transaction_start(Connection& c, std::string_view) {
  if (c.transaction_) return EBUSY;
  if (unprivileged(&c) && c.domain_->transactions > options_.quotas.transactions) return ENOSPC;
  auto transaction = std::make_unique<Transaction>();
  transaction->generation = ++generation_;
  // A domain's clients share its numbers, as they would share its ring.
  std::uint32_t& next = c.domain_ ? c.domain_->next_transaction : c.next_transaction_;
  const auto taken = [&](std::uint32_t id) {
    return id == 0 || std::any_of(c.transactions_.begin(), c.transactions_.end(),
                                  [&](const auto& other) { return other->id == id; });
  };
  do {
    transaction->id = next++;
  } while (taken(transaction->id));
  const std::string answer = std::to_string(transaction->id) + '\0';
  c.transactions_.push_back(std::move(transaction));
  if (c.domain_) ++c.domain_->transactions;
  reply(c, MessageType::transaction_start, answer);
  return 0;
}

int Server::transaction_end(Connection& c, std::string_view payload) {
  const auto argument = only_string(payload);
  if (!argument || (*argument != "T" && *argument != "F")) return EINVAL;
  if (!c.transaction_) return ENOENT;
  const auto at = std::find_if(c.transactions_.begin(), c.transactions_.end(),
                               [&](const auto& other) { return other.get() == c.transaction_; });
  const std::unique_ptr<Transaction> transaction = std::move(*at);
  c.transactions_.erase(at);
  c.transaction_ = nullptr;
  if (c.domain_) --c.domain_->transactions;
  const int number = *argument == "T" ? commit(c, *transaction) : 0;
  discard(c, *transaction);
  return number != 0 ? number : acknowledge(c, MessageType::transaction_end);
}

int Server::commit(Connection& c, Transaction& transaction) {
  if (transaction.failed) return ENOMEM;
  for (const auto& [owner, change] : transaction.node_changes) {
    const auto of = existing_domain(owner);
    if (!of) return ENOMEM;
    if (transaction.created && unprivileged(&c) && unprivileged(owner) &&
        of->nodes + change >= options_.quotas.nodes)
      return ENOSPC;
  }
  for (const Transaction::Access& access : transaction.accessed) {
    if (!access.check) continue;
    const Record* now = find(access.path);
    if ((now ? now->generation : Transaction::kMissing) != access.generation) return EAGAIN;
  }

  for (Transaction::Access& access : transaction.accessed) {
    if (access.copy)
      charge(c.id_, -static_cast<long>(access.copy->size()) - transaction.key_size(access.path),
             true);
    const RecordPointer copy = std::move(access.copy);
    access.copy = nullptr;
    if (!access.modified) continue;
    if (copy) {
      Record record = *copy;
      record.generation = ++generation_;
      keep(nullptr, access.path, std::move(record), true);
    } else if (access.generation != Transaction::kMissing) {
      erase(nullptr, access.path);
    }
    if (access.fire)
      fire(&c, access.path, nullptr, access.exact,
           access.permissions ? &*access.permissions : nullptr);
  }
  for (const auto& [owner, change] : transaction.node_changes)
    if (const auto of = domain(owner)) of->nodes += change;
  return 0;
}

// Its copies go from the account.
void Server::discard(Connection& c, Transaction& transaction) {
  for (const Transaction::Access& access : transaction.accessed)
    if (access.copy)
      charge(c.id_, -static_cast<long>(access.copy->size()) - transaction.key_size(access.path),
             true);
  transaction.accessed.clear();
  transaction.index.clear();
}

void Server::end_transactions(Connection& c) {
  c.transaction_ = nullptr;
  for (const auto& transaction : c.transactions_) {
    discard(c, *transaction);
    if (c.domain_) --c.domain_->transactions;
  }
  c.transactions_.clear();
}

}  // namespace displif_cts::loopback::store
