// Hosts a machine: its domains, its XenStore, and the sockets in a directory by which processes
// belong to it. Everything runs in a thread of the Host's; all functions may be called from any
// thread.
//
// A process belongs to a domain by its environment (environment()): LD_LIBRARY_PATH with the
// replacements of Xen's libraries, DISPLIF_LOOPBACK, DISPLIF_LOOPBACK_DOMAIN, XENSTORED_PATH. When
// it ends, its handles close as a kernel closes them; the domain lives on, unless
// DomainOptions::ends_with_processes.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "harness/loopback/calls.h"
#include "harness/loopback/fd.h"
#include "harness/loopback/machine.h"
#include "harness/loopback/message.h"
#include "harness/loopback/store/server.h"
#include "harness/loopback/store/transport.h"
#include "harness/xen/types.h"

namespace displif_cts::loopback {

class Host {
 public:
  // `directory` must exist and be empty of other machines; its path, with "/store-NNNNN.sock", must
  // fit into a socket's address (107 characters). Throws std::system_error.
  explicit Host(const std::filesystem::path& directory, store::Server::Options store = {});
  ~Host();  // every domain ends; the sockets are removed
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  const std::filesystem::path& directory() const { return directory_; }

  // What a process of the domain has in its environment besides LD_LIBRARY_PATH.
  std::vector<std::pair<std::string, std::string>> environment(xen::DomId id) const;

  // --- domains. Throw std::system_error with the errno: EEXIST, EINVAL, ENOMEM, ESRCH.
  // Introduces it to the store, with the nodes that a tool stack makes (libxl_create.c,
  // libxl__domain_make()): /local/domain/N with domid and name, readable, and the directories that
  // the domain may write.
  void add_domain(xen::DomId id, DomainOptions options = {});
  // As xl destroy: ports closed, handles dead, store informed. Pages that others map stay until
  // they let go. Its processes are not touched; all that they call fails with ENODEV.
  void kill_domain(xen::DomId id);
  // As the domain's own shutdown; `reason` is one of SHUTDOWN_* (xen/sched.h). It stays.
  void shut_down(xen::DomId id, int reason);
  // As before the first add_domain(): no domain, no client, an empty store.
  void reset();

  // --- the oracle: what there is now. Throw std::system_error with ESRCH.
  std::vector<DomainState> domains() const;
  std::vector<PortState> ports(xen::DomId id) const;
  GrantUsage grant_usage(xen::DomId id) const;
  std::vector<GrantState> grants(xen::DomId id) const;     // entries in use
  std::vector<MapState> mappings_of(xen::DomId id) const;  // who maps this domain's pages
  std::size_t mapped_pages(xen::DomId id) const;           // how many these are
  std::vector<MapState> mappings() const;                  // all
  // Processes that have the domain's devices open.
  std::set<pid_t> processes(xen::DomId id) const;
  std::size_t handles() const;  // of all domains
  std::size_t store_clients(xen::DomId id) const;

  // Runs `work` on the store, past all permissions, and gives out the events that it causes. Not
  // from inside such work.
  void with_store(const std::function<void(store::Server&)>& work);

  // --- for handles of the own process (inprocess.h)
  Message call(Caller& caller, Message request);
  std::string store_path(xen::DomId id) const;

 private:
  struct Connection {
    Fd socket;
    Caller caller;
    MessageReader reader;
    std::vector<std::byte> output;
    std::vector<Fd> output_fds;
    bool writable_polled = false;
  };
  struct Process {
    Fd pidfd;
    std::set<DomainId> domains;
  };

  void run();
  void accept();
  void serve(std::uint64_t id, std::uint32_t events);
  void answer(Connection& connection, Message message);
  bool flush(Connection& connection);
  void drop(std::uint64_t id);
  void watch_process(const Connection& connection);
  void process_ended(pid_t process);
  void end_domain_without_processes(DomainId id);
  void drop_dead_connections();
  void changed(DomainId id, Machine::Change change);
  void make_nodes(DomainId id, const DomainOptions& options);
  void settle();  // after a change, with the lock held
  void poke();    // the thread looks at its timeouts again

  std::filesystem::path directory_;
  store::Server::Options store_options_;
  std::uint64_t number_;  // tells machines apart

  mutable std::mutex mutex_;  // of all that follows
  Machine machine_;
  std::unique_ptr<store::Server> store_;
  std::unique_ptr<store::Transport> transport_;
  Fd epoll_;
  Fd listener_;
  Fd wake_;
  bool stopping_ = false;
  std::map<std::uint64_t, Connection> connections_;
  std::uint64_t next_connection_;
  std::map<pid_t, Process> processes_;
  std::set<DomainId> processes_ended_;  // domains that have lost a process
  std::thread thread_;
};

}  // namespace displif_cts::loopback
