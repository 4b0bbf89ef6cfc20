#include "harness/agent/relay.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <stdexcept>
#include <system_error>
#include <utility>

namespace displif_cts::agent {
namespace {

// Channels. From kFirstConnection on: conversations with sockets in domain 0, made by the joined
// end, which forward it is in the lowest bits; an empty frame ends one.
constexpr std::uint32_t kControl = 0;  // there: sockets and argument vector; back: the exit status
constexpr std::uint32_t kStdout = 1;
constexpr std::uint32_t kStderr = 2;
constexpr std::uint32_t kFirstConnection = kMaxForwards;

std::uint32_t connection(std::uint32_t number, std::size_t forward) {
  return number * static_cast<std::uint32_t>(kMaxForwards) + static_cast<std::uint32_t>(forward);
}
std::size_t forward_of(std::uint32_t channel) { return channel % kMaxForwards; }

constexpr std::size_t kChunk = 32768;
constexpr std::size_t kFull = 1u << 20;  // octets waiting for the link; then sources wait
constexpr std::size_t kMaxConnections = 128;

[[noreturn]] void fail_system(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    fail_system(path);
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

UniqueFd listen_at(const std::string& path) {
  const sockaddr_un address = address_of(path);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  unlink(path.c_str());
  if (!fd || bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd.get(), 64) != 0)
    fail_system(path);
  return fd;
}

// Unset and errno where nobody listens.
UniqueFd connect_to(const std::string& path) {
  const sockaddr_un address = address_of(path);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return UniqueFd();
  fcntl(fd.get(), F_SETFL, O_NONBLOCK);
  return fd;
}

// Writes all, also to a descriptor that does not block. What nobody takes any more is dropped.
void write_all(int fd, std::string_view octets) {
  while (!octets.empty()) {
    const ssize_t count = ::write(fd, octets.data(), octets.size());
    if (count > 0) {
      octets.remove_prefix(static_cast<std::size_t>(count));
    } else if (count < 0 && errno == EAGAIN) {
      pollfd wanted{fd, POLLOUT, 0};
      poll(&wanted, 1, -1);
    } else if (count == 0 || errno != EINTR) {
      return;
    }
  }
}

struct Orders {
  std::vector<std::string> sockets;
  std::vector<std::string> argv;
};

std::string format_orders(const Orders& orders) {
  std::string out = std::to_string(orders.sockets.size()) + '\0';
  for (const std::string& word : orders.sockets) out += word + '\0';
  for (const std::string& word : orders.argv) out += word + '\0';
  return out;
}

Orders parse_orders(std::string_view octets) {
  std::vector<std::string> words;
  while (!octets.empty()) {
    const std::size_t end = octets.find('\0');
    if (end == std::string_view::npos) throw std::runtime_error("orders without end");
    words.emplace_back(octets.substr(0, end));
    octets.remove_prefix(end + 1);
  }
  std::size_t count = kMaxForwards + 1;
  if (!words.empty()) std::from_chars(words[0].data(), words[0].data() + words[0].size(), count);
  if (count > kMaxForwards || words.size() < count + 2) throw std::runtime_error("no orders");
  const auto first = words.begin() + 1;
  const auto argv = first + static_cast<std::ptrdiff_t>(count);
  return {{first, argv}, {argv, words.end()}};
}

// What both ends do: sources of octets become frames, and frames come out.
class End {
 public:
  explicit End(RelayLink& link) : link_(link) {}
  virtual ~End() = default;

 protected:
  virtual void take(const Frame& frame) = 0;

  void add_source(std::uint32_t channel, UniqueFd fd) { sources_[channel] = std::move(fd); }
  bool has_source(std::uint32_t channel) const { return sources_.contains(channel); }
  std::size_t source_count() const { return sources_.size(); }
  int source(std::uint32_t channel) const { return sources_.at(channel).get(); }
  void drop_source(std::uint32_t channel) { sources_.erase(channel); }
  void send(std::uint32_t channel, std::string_view octets) {
    outbox_ += format_frame(channel, octets);
  }
  bool open() const { return open_; }
  bool all_sent() const { return outbox_.empty(); }

