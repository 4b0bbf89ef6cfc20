// displif-fake-frontend: the fake frontend by hand, in a guest, against any backend.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>
#include <iostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "fake_frontend/fake_frontend.h"
#include "harness/trace/recorder.h"
#include "harness/xen/error.h"

namespace {

using displif_cts::Json;
namespace ff = displif_cts::fake_frontend;
namespace trace = displif_cts::trace;
namespace xen = displif_cts::xen;
using std::chrono::milliseconds;

struct Arguments {
  unsigned device = 0;
  std::vector<unsigned> versions{1, 2};
  std::vector<std::string> faults;
  unsigned connections = 1;
  unsigned flips = 0;
  unsigned interval_ms = 500;
  unsigned wait_ms = 10'000;
  unsigned seconds = 0;
  bool backend_allocated = false;
  bool no_picture = false;
  bool vanish = false;
  bool quiet = false;
  bool list_faults = false;
};

void describe(CLI::App& app, Arguments& args) {
  app.description(
      "A conformant frontend of Xen's para-virtual display protocol (xen/io/displif.h), with "
      "faults "
      "to switch on.\nRuns in the guest that the device belongs to. Connects, reads the EDID, "
      "shows "
      "colour bars on every connector and flips between two pictures until Ctrl-C; writes what it "
      "sees and does to standard output as JSON Lines, and cleans up.");
  app.add_option("-i,--device", args.device, "Device id (default 0)")
      ->check(CLI::Range(0U, 0xffffU));
  app.add_option("--versions", args.versions, "Protocol versions to choose from (default 1,2)")
      ->delimiter(',');
  app.add_flag("--be-alloc", args.backend_allocated, "Have the backend allocate the buffers");
  app.add_flag("--no-picture", args.no_picture, "Connect, and nothing more");
  app.add_option("--flips", args.flips,
                 "End after that many flips of each connector (default: never)");
  app.add_option("--interval", args.interval_ms, "Milliseconds between two flips (default 500)");
  app.add_option("--connections", args.connections,
                 "Leave and connect again, so often in all (default 1); needs --flips or --seconds")
      ->check(CLI::Range(1U, 1'000'000U));
  app.add_flag("--vanish", args.vanish, "Leave as if the program had died");
  app.add_option("--wait", args.wait_ms, "Milliseconds to wait for the connection (default 10000)");
  app.add_option("-f,--fault", args.faults,
                 "Switch a fault on; ID=N lets it strike N times; repeat for more");
  app.add_flag("--list-faults", args.list_faults, "List the faults and end");
  app.add_option("--seconds", args.seconds, "End each connection after that time (default: never)");
  app.add_flag("-q,--quiet", args.quiet, "No trace");
}

void list_faults() {
  for (const ff::FaultInfo& fault : ff::all_faults()) {
    fmt::print("{:<58} {}{}\n", fault.id, fault.title,
               fault.requirement.empty() ? std::string() : fmt::format(" [{}]", fault.requirement));
  }
}

// A number of `signals`, or 0 when the time is over first.
int wait_for_signal(const sigset_t& signals, milliseconds time) {
  const timespec limit{.tv_sec = static_cast<time_t>(time.count() / 1000),
                       .tv_nsec = static_cast<long>(time.count() % 1000 * 1'000'000)};
  const int number = sigtimedwait(&signals, nullptr, &limit);
  return number < 0 ? 0 : number;
}

// Eight bars of 32 bits a pixel, moved on by `shift` bars.
std::vector<std::byte> bars(const displif_cts::displif::Resolution& size, unsigned shift) {
  static constexpr std::array<std::uint32_t, 8> kColours{0xffffff, 0xffff00, 0x00ffff, 0x00ff00,
                                                         0xff00ff, 0xff0000, 0x0000ff, 0x000000};
  std::vector<std::uint32_t> line(size.width);
  for (std::uint32_t x = 0; x < size.width; ++x) {
    line[x] = kColours[(static_cast<std::uint64_t>(x) * 8 / size.width + shift) % 8];
  }
  const auto octets = std::as_bytes(std::span(line));
  std::vector<std::byte> picture;
  picture.reserve(octets.size() * size.height);
  for (std::uint32_t y = 0; y < size.height; ++y) {
    picture.insert(picture.end(), octets.begin(), octets.end());
  }
  return picture;
}

struct Screen {
  std::array<ff::FbCookie, 2> fbs{};
  unsigned flips = 0;
  bool ok = false;
};

class Session {
 public:
  Session(ff::FakeFrontend& frontend, const Arguments& args, const sigset_t& signals)
      : frontend_(frontend), args_(args), signals_(signals) {}

