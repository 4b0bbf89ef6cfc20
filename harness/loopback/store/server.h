// XenStore's server without sockets and without threads: octets of xs_wire in, octets out, with the
// semantics of Xen 4.17's xenstored (tools/xenstore/xenstored_{core,domain,transaction,watch}.c):
// permissions, inheritance, transactions with their conflicts, watches, quotas, and the life of
// domains. transport.h puts it on sockets. Where it differs from xenstored: see README.md here.
//
// Not thread-safe: one thread at a time calls a Server and its Connections.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "harness/loopback/store/tree.h"
#include "harness/loopback/store/wire.h"

namespace displif_cts::loopback::store {

class Server;
struct Domain;
struct Transaction;
struct RequestTicket;

// xenstored's quotas under the names of its control command ("quota set NAME VALUE"), with its
// defaults. They bind unprivileged domains only.
struct Quotas {
  int nodes = 1000;               // owned by a domain
  int watches = 128;              // of a domain; one more than this is let through, as in 4.17
  int transactions = 10;          // open at once; one more is let through, as in 4.17
  int outstanding = 20;           // requests whose answer or events nobody has read yet
  int transaction_nodes = 1024;   // touched by one transaction
  int memory = 2560 * 1024;       // octets accounted to a domain (hard limit)
  int memory_soft = 2048 * 1024;  // only shown: crossing it is a line in xenstored's log
  int node_size = 2048;  // octets of a record: header, permissions, value, children's names
  int path_max = 2048;   // characters of a path, without its /local/domain/N/
  int permissions = 5;   // entries of a permission list
};

// What `xenstore-control quota N` shows of a domain.
struct DomainUsage {
  int nodes = 0;
  int watches = 0;
  int transactions = 0;
  int outstanding = 0;
  int memory = 0;
};

// One client. A domain may have several, one for each process that opened the store, which stand
// for the one ring that a kernel shares among its processes: the domain's quotas count them
// together. A client of domain 0 is what xenstored calls a socket connection: privileged.
class Connection {
 public:
  DomainId domain_id() const { return id_; }

  // Octets from the client. They wait until Server::step() takes them.
  void receive(std::string_view octets) { input_.append(octets); }
  std::size_t waiting() const { return input_.size(); }  // octets not yet taken
  // Octets for the client: the rest of the oldest message. Then say with sent() how many of them it
  // got, and look again.
  std::string_view output() const;
  void sent(std::size_t count);
  bool has_output() const { return !output_.empty(); }

  // False: the domain is over a quota and its requests wait (they may be received all the same).
  bool may_proceed() const;
  // The server let go of it: protocol broken (a payload above 4096), domain released or dead.
  // Nothing more is taken or given. Call Server::disconnect or just forget it.
  bool closed() const { return closed_; }

 private:
  friend class Server;
  struct Pending {  // a message on its way to the client
    std::string octets;
    std::size_t sent = 0;
    bool event = false;
    std::shared_ptr<RequestTicket> ticket;  // the request that it answers, or that caused it
    std::optional<std::chrono::steady_clock::time_point> deadline;
  };
  struct Watch {
    std::string node;  // absolute, or a special one beginning with @
    std::string token;
    std::size_t relative_prefix = 0;  // characters to leave off in events; 0: absolute watch
  };

  Server* server_ = nullptr;
  DomainId id_ = 0;
  std::shared_ptr<Domain> domain_;  // null: a client of domain 0
  bool closed_ = false;
  std::string input_;
  std::deque<Pending> output_;
  std::vector<Watch> watches_;
  std::vector<std::unique_ptr<Transaction>> transactions_;
  std::uint32_t next_transaction_ = 0;

  // The request being worked on.
  Header request_;
  std::shared_ptr<RequestTicket> ticket_;
  Transaction* transaction_ = nullptr;

 public:
  struct Key {};  // Server makes them
  Connection(Key, Server& server, DomainId id);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
};

class Server {
 public:
  struct Options {
    Quotas quotas;
    // A second privileged domain (xenstored --priv-domid); 0: none.
    DomainId privileged = 0;
    // How long an event may lie unread for an unprivileged domain (--timeout watch-event); 0: for
    // ever. Judged by expire().
    std::chrono::milliseconds watch_event_timeout{20000};
    std::function<std::chrono::steady_clock::time_point()> now = std::chrono::steady_clock::now;
  };

