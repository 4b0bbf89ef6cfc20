// What loopback costs, each figure against a baseline measured in the same run, in turns with it:
//   request_round_trip   a request and its response through a ring page and two notifications,
//                        between two processes: against a ping-pong over two eventfds between the
//                        same processes
//   operation            the same through both fakes, with all that they check and record
//   connect_first_flip   from a device's nodes to its first completed flip, both fakes, two
//                        processes: against the store operations that it takes at the least (in
//                        turns: a write and a read)
//   map_scattered        33 MB given as 8,100 references: against a mapping of 8,100 pages of a
//   file,
//                        one by one
//   case                 a fresh pair of domains, a device's nodes, its connection, and all gone
//                        again: against fork() and exit of an empty process
// The argument is the number of devices, each in a domain of its own. Counters: `baseline` in
// nanoseconds, `ratio` to it.
#include <benchmark/benchmark.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "fake_backend/fake_backend.h"
#include "fake_frontend/fake_frontend.h"
#include "harness/loopback/host.h"
#include "harness/loopback/inprocess.h"
#include "harness/trace/recorder.h"
#include "harness/xen/event_channels.h"
#include "harness/xen/grants.h"
#include "harness/xen/store.h"

namespace {

using namespace displif_cts;
using Clock = std::chrono::steady_clock;
using namespace std::chrono_literals;

constexpr std::size_t kMaxDevices = 64;
constexpr std::size_t kBufferPages = 8100;  // 3840 x 2160 x 4 octets
constexpr xen::DomId kBackend{0};
constexpr auto kLimit = 30s;

xen::DomId guest(std::size_t device) { return static_cast<xen::DomId>(device + 1); }

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

// --- the other process: domain 0 -----------------------------------------------------------------

enum class Work : std::uint32_t {
  ping_pong,
  bind_rings,
  serve_rings,
  drop_rings,
  backends,
  drop_backends
};

struct Order {
  Work work = Work::ping_pong;
  std::uint32_t devices = 0;
  std::array<std::uint32_t, kMaxDevices> ports{};
  std::array<std::uint32_t, kMaxDevices> refs{};
  std::array<char, 128> directory{};
};

// What stands in a ring page.
struct Ring {
  std::atomic<std::uint32_t> request;
  std::atomic<std::uint32_t> response;
  std::atomic<std::uint32_t> stop;
};

constexpr eventfd_t kStop = 1U << 20;

class Peer {
 public:
  Peer(int control, int ping, int pong) : control_(control), ping_(ping), pong_(pong) {}

  [[noreturn]] void run() {
    for (Order order; recv(control_, &order, sizeof order, 0) == sizeof order;) {
      try {
        obey(order);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "the other process: %s\n", error.what());
        _exit(3);
      }
    }
    _exit(0);
  }

 private:
  void done() const {
    const char octet = 0;
    if (send(control_, &octet, 1, MSG_NOSIGNAL) != 1) _exit(3);
  }

  void obey(const Order& order) {
    const std::string directory = order.directory.data();
    if (!directory.empty()) {
      setenv("DISPLIF_LOOPBACK", directory.c_str(), 1);
      setenv("DISPLIF_LOOPBACK_DOMAIN", "0", 1);
      setenv("XENSTORED_PATH", (directory + "/store-0.sock").c_str(), 1);
    }
    switch (order.work) {
      case Work::ping_pong:
        return ping_pong();
      case Work::bind_rings:
        return bind_rings(order);
      case Work::serve_rings:
        return serve_rings();
      case Work::drop_rings:
        ports_.clear();
        pages_.clear();
        channels_.reset();
        return done();
      case Work::backends:
        return make_backends(order);
      case Work::drop_backends:
        backends_.clear();
        return done();
    }
  }

  void ping_pong() {
    eventfd_t value = 0;
    while (eventfd_read(ping_, &value) == 0 && value < kStop) eventfd_write(pong_, 1);
    done();
  }