  // One connection from beginning to end. Returns the signal that ended it, or 0.
  int run() {
    frontend_.start();
    const auto connected = frontend_.await_connected(xen::in(milliseconds(args_.wait_ms)));
    if (!connected) throw std::runtime_error(connected.failure());
    fmt::print(stderr, "connected to {}, version {}, {} connectors\n", frontend_.paths().backend,
               frontend_.protocol(), frontend_.connectors().size());
    if (!args_.no_picture) show_all();
    const int number = serve();
    if (args_.vanish) {
      frontend_.vanish();
    } else if (!frontend_.leave()) {
      fmt::print(stderr, "the backend has not let go in time\n");
    }
    return number;
  }
  bool failed() const { return failed_; }

 private:
  bool told(const char* what, std::size_t connector, const ff::Reply& reply) {
    if (reply.error == 0) return true;
    failed_ = true;
    fmt::print(stderr, "connector {}: {}: {}\n", connector, what, reply.text());
    return false;
  }

  void show_all() {
    const auto connectors = frontend_.connectors();
    screens_.assign(connectors.size(), Screen{});
    for (std::size_t i = 0; i < connectors.size(); ++i) {
      if (frontend_.protocol() >= 2) {
        const ff::EdidReply edid = frontend_.get_edid(i);
        fmt::print(stderr, "connector {}: {}x{}, EDID: {}\n", i, connectors[i].width,
                   connectors[i].height,
                   edid.ok() ? fmt::format("{} octets", edid.edid.size()) : edid.text());
      }
      screens_[i].ok = show(i, connectors[i]);
    }
  }

  bool show(std::size_t connector, const displif_cts::displif::Resolution& size) {
    for (unsigned n = 0; n < 2; ++n) {
      const ff::BufferReply buffer =
          frontend_.create_buffer({.width = size.width,
                                   .height = size.height,
                                   .backend_allocated = args_.backend_allocated});
      if (!told("buffer", connector, buffer)) return false;
      frontend_.draw(buffer.cookie, bars(size, n));
      const ff::FramebufferReply fb = frontend_.attach_fb(buffer.cookie);
      if (!told("framebuffer", connector, fb)) return false;
      screens_[connector].fbs[n] = fb.cookie;
    }
    return told("configuration", connector,
                frontend_.set_config(connector, screens_[connector].fbs[0]));
  }

  void flip_all() {
    for (std::size_t i = 0; i < screens_.size(); ++i) {
      Screen& screen = screens_[i];
      if (!screen.ok) continue;
      const ff::Reply flip = frontend_.page_flip(i, screen.fbs[++screen.flips % 2]);
      if (!told("flip", i, flip)) {
        screen.ok = false;
        continue;
      }
      const auto event = frontend_.await_flip(i, xen::in(std::chrono::seconds(5)));
      if (event) continue;
      failed_ = true;
      screen.ok = false;
      fmt::print(stderr, "{}\n", event.failure());
    }
  }

  int serve() {
    const auto end = args_.seconds == 0 ? xen::Clock::time_point::max()
                                        : xen::in(std::chrono::seconds(args_.seconds));
    for (unsigned flips = 0; frontend_.serving() && xen::Clock::now() < end; ++flips) {
      if (args_.flips != 0 && flips == args_.flips) return 0;
      if (const int number = wait_for_signal(signals_, milliseconds(args_.interval_ms))) {
        return number;
      }
      flip_all();
    }
    return 0;
  }

  ff::FakeFrontend& frontend_;
  const Arguments& args_;
  const sigset_t& signals_;
  std::vector<Screen> screens_;
  bool failed_ = false;
};

int serve(const Arguments& args, const sigset_t& signals) {
  ff::FrontendFaults faults;
  for (const std::string& text : args.faults) ff::set_fault(faults, text);
  const trace::Sink sink = [&](const Json& record) {
    if (args.quiet) return;
    std::cout << record.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n' << std::flush;
  };
  trace::Recorder recorder(sink);
  ff::Options options;
  options.versions = args.versions;
  ff::FakeFrontend frontend(static_cast<std::uint16_t>(args.device), options, recorder);
  frontend.set_faults([&](ff::FrontendFaults& set) { set = faults; });
  Session session(frontend, args, signals);
  int number = 0;
  for (unsigned n = 0; n < args.connections && number == 0; ++n) number = session.run();
  for (const std::string& trouble : frontend.trouble()) fmt::print(stderr, "{}\n", trouble);
  if (number == SIGTERM) return 128 + SIGTERM;
  return session.failed() ? 1 : 0;
}

}  // namespace

int main(int argc, char** argv) {
  Arguments args;
  CLI::App app;
  describe(app, args);
  CLI11_PARSE(app, argc, argv);
  if (args.list_faults) {
    list_faults();
    return 0;
  }
  if (args.connections > 1 && args.flips == 0 && args.seconds == 0) {
    fmt::print(stderr, "--connections needs --flips or --seconds: the first would never end\n");
    return 2;
  }
  // Blocked before the service's thread starts, so that only we take them.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  try {
    return serve(args, signals);
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "displif-fake-frontend: {}; see --list-faults\n", error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "displif-fake-frontend: {}\n", error.what());
    return 3;
  }
}
