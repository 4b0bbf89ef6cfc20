#include "harness/loopback/host.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <random>
#include <system_error>

namespace displif_cts::loopback {
namespace {

// What epoll says something of: one of these, a process, or a connection.
constexpr std::uint64_t kListener = 0;
constexpr std::uint64_t kStore = 1;
constexpr std::uint64_t kWake = 2;
constexpr std::uint64_t kFirstConnection = 16;
constexpr std::uint64_t kProcess = std::uint64_t{1} << 63;

[[noreturn]] void fail(int number, const std::string& what) {
  throw std::system_error(number, std::generic_category(), what);
}

Fd listen_at(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) fail(ENAMETOOLONG, path);
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  Fd listener(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener ||
      bind(listener.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener.get(), SOMAXCONN) != 0) {
    fail(errno, path);
  }
  return listener;
}

void control(const Fd& epoll, int operation, int fd, std::uint32_t events, std::uint64_t what) {
  epoll_event event{.events = events, .data = {.u64 = what}};
  if (epoll_ctl(epoll.get(), operation, fd, &event) != 0) fail(errno, "epoll_ctl");
}

DomainId id_of(xen::DomId id) { return xen::raw(id); }

// Runs what may be Refused, for callers of the Host.
template <class Work>
auto checked(xen::DomId id, Work&& work) {
  try {
    return work();
  } catch (const Refused& refused) {
    fail(refused.error, "domain " + std::to_string(xen::raw(id)));
  }
}

}  // namespace

Host::Host(const std::filesystem::path& directory, store::Server::Options store)
    : directory_(std::filesystem::absolute(directory)),
      store_options_(std::move(store)),
      number_(std::uint64_t{std::random_device{}()} << 32 | std::random_device{}()),
      next_connection_(kFirstConnection) {
  epoll_.reset(epoll_create1(EPOLL_CLOEXEC));
  wake_.reset(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!epoll_ || !wake_) fail(errno, "epoll");
  listener_ = listen_at((directory_ / "machine.sock").string());
  control(epoll_, EPOLL_CTL_ADD, listener_.get(), EPOLLIN, kListener);
  control(epoll_, EPOLL_CTL_ADD, wake_.get(), EPOLLIN, kWake);
  machine_.listen([this](DomainId id, Machine::Change change) { changed(id, change); });
  reset();
  thread_ = std::thread([this] { run(); });
}

Host::~Host() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
    poke();
  }
  thread_.join();
  machine_.listen({});
  transport_.reset();
  listener_.reset();
  std::error_code ignored;
  std::filesystem::remove(directory_ / "machine.sock", ignored);
}

void Host::poke() { eventfd_write(wake_.get(), 1); }

std::vector<std::pair<std::string, std::string>> Host::environment(xen::DomId id) const {
  return {{"DISPLIF_LOOPBACK", directory_.string()},
          {"DISPLIF_LOOPBACK_DOMAIN", std::to_string(id_of(id))},
          {"XENSTORED_PATH", store_path(id)}};
}

std::string Host::store_path(xen::DomId id) const {
  return (directory_ / ("store-" + std::to_string(id_of(id)) + ".sock")).string();
}

// --- domains -------------------------------------------------------------------------------------

void Host::add_domain(xen::DomId id, DomainOptions options) {
  const std::lock_guard lock(mutex_);
  if (options.name.empty()) {
    options.name = id_of(id) == 0 ? "Domain-0" : "domain-" + std::to_string(id_of(id));
  }
  checked(id, [&] { machine_.add_domain(id_of(id), options); });
  store_->domain_created(id_of(id));
  if (id_of(id) != 0) {
    if (const int number = store_->introduce(id_of(id)); number != 0) {
      fail(number, "introducing domain " + std::to_string(id_of(id)));
    }
  }
  transport_->listen(id_of(id));
  make_nodes(id_of(id), options);
  settle();
}

void Host::make_nodes(DomainId id, const DomainOptions& options) {
  store::LocalClient client(*store_);
  const std::string number = std::to_string(id);
  const std::string path = "/local/domain/" + number;
  client.mkdir(path);
  // dom0's own nodes are as xen-init-dom0 leaves them.
  const std::vector<std::string> readable{"n0", "r" + number};
  const std::vector<std::string> own{"n" + number};
  const auto add = [&](const std::string& name, std::string_view value,
                       const std::vector<std::string>& permissions) {
    client.write(path + name, value);
    if (id != 0) client.set_permissions(path + name, permissions);
  };
  if (id != 0) client.set_permissions(path, readable);
  add("/domid", number, readable);
  add("/name", options.name, readable);
  if (id == 0) return;
  for (const char* name : {"/cpu", "/memory", "/device", "/control"}) add(name, "", readable);
  for (const char* name :
       {"/device/suspend/event-channel", "/control/shutdown", "/control/feature-poweroff",
        "/control/feature-reboot", "/control/feature-suspend", "/control/sysrq", "/data",
        "/drivers", "/feature", "/attr", "/error"}) {
    add(name, "", own);
  }
}

