#include "harness/agent/vchan.h"

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>

extern "C" {
#include <libxenvchan.h>
}

#include "harness/agent/quiet_logger.h"

namespace displif_cts::agent {
namespace {

// Each way; pages of dom0. A whole answer of most verbs, a module in some hundred turns.
constexpr std::size_t kRingSize = std::size_t{64} * 1024;

}  // namespace

std::string vchan_path(std::uint16_t guest_domid) {
  return "/local/domain/0/data/displif-cts/vchan/" + std::to_string(guest_domid);
}

std::unique_ptr<Vchan> Vchan::serve(std::uint16_t client_domid, const std::string& path) {
  libxenvchan* channel =
      libxenvchan_server_init(quiet_logger(), client_domid, path.c_str(), kRingSize, kRingSize);
  if (channel == nullptr) return nullptr;
  channel->blocking = 0;
  return std::unique_ptr<Vchan>(new Vchan(channel));
}

std::unique_ptr<Vchan> Vchan::connect(std::uint16_t server_domid, const std::string& path) {
  libxenvchan* channel = libxenvchan_client_init(quiet_logger(), server_domid, path.c_str());
  if (channel == nullptr) return nullptr;
  channel->blocking = 0;
  return std::unique_ptr<Vchan>(new Vchan(channel));
}

Vchan::~Vchan() { libxenvchan_close(channel_); }

int Vchan::fd() const { return libxenvchan_fd_for_select(channel_); }

void Vchan::acknowledge() { libxenvchan_wait(channel_); }

Vchan::State Vchan::state() const {
  switch (libxenvchan_is_open(channel_)) {
    case 0:
      return State::closed;
    case 2:
      return State::waiting;
    default:
      return State::open;
  }
}

long Vchan::read(char* data, std::size_t size) {
  return libxenvchan_read(channel_, data, std::min<std::size_t>(size, INT_MAX));
}

long Vchan::write(std::string_view data) {
  return libxenvchan_write(channel_, data.data(), std::min<std::size_t>(data.size(), INT_MAX));
}

}  // namespace displif_cts::agent
