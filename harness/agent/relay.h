// Lets a program run in an unprivileged domain as if it stood in domain 0: its output comes out in
// domain 0, and unix sockets in its own domain lead to sockets there (the agent's, xenstored's).
//
//   domain 0:  displif-cts-relay serve --domain N --forward THERE=HERE ... -- PROGRAM ARGUMENT...
//   domain N:  displif-cts-relay join
//
// Both ends speak in frames over one vchan: channel (32 bits), length (32 bits), octets; both in
// the machine's own byte order, since both ends are on one machine.
#pragma once

#include <poll.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/agent/command.h"
#include "harness/agent/unique_fd.h"

namespace displif_cts::agent {

// What carries the frames.
class RelayLink {
 public:
  virtual ~RelayLink() = default;
  virtual pollfd wait_for(bool want_to_write) const = 0;
  virtual void acknowledge() {}  // after poll() said that wait_for()'s descriptor is ready
  // Octets moved; 0 for none at present; -1 when the other side has gone.
  virtual long read(char* data, std::size_t size) = 0;
  virtual long write(std::string_view data) = 0;
};

struct Frame {
  std::uint32_t channel = 0;
  std::string octets;
};

inline constexpr std::size_t kMaxFrame = 1u << 20;  // octets; the other end may send anything
inline constexpr std::size_t kFrameHeader = 8;      // octets

std::string format_frame(std::uint32_t channel, std::string_view octets);

// Cuts octets into frames. Throws std::runtime_error for one that is too long.
class FrameReader {
 public:
  void feed(std::string_view octets) { buffer_.append(octets); }
  std::optional<Frame> next();

 private:
  std::string buffer_;
  std::size_t done_ = 0;
};

// Who connects to the socket `there` (which is made) in the program's domain talks to `here`.
struct Forward {
  std::string there;
  std::string here;
};
inline constexpr std::size_t kMaxForwards = 16;

// The end in domain 0: has `argv` run at the other end, and writes its output to `out` and `err`.
// Returns its exit status, 128+N for signal N. Throws std::system_error or std::runtime_error.
int serve_relay(RelayLink& link, const std::vector<std::string>& argv,
                const std::vector<Forward>& forwards, int out, int err);

// The other end: listens, runs what it is told to, and returns when that has ended and all is said,
// or when the link has closed; then the program is killed. Throws as above.
void join_relay(RelayLink& link);

}  // namespace displif_cts::agent