  // What the link takes now; the rest goes when it tells that it has room.
  void flush() {
    std::size_t done = 0;
    while (open_ && done < outbox_.size()) {
      const long count = link_.write(std::string_view(outbox_).substr(done));
      if (count < 0) open_ = false;
      if (count <= 0) break;
      done += static_cast<std::size_t>(count);
    }
    outbox_.erase(0, done);
  }

  // Waits until something can be done, and does it. `also` are polled too: which are readable.
  std::vector<std::size_t> turn(const std::vector<UniqueFd>& also) {
    flush();
    std::vector<pollfd> wanted{link_.wait_for(!outbox_.empty())};
    for (const UniqueFd& fd : also) wanted.push_back({fd.get(), POLLIN, 0});
    const std::size_t first_source = wanted.size();
    std::vector<std::uint32_t> channels;
    if (outbox_.size() < kFull) {
      for (const auto& [channel, fd] : sources_) {
        channels.push_back(channel);
        wanted.push_back({fd.get(), POLLIN, 0});
      }
    }
    if (poll(wanted.data(), wanted.size(), -1) < 0 && errno != EINTR) fail_system("poll");
    if (wanted[0].revents != 0) {
      link_.acknowledge();
      receive();
    }
    for (std::size_t i = 0; i < channels.size(); ++i)
      if (wanted[i + first_source].revents != 0 && has_source(channels[i]))
        read_source(channels[i]);
    flush();
    std::vector<std::size_t> readable;
    // Those of `also` that came with a frame just now were not polled.
    for (std::size_t i = 0; i + 1 < first_source; ++i)
      if (wanted[i + 1].revents != 0) readable.push_back(i);
    return readable;
  }

 private:
  void receive() {
    std::array<char, 65536> chunk;
    for (;;) {
      const long count = link_.read(chunk.data(), chunk.size());
      if (count < 0) open_ = false;
      if (count <= 0) break;
      reader_.feed({chunk.data(), static_cast<std::size_t>(count)});
    }
    while (const auto frame = reader_.next()) take(*frame);
  }

  void read_source(std::uint32_t channel) {
    std::array<char, kChunk> chunk;
    const ssize_t count = ::read(source(channel), chunk.data(), chunk.size());
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) drop_source(channel);
    send(channel, {chunk.data(), static_cast<std::size_t>(std::max<ssize_t>(count, 0))});
  }

  RelayLink& link_;
  FrameReader reader_;
  std::map<std::uint32_t, UniqueFd> sources_;
  std::string outbox_;
  bool open_ = true;
};

class Server : public End {
 public:
  Server(RelayLink& link, std::vector<Forward> forwards, int out, int err)
      : End(link), forwards_(std::move(forwards)), out_(out), err_(err) {
    if (forwards_.size() > kMaxForwards) throw std::runtime_error("too many sockets to forward");
  }

  int run(const std::vector<std::string>& argv) {
    Orders orders{{}, argv};
    for (const Forward& forward : forwards_) orders.sockets.push_back(forward.there);
    send(kControl, format_orders(orders));
    while (!status_) {
      if (!open()) throw std::runtime_error("the other end of the relay has gone");
      turn({});
    }
    return *status_;
  }

 private:
  void take(const Frame& frame) override {
    if (frame.channel == kStdout || frame.channel == kStderr) {
      write_all(frame.channel == kStdout ? out_ : err_, frame.octets);
    } else if (frame.channel == kControl) {
      int status = 0;
      if (frame.octets.size() != sizeof status) throw std::runtime_error("no exit status");
      std::memcpy(&status, frame.octets.data(), sizeof status);
      status_ = status;
    } else if (frame.channel >= kFirstConnection) {
      converse(frame);
    }
  }

  void converse(const Frame& frame) {
    if (frame.octets.empty()) {
      drop_source(frame.channel);
      return;
    }
    if (!has_source(frame.channel)) {
      const std::size_t forward = forward_of(frame.channel);
      UniqueFd fd;
      if (forward < forwards_.size() && source_count() < kMaxConnections)
        fd = connect_to(forwards_[forward].here);
      if (!fd) {
        send(frame.channel, {});
        return;
      }
      add_source(frame.channel, std::move(fd));
    }
    write_all(source(frame.channel), frame.octets);
  }

