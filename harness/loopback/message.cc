#include "harness/loopback/message.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace displif_cts::loopback {
namespace {

struct Head {
  std::uint32_t code;
  std::array<std::uint32_t, 6> args;
  std::uint32_t words;
  std::uint32_t fds;
};

}  // namespace

std::vector<std::byte> encode(const Message& message) {
  const Head head{message.code, message.args, static_cast<std::uint32_t>(message.words.size()),
                  static_cast<std::uint32_t>(message.fds.size())};
  std::vector<std::byte> octets(sizeof head + message.words.size() * sizeof(std::uint32_t));
  std::memcpy(octets.data(), &head, sizeof head);
  if (!message.words.empty()) {
    std::memcpy(octets.data() + sizeof head, message.words.data(),
                message.words.size() * sizeof(std::uint32_t));
  }
  return octets;
}

MessageReader::Result MessageReader::next(Message& message) {
  Head head;
  if (buffer_.size() < sizeof head) return Result::incomplete;
  std::memcpy(&head, buffer_.data(), sizeof head);
  if (head.words > kMaxWords || head.fds > kMaxFds) return Result::invalid;
  const std::size_t size = sizeof head + head.words * sizeof(std::uint32_t);
  if (buffer_.size() < size) return Result::incomplete;
  if (fds_.size() < head.fds) return Result::invalid;
  message.code = head.code;
  message.args = head.args;
  message.words.resize(head.words);
  if (head.words != 0) {
    std::memcpy(message.words.data(), buffer_.data() + sizeof head, size - sizeof head);
  }
  const auto fds = fds_.begin() + static_cast<std::ptrdiff_t>(head.fds);
  message.fds.assign(std::make_move_iterator(fds_.begin()), std::make_move_iterator(fds));
  fds_.erase(fds_.begin(), fds);
  buffer_.erase(buffer_.begin(), buffer_.begin() + static_cast<std::ptrdiff_t>(size));
  return Result::message;
}

long send_some(int socket, const std::byte* data, std::size_t size, const std::vector<Fd>& fds,
               int flags) {
  iovec part{const_cast<std::byte*>(data), size};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  if (!fds.empty()) {
    int numbers[kMaxFds];
    std::ranges::transform(fds, numbers, [](const Fd& fd) { return fd.get(); });
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    std::memset(control, 0, sizeof control);
    cmsghdr* const item = CMSG_FIRSTHDR(&header);
    item->cmsg_level = SOL_SOCKET;
    item->cmsg_type = SCM_RIGHTS;
    item->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(item), numbers, fds.size() * sizeof(int));
  }
  return sendmsg(socket, &header, flags | MSG_NOSIGNAL);
}

long receive_some(int socket, MessageReader& reader, int flags) {
  std::byte buffer[16384];
  iovec part{buffer, sizeof buffer};
  alignas(cmsghdr) char control[CMSG_SPACE(kMaxFds * sizeof(int))];
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control;
  header.msg_controllen = sizeof control;
  const ssize_t got = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
  if (got < 0) return got;
  for (cmsghdr* item = CMSG_FIRSTHDR(&header); item != nullptr; item = CMSG_NXTHDR(&header, item)) {
    if (item->cmsg_level != SOL_SOCKET || item->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (item->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(item) + i * sizeof(int), sizeof fd);
      reader.feed(Fd(fd));
    }
  }
  reader.feed(buffer, static_cast<std::size_t>(got));
  return got;
}

bool send_message(int socket, const Message& message) {
  const std::vector<std::byte> octets = encode(message);
  static const std::vector<Fd> none;
  for (std::size_t sent = 0; sent < octets.size();) {
    const long done = send_some(socket, octets.data() + sent, octets.size() - sent,
                                sent == 0 ? message.fds : none, 0);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return false;
    sent += static_cast<std::size_t>(done);
  }
  return true;
}

bool receive_message(int socket, Message& message) {
  MessageReader reader;
  for (;;) {
    const long got = receive_some(socket, reader, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      if (got == 0) errno = ECONNRESET;
      return false;
    }
    switch (reader.next(message)) {
      case MessageReader::Result::message:
        return true;
      case MessageReader::Result::invalid:
        errno = EPROTO;
        return false;
      case MessageReader::Result::incomplete:
        break;
    }
  }
}

}  // namespace displif_cts::loopback