  void bind_rings(const Order& order) {
    channels_.emplace(xen::EventChannels::open());
    const xen::Grants grants = xen::Grants::open();
    for (std::size_t i = 0; i < order.devices; ++i) {
      ports_.push_back(channels_->bind_interdomain(guest(i), xen::Port{order.ports[i]}));
      pages_.push_back(grants.map(guest(i), xen::GrantRef{order.refs[i]}, xen::Access::read_write));
      const auto first = channels_->wait(xen::in(kLimit));
      if (first) channels_->unmask(*first);
    }
    done();
  }

  // Answers every request until told to stop, in the first ring.
  void serve_rings() {
    std::vector<Ring*> rings;
    for (const xen::Mapping& page : pages_) {
      rings.push_back(reinterpret_cast<Ring*>(page.page(0).data()));
    }
    while (rings[0]->stop.load() == 0) {
      const auto port = channels_->wait(xen::in(kLimit));
      if (!port) throw std::runtime_error("no request");
      for (std::size_t i = 0; i < ports_.size(); ++i) {
        if (ports_[i].port() != *port) continue;
        channels_->unmask(*port);
        rings[i]->response.store(rings[i]->request.load());
        ports_[i].notify();
      }
    }
    done();
  }

  void make_backends(const Order& order) {
    for (std::size_t i = 0; i < order.devices; ++i) {
      fake_backend::Options options;
      options.connectors = {fake_backend::Connector{.resolution = {64, 32}}};
      backends_.push_back(
          std::make_unique<fake_backend::FakeBackend>(guest(i), 0, options, recorder_));
      backends_.back()->create_device();
      backends_.back()->start();
    }
    done();
  }

  int control_;
  int ping_;
  int pong_;
  std::optional<xen::EventChannels> channels_;
  std::vector<xen::BoundPort> ports_;
  std::vector<xen::Mapping> pages_;
  trace::Recorder recorder_{[](const auto&) {}};
  std::vector<std::unique_ptr<fake_backend::FakeBackend>> backends_;
};

// --- this process: the machine and the guests ----------------------------------------------------

class Bench {
 public:
  Bench() {
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) fail("socketpair");
    ping_ = eventfd(0, EFD_CLOEXEC);
    pong_ = eventfd(0, EFD_CLOEXEC);
    child_ = fork();  // before the machine's thread
    if (child_ == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      close(ends[0]);
      Peer(ends[1], ping_, pong_).run();
    }
    close(ends[1]);
    control_ = ends[0];
    char pattern[] = "/tmp/displif-bench-XXXXXX";
    if (mkdtemp(pattern) == nullptr) fail("mkdtemp");
    directory_ = pattern;
    host_.emplace(directory_);
    in_process_.emplace(*host_);
  }
  ~Bench() {
    close(control_);
    waitpid(child_, nullptr, 0);
    in_process_.reset();
    host_.reset();
    std::filesystem::remove_all(directory_);
  }
  Bench(const Bench&) = delete;
  Bench& operator=(const Bench&) = delete;

  loopback::Host& host() { return *host_; }

  void start(Order order) {
    std::strncpy(order.directory.data(), directory_.c_str(), order.directory.size() - 1);
    if (send(control_, &order, sizeof order, MSG_NOSIGNAL) != sizeof order) fail("send");
  }
  void finish() {
    char octet;
    if (recv(control_, &octet, 1, 0) != 1) throw std::runtime_error("the other process has ended");
  }
  void run(const Order& order) {
    start(order);
    finish();
  }

  // Empty, with domain 0 and `devices` guests.
  void add_domains(std::size_t devices) {
    host_->reset();
    loopback::DomainOptions zero;
    zero.privileged = true;
    zero.maps = kMaxDevices * (kBufferPages + 64);
    zero.last_port = loopback::kPortsPerDomain - 1;
    host_->add_domain(kBackend, zero);
    loopback::DomainOptions options;
    options.shared_pages = 2 * kBufferPages + 64;
    for (std::size_t i = 0; i < devices; ++i) host_->add_domain(guest(i), options);
  }

  // Seconds that so many round trips over the eventfds take.
  double ping_pong(int rounds) {
    start({.work = Work::ping_pong});
    const auto begin = Clock::now();
    for (int i = 0; i < rounds; ++i) {
      eventfd_t value;
      eventfd_write(ping_, 1);
      eventfd_read(pong_, &value);
    }
    const double seconds = seconds_since(begin);
    eventfd_write(ping_, kStop);
    finish();
    return seconds;
  }

 private:
  int control_ = -1;
  int ping_ = -1;
  int pong_ = -1;
  pid_t child_ = -1;
  std::string directory_;
  std::optional<loopback::Host> host_;
  std::optional<loopback::InProcess> in_process_;
};