  // An empty store as xenstored starts with it: "/", "/tool", "/tool/xenstored", domain 0.
  Server() : Server(Options{}) {}
  explicit Server(Options options);
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // ---- what the hypervisor would tell --------------------------------------------------------
  // The domain exists from here on; it has no client before it is introduced. Domain 0 does
  // already. Again: no effect.
  void domain_created(DomainId id);
  // It shut down or crashed, and is still there: @releaseDomain fires once.
  void domain_shut_down(DomainId id);
  // It is gone: its clients are closed, the nodes that it owns removed, @releaseDomain fires.
  void domain_died(DomainId id);
  bool domain_exists(DomainId id) const { return existing_.count(id) != 0; }

  // ---- what the toolstack would ask: XS_INTRODUCE, XS_RELEASE, ... ---------------------------
  // Each returns 0 or the errno that a client would get.
  // EINVAL: the domain does not exist. An introduced domain starts anew: clients closed.
  int introduce(DomainId id);
  int release(DomainId id);  // ENOENT: not introduced
  int resume(DomainId id);
  int set_target(DomainId id, DomainId target);
  bool introduced(DomainId id) const;
  std::optional<DomainUsage> usage(DomainId id) const;

  Quotas& quotas() { return options_.quotas; }

  // ---- clients -------------------------------------------------------------------------------
  // A new client of the domain; null: the domain is not introduced. The server keeps it too, until
  // disconnect() or closed().
  std::shared_ptr<Connection> connect(DomainId id);
  // The client went away: its watches and transactions end.
  void disconnect(Connection& connection);

  // Every client gets at most one request served, in the order in which they came, as xenstored's
  // loop does. True: something was done, so give out the output and call again.
  bool step();
  // Drops events that lay unread for too long.
  void expire();

  // A look past permissions, for tests and oracles: nullptr where there is no such node.
  const Record* find(const std::string& path) const;

 private:
  friend class Connection;
  enum class Touch { write, remove };
  using Handler = int (Server::*)(Connection&, std::string_view);
  static Handler handler(std::uint32_t type);

  // Requests, one function each: 0 after an answer, else the errno of XS_ERROR.
  int directory(Connection& c, std::string_view payload);
  int directory_part(Connection& c, std::string_view payload);
  int read(Connection& c, std::string_view payload);
  int get_permissions(Connection& c, std::string_view payload);
  int set_permissions(Connection& c, std::string_view payload);
  int set_special_permissions(Connection& c, std::string_view name, const Permissions& list);
  int write(Connection& c, std::string_view payload);
  int mkdir(Connection& c, std::string_view payload);
  int remove(Connection& c, std::string_view payload);
  int watch(Connection& c, std::string_view payload);
  int unwatch(Connection& c, std::string_view payload);
  int reset_watches(Connection& c, std::string_view payload);
  int transaction_start(Connection& c, std::string_view payload);
  int transaction_end(Connection& c, std::string_view payload);
  int introduce_request(Connection& c, std::string_view payload);
  int release_request(Connection& c, std::string_view payload);
  int resume_request(Connection& c, std::string_view payload);
  int set_target_request(Connection& c, std::string_view payload);
  int get_domain_path(Connection& c, std::string_view payload);
  int is_domain_introduced(Connection& c, std::string_view payload);
  int control(Connection& c, std::string_view payload);
  int control_quota(Connection& c, const std::vector<std::string>& arguments, bool soft);

  bool step(Connection& c);
  void process(Connection& c, std::string_view payload);
  void reply(Connection& c, MessageType type, std::string_view payload);
  int acknowledge(Connection& c, MessageType type);
  void reply_error(Connection& c, int number);

