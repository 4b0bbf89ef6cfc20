// The server behind its sockets, asked by the real libxenstore.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <mutex>
#include <sstream>
#include <thread>

#include "harness/loopback/store/sequence.h"
#include "harness/loopback/store/transport.h"
#include "harness/xen/store.h"

extern "C" {
#include <xenstore.h>
}

namespace displif_cts::loopback::store {
namespace {

class TempDir {
 public:
  TempDir() {
    std::string name = testing::TempDir() + "displif-store.XXXXXX";
    path_ = mkdtemp(name.data());
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Close {
  void operator()(xs_handle* handle) const { xs_close(handle); }
};
using Handle = std::unique_ptr<xs_handle, Close>;

class StoreClient : public testing::Test {
 protected:
  StoreClient() {
    for (const DomainId id : {1U, 2U}) {
      service.add_domain(id);
      const std::string home = "/local/domain/" + std::to_string(id);
      service.call([&](Server& server, Transport&) {
        LocalClient client(server);
        client.write(home, "");
        client.set_permissions(home, {"n" + std::to_string(id)});
      });
    }
  }
  Handle open(DomainId id) {
    static std::mutex environment;
    const std::lock_guard lock(environment);
    setenv("XENSTORED_PATH", service.path(id).c_str(), 1);
    return Handle(xs_open(0));
  }
  static std::string read(const Handle& handle, const std::string& path, xs_transaction_t t = 0) {
    unsigned length = 0;
    char* value = static_cast<char*>(xs_read(handle.get(), t, path.c_str(), &length));
    if (!value) return "!" + std::to_string(errno);
    std::string text(value, length);
    free(value);
    return text;
  }
  static bool write(const Handle& handle, const std::string& path, const std::string& value,
                    xs_transaction_t t = 0) {
    return xs_write(handle.get(), t, path.c_str(), value.data(),
                    static_cast<unsigned>(value.size()));
  }
  // "path token"; waits.
  static std::string event(const Handle& handle) {
    unsigned count = 0;
    char** strings = xs_read_watch(handle.get(), &count);
    if (!strings) return "!" + std::to_string(errno);
    std::string text = std::string(strings[XS_WATCH_PATH]) + " " + strings[XS_WATCH_TOKEN];
    free(strings);
    return text;
  }

  TempDir directory;
  Service service{directory.path()};
};

const std::string kDenied = "!" + std::to_string(EACCES);

TEST_F(StoreClient, a_domain_is_known_by_its_socket) {
  const Handle zero = open(0);
  const Handle one = open(1);
  const Handle two = open(2);
  ASSERT_TRUE(zero && one && two);
  EXPECT_TRUE(write(one, "data", "of one"));
  EXPECT_EQ(read(zero, "/local/domain/1/data"), "of one");
  EXPECT_EQ(read(two, "/local/domain/1/data"), kDenied);
  EXPECT_FALSE(write(two, "/local/domain/1/data", ""));
  EXPECT_EQ(errno, EACCES);
  xs_permissions list[] = {{1, XS_PERM_NONE}, {2, XS_PERM_READ}};
  EXPECT_TRUE(xs_set_permissions(one.get(), 0, "/local/domain/1/data", list, 2));
  EXPECT_EQ(read(two, "/local/domain/1/data"), "of one");
}

TEST_F(StoreClient, what_is_gone_with_its_parents_is_denied_and_can_be_read_as_gone) {
  const Handle one = open(1);
  const std::string node = "device/vdispl/0/state";
  const std::string path = "/local/domain/1/" + node;
  ASSERT_TRUE(write(one, node, "4"));
  xs_permissions list[] = {{1, XS_PERM_NONE}, {2, XS_PERM_READ}};
  ASSERT_TRUE(xs_set_permissions(one.get(), 0, node.c_str(), list, 2));
  ASSERT_TRUE(open(2));  // and leaves its socket's name to the next
  const xen::Store two = xen::Store::open();
  EXPECT_EQ(two.read_if_visible(path), "4");
  ASSERT_TRUE(xs_rm(one.get(), 0, "device"));
  EXPECT_EQ(two.read_if_visible(path), std::nullopt);
  EXPECT_THROW(two.read(path), xen::Error);
}

TEST_F(StoreClient, transactions_conflict_between_processes_of_one_domain) {
  const Handle one = open(1);
  const Handle other = open(1);
  write(one, "a", "1");
  const xs_transaction_t t = xs_transaction_start(one.get());
  EXPECT_EQ(read(one, "a", t), "1");
  EXPECT_TRUE(write(one, "a", "2", t));
  EXPECT_TRUE(write(other, "a", "3"));
  EXPECT_FALSE(xs_transaction_end(one.get(), t, false));
  EXPECT_EQ(errno, EAGAIN);
  EXPECT_EQ(read(other, "a"), "3");
}

TEST_F(StoreClient, watches_cross_domains) {
  const Handle zero = open(0);
  const Handle one = open(1);
  ASSERT_TRUE(xs_watch(zero.get(), "/local/domain/1", "token"));
  EXPECT_EQ(event(zero), "/local/domain/1 token");
  write(one, "device/vdispl", "");
  pollfd wanted{xs_fileno(zero.get()), POLLIN, 0};
  EXPECT_EQ(poll(&wanted, 1, 5000), 1);
  EXPECT_EQ(event(zero), "/local/domain/1/device/vdispl token");
}

TEST_F(StoreClient, what_the_host_does_is_heard) {
  const Handle zero = open(0);
  ASSERT_TRUE(xs_watch(zero.get(), "@introduceDomain", "in"));
  ASSERT_TRUE(xs_watch(zero.get(), "@releaseDomain", "out"));
  EXPECT_EQ(event(zero), "@introduceDomain in");
  EXPECT_EQ(event(zero), "@releaseDomain out");
  service.add_domain(3);
  EXPECT_EQ(event(zero), "@introduceDomain in");
  EXPECT_TRUE(xs_is_domain_introduced(zero.get(), 3));
  service.kill_domain(3);
  EXPECT_EQ(event(zero), "@releaseDomain out");
  EXPECT_FALSE(xs_is_domain_introduced(zero.get(), 3));
}

TEST_F(StoreClient, a_dead_domains_clients_are_cut_off) {
  const Handle one = open(1);
  write(one, "a", "");
  service.kill_domain(1);
  EXPECT_FALSE(write(one, "a", ""));
  EXPECT_EQ(open(1), nullptr);
  EXPECT_FALSE(std::filesystem::exists(service.path(1)));
  const Handle zero = open(0);
  EXPECT_EQ(read(zero, "/local/domain/1"), "!" + std::to_string(ENOENT));
}

TEST_F(StoreClient, a_client_that_ends_takes_its_watches_and_transactions_along) {
  {
    const Handle one = open(1);
    xs_watch(one.get(), "a", "t");
    xs_transaction_start(one.get());
    EXPECT_EQ(service.call([](Server& server, Transport&) { return server.usage(1)->watches; }), 1);
  }
  // The next request is served after the end of that client was seen.
  const Handle zero = open(0);
  read(zero, "/");
  const auto usage = service.call([](Server& server, Transport&) { return *server.usage(1); });
  EXPECT_EQ(usage.watches, 0);
  EXPECT_EQ(usage.transactions, 0);
}

int connect_to(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  snprintf(address.sun_path, sizeof address.sun_path, "%s", path.c_str());
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

TEST_F(StoreClient, a_client_that_breaks_the_protocol_is_dropped_alone) {
  const Handle one = open(1);
  const int fd = connect_to(service.path(1));
  const std::string garbage(64, '\xff');
  ASSERT_EQ(::write(fd, garbage.data(), garbage.size()), 64);
  char octet;
  EXPECT_LE(::read(fd, &octet, 1), 0);
  close(fd);
  EXPECT_TRUE(write(one, "a", ""));
}

TEST_F(StoreClient, a_client_that_does_not_read_holds_up_nobody) {
  const Handle zero = open(0);
  const int fd = connect_to(service.path(0));
  const std::string watch = encode(MessageType::watch, 1, 0, std::string("/\0t\0", 4));
  ASSERT_EQ(::write(fd, watch.data(), watch.size()), static_cast<ssize_t>(watch.size()));
  const std::string value(3000, 'v');
  for (int i = 0; i < 300; ++i)
    ASSERT_TRUE(write(zero, "/" + std::string(1000, 'n') + std::to_string(i), value));
  EXPECT_EQ(read(zero, "/tool/xenstored"), "");
  close(fd);
}

TEST_F(StoreClient, a_client_may_ask_much_at_once_and_leave) {
  const int fd = connect_to(service.path(1));
  std::string much;
  for (int i = 0; i < 20; ++i)
    much += encode(MessageType::write, 1, 0, "n" + std::to_string(i) + '\0' + "v");
  ASSERT_EQ(::write(fd, much.data(), much.size()), static_cast<ssize_t>(much.size()));
  std::string answers;
  while (answers.size() < 20 * (kHeaderSize + 3)) {
    char octets[4096];
    const ssize_t got = ::read(fd, octets, sizeof octets);
    ASSERT_GT(got, 0);
    answers.append(octets, static_cast<std::size_t>(got));
  }
  close(fd);
  const Handle one = open(1);
  EXPECT_EQ(read(one, "n19"), "v");
}

TEST_F(StoreClient, several_threads_of_several_domains_at_once) {
  constexpr int kThreads = 4;
  constexpr int kRounds = 50;
  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int i = 0; i < kThreads; ++i)
    threads.emplace_back([this, i] {
      const Handle handle = open(i % 2 == 0 ? 1 : 2);
      const std::string name = "counter" + std::to_string(i);
      for (int round = 0; round < kRounds; ++round) write(handle, name, std::to_string(round));
    });
  for (std::thread& thread : threads) thread.join();
  const Handle zero = open(0);
  EXPECT_EQ(read(zero, "/local/domain/1/counter0"), "49");
  EXPECT_EQ(read(zero, "/local/domain/2/counter3"), "49");
}

TEST_F(StoreClient, an_adopted_descriptor_is_a_client_too) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
  EXPECT_TRUE(
      service.call([&](Server&, Transport& transport) { return transport.adopt(1, ends[0]); }));
  const std::string request = encode(MessageType::get_domain_path, 1, 0, std::string("1\0", 2));
  ASSERT_EQ(::write(ends[1], request.data(), request.size()), static_cast<ssize_t>(request.size()));
  char octets[64];
  EXPECT_EQ(::read(ends[1], octets, sizeof octets), 32);
  close(ends[1]);
  int refused[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, refused), 0);
  EXPECT_FALSE(
      service.call([&](Server&, Transport& transport) { return transport.adopt(9, refused[0]); }));
  EXPECT_EQ(::read(refused[1], octets, 1), 0);
  close(refused[1]);
}

TEST(Transport, a_path_too_long_for_a_socket_is_named) {
  TempDir directory;
  const std::string deep = directory.path() + "/" + std::string(120, 'd');
  std::filesystem::create_directory(deep);
  Server server;
  Transport transport(server, deep);
  try {
    transport.listen(0);
    FAIL();
  } catch (const std::system_error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr(deep));
  }
}

class Sequences : public testing::TestWithParam<std::uint64_t> {};

// Through sockets the server behaves as it does without.
TEST_P(Sequences, give_the_same_through_sockets) {
  TempDir directory;
  Service service(directory.path());
  const SequenceOptions options{GetParam(), 300};
  std::ostringstream direct;
  play_sequence(*plain_core_world(), options, direct);
  std::ostringstream through;
  play_sequence(*socket_world(service.path(0)), options, through);
  EXPECT_EQ(direct.str(), through.str());
}

INSTANTIATE_TEST_SUITE_P(Seeds, Sequences, testing::Range<std::uint64_t>(1, 6));

TEST(Sequence, is_the_same_again) {
  std::ostringstream first;
  std::ostringstream second;
  play_sequence(*core_world(), {7, 500}, first);
  play_sequence(*core_world(), {7, 500}, second);
  EXPECT_EQ(first.str(), second.str());
  std::ostringstream other;
  play_sequence(*core_world(), {8, 500}, other);
  EXPECT_NE(first.str(), other.str());
}

}  // namespace
}  // namespace displif_cts::loopback::store
