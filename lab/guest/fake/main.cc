// displif-fake-guest: a guest whose display driver is the fake frontend, for the loopback bed.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <vector>

#include "lab/guest/agent_channel.h"
#include "lab/guest/fake/devices.h"
#include "lab/guest/fake/verbs.h"

namespace {

namespace ff = displif_cts::fake_frontend;

struct Arguments {
  std::vector<unsigned> versions{1, 2};
  std::vector<std::string> faults;
  unsigned response_ms = 3000, flip_ms = 3100, leave_ms = 1000;
};

void describe(CLI::App& app, Arguments& args) {
  app.description(
      "The conformant frontend of Xen's para-virtual display protocol (xen/io/displif.h) as a "
      "guest's driver: serves every display device of this domain, and performs what "
      "displif-cts-agent in domain 0 asks for (lab/guest/PROTOCOL.md). Ends with a signal.");
  app.add_option("--versions", args.versions, "Protocol versions to choose from (default 1,2)")
      ->delimiter(',');
  app.add_option("--response-ms", args.response_ms, "How long a response is waited for");
  app.add_option("--flip-ms", args.flip_ms, "How long a flip's event is waited for");
  app.add_option("--leave-ms", args.leave_ms, "How long the backend may take to let go");
  app.add_option(
      "-f,--fault", args.faults,
      "Switch a fault on (displif-fake-frontend --list-faults); ID=N: it strikes N times");
}

void serve(const Arguments& args) {
  ff::Options options;
  options.versions = args.versions;
  options.response_limit = std::chrono::milliseconds(args.response_ms);
  options.flip_limit = std::chrono::milliseconds(args.flip_ms);
  options.leave_limit = std::chrono::milliseconds(args.leave_ms);
  ff::FrontendFaults faults;
  for (const std::string& text : args.faults) ff::set_fault(faults, text);
  displif_cts::fake_guest::Devices devices(options, faults);
  displif_cts::exerciser::VerbTable table;
  displif_cts::fake_guest::add_verbs(table, devices, "displif-fake-guest");
  displif_cts::exerciser::Server server(table);
  fmt::print(stderr, "serving\n");
  displif_cts::exerciser::serve_agent(server);
}

}  // namespace

int main(int argc, char** argv) {
  Arguments args;
  CLI::App app;
  describe(app, args);
  CLI11_PARSE(app, argc, argv);
  signal(SIGPIPE, SIG_IGN);
  try {
    serve(args);
  } catch (const std::invalid_argument& error) {
    fmt::print(stderr, "displif-fake-guest: {}; see displif-fake-frontend --list-faults\n",
               error.what());
    return 2;
  } catch (const std::exception& error) {
    fmt::print(stderr, "displif-fake-guest: {}\n", error.what());
    return 3;
  }
}
