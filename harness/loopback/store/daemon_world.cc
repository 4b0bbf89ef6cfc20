#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <stdexcept>
#include <thread>
#include <vector>

#include "harness/loopback/store/world.h"

extern "C" {
#include <xen/io/xs_wire.h>
}

namespace displif_cts::loopback::store {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kStartLimit{10000};
constexpr std::size_t kPage = 4096;
// Ports of stand_in.cc.
constexpr std::uint32_t kDomainException = 1;
constexpr std::uint32_t kFirstRing = 2;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", path.c_str());
  return address;
}

int connect_to(const std::string& path) {
  const sockaddr_un address = address_of(path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0) {
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
  }
  close(fd);
  return -1;
}

// A line of this world, which is polled.
class PolledLine : public Line {
 public:
  virtual pollfd wanted() const = 0;
  virtual void push() = 0;  // what could not be sent before
};

class SocketLine : public PolledLine {
 public:
  SocketLine(std::vector<PolledLine*>& lines, int fd) : lines_(lines), fd_(fd) {
    lines_.push_back(this);
  }
  ~SocketLine() override {
    std::erase(lines_, this);
    close(fd_);
  }

  void send(std::string_view octets) override {
    unsent_ += octets;
    push();
  }
  void push() override {
    while (!unsent_.empty() && !closed_) {
      const ssize_t put = ::send(fd_, unsent_.data(), unsent_.size(), MSG_NOSIGNAL);
      if (put < 0 && errno == EAGAIN) return;
      if (put <= 0)
        closed_ = true;
      else
        unsent_.erase(0, static_cast<std::size_t>(put));
    }
  }
  std::string take() override {
    std::string all;
    char octets[8192];
    while (!held_ && !closed_) {
      const ssize_t got = ::recv(fd_, octets, sizeof octets, 0);
      if (got < 0 && errno == EAGAIN) break;
      if (got <= 0)
        closed_ = true;
      else
        all.append(octets, static_cast<std::size_t>(got));
    }
    return all;
  }
  void hold(bool held) override { held_ = held; }
  bool closed() const override { return closed_; }
  pollfd wanted() const override {
    int events = held_ || closed_ ? 0 : POLLIN;
    if (!unsent_.empty()) events |= POLLOUT;
    return {closed_ ? -1 : fd_, static_cast<short>(events), 0};
  }

 private:
  std::vector<PolledLine*>& lines_;
  int fd_;
  std::string unsent_;
  bool held_ = false;
  bool closed_ = false;
};

