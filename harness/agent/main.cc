// displif-cts-agent: the suite's hands in domain 0 (lab/guest/PROTOCOL.md).
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <exception>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>

#include "harness/agent/client.h"
#include "harness/agent/daemon.h"
#include "harness/agent/steady_heap.h"

namespace {

constexpr const char* kUsage =
    "usage: displif-cts-agent [options]\n"
    "       displif-cts-agent call [--socket PATH] [--payload FILE] VERB [KEY=VALUE]...\n"
    "\n"
    "Serves displif-cts in domain 0: files, programs, the guest's health, and the way to\n"
    "displif-cts-exerciser in the guest. The protocol is described in lab/guest/PROTOCOL.md.\n"
    "  --socket PATH          unix socket to listen on (/run/displif-cts/agent.sock)\n"
    "  --port PATH            character device with the host at its other end\n"
    "  --stream-port PATH     another one, which programs started with stdout=port write to\n"
    "  --guest DOMID|NAME     the guest under test\n"
    "  --guest-console PATH   log file of the guest's console\n"
    "  --carried-device PATH  disk with the suite's programs (/dev/vda)\n"
    "  --carried-dir PATH     where mount-carried mounts it (/carried)\n"
    "  --kernel-log PATH      this domain's kernel log (/dev/kmsg)\n"
    "  --oracle PATH          unix socket that knows the guest's grants and ports, in place of "
    "Xen\n"
    "`call` asks a running agent one thing and prints its answer; status 1 when that is no.\n"
    "FILE is what `put` and `guest.put` bring.\n";

// Throws std::runtime_error.
std::string octets_of(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream octets;
  if (!(octets << file.rdbuf())) throw std::runtime_error(path + " cannot be read, or is empty");
  return octets.str();
}

// For a shell in domain 0. Status 0: done; 1: it failed, or there was no answer; 2: wrong usage.
int call(int argc, char** argv, std::string socket) {
  int at = 2;
  std::string payload;
  for (; at + 1 < argc && std::string(argv[at]).starts_with("--"); at += 2) {
    const std::string word = argv[at];
    if (word != "--socket" && word != "--payload") break;
    (word == "--socket" ? socket : payload) = argv[at + 1];
  }
  if (at >= argc) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  const std::string verb = argv[at];
  displif_cts::agent::Args args;
  for (++at; at < argc; ++at) {
    const std::string word = argv[at];
    const auto equals = word.find('=');
    if (equals == std::string::npos) {
      std::fprintf(stderr, "displif-cts-agent: %s is no KEY=VALUE\n%s", word.c_str(), kUsage);
      return 2;
    }
    args.emplace_back(word.substr(0, equals), word.substr(equals + 1));
  }
  try {
    const std::string octets = payload.empty() ? "" : octets_of(payload);
    const std::chrono::seconds limit(octets.empty() ? 60 : 300);
    const auto answer = displif_cts::agent::Client(socket).try_call(verb, args, limit, octets);
    std::printf("%s\n", answer.dump().c_str());
    return answer.value("ok", false) ? 0 : 1;
  } catch (const std::runtime_error& error) {
    std::fprintf(stderr, "displif-cts-agent: %s\n", error.what());
    return 1;
  }
}

}  // namespace

int main(int argc, char** argv) {
  displif_cts::agent::keep_heap();
  displif_cts::agent::Options options;
  struct Flag {
    const char* name;
    std::string* value;
  };
  if (argc > 1 && std::string(argv[1]) == "call") return call(argc, argv, options.socket);
  const Flag flags[] = {{"socket", &options.socket},
                        {"port", &options.port},
                        {"stream-port", &options.stream_port},
                        {"guest", &options.guest},
                        {"guest-console", &options.guest_console},
                        {"carried-device", &options.carried_device},
                        {"carried-dir", &options.carried_dir},
                        {"kernel-log", &options.kernel_log},
                        {"oracle", &options.oracle}};
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--help") {
      std::fputs(kUsage, stdout);
      return 0;
    }
    std::string* value = nullptr;
    for (const Flag& flag : flags)
      if (word == std::string("--") + flag.name) value = flag.value;
    if (value == nullptr || i + 1 == argc) {
      std::fprintf(stderr, "displif-cts-agent: %s %s\n%s",
                   value == nullptr ? "unknown argument" : "no value after", word.c_str(), kUsage);
      return 2;
    }
    *value = argv[++i];
  }
  signal(SIGPIPE, SIG_IGN);
  try {
    displif_cts::agent::Daemon daemon(options);
    daemon.run();
    // Commands of `sh` may be under way on their threads: nobody waits for them any more.
    _exit(0);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "displif-cts-agent: %s\n", error.what());
    return 1;
  }
}