std::unique_ptr<Bench> the_bench;

// Sums of both, and what becomes of them.
class Ratio {
 public:
  void add(double measured, double baseline, double count) {
    measured_ += measured;
    baseline_ += baseline;
    count_ += count;
  }
  void report(benchmark::State& state) const {
    state.counters["each_ns"] = measured_ / count_ * 1e9;
    state.counters["baseline_ns"] = baseline_ / count_ * 1e9;
    state.counters["ratio"] = measured_ / baseline_;
  }

 private:
  double measured_ = 0;
  double baseline_ = 0;
  double count_ = 0;
};

std::size_t devices_of(const benchmark::State& state) {
  return std::max<std::size_t>(1, static_cast<std::size_t>(state.range(0)));
}

// --- request_round_trip

struct Device {
  xen::SharedPages page;
  xen::BoundPort port;
  Ring* ring;
};

void request_round_trip(benchmark::State& state) {
  constexpr int kBlock = 256;
  Bench& bench = *the_bench;
  const std::size_t devices = devices_of(state);
  bench.add_domains(devices);
  Order order{.work = Work::bind_rings, .devices = static_cast<std::uint32_t>(devices)};
  // One handle for each guest, as each guest's kernel would have.
  std::vector<xen::EventChannels> channels;
  std::vector<Device> rings;
  for (std::size_t i = 0; i < devices; ++i) {
    const loopback::ThreadDomain in(guest(i));
    channels.push_back(xen::EventChannels::open());
    xen::SharedPages page = xen::SharedPages::share(kBackend, 1, xen::Access::read_write);
    xen::BoundPort port = channels.back().bind_unbound(kBackend);
    order.ports[i] = xen::raw(port.port());
    order.refs[i] = xen::raw(page.refs()[0]);
    Ring* const ring = reinterpret_cast<Ring*>(page.bytes().data());
    rings.push_back({std::move(page), std::move(port), ring});
  }
  bench.run(order);
  Ratio ratio;
  std::uint32_t number = 0;
  for ([[maybe_unused]] auto _ : state) {
    const double baseline = bench.ping_pong(kBlock);
    rings[0].ring->stop.store(0);
    bench.start({.work = Work::serve_rings});
    const auto round_trip = [&](std::size_t device) {
      Device& to = rings[device];
      to.ring->request.store(++number);
      to.port.notify();
      // The notification that ended the last block may have been answered, too.
      do {
        const auto port = channels[device].wait(xen::in(kLimit));
        if (!port) throw std::runtime_error("no response");
        channels[device].unmask(*port);
      } while (to.ring->response.load() != number);
    };
    round_trip(0);  // the other process is there
    const auto begin = Clock::now();
    for (int i = 0; i < kBlock; ++i) round_trip(static_cast<std::size_t>(i) % devices);
    const double seconds = seconds_since(begin);
    rings[0].ring->stop.store(1);
    rings[0].port.notify();
    bench.finish();
    state.SetIterationTime(seconds / kBlock);
    ratio.add(seconds, baseline, kBlock);
  }
  ratio.report(state);
  bench.run({.work = Work::drop_rings});
}

// --- through both fakes

