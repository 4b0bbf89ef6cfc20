// What Server keeps of domains, transactions and requests; for the files of this folder only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "harness/loopback/store/server.h"

namespace displif_cts::loopback::store {

// A domain that the store has heard of: introduced, or named in a permission list.
struct Domain {
  DomainId id = 0;
  // The store's generation when it was first heard of: entries in older lists meant another domain.
  std::uint64_t generation = 0;
  bool introduced = false;
  bool connected = false;  // false: dead, and kept only because another has it as its target
  bool shut_down = false;

  int nodes = 0;
  int watches = 0;
  int transactions = 0;
  int outstanding = 0;
  long memory = 0;
  std::uint32_t next_transaction = 0;

  std::weak_ptr<Domain> target;        // has what this domain has, too (XS_SET_TARGET)
  std::vector<DomainId> references;    // domains that have this one as target, one for each call
  std::optional<DomainId> adopted_by;  // dead: goes when that one goes

  std::string path() const { return "/local/domain/" + std::to_string(id); }
};

// Counts as outstanding from its answer on until that and all events that it caused are read.
struct RequestTicket {
  std::weak_ptr<Domain> domain;
  bool counted = false;

  explicit RequestTicket(const std::shared_ptr<Domain>& of) : domain(of) {}
  RequestTicket(const RequestTicket&) = delete;
  RequestTicket& operator=(const RequestTicket&) = delete;
  ~RequestTicket() {
    if (const auto alive = domain.lock(); alive && counted) --alive->outstanding;
  }
};

// A snapshot is taken node by node, of each at the first access.
struct Transaction {
  static constexpr std::uint64_t kMissing = ~std::uint64_t{0};

  struct Access {
    std::string path;
    std::uint64_t generation = 0;  // at the first access; kMissing: there was none
    bool check = false;            // first access was a read: no other may change it
    bool modified = false;
    RecordPointer copy;                      // as the transaction sees it; null: it is not there
    std::optional<Permissions> permissions;  // at the first access
    bool fire = false;
    bool exact = false;
  };

  std::uint32_t id = 0;
  std::uint64_t generation = 0;
  std::vector<Access> accessed;  // in the order of first access, which is the order of commit
  std::unordered_map<std::string, std::size_t> index;
  std::vector<std::pair<DomainId, int>> node_changes;
  bool created = false;
  bool failed = false;

  Access* find(const std::string& path) {
    const auto at = index.find(path);
    return at == index.end() ? nullptr : &accessed[at->second];
  }
  Access& add(const std::string& path) {
    index.emplace(path, accessed.size());
    Access& access = accessed.emplace_back();
    access.path = path;
    return access;
  }
  // The octets of its copy's key, which xenstored accounts for.
  long key_size(const std::string& path) const {
    return static_cast<long>(std::to_string(generation).size() + 1 + path.size());
  }
};

// xenstored tells these two to everybody; others it hides from who may not know of a node.
inline bool always_told(int number) { return number == ENOMEM || number == ENOSPC; }

// The one NUL-ended string that a payload is; nullopt: it is something else.
inline std::optional<std::string_view> only_string(std::string_view payload) {
  if (payload.empty() || payload.find('\0') != payload.size() - 1) return std::nullopt;
  return payload.substr(0, payload.size() - 1);
}

}  // namespace displif_cts::loopback::store
