// The machine as its host sees it: several domains in this process, by the C ABI, and the oracle.
#include "harness/loopback/host.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "harness/loopback/inprocess.h"
#include "harness/xen/domains.h"
#include "harness/xen/event_channels.h"
#include "harness/xen/grants.h"
#include "harness/xen/store.h"

extern "C" {
#include <xenevtchn.h>
}

namespace displif_cts::loopback {
namespace {

using namespace std::chrono_literals;
using testing::IsEmpty;
using testing::SizeIs;
using xen::Access;
using xen::DomId;
using xen::GrantRef;

constexpr DomId kZero{0};
constexpr DomId kGuest{1};
constexpr DomId kOther{2};

class HostTest : public testing::Test {
 protected:
  HostTest() {
    add(kZero, {.privileged = true});
    add(kGuest, {.shared_pages = 16384});
  }
  ~HostTest() override {
    in_process_.reset();
    host_.reset();
    std::filesystem::remove_all(directory_);
  }

  void add(DomId id, const DomainOptions& options = {}) { host_->add_domain(id, options); }

  xen::SharedPages share(DomId owner, DomId peer, std::size_t pages,
                         Access access = Access::read_write) {
    const ThreadDomain in(owner);
    return xen::SharedPages::share(peer, pages, access);
  }
  xen::Grants grants(DomId domain) {
    const ThreadDomain in(domain);
    return xen::Grants::open();
  }
  xen::EventChannels channels(DomId domain) {
    const ThreadDomain in(domain);
    return xen::EventChannels::open();
  }
  xen::Store store(DomId domain) {
    const ThreadDomain in(domain);
    return xen::Store::open();
  }