void Host::kill_domain(xen::DomId id) {
  const std::lock_guard lock(mutex_);
  checked(id, [&] { machine_.kill_domain(id_of(id)); });
  settle();
}

void Host::shut_down(xen::DomId id, int reason) {
  const std::lock_guard lock(mutex_);
  checked(id, [&] { machine_.shut_down(id_of(id), reason); });
  settle();
}

void Host::reset() {
  const std::lock_guard lock(mutex_);
  machine_.listen({});
  // Killing one may end another that was kept by its mappings only.
  for (const DomainState& domain : machine_.domains()) {
    try {
      machine_.kill_domain(domain.id);
    } catch (const Refused&) {
    }
  }
  machine_.listen([this](DomainId id, Machine::Change change) { changed(id, change); });
  connections_.clear();
  processes_.clear();
  processes_ended_.clear();
  transport_.reset();  // its descriptor leaves epoll as it closes
  store_ = std::make_unique<store::Server>(store_options_);
  transport_ = std::make_unique<store::Transport>(*store_, directory_.string());
  control(epoll_, EPOLL_CTL_ADD, transport_->fd(), EPOLLIN, kStore);
  poke();
}

// Told by the machine, with the lock held.
void Host::changed(DomainId id, Machine::Change change) {
  if (change == Machine::Change::shut_down) {
    store_->domain_shut_down(id);
  } else {
    store_->domain_died(id);
    transport_->unlisten(id);
    processes_ended_.erase(id);
  }
}

void Host::settle() {
  drop_dead_connections();
  transport_->process();
  poke();
}

void Host::drop_dead_connections() {
  std::erase_if(connections_, [&](const auto& entry) {
    const HandleId handle = entry.second.caller.handle;
    return handle != 0 && !machine_.has(handle);
  });
}

// --- the oracle ----------------------------------------------------------------------------------

std::vector<DomainState> Host::domains() const {
  const std::lock_guard lock(mutex_);
  return machine_.domains();
}

std::vector<PortState> Host::ports(xen::DomId id) const {
  const std::lock_guard lock(mutex_);
  return checked(id, [&] { return machine_.ports(id_of(id)); });
}

GrantUsage Host::grant_usage(xen::DomId id) const {
  const std::lock_guard lock(mutex_);
  return checked(id, [&] { return machine_.grant_usage(id_of(id)); });
}

std::vector<GrantState> Host::grants(xen::DomId id) const {
  const std::lock_guard lock(mutex_);
  return checked(id, [&] { return machine_.grants(id_of(id)); });
}

std::vector<MapState> Host::mappings_of(xen::DomId id) const {
  const std::lock_guard lock(mutex_);
  return checked(id, [&] { return machine_.mappings_of(id_of(id)); });
}

std::size_t Host::mapped_pages(xen::DomId id) const {
  const std::lock_guard lock(mutex_);
  return checked(id, [&] { return machine_.mapped_pages(id_of(id)); });
}

std::vector<MapState> Host::mappings() const {
  const std::lock_guard lock(mutex_);
  return machine_.mappings();
}

std::set<pid_t> Host::processes(xen::DomId id) const {
  const std::lock_guard lock(mutex_);
  return checked(id, [&] { return machine_.processes(id_of(id)); });
}

std::size_t Host::handles() const {
  const std::lock_guard lock(mutex_);
  return machine_.handles();
}

std::size_t Host::store_clients(xen::DomId id) const {
  const std::lock_guard lock(mutex_);
  return transport_->clients(id_of(id));
}

void Host::with_store(const std::function<void(store::Server&)>& work) {
  const std::lock_guard lock(mutex_);
  work(*store_);
  settle();
}

Message Host::call(Caller& caller, Message request) {
  const std::lock_guard lock(mutex_);
  const auto code = static_cast<Call>(request.code);
  Message answer = carry_out(machine_, number_, caller, std::move(request));
  if (code == Call::kill || code == Call::shut_down) settle();
  return answer;
}

// --- the thread ----------------------------------------------------------------------------------

void Host::run() {
  std::array<epoll_event, 32> events;
  for (;;) {
    int wait = -1;
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return;
      if (const auto timeout = transport_->timeout()) {
        wait = static_cast<int>(std::clamp<std::int64_t>(timeout->count(), 0, 60'000));
      }
    }
    const int count =
        epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), wait);
    const std::lock_guard lock(mutex_);
    if (count <= 0) transport_->process();
    for (int i = 0; i < count; ++i) {
      const std::uint64_t what = events[static_cast<std::size_t>(i)].data.u64;
      if (what == kListener) {
        accept();
      } else if (what == kStore) {
        transport_->process();
      } else if (what == kWake) {
        eventfd_t ignored;
        eventfd_read(wake_.get(), &ignored);
      } else if ((what & kProcess) != 0) {
        process_ended(static_cast<pid_t>(what & ~kProcess));
      } else {
        serve(what, events[static_cast<std::size_t>(i)].events);
      }
    }
  }
}

