// Both ends of a relay over a socket pair, with real programs and a real unix socket for the agent.
#include "harness/agent/relay.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

namespace displif_cts::agent {
namespace {

class SocketLink : public RelayLink {
 public:
  explicit SocketLink(int fd) : fd_(fd) {}
  // As a vchan, it does not tell that it has room unless it had none before.
  pollfd wait_for(bool want_to_write) const override {
    const bool was_full = std::exchange(full_, false);
    return {fd_.get(), static_cast<short>(want_to_write && was_full ? POLLIN | POLLOUT : POLLIN),
            0};
  }
  long read(char* data, std::size_t size) override {
    const ssize_t count = recv(fd_.get(), data, size, MSG_DONTWAIT);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    return count > 0 ? count : -1;
  }
  long write(std::string_view data) override {
    const ssize_t count = send(fd_.get(), data.data(), data.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
    full_ = count < 0 && errno == EAGAIN;
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    return count < 0 ? -1 : count;
  }
  void close() { fd_.reset(); }

 private:
  UniqueFd fd_;
  mutable bool full_ = false;
};

class RelayTest : public testing::Test {
 protected:
  RelayTest() {
    std::string name = "/tmp/displif-cts-relay-test.XXXXXX";
    dir_ = mkdtemp(name.data());
    int ends[2];
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    served_.emplace(ends[0]);
    joined_.emplace(ends[1]);
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    out_read_.reset(ends[0]);
    out_.reset(ends[1]);
  }
  ~RelayTest() override { std::filesystem::remove_all(dir_); }

  std::string agent() const { return dir_ + "/agent"; }
  std::string there() const { return dir_ + "/there"; }
  // The second of two, so that which one is meant matters.
  std::vector<Forward> forwards() const {
    return {{dir_ + "/first", dir_ + "/nobody"}, {there(), agent()}};
  }

  // Runs `command` through the relay: its status, and its output in `said_`.
  int run(const std::string& command) {
    std::thread other([this] { join_relay(*joined_); });
    std::thread reader([this] {
      char chunk[4096];
      for (ssize_t count; (count = read(out_read_.get(), chunk, sizeof chunk)) > 0;)
        said_.append(chunk, static_cast<std::size_t>(count));
    });
    const int status =
        serve_relay(*served_, {"sh", "-c", command}, forwards(), out_.get(), STDERR_FILENO);
    out_.reset();
    other.join();
    reader.join();
    return status;
  }

  std::string dir_;
  std::string said_;
  std::optional<SocketLink> served_;
  std::optional<SocketLink> joined_;
  UniqueFd out_;
  UniqueFd out_read_;
};

TEST_F(RelayTest, PassesOutputAndStatusOn) {
  EXPECT_EQ(run("echo hello; exit 7"), 7);
  EXPECT_EQ(said_, "hello\n");
}

TEST_F(RelayTest, TellsOfASignal) { EXPECT_EQ(run("kill -SEGV $$"), 128 + SIGSEGV); }

TEST_F(RelayTest, LosesNothingOfALongOutput) {
  EXPECT_EQ(run("head -c 5000000 /dev/zero"), 0);
  EXPECT_EQ(said_.size(), 5'000'000u);
}

// Plays the agent: answers each connection's octets with themselves.
class Echo {
 public:
  explicit Echo(const std::string& path) : fd_(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(listen(fd_.get(), 8), 0);
    thread_ = std::thread([this] {
      for (int fd; (fd = accept(fd_.get(), nullptr, nullptr)) >= 0;) {
        char chunk[4096];
        for (ssize_t count; (count = recv(fd, chunk, sizeof chunk, 0)) > 0;)
          EXPECT_EQ(send(fd, chunk, static_cast<std::size_t>(count), MSG_NOSIGNAL), count);
        close(fd);
      }
    });
  }
  ~Echo() {
    shutdown(fd_.get(), SHUT_RDWR);
    thread_.join();
  }

 private:
  UniqueFd fd_;
  std::thread thread_;
};

constexpr const char* kAsk =
    "/usr/bin/python3 -c '\n"
    "import socket, sys\n"
    "for word in (b\"one\", b\"two\"):\n"
    "  s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(word)\n"
    "  print(s.recv(100).decode()); s.close()\n"
    "' ";

TEST_F(RelayTest, LeadsToTheAgent) {
  const Echo echo(agent());
  EXPECT_EQ(run(kAsk + there()), 0);
  EXPECT_EQ(said_, "one\ntwo\n");
}

TEST_F(RelayTest, EndsAConversationWhenThereIsNoAgent) {
  EXPECT_EQ(run(kAsk + there()), 0);
  EXPECT_EQ(said_, "\n\n");
}

TEST_F(RelayTest, FailsWhenTheOtherEndGoes) {
  joined_->close();
  EXPECT_THROW(static_cast<void>(serve_relay(*served_, {"true"}, {}, out_.get(), 2)),
               std::runtime_error);
}

TEST_F(RelayTest, EndsTheProgramWhenTheServerGoes) {
  std::thread other([this] { join_relay(*joined_); });
  const std::string octets = format_frame(0, std::string("0\0sh\0-c\0sleep 1000\0", 19));
  EXPECT_EQ(served_->write(octets), static_cast<long>(octets.size()));
  served_->close();
  other.join();  // which it could not before the program's end
}

TEST(Frames, AreCutOutOfAnyPieces) {
  const std::string octets = format_frame(3, "abc") + format_frame(9, "") + format_frame(1, "z");
  FrameReader reader;
  std::vector<std::string> seen;
  for (const char octet : octets) {
    reader.feed({&octet, 1});
    while (const auto frame = reader.next())
      seen.push_back(std::to_string(frame->channel) + frame->octets);
  }
  EXPECT_THAT(seen, testing::ElementsAre("3abc", "9", "1z"));
}

TEST(Frames, ThatAreTooLongAreRefused) {
  FrameReader reader;
  reader.feed(std::string("\1\0\0\0\xff\xff\xff\x7f", 8));
  EXPECT_THROW(static_cast<void>(reader.next()), std::runtime_error);
}

}  // namespace
}  // namespace displif_cts::agent