  std::vector<Forward> forwards_;
  int out_;
  int err_;
  std::optional<int> status_;
};

class Joined : public End {
 public:
  explicit Joined(RelayLink& link) : End(link) {}
  ~Joined() override {
    if (child_.pid > 0) ::kill(-child_.pid, SIGKILL);
    if (child_.pid > 0 && !reaped_) waitpid(child_.pid, nullptr, 0);
  }

  void run() {
    while (open() && !(told_ && all_sent())) {
      for (const std::size_t forward : turn(listeners_)) accept(forward);
      if (child_.pid > 0 && !told_) try_tell();
    }
  }

 private:
  void take(const Frame& frame) override {
    if (frame.channel == kControl && child_.pid < 0) {
      begin(parse_orders(frame.octets));
    } else if (has_source(frame.channel) && frame.channel >= kFirstConnection) {
      if (frame.octets.empty()) {
        drop_source(frame.channel);
      } else {
        write_all(source(frame.channel), frame.octets);
      }
    }
  }

  void begin(const Orders& orders) {
    for (const std::string& path : orders.sockets) listeners_.push_back(listen_at(path));
    std::array<UniqueFd, 2> inputs;
    for (const std::uint32_t channel : {kStdout, kStderr}) {
      int ends[2];
      if (pipe2(ends, O_CLOEXEC) != 0) fail_system("pipe");
      fcntl(ends[0], F_SETFL, O_NONBLOCK);
      add_source(channel, UniqueFd(ends[0]));
      inputs[channel - kStdout].reset(ends[1]);
    }
    child_ = spawn(orders.argv, {}, inputs[0].get(), inputs[1].get());
  }

  // Its output has ended, hence it has, or is about to.
  void try_tell() {
    if (has_source(kStdout) || has_source(kStderr)) return;
    int wait_status = 0;
    waitpid(child_.pid, &wait_status, 0);
    reaped_ = true;
    const int status =
        WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
    std::array<char, sizeof status> octets;
    std::memcpy(octets.data(), &status, sizeof status);
    send(kControl, {octets.data(), octets.size()});
    flush();
    told_ = true;
  }

  void accept(std::size_t forward) {
    for (;;) {
      UniqueFd fd(
          accept4(listeners_[forward].get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
      if (!fd) return;
      if (source_count() < kMaxConnections) add_source(connection(next_++, forward), std::move(fd));
    }
  }

  std::vector<UniqueFd> listeners_;
  Child child_;
  std::uint32_t next_ = 1;
  bool reaped_ = false;
  bool told_ = false;
};

}  // namespace

std::string format_frame(std::uint32_t channel, std::string_view octets) {
  const auto length = static_cast<std::uint32_t>(octets.size());
  std::string out(kFrameHeader, '\0');
  std::memcpy(out.data(), &channel, sizeof channel);
  std::memcpy(out.data() + sizeof channel, &length, sizeof length);
  out += octets;
  return out;
}

std::optional<Frame> FrameReader::next() {
  Frame frame;
  std::uint32_t length = 0;
  if (buffer_.size() - done_ < kFrameHeader) {
    buffer_.erase(0, std::exchange(done_, 0));
    return std::nullopt;
  }
  std::memcpy(&frame.channel, buffer_.data() + done_, sizeof frame.channel);
  std::memcpy(&length, buffer_.data() + done_ + sizeof frame.channel, sizeof length);
  if (length > kMaxFrame) throw std::runtime_error("a frame that is too long");
  if (buffer_.size() - done_ - kFrameHeader < length) {
    buffer_.erase(0, std::exchange(done_, 0));
    return std::nullopt;
  }
  frame.octets = buffer_.substr(done_ + kFrameHeader, length);
  done_ += kFrameHeader + length;
  return frame;
}

int serve_relay(RelayLink& link, const std::vector<std::string>& argv,
                const std::vector<Forward>& forwards, int out, int err) {
  return Server(link, forwards, out, err).run(argv);
}

void join_relay(RelayLink& link) { Joined(link).run(); }

}  // namespace displif_cts::agent
