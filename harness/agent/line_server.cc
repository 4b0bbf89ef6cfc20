#include "harness/agent/line_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

namespace displif_cts::agent {
namespace {

constexpr std::size_t kMaxClients = 256;

[[noreturn]] void fail(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

}  // namespace

Listener::Listener(Loop& loop, std::string path, Peer::OnRequest on_request)
    : loop_(loop), path_(std::move(path)), on_request_(std::move(on_request)) {}

Listener::~Listener() {
  peers_.clear();
  if (!fd_) return;
  loop_.forget(fd_.get());
  unlink(path_.c_str());
}

void Listener::begin() {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path_.size() >= sizeof address.sun_path) {
    errno = ENAMETOOLONG;
    fail(path_);
  }
  std::memcpy(address.sun_path, path_.data(), path_.size());
  std::error_code ignored;
  std::filesystem::create_directories(std::filesystem::path(path_).parent_path(), ignored);
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) fail("socket");
  unlink(path_.c_str());
  const mode_t before = umask(0077);  // whoever may connect commands this domain
  const int bound = bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address);
  umask(before);
  if (bound != 0 || ::listen(fd.get(), 64) != 0) fail(path_);
  fd_ = std::move(fd);
  loop_.watch(fd_.get(), EPOLLIN, [this](std::uint32_t) { accept_all(); });
}

void Listener::accept_all() {
  for (;;) {
    UniqueFd fd(accept4(fd_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) return;
    if (peers_.size() >= kMaxClients) continue;
    const auto peer =
        std::make_shared<Peer>(loop_, std::move(fd), false, on_request_,
                               [this](const std::shared_ptr<Peer>& gone) { peers_.erase(gone); });
    peers_.insert(peer);
    peer->begin();
  }
}

LineServer::LineServer(std::string path, Answer answer)
    : answer_(std::move(answer)),
      listener_(loop_, std::move(path),
                [this](const std::shared_ptr<Peer>& peer, const Request& request) {
                  const Reply reply(peer, request.seq);
                  try {
                    const auto fields = answer_(request);
                    if (fields) {
                      reply.ok(*fields);
                    } else {
                      reply.answer(answer_unsupported(request.seq, request.verb));
                    }
                  } catch (const VerbError& error) {
                    reply.error(error.number(), error.what());
                  } catch (const std::exception& error) {
                    reply.error(EIO, error.what());
                  }
                }) {
  listener_.begin();
  thread_ = std::thread([this] { loop_.run(); });
}

LineServer::~LineServer() {
  loop_.post([this] { loop_.stop(); });
  thread_.join();
}

}  // namespace displif_cts::agent