void Host::accept() {
  Fd socket(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!socket) return;
  ucred peer{};
  socklen_t size = sizeof peer;
  getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size);
  const std::uint64_t id = next_connection_++;
  control(epoll_, EPOLL_CTL_ADD, socket.get(), EPOLLIN, id);
  Connection connection;
  connection.socket = std::move(socket);
  connection.caller.process = peer.pid;
  connections_.emplace(id, std::move(connection));
}

void Host::serve(std::uint64_t id, std::uint32_t events) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  Connection& connection = found->second;
  if ((events & EPOLLOUT) != 0 && !flush(connection)) return drop(id);
  if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) == 0) return;
  const long got = receive_some(connection.socket.get(), connection.reader, 0);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) return drop(id);
  for (;;) {
    Message request;
    const MessageReader::Result result = connection.reader.next(request);
    if (result == MessageReader::Result::incomplete) return;
    if (result == MessageReader::Result::invalid) return drop(id);
    const auto call = static_cast<Call>(request.code);
    answer(connection, carry_out(machine_, number_, connection.caller, std::move(request)));
    if (call == Call::open || call == Call::adopt) watch_process(connection);
    if (!flush(connection)) return drop(id);
    if (call == Call::kill || call == Call::shut_down) {
      settle();
      if (!connections_.contains(id)) return;
    }
  }
}

void Host::answer(Connection& connection, Message message) {
  const std::vector<std::byte> octets = encode(message);
  connection.output.insert(connection.output.end(), octets.begin(), octets.end());
  for (Fd& fd : message.fds) connection.output_fds.push_back(std::move(fd));
}

// Sends what the socket takes. False: the other side has gone, or sends without reading.
bool Host::flush(Connection& connection) {
  constexpr std::size_t kMaxOutput = 4 * kMaxWords * sizeof(std::uint32_t);
  while (!connection.output.empty()) {
    const long sent = send_some(connection.socket.get(), connection.output.data(),
                                connection.output.size(), connection.output_fds, 0);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0 && errno != EAGAIN) return false;
    if (sent < 0) break;
    connection.output_fds.clear();
    connection.output.erase(connection.output.begin(), connection.output.begin() + sent);
  }
  const bool waits = !connection.output.empty();
  if (waits != connection.writable_polled) {
    const auto self = std::ranges::find_if(
        connections_, [&](const auto& entry) { return &entry.second == &connection; });
    control(epoll_, EPOLL_CTL_MOD, connection.socket.get(), EPOLLIN | (waits ? EPOLLOUT : 0U),
            self->first);
    connection.writable_polled = waits;
  }
  return connection.output.size() <= kMaxOutput && connection.output_fds.size() <= kMaxFds;
}

// The process has closed its end: by itself, or in dying.
void Host::drop(std::uint64_t id) {
  Connection connection = std::move(connections_.at(id));
  connections_.erase(id);
  const HandleId handle = connection.caller.handle;
  if (handle == 0 || !machine_.has(handle)) return;
  const DomainId domain = machine_.domain_of(handle);
  machine_.close(handle);
  machine_.wake_readers();
  end_domain_without_processes(domain);
}

void Host::watch_process(const Connection& connection) {
  if (connection.caller.handle == 0) return;
  const pid_t pid = connection.caller.process;
  Process& process = processes_[pid];
  process.domains.insert(machine_.domain_of(connection.caller.handle));
  if (process.pidfd) return;
  process.pidfd.reset(static_cast<int>(syscall(SYS_pidfd_open, pid, 0)));
  // No descriptor: it has ended already, or the kernel has none, and its sockets tell all the same.
  if (process.pidfd) {
    control(epoll_, EPOLL_CTL_ADD, process.pidfd.get(), EPOLLIN,
            kProcess | static_cast<std::uint64_t>(pid));
  }
}

void Host::process_ended(pid_t pid) {
  const auto found = processes_.find(pid);
  if (found == processes_.end()) return;
  const std::set<DomainId> domains = found->second.domains;
  processes_.erase(found);
  for (const DomainId id : domains) {
    processes_ended_.insert(id);
    end_domain_without_processes(id);
  }
}

void Host::end_domain_without_processes(DomainId id) {
  if (!processes_ended_.contains(id)) return;
  try {
    if (!machine_.ends_with_processes(id) || !machine_.processes(id).empty()) return;
    machine_.kill_domain(id);
    settle();
  } catch (const Refused&) {
    processes_ended_.erase(id);  // gone already
  }
}

}  // namespace displif_cts::loopback
