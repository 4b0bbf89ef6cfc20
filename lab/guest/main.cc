// displif-cts-exerciser: performs DRM/KMS calls in the guest on command (PROTOCOL.md).
#include <fcntl.h>
#include <pthread.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "harness/agent/steady_heap.h"
#include "lab/guest/agent_channel.h"
#include "lab/guest/drm_verbs.h"
#include "lab/guest/server.h"
#include "lab/guest/system_verbs.h"

namespace displif_cts::exerciser {
namespace {

constexpr const char* kUsage =
    "usage: displif-cts-exerciser [--stdio | --tty PATH]\n"
    "\n"
    "Performs DRM/KMS calls in a Xen guest on command. Without an option, commands come from\n"
    "displif-cts-agent in domain 0 over a vchan; the program waits for it, and starts again\n"
    "when the agent does.\n"
    "  --stdio     commands from stdin, answers to stdout; ends with stdin\n"
    "  --tty PATH  the same over a serial line or another character device\n"
    "The protocol is described in lab/guest/PROTOCOL.md. Try: echo '1 hello' | ... --stdio\n";

class FdChannel : public Channel {
 public:
  FdChannel(int in, int out) : in_(in), out_(out) {
    fcntl(in_, F_SETFL, fcntl(in_, F_GETFL) | O_NONBLOCK);
  }
  pollfd wait_for(bool want_to_write) const override {
    // Writing blocks, except on a terminal, where both are one file.
    return want_to_write ? pollfd{out_, POLLOUT, 0} : pollfd{in_, POLLIN, 0};
  }
  long read(char* data, std::size_t size) override {
    const ssize_t count = ::read(in_, data, size);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    return count > 0 ? count : -1;
  }
  long write(std::string_view data) override {
    const ssize_t count = ::write(out_, data.data(), data.size());
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
    return count < 0 ? -1 : count;
  }

 private:
  int in_;
  int out_;
};

int serve_tty(Server& server, const char* path) {
  const int fd = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (fd < 0) {
    std::fprintf(stderr, "displif-cts-exerciser: %s: %s\n", path, std::strerror(errno));
    return 2;
  }
  termios settings{};
  if (tcgetattr(fd, &settings) == 0) {
    cfmakeraw(&settings);
    tcsetattr(fd, TCSANOW, &settings);
  }
  FdChannel channel(fd, fd);
  server.serve(channel);
  return 0;
}

int run(int argc, char** argv) {
  signal(SIGPIPE, SIG_IGN);
  // Threads run verbs, nothing deep; a guest may be small. ThreadSanitizer keeps more than that of
  // its own on each stack.
#ifndef __SANITIZE_THREAD__
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, std::size_t{256} * 1024);
  pthread_setattr_default_np(&attributes);
#endif

  const std::string option = argc > 1 ? argv[1] : "";
  if (option == "--help") {
    std::fputs(kUsage, stdout);
    return 0;
  }
  const bool usable =
      option.empty() || (option == "--stdio" && argc == 2) || (option == "--tty" && argc == 3);
  if (!usable) {
    std::fputs(kUsage, stderr);
    return 2;
  }
  VerbTable table;
  add_system_verbs(table);
  add_drm_verbs(table);
  Server server(table);
  if (option.empty()) serve_agent(server);
  int status = 0;
  if (option == "--tty") {
    status = serve_tty(server, argv[2]);
  } else {
    FdChannel channel(0, 1);
    server.serve(channel);
    server.drain(channel);
  }
  std::fflush(nullptr);
  // Calls that never return are no reason to wait.
  _exit(status);
}

}  // namespace
}  // namespace displif_cts::exerciser

int main(int argc, char** argv) {
  displif_cts::agent::keep_heap();
  return displif_cts::exerciser::run(argc, argv);
}