struct Frontends {
  Frontends(Bench& bench, std::size_t devices) : bench_(bench) {
    for (std::size_t i = 0; i < devices; ++i) {
      fake_frontend::Options options;
      options.thread_context = [i] { return std::make_shared<loopback::ThreadDomain>(guest(i)); };
      options.frontend = guest(i);
      options.backend = kBackend;
      all_.push_back(std::make_unique<fake_frontend::FakeFrontend>(0, options, recorder_));
    }
  }
  ~Frontends() {
    all_.clear();
    bench_.run({.work = Work::drop_backends});
  }

  void start() {
    for (auto& frontend : all_) frontend->start();
  }
  fake_frontend::FakeFrontend& at(std::size_t i) { return *all_[i]; }
  std::size_t size() const { return all_.size(); }

 private:
  Bench& bench_;
  trace::Recorder recorder_{[](const auto&) {}};
  std::vector<std::unique_ptr<fake_frontend::FakeFrontend>> all_;
};

void await_connected(fake_frontend::FakeFrontend& frontend) {
  const auto connected = frontend.await_connected(xen::in(kLimit));
  if (!connected) throw std::runtime_error(connected.failure());
}

void operation(benchmark::State& state) {
  constexpr int kBlock = 64;
  Bench& bench = *the_bench;
  const std::size_t devices = devices_of(state);
  bench.add_domains(devices);
  bench.run({.work = Work::backends, .devices = static_cast<std::uint32_t>(devices)});
  Frontends frontends(bench, devices);
  frontends.start();
  for (std::size_t i = 0; i < devices; ++i) await_connected(frontends.at(i));
  Ratio ratio;
  for ([[maybe_unused]] auto _ : state) {
    const double baseline = bench.ping_pong(kBlock);
    const auto begin = Clock::now();
    for (int i = 0; i < kBlock; ++i) {
      if (!frontends.at(static_cast<std::size_t>(i) % devices).reset_config(0).ok()) {
        throw std::runtime_error("reset_config was refused");
      }
    }
    const double seconds = seconds_since(begin);
    state.SetIterationTime(seconds / kBlock);
    ratio.add(seconds, baseline, kBlock);
  }
  ratio.report(state);
}

// Seconds that a read and a write of the store take.
double store_pair(xen::Store& store) {
  const auto begin = Clock::now();
  store.write("/bench", "1");
  store.read("/bench");
  return seconds_since(begin);
}

void connect_first_flip(benchmark::State& state) {
  Bench& bench = *the_bench;
  const std::size_t devices = devices_of(state);
  Ratio ratio;
  for ([[maybe_unused]] auto _ : state) {
    bench.add_domains(devices);
    bench.run({.work = Work::backends, .devices = static_cast<std::uint32_t>(devices)});
    double baseline = 0;
    {
      xen::Store store = xen::Store::open();
      store_pair(store);
      baseline = store_pair(store);
    }
    Frontends frontends(bench, devices);
    const auto begin = Clock::now();
    frontends.start();
    for (std::size_t i = 0; i < devices; ++i) {
      await_connected(frontends.at(i));
      const fake_frontend::Picture picture = frontends.at(i).show(0);
      if (!picture.ok() || !frontends.at(i).page_flip(0, picture.fb).ok() ||
          !frontends.at(i).await_flip(0, xen::in(kLimit))) {
        throw std::runtime_error("no flip: " + picture.reply.text());
      }
    }
    const double seconds = seconds_since(begin) / static_cast<double>(devices);
    state.SetIterationTime(seconds);
    ratio.add(seconds, baseline, 1);
  }
  ratio.report(state);
}

// --- map_scattered