  std::string directory_ = [] {
    char pattern[] = "/tmp/loopback-test-XXXXXX";
    return std::string(mkdtemp(pattern));
  }();
  std::unique_ptr<Host> host_ = std::make_unique<Host>(directory_);
  std::unique_ptr<InProcess> in_process_ = std::make_unique<InProcess>(*host_);
};

int error_of(const std::function<void()>& work) {
  try {
    work();
  } catch (const std::system_error& error) {
    return error.code().value();
  } catch (const xen::Error& error) {
    return error.number();
  }
  return 0;
}

// --- the oracle

TEST_F(HostTest, oracle_sees_ports_of_each_domain) {
  xen::EventChannels guest = channels(kGuest);
  xen::EventChannels zero = channels(kZero);
  EXPECT_THAT(host_->ports(kGuest), IsEmpty());
  std::optional<xen::BoundPort> offered(guest.bind_unbound(kZero));
  const auto unbound = host_->ports(kGuest);
  ASSERT_THAT(unbound, SizeIs(1));
  EXPECT_EQ(unbound[0].port, xen::raw(offered->port()));
  EXPECT_EQ(unbound[0].link, Link::unbound);
  EXPECT_EQ(unbound[0].remote, 0);
  EXPECT_EQ(unbound[0].process, getpid());
  std::optional<xen::BoundPort> bound(zero.bind_interdomain(kGuest, offered->port()));
  EXPECT_EQ(host_->ports(kGuest)[0].link, Link::interdomain);
  EXPECT_EQ(host_->ports(kGuest)[0].remote_port, xen::raw(bound->port()));
  EXPECT_EQ(host_->ports(kZero)[0].remote, 1);
  bound.reset();
  EXPECT_THAT(host_->ports(kZero), IsEmpty());
  EXPECT_EQ(host_->ports(kGuest)[0].link, Link::unbound);
  offered.reset();
  EXPECT_THAT(host_->ports(kGuest), IsEmpty());
}

TEST_F(HostTest, oracle_sees_who_maps_what) {
  const xen::SharedPages pages = share(kGuest, kZero, 2);
  const xen::Grants zero = grants(kZero);
  EXPECT_EQ(host_->grant_usage(kGuest).used, 2U);
  EXPECT_THAT(host_->mappings(), IsEmpty());
  {
    const xen::Mapping mapping = zero.map(kGuest, pages.refs()[1], Access::read_only);
    const auto maps = host_->mappings_of(kGuest);
    ASSERT_THAT(maps, SizeIs(1));
    EXPECT_EQ(maps[0].ref, xen::raw(pages.refs()[1]));
    EXPECT_EQ(maps[0].mapper, 0);
    EXPECT_EQ(maps[0].process, getpid());
    EXPECT_FALSE(maps[0].writable);
    EXPECT_THAT(host_->mappings_of(kZero), IsEmpty());
  }
  EXPECT_THAT(host_->mappings(), IsEmpty());
}

TEST_F(HostTest, entry_that_ends_while_mapped_stays_in_use_until_the_unmap) {
  const xen::Grants zero = grants(kZero);
  std::optional<xen::SharedPages> pages(share(kGuest, kZero, 1));
  std::optional<xen::Mapping> mapping(zero.map(kGuest, pages->refs()[0], Access::read_write));
  pages.reset();
  ASSERT_THAT(host_->grants(kGuest), SizeIs(1));
  EXPECT_TRUE(host_->grants(kGuest)[0].ended);
  EXPECT_EQ(host_->grant_usage(kGuest).pages, 1U);
  mapping.reset();
  EXPECT_THAT(host_->grants(kGuest), IsEmpty());
  EXPECT_EQ(host_->grant_usage(kGuest).pages, 0U);
}

TEST_F(HostTest, unknown_domain_is_esrch) {
  EXPECT_EQ(error_of([&] { host_->ports(kOther); }), ESRCH);
  EXPECT_EQ(error_of([&] { host_->kill_domain(kOther); }), ESRCH);
  EXPECT_EQ(error_of([&] { add(kGuest); }), EEXIST);
  EXPECT_EQ(error_of([&] { add(DomId{0x7FF0}); }), EINVAL);
}

// --- limits

TEST_F(HostTest, grant_table_ends_at_its_frames) {
  add(kOther, {.grant_frames = 1, .shared_pages = 100'000});
  EXPECT_EQ(error_of([&] { share(kOther, kZero, kGrantsPerFrame); }), ENOSPC);
  EXPECT_EQ(host_->grant_usage(kOther).used, 0U);
  EXPECT_EQ(host_->grant_usage(kOther).pages, 0U);
  const xen::SharedPages pages = share(kOther, kZero, kGrantsPerFrame - kReservedGrants);
  EXPECT_EQ(error_of([&] { share(kOther, kZero, 1); }), ENOSPC);
}

TEST_F(HostTest, user_space_shares_no_more_than_the_kernel_allows) {
  add(kOther, {.shared_pages = 3});
  const xen::SharedPages two = share(kOther, kZero, 2);
  EXPECT_EQ(error_of([&] { share(kOther, kZero, 2); }), ENOSPC);
  const xen::SharedPages one = share(kOther, kZero, 1);
}

TEST_F(HostTest, ports_end_at_the_last) {
  add(kOther, {.last_port = 3});
  xen::EventChannels other = channels(kOther);
  std::vector<xen::BoundPort> ports;
  ports.reserve(3);
  for (int i = 0; i < 3; ++i) ports.push_back(other.bind_unbound(kZero));
  EXPECT_EQ(error_of([&] { (void)other.bind_unbound(kZero); }), ENOSPC);
}

TEST_F(HostTest, mappings_of_a_domain_are_limited) {
  add(kOther, {.maps = 2});
  const xen::SharedPages pages = share(kGuest, kOther, 3);
  EXPECT_EQ(error_of([&] { (void)grants(kOther).map(kGuest, pages.refs(), Access::read_only); }),
            EINVAL);
  EXPECT_THAT(host_->mappings(), IsEmpty());
}

// --- memory

// Mappings of domains' memory in this process.
std::size_t count_maps() {
  std::ifstream maps("/proc/self/maps");
  std::size_t lines = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("displif-loopback-domain") != std::string::npos) ++lines;
  }
  return lines;
}

TEST_F(HostTest, thousands_of_neighbouring_grants_are_one_mapping) {
  constexpr std::size_t kPages = 8100;
  const xen::SharedPages pages = share(kGuest, kZero, kPages);
  const xen::Grants zero = grants(kZero);
  const std::size_t before = count_maps();
  const xen::Mapping mapping = zero.map(kGuest, pages.refs(), Access::read_write);
  EXPECT_LE(count_maps(), before + 1);
  pages.page(kPages - 1)[5] = std::byte{9};
  EXPECT_EQ(mapping.page(kPages - 1)[5], std::byte{9});
  EXPECT_THAT(host_->mappings_of(kGuest), SizeIs(kPages));
}

TEST_F(HostTest, eight_mappings_of_scattered_grants_fit_into_a_process) {
  constexpr std::size_t kPages = 8100;
  const xen::SharedPages pages = share(kGuest, kZero, 2 * kPages);
  std::vector<GrantRef> every_other;
  for (std::size_t i = 0; i < 2 * kPages; i += 2) every_other.push_back(pages.refs()[i]);
  const xen::Grants zero = grants(kZero);
  for (std::size_t i = 0; i < kPages; ++i) pages.page(2 * i)[0] = std::byte(i % 251);
  std::vector<xen::Mapping> mappings;
  mappings.reserve(7);
  // vm.max_map_count is 65,530.
  for (int i = 0; i < 7; ++i) {
    mappings.push_back(zero.map(kGuest, every_other, Access::read_only));
  }
  for (std::size_t i = 0; i < kPages; ++i) {
    ASSERT_EQ(mappings[6].page(i)[0], std::byte(i % 251)) << i;
  }
}

TEST_F(HostTest, pages_that_are_given_back_come_zeroed) {
  {
    const xen::SharedPages pages = share(kGuest, kZero, 4);
    for (std::byte& octet : pages.bytes()) octet = std::byte{0xff};
  }
  const xen::SharedPages pages = share(kGuest, kZero, 4);
  for (const std::byte octet : pages.bytes()) ASSERT_EQ(octet, std::byte{0});
}

TEST_F(HostTest, read_only_mapping_cannot_be_widened) {
  const xen::SharedPages pages = share(kGuest, kZero, 1);
  const xen::Mapping mapping = grants(kZero).map(kGuest, pages.refs()[0], Access::read_only);
  EXPECT_EQ(mprotect(mapping.page(0).data(), xen::kPageSize, PROT_READ | PROT_WRITE), -1);
}

// --- domains end

TEST_F(HostTest, killed_domain_leaves_its_peers_unbound_and_their_mappings_alive) {
  const xen::Grants zero = grants(kZero);
  xen::EventChannels zero_channels = channels(kZero);
  xen::EventChannels guest_channels = channels(kGuest);
  const xen::SharedPages pages = share(kGuest, kZero, 2);
  const xen::BoundPort offered = guest_channels.bind_unbound(kZero);
  const xen::BoundPort bound = zero_channels.bind_interdomain(kGuest, offered.port());
  std::optional<xen::Mapping> mapping(zero.map(kGuest, pages.refs()[0], Access::read_write));
  mapping->page(0)[0] = std::byte{3};

  host_->kill_domain(kGuest);
  EXPECT_EQ(host_->ports(kZero)[0].link, Link::unbound);
  EXPECT_EQ(mapping->page(0)[0], std::byte{3});
  const auto domains = host_->domains();
  ASSERT_THAT(domains, SizeIs(2));
  EXPECT_TRUE(domains[1].dying);
  ASSERT_THAT(host_->mappings_of(kGuest), SizeIs(1));
  EXPECT_EQ(error_of([&] { (void)zero.map(kGuest, pages.refs()[0], Access::read_only); }), EINVAL);
  EXPECT_EQ(error_of([&] { add(kGuest); }), EEXIST);
  // The dead domain's handles are good for nothing.
  EXPECT_EQ(error_of([&] { (void)guest_channels.bind_unbound(kZero); }), ENODEV);

  mapping.reset();
  EXPECT_THAT(host_->domains(), SizeIs(1));
  add(kGuest);
}

TEST_F(HostTest, killed_domain_gives_no_unmap_notification) {
  xen::EventChannels zero_channels = channels(kZero);
  xen::EventChannels guest_channels = channels(kGuest);
  const xen::BoundPort offered = zero_channels.bind_unbound(kGuest);
  const xen::BoundPort bound = guest_channels.bind_interdomain(kZero, offered.port());
  const xen::SharedPages page = share(kZero, kGuest, 1);
  page.page(0)[7] = std::byte{1};
  const xen::Mapping mapping =
      grants(kGuest).map(kZero, page.refs()[0], Access::read_write,
                         xen::UnmapNotify{.offset = 7, .port = bound.port()});
  host_->kill_domain(kGuest);
  EXPECT_THAT(host_->mappings_of(kZero), IsEmpty());
  EXPECT_EQ(page.page(0)[7], std::byte{1});
  EXPECT_EQ(zero_channels.wait(xen::in(50ms)), std::nullopt);
}

TEST_F(HostTest, store_hears_of_domains_that_come_shut_down_and_die) {
  xen::Store zero = store(kZero);
  EXPECT_TRUE(zero.read("/local/domain/1/domid").has_value());
  [[maybe_unused]] const xen::Watch released = zero.watch(std::string(xen::kDomainReleased));
  [[maybe_unused]] const xen::Watch introduced = zero.watch(std::string(xen::kDomainIntroduced));
  const auto next = [&] {
    const auto event = zero.next_event(xen::in(3s));
    return event ? event->path : std::string("none");
  };
  EXPECT_EQ(next(), xen::kDomainReleased);  // the first events of the watches
  EXPECT_EQ(next(), xen::kDomainIntroduced);
  add(kOther);
  EXPECT_EQ(next(), xen::kDomainIntroduced);
  host_->shut_down(kOther, 0);
  EXPECT_EQ(next(), xen::kDomainReleased);
  EXPECT_TRUE(xen::Domains(zero).introduced(kOther));
  host_->kill_domain(kOther);
  EXPECT_EQ(next(), xen::kDomainReleased);
  EXPECT_FALSE(xen::Domains(zero).introduced(kOther));
}

TEST_F(HostTest, store_knows_the_domain_of_a_client) {
  xen::Store guest = store(kGuest);
  EXPECT_EQ(guest.read("domid"), "1");
  EXPECT_EQ(error_of([&] { guest.write("/local/domain/0/name", "x"); }), EACCES);
  guest.write("data/mine", "x");
  EXPECT_EQ(store(kZero).read("/local/domain/1/data/mine"), "x");
}

TEST_F(HostTest, reset_leaves_nothing) {
  const xen::SharedPages pages = share(kGuest, kZero, 3);
  xen::EventChannels guest = channels(kGuest);
  const xen::BoundPort port = guest.bind_unbound(kZero);
  store(kGuest).write("data/mine", "x");
  host_->reset();
  EXPECT_THAT(host_->domains(), IsEmpty());
  EXPECT_EQ(host_->handles(), 0U);
  EXPECT_EQ(error_of([&] { (void)guest.bind_unbound(kZero); }), ENODEV);
  add(kGuest);
  EXPECT_EQ(host_->grant_usage(kGuest).used, 0U);
  EXPECT_THAT(host_->ports(kGuest), IsEmpty());
  EXPECT_EQ(store(kGuest).read("data/mine"), std::nullopt);
}

TEST_F(HostTest, handles_of_a_domain_that_does_not_exist_do_not_open) {
  EXPECT_EQ(error_of([&] { channels(kOther); }), ESRCH);
}

// --- the machine's own socket

TEST_F(HostTest, garbage_costs_only_its_own_connection) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (directory_ + "/machine.sock").c_str(),
               sizeof address.sun_path - 1);
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  const std::string garbage(4096, '\xff');
  ASSERT_EQ(send(socket.get(), garbage.data(), garbage.size(), MSG_NOSIGNAL), 4096);
  char octet;
  EXPECT_LE(recv(socket.get(), &octet, 1, 0), 0);
  EXPECT_THAT(host_->domains(), SizeIs(2));
}

