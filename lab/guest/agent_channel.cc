#include "lab/guest/agent_channel.h"

#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>

extern "C" {
#include <xenstore.h>
}

#include "harness/agent/vchan.h"

namespace displif_cts::exerciser {
namespace {

class VchanChannel : public Channel {
 public:
  explicit VchanChannel(agent::Vchan& vchan) : vchan_(vchan) {}
  pollfd wait_for(bool /*want_to_write*/) const override { return {vchan_.fd(), POLLIN, 0}; }
  void acknowledge() override { vchan_.acknowledge(); }
  long read(char* data, std::size_t size) override { return vchan_.read(data, size); }
  long write(std::string_view data) override { return vchan_.write(data); }

 private:
  agent::Vchan& vchan_;
};

std::string random_session() {
  static std::random_device source;
  std::array<char, 17> text{};
  std::snprintf(text.data(), text.size(), "%08x%08x", source(), source());
  return text.data();
}

// Our own domain id, out of XenStore; -1 as long as that does not answer.
int own_domid() {
  xs_handle* store = xs_open(0);
  if (store == nullptr) return -1;
  unsigned length = 0;
  char* text = static_cast<char*>(xs_read(store, XBT_NULL, "domid", &length));
  const int domid = text != nullptr ? std::atoi(text) : -1;
  std::free(text);
  xs_close(store);
  return domid;
}

}  // namespace

void serve_agent(Server& server) {
  for (;; std::this_thread::sleep_for(std::chrono::milliseconds(20))) {
    const int domid = own_domid();
    if (domid < 0) continue;
    const auto vchan =
        agent::Vchan::connect(0, agent::vchan_path(static_cast<std::uint16_t>(domid)));
    if (!vchan) continue;
    VchanChannel channel(*vchan);
    server.serve(channel, random_session());
  }
}

}  // namespace displif_cts::exerciser