// A domain's end of the ring that xs_wire.h describes.
class RingLine : public PolledLine {
 public:
  RingLine(std::vector<PolledLine*>& lines, const std::string& directory, DomainId id)
      : lines_(lines),
        port_(kFirstRing + id),
        own_(directory + "/evtchn-" + std::to_string(id) + ".sock"),
        daemon_(address_of(directory + "/evtchn-daemon.sock")),
        events_(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
    const int fd = open((directory + "/ring-" + std::to_string(id)).c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0 || events_ < 0) fail("ring of domain " + std::to_string(id));
    void* page = mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (page == MAP_FAILED) fail("mmap");
    ring_ = static_cast<xenstore_domain_interface*>(page);
    ring_->error = XENSTORE_ERROR_NONE;  // of the client before
    ::unlink(own_.c_str());
    const sockaddr_un address = address_of(own_);
    if (bind(events_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail(own_);
    lines_.push_back(this);
  }
  ~RingLine() override {
    std::erase(lines_, this);
    close(events_);
    ::unlink(own_.c_str());
    munmap(ring_, kPage);
  }

  void send(std::string_view octets) override {
    unsent_ += octets;
    push();
  }
  void push() override {
    const XENSTORE_RING_IDX consumed = load(ring_->req_cons);
    XENSTORE_RING_IDX produced = ring_->req_prod;
    std::size_t put = 0;
    while (put < unsent_.size() && produced - consumed < XENSTORE_RING_SIZE)
      ring_->req[MASK_XENSTORE_IDX(produced++)] = unsent_[put++];
    if (put == 0) return;
    unsent_.erase(0, put);
    store(ring_->req_prod, produced);
    notify();
  }
  std::string take() override {
    std::string all;
    if (held_) return all;
    char event[8];
    while (recv(events_, event, sizeof event, 0) > 0) {
    }
    const XENSTORE_RING_IDX produced = load(ring_->rsp_prod);
    XENSTORE_RING_IDX consumed = ring_->rsp_cons;
    while (consumed != produced) all += ring_->rsp[MASK_XENSTORE_IDX(consumed++)];
    if (all.empty()) return all;
    store(ring_->rsp_cons, consumed);
    notify();
    return all;
  }
  void hold(bool held) override { held_ = held; }
  bool closed() const override { return load(ring_->error) != 0; }
  pollfd wanted() const override { return {held_ ? -1 : events_, POLLIN, 0}; }

 private:
  static std::uint32_t load(std::uint32_t& from) {
    return std::atomic_ref<std::uint32_t>(from).load(std::memory_order_acquire);
  }
  static void store(std::uint32_t& to, std::uint32_t value) {
    std::atomic_ref<std::uint32_t>(to).store(value, std::memory_order_seq_cst);
  }
  void notify() const {
    sendto(events_, &port_, sizeof port_, 0, reinterpret_cast<const sockaddr*>(&daemon_),
           sizeof daemon_);
  }

  std::vector<PolledLine*>& lines_;
  std::uint32_t port_;
  std::string own_;
  sockaddr_un daemon_;
  int events_;
  xenstore_domain_interface* ring_ = nullptr;
  std::string unsent_;
  bool held_ = false;
};

class PolledWorld : public World {
 public:
  bool work(milliseconds patience) override {
    std::vector<pollfd> polled;
    for (PolledLine* line : lines_) {
      line->push();
      polled.push_back(line->wanted());
    }
    return poll(polled.data(), polled.size(), static_cast<int>(patience.count())) > 0;
  }

 protected:
  std::vector<PolledLine*> lines_;
};

class SocketWorld : public PolledWorld {
 public:
  explicit SocketWorld(std::string path) : path_(std::move(path)) {}
  bool whole() const override { return false; }
  std::unique_ptr<Line> connect(DomainId) override {
    const int fd = connect_to(path_);
    if (fd < 0) fail(path_);
    return std::make_unique<SocketLine>(lines_, fd);
  }

 private:
  std::string path_;
};

class DaemonWorld : public PolledWorld {
 public:
  DaemonWorld(const std::string& program, const std::string& stand_in) {
    std::string name = (std::filesystem::temp_directory_path() / "displif-store.XXXXXX").string();
    if (!mkdtemp(name.data())) fail(name);
    directory_ = name;
    make_ring(0);
    std::ofstream(directory_ + "/port") << "1\n";
    try {
      start(program, stand_in);
    } catch (...) {
      end();
      throw;
    }
  }
  ~DaemonWorld() override { end(); }

  std::unique_ptr<Line> connect(DomainId id) override {
    if (id != 0) return std::make_unique<RingLine>(lines_, directory_, id);
    const int fd = connect_to(socket());
    if (fd < 0) fail(socket());
    return std::make_unique<SocketLine>(lines_, fd);
  }
  void create(DomainId id) override {
    make_ring(id);
    std::ofstream(domain_file(id)) << "r";
  }
  void shut_down(DomainId id) override {
    std::ofstream(domain_file(id)) << "s";
    tell();
  }
  void destroy(DomainId id) override {
    std::filesystem::remove(domain_file(id));
    tell();
  }

  bool work(milliseconds patience) override {
    if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
      pid_ = -1;
      std::ifstream log(directory_ + "/log");
      throw std::runtime_error("xenstored ended: " +
                               std::string(std::istreambuf_iterator<char>(log), {}));
    }
    return PolledWorld::work(patience);
  }

 private:
  void end() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    std::filesystem::remove_all(directory_);
  }

  std::string socket() const { return directory_ + "/socket"; }
  std::string domain_file(DomainId id) const {
    return directory_ + "/domain-" + std::to_string(id);
  }

  void make_ring(DomainId id) const {
    const std::string ring = directory_ + "/ring-" + std::to_string(id);
    std::filesystem::remove(ring);
    std::ofstream(ring, std::ios::binary) << std::string(kPage, '\0');
  }

  void tell() const {
    const sockaddr_un address = address_of(directory_ + "/evtchn-daemon.sock");
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    sendto(fd, &kDomainException, sizeof kDomainException, 0,
           reinterpret_cast<const sockaddr*>(&address), sizeof address);
    close(fd);
  }

  void start(const std::string& program, const std::string& stand_in) {
    const pid_t parent = getpid();
    pid_ = fork();
    if (pid_ < 0) fail("fork");
    if (pid_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != parent) _exit(127);
      setenv("LD_PRELOAD", stand_in.c_str(), 1);
      setenv("DISPLIF_STORE_STAND_IN", directory_.c_str(), 1);
      setenv("XENSTORED_PATH", socket().c_str(), 1);
      setenv("XENSTORED_RUNDIR", directory_.c_str(), 1);
      const int log = open((directory_ + "/log").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
      dup2(log, STDOUT_FILENO);
      dup2(log, STDERR_FILENO);
      execl(program.c_str(), program.c_str(), "--no-fork", static_cast<char*>(nullptr));
      std::perror(program.c_str());
      _exit(127);
    }
    const auto limit = steady_clock::now() + kStartLimit;
    while (steady_clock::now() < limit) {
      if (const int fd = connect_to(socket()); fd >= 0) {
        close(fd);
        return;
      }
      if (waitpid(pid_, nullptr, WNOHANG) == pid_) {
        pid_ = -1;
        throw std::runtime_error(program + " ended before it opened its socket");
      }
      std::this_thread::sleep_for(milliseconds(5));
    }
    throw std::runtime_error(program + " did not open its socket");
  }

  std::string directory_;
  pid_t pid_ = -1;
};

}  // namespace

std::unique_ptr<World> daemon_world(const std::string& program, const std::string& stand_in) {
  return std::make_unique<DaemonWorld>(program, stand_in);
}
std::unique_ptr<World> socket_world(const std::string& path) {
  return std::make_unique<SocketWorld>(path);
}

}  // namespace displif_cts::loopback::store
