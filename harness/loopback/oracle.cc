#include "harness/loopback/oracle.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <variant>

namespace displif_cts::loopback {
namespace {

constexpr std::uint64_t kMaxDomain = 0x7fef;

sockaddr_un address_of(const std::filesystem::path& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string text = path.string();
  if (text.size() >= sizeof address.sun_path)
    throw std::system_error(ENAMETOOLONG, std::generic_category(), text);
  std::memcpy(address.sun_path, text.c_str(), text.size() + 1);
  return address;
}

int listen_at(const std::filesystem::path& path) {
  const sockaddr_un address = address_of(path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) throw std::system_error(errno, std::generic_category(), "socket");
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      listen(fd, 16) != 0) {
    const int number = errno;
    close(fd);
    throw std::system_error(number, std::generic_category(), path.string());
  }
  return fd;
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t done = send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return false;
    text.remove_prefix(static_cast<std::size_t>(done));
  }
  return true;
}

// Passes a request on to whoever listens at `path`; null where nobody does.
Json ask(const std::filesystem::path& path, const std::string& line) {
  constexpr std::size_t kMost = 256U << 20;  // octets; the largest picture is a third of that
  const sockaddr_un address = address_of(path);
  const Fd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 ||
      !write_all(fd.get(), line))
    return nullptr;
  std::string answer;
  char buffer[65536];
  for (ssize_t got; answer.size() < kMost && (got = recv(fd.get(), buffer, sizeof buffer, 0)) > 0;)
    answer.append(buffer, static_cast<std::size_t>(got));
  Json parsed = Json::parse(answer, nullptr, false);
  return parsed.is_object() ? parsed : Json(nullptr);
}

}  // namespace

std::filesystem::path Oracle::screen_path() const { return path_.parent_path() / "screen.sock"; }

Oracle::Oracle(Host& host, const std::filesystem::path& socket, xen::DomId guest)
    : host_(host), path_(socket), guest_(guest), listener_(listen_at(socket)), thread_([this] {
        accept();
      }) {}

Oracle::~Oracle() {
  shutdown(listener_.get(), SHUT_RDWR);
  thread_.join();
  {
    const std::lock_guard lock(mutex_);
    for (const int fd : open_) shutdown(fd, SHUT_RDWR);
  }
  for (std::thread& thread : threads_) thread.join();
  std::error_code error;
  std::filesystem::remove(path_, error);
}

void Oracle::accept() {
  for (;;) {
    const int fd = accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0 && (errno == EINTR || errno == ECONNABORTED)) continue;
    if (fd < 0) return;  // shut down
    const std::lock_guard lock(mutex_);
    open_.insert(fd);
    threads_.emplace_back([this, fd] { converse(fd); });
  }
}

void Oracle::converse(int fd) {
  agent::RequestReader reader;
  char buffer[4096];
  for (;;) {
    const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    reader.feed({buffer, static_cast<std::size_t>(got)});
    bool alive = true;
    while (const auto next = reader.next()) {
      const auto* bad = std::get_if<agent::BadRequest>(&*next);
      const Json reply = bad != nullptr ? agent::answer_error(bad->seq, bad->number, bad->text)
                                        : answer(std::get<agent::Request>(*next));
      alive = write_all(fd, agent::format_answer(reply));
      if (!alive) break;
    }
    if (!alive) break;
  }
  const std::lock_guard lock(mutex_);
  open_.erase(fd);
  close(fd);
}

Json Oracle::answer(const agent::Request& request) const {
  try {
    const auto domain = [&] {
      return xen::DomId{static_cast<std::uint16_t>(request.args.number("domid", kMaxDomain))};
    };
    if (request.verb == "hello") {
      Json verbs{"hello", "mappings", "ports"};
      if (std::filesystem::exists(screen_path())) verbs.push_back("screen");
      return agent::answer_ok(
          request.seq,
          Json{{"version", 1}, {"verbs", std::move(verbs)}, {"guest_domid", xen::raw(guest_)}});
    }
    if (request.verb == "screen") {
      Json reply = ask(screen_path(), agent::format_request(request.seq, "screen", request.args));
      if (!reply.is_null()) return reply;
    }
    if (request.verb == "mappings")
      return agent::answer_ok(request.seq, Json{{"mapped", host_.mappings_of(domain()).size()}});
    if (request.verb == "ports")
      return agent::answer_ok(request.seq, Json{{"in_use", host_.ports(domain()).size()}});
    return agent::answer_unsupported(request.seq, request.verb);
  } catch (const agent::VerbError& error) {
    return agent::answer_error(request.seq, error.number(), error.what());
  } catch (const std::system_error& error) {
    return agent::answer_error(request.seq, error.code().value(), error.what());
  }
}

}  // namespace displif_cts::loopback
