#include "fake_backend/screen_socket.h"

#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <system_error>
#include <utility>
#include <variant>

#include "harness/agent/line_protocol.h"

namespace displif_cts::fake_backend {
namespace {

constexpr std::uint64_t kMaxConnector = 255;  // conn-idx is a uint8_t (displif.h, 'Addressing')

Json answer(Follower& follower, const std::string& line) {
  const auto parsed = agent::parse_request(line);
  if (const auto* bad = std::get_if<agent::BadRequest>(&parsed))
    return agent::answer_error(bad->seq, bad->number, bad->text);
  const auto& request = std::get<agent::Request>(parsed);
  if (request.verb != "screen") return agent::answer_unsupported(request.seq, request.verb);
  try {
    const auto shown = follower.screen(request.args.number("connector", kMaxConnector));
    return agent::answer_ok(request.seq, Json{{"width", shown.width},
                                              {"height", shown.height},
                                              {"data", trace::base64(shown.pixels)}});
  } catch (const agent::VerbError& error) {
    return agent::answer_error(request.seq, error.number(), error.what());
  }
}

// One line, without its end; whatever came when the other side is slow.
std::string read_line(int fd) {
  std::string line;
  char octet = 0;
  while (line.size() < agent::kMaxLine && recv(fd, &octet, 1, 0) == 1 && octet != '\n')
    line += octet;
  return line;
}

}  // namespace

ScreenSocket::ScreenSocket(std::filesystem::path path) : path_(std::move(path)) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path_.string();
  if (text.size() >= sizeof address.sun_path)
    throw std::system_error(ENAMETOOLONG, std::generic_category(), text);
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  listener_ = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (listener_ < 0) throw std::system_error(errno, std::generic_category(), "socket");
  if (bind(listener_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(listener_, 4) != 0) {
    const int number = errno;
    close(listener_);
    throw std::system_error(number, std::generic_category(), text);
  }
}

ScreenSocket::~ScreenSocket() {
  close(listener_);
  std::error_code error;
  std::filesystem::remove(path_, error);
}

void ScreenSocket::serve(Follower& follower) {
  for (;;) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) return;
    const timeval limit{.tv_sec = 1, .tv_usec = 0};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const std::string reply = agent::format_answer(answer(follower, read_line(fd)));
    for (std::size_t sent = 0; sent < reply.size();) {
      const ssize_t done = send(fd, reply.data() + sent, reply.size() - sent, MSG_NOSIGNAL);
      if (done <= 0) break;
      sent += static_cast<std::size_t>(done);
    }
    close(fd);
  }
}

}  // namespace displif_cts::fake_backend