// Maps the pages of a file one by one; seconds.
double map_page_by_page(int file, std::size_t pages) {
  const auto begin = Clock::now();
  auto* const area = static_cast<std::byte*>(
      mmap(nullptr, pages * xen::kPageSize, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  for (std::size_t i = 0; i < pages; ++i) {
    void* const page = mmap(area + i * xen::kPageSize, xen::kPageSize, PROT_READ,
                            MAP_SHARED | MAP_FIXED, file, static_cast<off_t>(i * xen::kPageSize));
    if (page == MAP_FAILED) fail("mmap");
  }
  munmap(area, pages * xen::kPageSize);
  return seconds_since(begin);
}

void map_scattered(benchmark::State& state) {
  Bench& bench = *the_bench;
  const std::size_t devices = devices_of(state);
  bench.add_domains(devices);
  const loopback::Fd file(memfd_create("bench", MFD_CLOEXEC));
  if (ftruncate(file.get(), static_cast<off_t>(kBufferPages * xen::kPageSize)) != 0) fail("memfd");
  std::vector<xen::SharedPages> buffers;
  for (std::size_t i = 0; i < devices; ++i) {
    const loopback::ThreadDomain in(guest(i));
    buffers.push_back(xen::SharedPages::share(kBackend, kBufferPages, xen::Access::read_write));
  }
  const xen::Grants grants = xen::Grants::open();
  Ratio ratio;
  for ([[maybe_unused]] auto _ : state) {
    double baseline = 0;
    for (std::size_t i = 0; i < devices; ++i) {
      baseline += map_page_by_page(file.get(), kBufferPages);
    }
    const auto begin = Clock::now();
    {
      std::vector<xen::Mapping> mappings;
      for (std::size_t i = 0; i < devices; ++i) {
        mappings.push_back(grants.map(guest(i), buffers[i].refs(), xen::Access::read_only));
      }
    }
    const double seconds = seconds_since(begin);
    state.SetIterationTime(seconds / static_cast<double>(devices));
    ratio.add(seconds, baseline, static_cast<double>(devices));
  }
  ratio.report(state);
}

// --- case

double empty_process() {
  const auto begin = Clock::now();
  const pid_t child = fork();
  if (child == 0) _exit(0);
  waitpid(child, nullptr, 0);
  return seconds_since(begin);
}

void whole_case(benchmark::State& state) {
  Bench& bench = *the_bench;
  const std::size_t devices = devices_of(state);
  Ratio ratio;
  for ([[maybe_unused]] auto _ : state) {
    const double baseline = empty_process();
    const auto begin = Clock::now();
    bench.add_domains(devices);
    bench.run({.work = Work::backends, .devices = static_cast<std::uint32_t>(devices)});
    {
      Frontends frontends(bench, devices);
      frontends.start();
      for (std::size_t i = 0; i < devices; ++i) await_connected(frontends.at(i));
    }
    for (std::size_t i = 0; i < devices; ++i) {
      if (bench.host().grant_usage(guest(i)).used != 0) throw std::runtime_error("grants leaked");
    }
    bench.host().reset();
    const double seconds = seconds_since(begin) / static_cast<double>(devices);
    state.SetIterationTime(seconds);
    ratio.add(seconds, baseline, 1);
  }
  ratio.report(state);
}

void counts(benchmark::internal::Benchmark* each) {
  each->RangeMultiplier(4)->Range(1, kMaxDevices)->UseManualTime();
}
void few(benchmark::internal::Benchmark* each) {
  counts(each);
  each->Iterations(5)->Unit(benchmark::kMillisecond);
}

BENCHMARK(request_round_trip)->Apply(counts)->Iterations(20)->Unit(benchmark::kMicrosecond);
BENCHMARK(operation)->Apply(counts)->Iterations(5)->Unit(benchmark::kMicrosecond);
BENCHMARK(connect_first_flip)->Apply(few);
BENCHMARK(map_scattered)->Apply(few);
BENCHMARK(whole_case)->Name("case")->Apply(few);

}  // namespace

int main(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 2;
  try {
    the_bench = std::make_unique<Bench>();
    benchmark::RunSpecifiedBenchmarks();
    the_bench.reset();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "displif-bench-loopback: %s\n", error.what());
    return 3;
  }
  return 0;
}
