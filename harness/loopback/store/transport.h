// XenStore on unix sockets: DIR/store-N.sock is domain N's, so that a client's domain is known by
// the socket that it came through. The real libxenstore connects there by XENSTORED_PATH.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <type_traits>
#include <vector>

#include "harness/loopback/store/server.h"

namespace displif_cts::loopback::store {

// Without a thread: poll fd() for reading, at most timeout() long, then call process(). As Server:
// one thread at a time.
class Transport {
 public:
  // Sockets come into `directory`, which must exist. Neither it nor `server` is owned. Throws
  // std::system_error.
  Transport(Server& server, std::string directory);
  ~Transport();  // closes and removes the sockets
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;

  // Opens DIR/store-N.sock. Clients that come while the domain is not introduced are turned away.
  // Throws std::system_error, with the path in its text (one above 107 characters does not fit into
  // a socket's address).
  void listen(DomainId id);
  // Removes the socket again; clients that have come stay.
  void unlisten(DomainId id);
  std::string path(DomainId id) const;

  // Takes over a connected stream socket as a client of the domain, as if it had come through its
  // socket. False: not introduced, and the descriptor is closed.
  bool adopt(DomainId id, int fd);

  int fd() const { return epoll_; }
  // Never longer than this between two calls of process(): unread events expire. nullopt: for ever.
  std::optional<std::chrono::milliseconds> timeout() const;
  // Serves what has come, without waiting. Also after calls to the Server that may have produced
  // events (introduce, domain_died, a LocalClient's writes).
  void process();

  std::size_t clients(DomainId id) const;

 private:
  struct Client {
    int fd = -1;
    std::shared_ptr<Connection> connection;
    std::uint32_t polled = 0;  // events that epoll waits for
    bool ended = false;        // the client closed its end
  };

  void accept(DomainId id, int listener);
  void read(Client& client);
  void write(Client& client);
  void drop(int fd);
  void set_polled(Client& client);

  Server& server_;
  std::string directory_;
  int epoll_ = -1;
  std::map<DomainId, int> listeners_;
  std::map<int, DomainId> listener_domains_;
  std::map<int, Client> clients_;
};

// A Server and its Transport with a thread of their own.
class Service {
 public:
  explicit Service(std::string directory, Server::Options options = {});
  ~Service();  // closes every client
  Service(const Service&) = delete;
  Service& operator=(const Service&) = delete;

  std::string path(DomainId id) const { return transport_->path(id); }

  // Runs `work(Server&, Transport&)` on the service's thread, gives out what it caused, and returns
  // its result or exception. Not from inside such work.
  template <class F>
  auto call(F&& work) {
    using Result = std::invoke_result_t<F&, Server&, Transport&>;
    std::packaged_task<Result()> task([&]() -> Result { return work(*server_, *transport_); });
    const auto given_out = std::make_shared<std::promise<void>>();
    post([&task, given_out, this] {
      task();
      transport_->process();
      given_out->set_value();
    });
    given_out->get_future().wait();
    return task.get_future().get();
  }

  // The domain exists, is introduced and has its socket.
  void add_domain(DomainId id);
  // It is dead: clients closed, socket and nodes gone.
  void kill_domain(DomainId id);

 private:
  void post(std::function<void()> work);  // returns at once
  void run();

  std::unique_ptr<Server> server_;
  std::unique_ptr<Transport> transport_;
  int wake_ = -1;
  std::mutex mutex_;
  std::vector<std::function<void()>> posted_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace displif_cts::loopback::store
