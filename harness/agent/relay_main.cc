// displif-cts-relay: a program of domain 0's in an unprivileged domain (relay.h).
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "harness/agent/relay.h"
#include "harness/agent/vchan.h"
#include "harness/xen/domains.h"
#include "harness/xen/store.h"

namespace {

using displif_cts::agent::Forward;
using displif_cts::agent::RelayLink;
using displif_cts::agent::Vchan;

constexpr int kExitUsage = 2;
constexpr int kExitInfrastructure = 3;
constexpr std::chrono::seconds kMeet{60};  // until both ends are there
constexpr std::chrono::milliseconds kRetry{20};

std::string meeting_point(std::uint16_t domain) {
  return "/local/domain/0/data/displif-cts/relay/" + std::to_string(domain);
}

class VchanLink : public RelayLink {
 public:
  explicit VchanLink(Vchan& vchan) : vchan_(vchan) {}
  pollfd wait_for(bool /*want_to_write*/) const override { return {vchan_.fd(), POLLIN, 0}; }
  void acknowledge() override { vchan_.acknowledge(); }
  long read(char* data, std::size_t size) override { return vchan_.read(data, size); }
  long write(std::string_view data) override { return vchan_.write(data); }

 private:
  Vchan& vchan_;
};

// "THERE=HERE". Throws std::runtime_error.
Forward parse_forward(const std::string& text) {
  const std::size_t mark = text.find('=');
  if (mark == 0 || mark == std::string::npos || mark + 1 == text.size())
    throw std::runtime_error("--forward is THERE=HERE, not " + text);
  return {text.substr(0, mark), text.substr(mark + 1)};
}

int serve(std::uint16_t domain, const std::vector<std::string>& forwards,
          const std::vector<std::string>& argv) {
  std::vector<Forward> parsed;
  parsed.reserve(forwards.size());
  for (const std::string& text : forwards) parsed.push_back(parse_forward(text));
  const auto vchan = Vchan::serve(domain, meeting_point(domain));
  if (!vchan) throw std::runtime_error("no vchan to domain " + std::to_string(domain));
  VchanLink link(*vchan);
  return displif_cts::agent::serve_relay(link, argv, parsed, STDOUT_FILENO, STDERR_FILENO);
}

int join() {
  displif_cts::xen::Store store = displif_cts::xen::Store::open();
  const auto own = displif_cts::xen::raw(displif_cts::xen::Domains(store).own());
  const auto limit = std::chrono::steady_clock::now() + kMeet;
  for (;;) {
    if (const auto vchan = Vchan::connect(0, meeting_point(own))) {
      VchanLink link(*vchan);
      displif_cts::agent::join_relay(link);
      return 0;
    }
    if (std::chrono::steady_clock::now() > limit)
      throw std::runtime_error("nobody serves the relay in domain 0");
    std::this_thread::sleep_for(kRetry);
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Runs a program in an unprivileged domain as if it stood in domain 0."};
  app.require_subcommand(1);
  std::uint16_t domain = 0;
  std::vector<std::string> forwards;
  CLI::App* const serving =
      app.add_subcommand("serve", "the end in domain 0, which says what runs");
  serving->add_option("--domain", domain, "the other end's")->required();
  serving->add_option("--forward", forwards, "THERE=HERE: a socket there that leads to one here")
      ->expected(1)
      ->take_all();
  serving->footer("and then: -- PROGRAM ARGUMENT...");
  app.add_subcommand("join", "the end in the other domain");
  // What follows the first -- is the program's own.
  char** const mark = std::find(argv + 1, argv + argc, std::string_view("--"));
  const std::vector<std::string> words(std::min(mark + 1, argv + argc), argv + argc);
  CLI11_PARSE(app, static_cast<int>(mark - argv), argv);
  if (*serving && words.empty()) {
    std::fputs("displif-cts-relay: no program after --\n", stderr);
    return kExitUsage;
  }
  signal(SIGPIPE, SIG_IGN);
  try {
    return *serving ? serve(domain, forwards, words) : join();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "displif-cts-relay: %s\n", error.what());
    return kExitInfrastructure;
  }
}
