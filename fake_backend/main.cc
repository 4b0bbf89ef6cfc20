// displif-fake-backend: the fake backend by hand, in dom0, against any frontend.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "fake_backend/edid.h"
#include "fake_backend/fake_backend.h"
#include "fake_backend/follower.h"
#include "harness/agent/line_server.h"

namespace {

using displif_cts::Json;
namespace agent = displif_cts::agent;
namespace fb = displif_cts::fake_backend;
namespace trace = displif_cts::trace;
namespace xen = displif_cts::xen;

struct Arguments {
  unsigned domain = 0;
  unsigned device = 0;
  std::vector<std::string> connectors;  // WxH
  std::vector<std::string> edids;       // files, by connector
  std::vector<unsigned> versions{1, 2};
  std::vector<std::string> faults;
  bool be_alloc = false;
  bool writable = false;
  bool attach = false;
  bool poll = false;
  bool follow = false;
  bool screen = false;
  bool quiet = false;
  bool list_faults = false;
  unsigned seconds = 0;
};

void describe(CLI::App& app, Arguments& args) {
  app.description(
      "A conformant backend of Xen's para-virtual display protocol (xen/io/displif.h), with faults "
      "to switch on.\nRuns in dom0 until Ctrl-C, writes what it sees and does to standard output "
      "as JSON Lines, and cleans up.");
  app.add_option("-d,--domain", args.domain, "Domain id of the guest with the frontend")
      ->check(CLI::Range(1U, 0x7fefU));
  app.add_option("-i,--device", args.device, "Device id (default 0)")
      ->check(CLI::Range(0U, 0xffffU));
  app.add_option("-c,--connector", args.connectors,
                 "A connector's resolution, WIDTHxHEIGHT; repeat for more (default 1024x768)");
  app.add_option(
         "--edid", args.edids,
         "File with a connector's EDID, in the order of the connectors; '-' for none, '+' for "
         "the smallest that is one; with --follow one for all")
      ->check([](const std::string& path) {
        return path == "-" || path == "+" ? std::string() : CLI::ExistingFile(path);
      });
  app.add_option("--versions", args.versions, "Protocol versions to offer (default 1,2)")
      ->delimiter(',');
  app.add_flag("--be-alloc", args.be_alloc, "Offer to allocate the buffers");
  app.add_flag("--poll", args.poll, "Look for requests without waiting to be notified");
  app.add_flag("--writable", args.writable, "Map the guest's buffers for writing too");
  app.add_flag("--attach", args.attach,
               "Serve a device that the tool stack has created, instead of creating one");
  app.add_flag("--follow", args.follow,
               "Serve every device that the tool stack creates, of any frontend, as it comes and "
               "goes; --connector says nothing then");
  app.add_flag("--screen", args.screen,
               "With --follow: tell what is displayed at the socket that DISPLIF_SCREEN names; no "
               "effect without that");
  app.add_option("-f,--fault", args.faults, "Switch a fault on; repeat for more");
  app.add_flag("--list-faults", args.list_faults, "List the faults and end");
  app.add_option("--seconds", args.seconds, "End by itself after that time (default: never)");
  app.add_flag("-q,--quiet", args.quiet, "No trace");
}

void list_faults() {
  for (const fb::FaultInfo& fault : fb::all_faults()) {
    fmt::print("{:<58} {}{}\n", fault.id, fault.title,
               fault.requirement.empty() ? std::string() : fmt::format(" [{}]", fault.requirement));
  }
}

std::vector<std::byte> read_edid(const std::string& path) {
  if (path == "-") return {};
  if (path == "+") return fb::smallest_edid();
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (text.empty() || text.size() > XENDISPL_EDID_MAX_SIZE) {
    throw std::runtime_error(fmt::format("{}: {} octets; an EDID has 1 to {}", path, text.size(),
                                         XENDISPL_EDID_MAX_SIZE));
  }
  std::vector<std::byte> octets(text.size());
  std::ranges::transform(text, octets.begin(), [](char c) { return static_cast<std::byte>(c); });
  return octets;
}

fb::Options options_of(const Arguments& args) {
  fb::Options options;
  options.be_alloc = args.be_alloc;
  options.writable_buffers = args.writable;
  options.versions = args.versions;
  if (args.poll) options.unnotified_after = std::chrono::milliseconds(0);
  if (!args.connectors.empty()) options.connectors.clear();
  for (const std::string& text : args.connectors) {
    const auto resolution = displif_cts::displif::parse_resolution(text);
    if (!resolution) {
      throw std::runtime_error(fmt::format("--connector {}: {}", text, resolution.error()));
    }
    options.connectors.push_back(
        {.resolution = *resolution, .unique_id = std::to_string(options.connectors.size())});
  }
  if (args.edids.size() > options.connectors.size()) {
    throw std::runtime_error("more --edid than connectors");
  }
  for (std::size_t i = 0; i < args.edids.size(); ++i) {
    options.connectors[i].edid = read_edid(args.edids[i]);
  }
  return options;
}

// Faults to switch on. Throws for an id that is none.
std::vector<const fb::FaultInfo*> faults_of(const Arguments& args) {
  std::vector<const fb::FaultInfo*> faults;
  for (const std::string& id : args.faults) {
    const fb::FaultInfo* fault = fb::find_fault(id);
    if (fault == nullptr) {
      throw std::runtime_error(fmt::format("--fault {}: no such fault; see --list-faults", id));
    }
    faults.push_back(fault);
  }
  return faults;
}

// Waits for one of `signals`, or the end of the time. 0: time is over.
int wait_for_signal(const sigset_t& signals, unsigned seconds) {
  if (seconds == 0) {
    int number = 0;
    sigwait(&signals, &number);
    return number;
  }
  const timespec limit{.tv_sec = static_cast<time_t>(seconds), .tv_nsec = 0};
  const int number = sigtimedwait(&signals, nullptr, &limit);
  return number < 0 ? 0 : number;
}

// Tells what a connector really displays: where a bed cannot look at a screen, a backend that has
// none answers for itself (lab/guest/PROTOCOL.md, `screen`).
std::optional<Json> answer(fb::Follower& follower, const agent::Request& request) {
  constexpr std::uint64_t kMaxConnector = 255;  // conn-idx is a uint8_t (displif.h, 'Addressing')
  if (request.verb != "screen") return std::nullopt;
  const auto shown = follower.screen(request.args.number("connector", kMaxConnector));
  return Json{
      {"width", shown.width}, {"height", shown.height}, {"data", trace::base64(shown.pixels)}};
}

int follow(const Arguments& args, const std::vector<const fb::FaultInfo*>& faults,
           trace::Recorder& recorder, const sigset_t& signals) {
  fb::Follower follower(
      options_of(args),
      [&](fb::BackendFaults& set) {
        for (const fb::FaultInfo* fault : faults) fault->apply(set);
      },
      recorder);
  std::optional<agent::LineServer> screen;
  const char* socket = std::getenv("DISPLIF_SCREEN");
  if (args.screen && socket != nullptr) {
    screen.emplace(socket,
                   [&](const agent::Request& request) { return answer(follower, request); });
  }
  fmt::print(stderr, "following; Ctrl-C ends\n");
  constexpr std::chrono::milliseconds kLook{10};  // for a signal
  const auto end = xen::in(std::chrono::seconds(args.seconds));
  const timespec at_once{};
  while (args.seconds == 0 || xen::Clock::now() < end) {
    follower.step(xen::in(kLook));
    const int number = sigtimedwait(&signals, nullptr, &at_once);
    if (number > 0) return number == SIGTERM ? 128 + SIGTERM : 0;
  }
  return 0;
}

int serve(const Arguments& args, const sigset_t& signals) {
  const std::vector<const fb::FaultInfo*> faults = faults_of(args);
  const trace::Sink sink = [&](const Json& record) {
    if (args.quiet) return;
    std::cout << record.dump(-1, ' ', false, Json::error_handler_t::replace) << '\n' << std::flush;
  };
  trace::Recorder recorder(sink);
  if (args.follow) return follow(args, faults, recorder, signals);
  fb::FakeBackend backend(static_cast<xen::DomId>(args.domain),
                          static_cast<std::uint16_t>(args.device), options_of(args), recorder);
  backend.set_faults([&](fb::BackendFaults& set) {
    for (const fb::FaultInfo* fault : faults) fault->apply(set);
  });
  if (!args.attach) backend.create_device();
  backend.start();
  fmt::print(stderr, "serving {}; Ctrl-C ends\n", backend.paths().backend);
  const int number = wait_for_signal(signals, args.seconds);
  if (args.attach) {
    backend.shutdown();
  } else if (!backend.remove_device(xen::in(std::chrono::seconds(3)))) {
    fmt::print(stderr, "the frontend has not let go of the device within 3 s\n");
  }
  for (const std::string& trouble : backend.trouble()) fmt::print(stderr, "{}\n", trouble);
  return number == SIGTERM ? 128 + SIGTERM : 0;
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
  if (args.domain == 0 && !args.follow) {
    fmt::print(stderr, "--domain is required: the id of the guest with the frontend\n");
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
  } catch (const xen::Error& error) {
    fmt::print(stderr, "displif-fake-backend: {}\n", error.what());
    return 3;
  } catch (const std::exception& error) {
    fmt::print(stderr, "displif-fake-backend: {}\n", error.what());
    return 2;
  }
}
