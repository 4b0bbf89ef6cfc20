// Where a sequence of requests is played: our server, or xenstored.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "harness/loopback/store/wire.h"

namespace displif_cts::loopback::store {

// One client's way to the store.
class Line {
 public:
  virtual ~Line() = default;

  virtual void send(std::string_view octets) = 0;
  // What has come, without waiting; nothing while the line is held.
  virtual std::string take() = 0;
  // A held line is one whose client does not read: what the store gives stays in the ring.
  virtual void hold(bool held) = 0;
  virtual bool closed() const = 0;
};

class World {
 public:
  virtual ~World() = default;

  // Domains come and go as the sequence wants, and have rings. Else only what is there is used:
  // clients of domain 0, and no quota is touched.
  virtual bool whole() const { return true; }

  virtual std::unique_ptr<Line> connect(DomainId id) = 0;
  // A domain comes into being (again), shuts down, is gone. Not for domain 0.
  virtual void create(DomainId) {}
  virtual void shut_down(DomainId) {}
  virtual void destroy(DomainId) {}

  // Lets the store work. False: it does nothing more, as far as waiting for `patience` can tell.
  virtual bool work(std::chrono::milliseconds patience) = 0;
};

// Our server in this process. A domain's line holds as much as a ring does.
std::unique_ptr<World> core_world();
// The same as the worlds below see it: not whole().
std::unique_ptr<World> plain_core_world();
// A xenstored of its own, started with the stand-in library; domains reach it through rings,
// domain 0 through its socket. Throws std::runtime_error where it does not come up.
std::unique_ptr<World> daemon_world(const std::string& program, const std::string& stand_in);
// A store that runs already, behind a socket whose clients are domain 0's.
std::unique_ptr<World> socket_world(const std::string& path);

}  // namespace displif_cts::loopback::store
