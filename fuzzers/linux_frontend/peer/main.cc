// displif-linux-guest: Linux's display frontend in user space as a guest on the loopback bed. It
// performs what displif-cts-agent in domain 0 asks for (lab/guest/PROTOCOL.md). Ends with a signal.
#include <csignal>
#include <cstdio>
#include <exception>

#include "fuzzers/linux_frontend/peer/complaints.h"
#include "fuzzers/linux_frontend/peer/guest.h"
#include "fuzzers/linux_frontend/peer/kernel.h"
#include "lab/guest/agent_channel.h"
#include "lab/guest/fake/verbs.h"

namespace guest = displif_cts::linux_guest;

extern "C" const char* __asan_default_options() {
  return "detect_leaks=0:allocator_may_return_null=1:detect_stack_use_after_return=0";
}
extern "C" const char* __ubsan_default_options() { return "print_stacktrace=1"; }

namespace {

void add_kernel_log(displif_cts::exerciser::VerbTable& table) {
  using displif_cts::Json;
  const auto klog = [](const displif_cts::exerciser::Request& request) -> Json {
    if (request.args.text("offset", "0") == "end") return {{"next", guest::next_line()}};
    Json lines = Json::array();
    std::uint64_t next = request.args.number_or("offset", 0, UINT64_MAX);
    for (const guest::LogLine& line : guest::kernel_log(next)) {
      lines.push_back(
          {{"level", line.level}, {"text", line.text}, {"seq", line.seq}, {"us", line.us}});
      next = line.seq + 1;
    }
    return {{"lines", std::move(lines)}, {"next", next}, {"more", false}, {"lost", 0}};
  };
  table.add({"klog", {}, {"offset"}}, klog, displif_cts::exerciser::Verb::Kind::immediate);
}

}  // namespace

int main() {
  signal(SIGPIPE, SIG_IGN);
  try {
    guest::start_kernel();
    guest::LinuxDevices devices;
    displif_cts::exerciser::VerbTable table;
    displif_cts::fake_guest::add_verbs(table, devices, "displif-linux-guest");
    add_kernel_log(table);
    displif_cts::exerciser::Server server(table);
    std::fprintf(stderr, "serving\n");
    displif_cts::exerciser::serve_agent(server);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "displif-linux-guest: %s\n", error.what());
    return 3;
  }
}
