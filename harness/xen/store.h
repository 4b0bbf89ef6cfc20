// XenStore over libxenstore.
//
// One Store is one connection, and a second one for its watches from the first of them on:
// libxenstore reads a connection that has a watch in a thread of its own, through which every
// answer would have to go, too. Use a Store from one thread at a time: next_event() hands out the
// events of all of its watches. Give every thread a Store of its own, and open it after fork(),
// never before.
#pragma once

#include <cerrno>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "harness/xen/error.h"
#include "harness/xen/types.h"

struct xs_handle;

namespace displif_cts::xen {

// XenStore's special nodes: a watch on them tells of domains that come and go.
inline constexpr std::string_view kDomainIntroduced = "@introduceDomain";
inline constexpr std::string_view kDomainReleased = "@releaseDomain";

enum class NodeAccess : std::uint8_t { none = 0, read = 1, write = 2, read_write = 3 };

// One entry of a node's permission list. In the first entry `domain` is the owner, who may always
// do everything, and `access` is what all domains get that have no entry of their own.
struct Permission {
  DomId domain;
  NodeAccess access;
  bool operator==(const Permission&) const = default;
};

struct WatchEvent {
  std::string path;   // the node that changed; relative if the watch was on a relative path
  std::string token;  // Watch::token() of the watch that fired
};

// What a connection and a transaction have in common. Paths are absolute, or relative to the own
// domain's directory. Every function throws Error with the path as object; a missing node is no
// error where the result can say so.
class StoreAccess {
 public:
  std::optional<std::string> read(const std::string& path) const;  // nullopt: no such node
  // The same where the node may be gone with all that stood above it: who may not see what is left
  // there is told EACCES, and not ENOENT (xenstored_core.c, errno_from_parents()).
  std::optional<std::string> read_if_visible(const std::string& path) const;
  void write(const std::string& path, std::string_view value) const;
  void mkdir(const std::string& path) const;  // existing: no effect
  // Removes the node and all below. False: there was none.
  bool remove(const std::string& path) const;
  // Names of the children, without path; nullopt: no such node.
  std::optional<std::vector<std::string>> directory(const std::string& path) const;
  std::vector<Permission> permissions(const std::string& path) const;
  void set_permissions(const std::string& path, const std::vector<Permission>& list) const;

  // Removes `path`, then every parent that this leaves empty, as libxl does when a device goes
  // (libxl_xshelp.c, libxl__xs_path_cleanup).
  void remove_with_empty_parents(const std::string& path) const;

 protected:
  StoreAccess(std::shared_ptr<xs_handle> handle, std::uint32_t transaction)
      : handle_(std::move(handle)), transaction_(transaction) {}

  std::shared_ptr<xs_handle> handle_;
  std::uint32_t transaction_;  // 0: outside of any
};

// Sees a snapshot; its writes appear to others at once, when the function given to
// Store::transaction returns.
class Transaction : public StoreAccess {
 private:
  friend class Store;
  using StoreAccess::StoreAccess;
};

// A registered watch; the destructor takes it back and drops its undelivered events. Keeps the
// connection open as long as it lives.
class Watch {
 public:
  Watch(Watch&&) noexcept = default;
  Watch& operator=(Watch&&) noexcept;
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;
  ~Watch();

  const std::string& path() const { return path_; }
  const std::string& token() const { return token_; }  // unique in the process

 private:
  friend class Store;
  Watch(std::shared_ptr<xs_handle> handle, std::string path);
  void reset() noexcept;

  std::shared_ptr<xs_handle> handle_;
  std::string path_;
  std::string token_;
};

class Store : public StoreAccess {
 public:
  // Throws Error("xs_open", ...) where there is no XenStore.
  static Store open();

  // Runs `body(Transaction&)` and commits; returns what body returned. XenStore refuses a commit
  // when somebody else changed what the body had read (EAGAIN): then body runs again, at most
  // `attempts` times, then Error("xs_transaction_end", ..., EAGAIN). An exception from body aborts
  // the transaction and passes on. Body must have no effects but on the Transaction.
  template <class F>
  auto transaction(F&& body, unsigned attempts = 64) {
    for (unsigned attempt = 1;; ++attempt) {
      Transaction transaction = begin();
      TransactionGuard guard{this, transaction.transaction_};
      if constexpr (std::is_void_v<std::invoke_result_t<F&, Transaction&>>) {
        body(transaction);
        if (guard.commit(attempt == attempts)) return;
      } else {
        auto result = body(transaction);
        if (guard.commit(attempt == attempts)) return result;
      }
    }
  }

  // The node, or anything below it, changes -> an event. XenStore fires every new watch once at
  // once, also where the node does not exist.
  [[nodiscard]] Watch watch(const std::string& path);

  // The next event of any watch of this connection; nullopt at the deadline. A deadline in the past
  // polls.
  std::optional<WatchEvent> next_event(Deadline deadline);

  // Becomes readable when next_event has something. For poll(2) only.
  int fd();

  // "/local/domain/N"; the domain need not exist.
  std::string domain_path(DomId domain) const;

  xs_handle* handle() const { return handle_.get(); }  // for calls that are not covered here

 private:
  explicit Store(std::shared_ptr<xs_handle> handle) : StoreAccess(std::move(handle), 0) {}

  const std::shared_ptr<xs_handle>& watching();  // the connection of the watches

  Transaction begin();
  bool end(std::uint32_t transaction, bool abort, bool last_attempt);  // false: run it again

  struct TransactionGuard {
    Store* store;
    std::uint32_t transaction;
    bool open = true;
    bool commit(bool last_attempt) {
      open = false;
      return store->end(transaction, false, last_attempt);
    }
    ~TransactionGuard() {
      if (open) {
        try {
          store->end(transaction, true, true);
        } catch (const Error&) {  // the reason for the abort is already on its way
        }
      }
    }
  };

  std::shared_ptr<xs_handle> watching_;
};

}  // namespace displif_cts::xen
