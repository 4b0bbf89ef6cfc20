// What a domain's process asks of the machine, and the answer: one message each way, over a stream
// socket, or handed over in the same process.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "harness/loopback/fd.h"

namespace displif_cts::loopback {

// args and words of the request -> args and words of the answer. A domain is named by its id,
// memory by the domain's serial number (machine.h).
enum class Call : std::uint32_t {
  open = 1,          // domain, kind; fd: eventfd -> handle, slot, machine's number (2); fd: events
  adopt,             // domain, eventfd's number (2) -> as open; words: its ports
  close,             // the handle, whoever else has the connection open
  wake_fd,           // handle -> fd: its eventfd
  bind_unbound,      // remote -> port
  bind_interdomain,  // remote, remote port -> port
  bind_virq,         // virq -> port
  unbind,            // port
  restrict,          // domain
  share,             // peer, count, writable, notify (2) -> area; words: runs, references
  unshare,           // area
  map,               // writable, notify (2); words: domain, reference each -> mapping; words: runs
  unmap,             // mapping
  begin_copy,        // words: domain, reference, write each -> mapping; words: status, domain, page
  memory,            // domain's serial number, writable -> fd
  domains,           // first, how many -> words: kDomainWords each
  port_status,       // domain, port -> link, remote, remote port
  offer_port,        // domain, remote -> port
  reset_ports,       // domain
  kill,              // domain
  shut_down,         // domain, reason
  pause,             // domain, whether
};

// Of an answer to Call::domains: id, flags, pages.
inline constexpr std::size_t kDomainWords = 3;
inline constexpr std::uint32_t kDomainDying = 1;
inline constexpr std::uint32_t kDomainPaused = 2;
inline constexpr std::uint32_t kDomainShutdown = 4;
inline constexpr std::uint32_t kShutdownShift = 8;  // SHUTDOWN_* from this bit on (xen/sched.h)
// Notify in two arguments: offset and port, or this for none.
inline constexpr std::uint32_t kNone = ~std::uint32_t{0};

struct Message {
  std::uint32_t code = 0;  // Call, or the answer's errno
  std::array<std::uint32_t, 6> args{};
  std::vector<std::uint32_t> words{};
  std::vector<Fd> fds{};
};

// Requests and answers beyond these sizes are refused: a broken process costs its own connection.
inline constexpr std::size_t kMaxWords = std::size_t{1} << 20;
inline constexpr std::size_t kMaxFds = 4;

// Blocking. False at the other side's end or an error (errno); never SIGPIPE.
bool send_message(int socket, const Message& message);
bool receive_message(int socket, Message& message);

// The octets of a message without its descriptors, and back. A reader feeds what came.
std::vector<std::byte> encode(const Message& message);

class MessageReader {
 public:
  void feed(const std::byte* data, std::size_t size) {
    buffer_.insert(buffer_.end(), data, data + size);
  }
  void feed(Fd fd) { fds_.push_back(std::move(fd)); }
  enum class Result { message, incomplete, invalid };
  Result next(Message& message);

 private:
  std::vector<std::byte> buffer_;
  std::vector<Fd> fds_;
};

// One sendmsg() or recvmsg() with descriptors; as those return. Received descriptors are fed.
long send_some(int socket, const std::byte* data, std::size_t size, const std::vector<Fd>& fds,
               int flags);
long receive_some(int socket, MessageReader& reader, int flags);

}  // namespace displif_cts::loopback