  // Nodes. `c` is null where the server itself acts.
  bool unprivileged(const Connection* c) const;
  bool unprivileged(DomainId id) const;
  unsigned access(const Connection* c, const Permissions& list) const;
  std::string absolute(const Connection& c, std::string_view path) const;
  bool valid(const std::string& path) const;
  RecordPointer current(const Connection* c, const std::string& path) const;
  bool dead(const Permission& entry, std::uint64_t generation) const;
  RecordPointer with_dead_ignored(RecordPointer record) const;
  int lookup(Connection* c, const std::string& path, RecordPointer& out);
  int lookup_allowed(Connection* c, const std::string& path, unsigned wanted, RecordPointer& out);
  int hide_error(Connection* c, const std::string& path, int number, unsigned wanted);
  int note_read(Connection* c, const std::string& path, const RecordPointer& record);
  int note_change(Connection* c, const std::string& path, Record& record, Touch touch);
  int store(Connection* c, const std::string& path, Record record, bool unlimited);
  int put(Connection* c, const std::string& path, Record record, bool unlimited);
  int keep(Connection* c, const std::string& path, Record record, bool unlimited);
  void erase(Connection* c, const std::string& path);
  int create(Connection& c, const std::string& path, std::string_view value, RecordPointer& out);
  int remove_tree(Connection* c, const std::string& path);
  int remove_below(Connection* c, const std::string& root, const std::string& path);
  int remove_child(Connection* c, const std::string& parent, const std::string& name);

  // Transactions.
  int commit(Connection& c, Transaction& transaction);
  void discard(Connection& c, Transaction& transaction);
  void end_transactions(Connection& c);

  // Watches.
  void fire(Connection* c, const std::string& path, const Record* record, bool exact,
            const Permissions* before);
  bool may_hear(const Connection& watcher, const std::string& path, const Record* record,
                const Permissions* before) const;
  void send_event(Connection& to, std::string_view path, std::string_view token,
                  const std::shared_ptr<RequestTicket>& cause);
  void end_watches(Connection& c);

  // Domains and their accounts.
  std::shared_ptr<Domain> domain(DomainId id) const;
  std::shared_ptr<Domain> domain_or_new(DomainId id);
  std::shared_ptr<Domain> existing_domain(DomainId id);
  std::shared_ptr<Domain> connected_domain(DomainId id, int& error) const;
  std::shared_ptr<Domain> connected_domain_argument(std::string_view payload, int& error) const;
  void check_domains();
  void destroy(const std::shared_ptr<Domain>& domain);
  bool remove_owned_below(Domain& domain, const std::string& path);
  void close_clients(const Domain& domain);
  void close(Connection& c);
  void retire(Connection& c, const Connection::Pending& message);
  int count_node(Connection* c, DomainId owner, int change);
  int charge(DomainId id, long octets, bool unlimited);

  Options options_;
  std::map<DomainId, bool> existing_;  // by the hypervisor's word; true: shut down
  std::vector<std::shared_ptr<Domain>> domains_;
  std::vector<std::shared_ptr<Connection>> connections_;
  std::unordered_map<std::string, RecordPointer> nodes_;
  std::uint64_t generation_ = 0;
  Permissions introduce_permissions_;
  Permissions release_permissions_;
};

// A client of domain 0 in the same thread, for whoever plays the toolstack. Every call throws
// StoreError with the errno of the server's answer.
class StoreError : public std::exception {
 public:
  StoreError(std::string what, int number) : what_(std::move(what)), number_(number) {}
  const char* what() const noexcept override { return what_.c_str(); }
  int number() const { return number_; }

 private:
  std::string what_;
  int number_;
};

class LocalClient {
 public:
  explicit LocalClient(Server& server);
  ~LocalClient();
  LocalClient(const LocalClient&) = delete;
  LocalClient& operator=(const LocalClient&) = delete;

  // The payload of the answer.
  std::string request(MessageType type, std::string_view payload, std::uint32_t transaction = 0);

  std::optional<std::string> read(const std::string& path);  // nullopt: no such node
  void write(const std::string& path, std::string_view value);
  void mkdir(const std::string& path);
  bool remove(const std::string& path);  // false: there was none
  std::vector<std::string> directory(const std::string& path);
  // Entries as XS_SET_PERMS takes them: "n5", "r0", "b7"; the first names the owner.
  void set_permissions(const std::string& path, const std::vector<std::string>& entries);

 private:
  Server& server_;
  std::shared_ptr<Connection> connection_;
};

}  // namespace displif_cts::loopback::store
