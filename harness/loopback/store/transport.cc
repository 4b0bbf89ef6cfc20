#include "harness/loopback/store/transport.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>

namespace displif_cts::loopback::store {
namespace {

// Of a client's requests, no more than this is kept waiting: the rest stays in its socket.
constexpr std::size_t kInputMax = std::size_t{64} * 1024;

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

void poll_for(int epoll, int operation, int fd, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.fd = fd;
  if (epoll_ctl(epoll, operation, fd, &event) != 0) fail("epoll_ctl");
}

}  // namespace

Transport::Transport(Server& server, std::string directory)
    : server_(server), directory_(std::move(directory)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) fail("epoll_create1");
}

Transport::~Transport() {
  while (!clients_.empty()) drop(clients_.begin()->first);
  while (!listeners_.empty()) unlisten(listeners_.begin()->first);
  ::close(epoll_);
}

std::string Transport::path(DomainId id) const {
  return directory_ + "/store-" + std::to_string(id) + ".sock";
}

void Transport::listen(DomainId id) {
  if (listeners_.count(id) != 0) return;
  const std::string where = path(id);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (where.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    fail(where);
  }
  std::memcpy(address.sun_path, where.c_str(), where.size() + 1);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) fail("socket");
  ::unlink(where.c_str());  // what a host that crashed has left
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      ::listen(fd, SOMAXCONN) != 0) {
    const int error = errno;
    ::close(fd);
    errno = error;
    fail(where);
  }
  poll_for(epoll_, EPOLL_CTL_ADD, fd, EPOLLIN);
  listeners_[id] = fd;
  listener_domains_[fd] = id;
}

void Transport::unlisten(DomainId id) {
  const auto at = listeners_.find(id);
  if (at == listeners_.end()) return;
  ::unlink(path(id).c_str());
  ::close(at->second);
  listener_domains_.erase(at->second);
  listeners_.erase(at);
}

bool Transport::adopt(DomainId id, int fd) {
  auto connection = server_.connect(id);
  if (!connection) {
    ::close(fd);
    return false;
  }
  const int flags = fcntl(fd, F_GETFL);
  fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  poll_for(epoll_, EPOLL_CTL_ADD, fd, EPOLLIN);
  clients_[fd] = Client{fd, std::move(connection), EPOLLIN, false};
  return true;
}

void Transport::accept(DomainId id, int listener) {
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0) return;  // none, or out of descriptors: it comes again
    adopt(id, fd);
  }
}

std::optional<std::chrono::milliseconds> Transport::timeout() const {
  for (const auto& [fd, client] : clients_)
    if (client.connection->has_output()) return std::chrono::milliseconds(1000);
  return std::nullopt;
}

void Transport::process() {
  std::array<epoll_event, 64> events;
  const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const int fd = events[static_cast<std::size_t>(i)].data.fd;
    if (const auto at = listener_domains_.find(fd); at != listener_domains_.end()) {
      accept(at->second, fd);
    } else if (const auto client = clients_.find(fd); client != clients_.end()) {
      read(client->second);
      if ((events[static_cast<std::size_t>(i)].events & (EPOLLHUP | EPOLLERR)) != 0)
        client->second.ended = true;
    }
  }
  // Like xenstored: a request of each, then what that gave out.
  do {
    for (auto& [fd, client] : clients_) write(client);
  } while (server_.step());
  server_.expire();
  for (auto at = clients_.begin(); at != clients_.end();) {
    Client& client = (at++)->second;
    if (client.connection->closed() || client.ended)
      drop(client.fd);
    else
      set_polled(client);
  }
}

void Transport::read(Client& client) {
  std::array<char, 8192> octets;
  while (!client.ended && client.connection->waiting() < kInputMax) {
    const ssize_t got = ::read(client.fd, octets.data(), octets.size());
    if (got > 0) {
      client.connection->receive(std::string_view(octets.data(), static_cast<std::size_t>(got)));
      if (static_cast<std::size_t>(got) < octets.size()) return;
    } else if (got < 0 && errno == EINTR) {
      continue;
    } else if (got < 0 && errno == EAGAIN) {
      return;
    } else {
      client.ended = true;
    }
  }
}

void Transport::write(Client& client) {
  while (!client.ended && client.connection->has_output()) {
    const std::string_view octets = client.connection->output();
    const ssize_t put = ::send(client.fd, octets.data(), octets.size(), MSG_NOSIGNAL);
    if (put > 0) {
      client.connection->sent(static_cast<std::size_t>(put));
    } else if (put < 0 && errno == EINTR) {
      continue;
    } else if (put < 0 && errno == EAGAIN) {
      return;
    } else {
      client.ended = true;
    }
  }
}

void Transport::drop(int fd) {
  const auto at = clients_.find(fd);
  server_.disconnect(*at->second.connection);
  ::close(fd);
  clients_.erase(at);
}

void Transport::set_polled(Client& client) {
  std::uint32_t wanted = 0;
  if (client.connection->waiting() < kInputMax) wanted |= EPOLLIN;
  if (client.connection->has_output()) wanted |= EPOLLOUT;
  if (wanted == client.polled) return;
  poll_for(epoll_, EPOLL_CTL_MOD, client.fd, wanted);
  client.polled = wanted;
}

std::size_t Transport::clients(DomainId id) const {
  std::size_t count = 0;
  for (const auto& [fd, client] : clients_) count += client.connection->domain_id() == id ? 1 : 0;
  return count;
}

Service::Service(std::string directory, Server::Options options)
    : server_(std::make_unique<Server>(std::move(options))),
      transport_(std::make_unique<Transport>(*server_, std::move(directory))),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wake_ < 0) fail("eventfd");
  transport_->listen(0);
  thread_ = std::thread([this] { run(); });
}

Service::~Service() {
  post([this] { stopping_ = true; });
  thread_.join();
  transport_.reset();
  ::close(wake_);
}

void Service::add_domain(DomainId id) {
  call([id](Server& server, Transport& transport) {
    server.domain_created(id);
    server.introduce(id);
    transport.listen(id);
  });
}

void Service::kill_domain(DomainId id) {
  call([id](Server& server, Transport& transport) {
    transport.unlisten(id);
    server.domain_died(id);
  });
}

void Service::post(std::function<void()> work) {
  {
    const std::lock_guard lock(mutex_);
    posted_.push_back(std::move(work));
  }
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t put = ::write(wake_, &one, sizeof one);
}

void Service::run() {
  const int epoll = epoll_create1(EPOLL_CLOEXEC);
  poll_for(epoll, EPOLL_CTL_ADD, wake_, EPOLLIN);
  poll_for(epoll, EPOLL_CTL_ADD, transport_->fd(), EPOLLIN);
  while (!stopping_) {
    epoll_event events[2];
    const auto limit = transport_->timeout();
    epoll_wait(epoll, events, 2, limit ? static_cast<int>(limit->count()) : -1);
    std::uint64_t posted = 0;
    [[maybe_unused]] const ssize_t got = ::read(wake_, &posted, sizeof posted);
    std::vector<std::function<void()>> work;
    {
      const std::lock_guard lock(mutex_);
      work.swap(posted_);
    }
    for (const auto& one : work) one();
    transport_->process();
  }
  ::close(epoll);
}

}  // namespace displif_cts::loopback::store
