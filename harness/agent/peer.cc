#include "harness/agent/peer.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>

namespace displif_cts::agent {
namespace {

constexpr std::size_t kMaxOutbox = 64u << 20;
constexpr std::size_t kReadAtOnce = 4u << 20;  // then it is somebody else's turn

}  // namespace

Peer::Peer(Loop& loop, UniqueFd fd, bool device, OnRequest on_request, OnClosed on_closed)
    : loop_(loop),
      fd_(std::move(fd)),
      device_(device),
      on_request_(std::move(on_request)),
      on_closed_(std::move(on_closed)) {}

Peer::~Peer() { loop_.forget(fd_.get()); }

void Peer::begin() {
  // Edge-triggered: a device without anybody at its other end reports EPOLLHUP without end.
  loop_.watch(fd_.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET,
              [weak = weak_from_this()](std::uint32_t events) {
                if (const auto self = weak.lock()) self->on_events(events);
              });
}

void Peer::on_events(std::uint32_t events) {
  if (device_ && (events & EPOLLHUP) != 0) {
    reader_.reset();
    outbox_.clear();
  }
  if (open_) write_some();
  if (open_) read_some();
}

void Peer::read_some() {
  char chunk[65536];
  for (std::size_t total = 0; open_;) {
    const ssize_t count = ::read(fd_.get(), chunk, sizeof chunk);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) return;
    if (count <= 0) {
      if (!device_) close();
      return;
    }
    reader_.feed({chunk, static_cast<std::size_t>(count)});
    while (open_) {
      auto item = reader_.next();
      if (!item) break;
      if (auto* request = std::get_if<Request>(&*item)) {
        on_request_(shared_from_this(), std::move(*request));
      } else {
        const auto& bad = std::get<BadRequest>(*item);
        send(format_answer(answer_error(bad.seq, bad.number, bad.text)));
      }
    }
    total += static_cast<std::size_t>(count);
    if (total >= kReadAtOnce) {
      loop_.post([weak = weak_from_this()] {
        if (const auto self = weak.lock()) self->read_some();
      });
      return;
    }
  }
}

void Peer::send(std::string_view line) {
  if (!open_) return;
  outbox_ += line;
  if (outbox_.size() > kMaxOutbox) {  // it does not read its answers
    if (device_)
      outbox_.clear();
    else
      close();
    return;
  }
  write_some();
}

void Peer::write_some() {
  std::size_t done = 0;
  while (done < outbox_.size()) {
    const char* rest = outbox_.data() + done;
    const std::size_t size = outbox_.size() - done;
    const ssize_t count =
        device_ ? ::write(fd_.get(), rest, size) : ::send(fd_.get(), rest, size, MSG_NOSIGNAL);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      if (errno != EAGAIN && !device_) {
        close();
        return;
      }
      break;
    }
    done += static_cast<std::size_t>(count);
  }
  outbox_.erase(0, done);
}

void Peer::close() {
  if (!open_) return;
  open_ = false;
  loop_.forget(fd_.get());
  // The owner lets go of us: not while one of our members runs.
  loop_.post([self = shared_from_this()] { self->on_closed_(self); });
}

void Reply::ok(Json fields) const {
  fields["took_ns"] = monotonic_ns() - began_;
  answer(answer_ok(seq_, fields));
}

void Reply::error(int number, std::string_view text, Json fields) const {
  fields["took_ns"] = monotonic_ns() - began_;
  answer(answer_error(seq_, number, text, fields));
}

void Reply::answer(const Json& whole) const {
  if (const auto peer = peer_.lock()) peer->send(format_answer(whole));
}

}  // namespace displif_cts::agent