TEST_F(HostTest, process_without_a_handle_is_told_so) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, (directory_ + "/machine.sock").c_str(),
               sizeof address.sun_path - 1);
  const Fd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  ASSERT_EQ(connect(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  for (std::uint32_t call = 0; call < 64; ++call) {
    if (static_cast<Call>(call) == Call::open) continue;
    ASSERT_TRUE(send_message(socket.get(), {.code = call, .args = {1, 1, 1, 1, 1, 1}}));
    Message answer;
    ASSERT_TRUE(receive_message(socket.get(), answer)) << call;
    EXPECT_NE(answer.code, 0U) << call;
  }
}

// --- threads

TEST_F(HostTest, no_event_is_lost_between_threads) {
  xen::EventChannels guest = channels(kGuest);
  xen::EventChannels zero = channels(kZero);
  const xen::BoundPort offered = guest.bind_unbound(kZero);
  const xen::BoundPort bound = zero.bind_interdomain(kGuest, offered.port());
  constexpr std::uint32_t kRounds = 2000;
  std::atomic<std::uint32_t> produced = 0;
  std::thread producer([&] {
    for (std::uint32_t i = 1; i <= kRounds; ++i) {
      produced.store(i);
      bound.notify();
    }
  });
  // Unmask, then look: as every consumer of a ring does.
  std::uint32_t seen = 0;
  while (seen < kRounds) {
    const auto port = guest.wait(xen::in(10s));
    ASSERT_TRUE(port.has_value()) << "lost after " << seen;
    guest.unmask(*port);
    seen = produced.load();
  }
  producer.join();
}

// A handle of the C interface; null where there is none.
xenevtchn_handle* open_without_blocking(DomId domain) {
  const ThreadDomain in(domain);
  xenevtchn_handle* const handle = xenevtchn_open(nullptr, 0);
  if (handle != nullptr) {
    EXPECT_EQ(fcntl(xenevtchn_fd(handle), F_SETFL, O_NONBLOCK), 0);
  }
  return handle;
}

// Linux's /dev/xen/evtchn never is readable without one, and a blocking read would wait for the
// next.
TEST_F(HostTest, readable_descriptor_has_an_event) {
  xen::EventChannels zero = channels(kZero);
  xenevtchn_handle* const guest = open_without_blocking(kGuest);
  ASSERT_NE(guest, nullptr);
  std::vector<xen::BoundPort> sending;
  for (int i = 0; i < 2; ++i) {
    const int port = xenevtchn_bind_unbound_port(guest, raw(kZero));
    ASSERT_GE(port, 0);
    sending.push_back(zero.bind_interdomain(kGuest, static_cast<xen::Port>(port)));
  }
  constexpr std::uint32_t kRounds = 5000;
  std::atomic<std::uint32_t> taken = 0;
  std::atomic<bool> stop = false;
  std::thread sender([&] {
    for (std::uint32_t round = 0; round < kRounds && !stop; ++round) {
      for (const auto& port : sending) port.notify();
      while (taken.load() < 2 * (round + 1) && !stop) std::this_thread::yield();
    }
  });
  while (taken < 2 * kRounds) {
    pollfd item{xenevtchn_fd(guest), POLLIN, 0};
    const bool readable = poll(&item, 1, 10'000) == 1;
    const int port = readable ? xenevtchn_pending(guest) : -1;
    EXPECT_GE(port, 0) << (readable ? "readable without an event after " : "lost after ") << taken;
    if (port < 0) break;
    xenevtchn_unmask(guest, static_cast<evtchn_port_t>(port));
    ++taken;
  }
  stop = true;
  sender.join();
  sending.clear();
  xenevtchn_close(guest);
}

// The same for a port that goes away while its peer notifies: what was queued before stays, and
// nothing is queued after.
TEST_F(HostTest, port_that_is_unbound_under_notifications_leaves_no_empty_wake_up) {
  xen::EventChannels zero = channels(kZero);
  xenevtchn_handle* const guest = open_without_blocking(kGuest);
  ASSERT_NE(guest, nullptr);
  for (int round = 0; round < 500 && !HasFailure(); ++round) {
    const int port = xenevtchn_bind_unbound_port(guest, raw(kZero));
    ASSERT_GE(port, 0);
    const xen::BoundPort sending = zero.bind_interdomain(kGuest, static_cast<xen::Port>(port));
    std::atomic<bool> stop = false;
    std::atomic<int> sent = 0;
    std::thread sender([&] {
      while (!stop) {
        sending.notify();
        ++sent;
      }
    });
    const auto take_all = [&] {
      pollfd item{xenevtchn_fd(guest), POLLIN, 0};
      while (poll(&item, 1, 0) == 1) {
        const int event = xenevtchn_pending(guest);
        EXPECT_EQ(event, port) << "readable without an event in round " << round;
        if (event < 0) return;
        xenevtchn_unmask(guest, static_cast<evtchn_port_t>(event));
      }
    };
    while (sent < 10 + round % 7) take_all();
    EXPECT_EQ(xenevtchn_unbind(guest, static_cast<evtchn_port_t>(port)), 0);
    take_all();
    stop = true;
    sender.join();
    take_all();
  }
  xenevtchn_close(guest);
}

}  // namespace
}  // namespace displif_cts::loopback
