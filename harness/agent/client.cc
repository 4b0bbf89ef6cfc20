#include "harness/agent/client.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>

namespace displif_cts::agent {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// The agent's own answer "the guest is silent" has to get here as well.
constexpr milliseconds kAgentGrace{2000};

UniqueFd connect_once(const std::filesystem::path& path, int& error) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string& name = path.native();
  if (name.size() >= sizeof address.sun_path) {
    error = ENAMETOOLONG;
    return {};
  }
  std::memcpy(address.sun_path, name.data(), name.size());
  UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd || connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0) {
    error = errno;
    return {};
  }
  return fd;
}

}  // namespace

Error::Error(std::string verb, std::string errno_text, const std::string& text, Json answer)
    : std::runtime_error(verb + ": " + errno_text + (text.empty() ? "" : ": " + text)),
      verb_(std::move(verb)),
      error_(std::move(errno_text)),
      answer_(std::move(answer)) {}

bool Error::silent() const {
  return answer_.is_null() ? error_ == "ETIMEDOUT" : answer_.value("guest_silent", false);
}

bool Error::unsupported() const {
  return answer_.is_object() && answer_.value("unsupported", false);
}

Client::Client(const std::filesystem::path& socket, milliseconds limit) {
  const Clock::time_point deadline = Clock::now() + limit;
  for (;;) {
    int error = 0;
    fd_ = connect_once(socket, error);
    if (fd_) return;
    const bool transient = error == ENOENT || error == ECONNREFUSED || error == EAGAIN;
    if (!transient || Clock::now() >= deadline)
      throw Error("connect", errno_name(error), socket.native() + ": no agent listens there",
                  nullptr);
    std::this_thread::sleep_for(milliseconds(20));
  }
}

Json Client::call(std::string_view verb, const Args& args, milliseconds limit,
                  std::string_view payload) {
  Json answer = try_call(verb, args, limit, payload);
  if (answer.value("ok", false)) return answer;
  std::string number = "EPROTO";
  if (const auto it = answer.find("errno"); it != answer.end() && it->is_string())
    number = it->get<std::string>();
  std::string text;
  if (const auto it = answer.find("error"); it != answer.end() && it->is_string())
    text = it->get<std::string>();
  throw Error(std::string(verb), std::move(number), text, std::move(answer));
}

Json Client::try_call(std::string_view verb, const Args& args, milliseconds limit,
                      std::string_view payload) {
  if (!verb.starts_with("guest.")) return wait(start(verb, args, payload), limit);
  return wait(start_limited(verb, args, limit, payload), limit + kAgentGrace);
}

Client::Ticket Client::start_limited(std::string_view verb, const Args& args, milliseconds limit,
                                     std::string_view payload) {
  Args limited = args;
  if (std::none_of(args.begin(), args.end(), [](const auto& a) { return a.first == "limit_ms"; }))
    limited.emplace_back("limit_ms", std::to_string(limit.count()));
  return start(verb, limited, payload);
}

Client::Ticket Client::start(std::string_view verb, const Args& args, std::string_view payload) {
  Arguments encoded = Arguments::of(args);
  if (has_payload(verb)) encoded.set_encoded("size", std::to_string(payload.size()));
  Ticket ticket;
  ticket.verb_ = verb;
  {
    const std::lock_guard lock(mutex_);
    if (!broken_.empty()) throw Error(ticket.verb_, "EPIPE", broken_, nullptr);
    ticket.seq_ = next_seq_++;
    wanted_.insert(ticket.seq_);
  }
  std::string octets = format_request(ticket.seq_, verb, encoded);
  if (has_payload(verb)) octets.append(payload);
  send(octets, verb);
  return ticket;
}

void Client::send(std::string_view octets, std::string_view verb) {
  const std::lock_guard lock(send_mutex_);
  while (!octets.empty()) {
    const ssize_t count = ::send(fd_.get(), octets.data(), octets.size(), MSG_NOSIGNAL);
    if (count < 0) {
      if (errno == EINTR) continue;
      throw Error(std::string(verb), errno_name(errno), "the agent has gone", nullptr);
    }
    octets.remove_prefix(static_cast<std::size_t>(count));
  }
}

Json Client::wait(const Ticket& ticket, milliseconds limit) {
  if (auto answer = poll(ticket, limit)) return std::move(*answer);
  const std::lock_guard lock(mutex_);
  wanted_.erase(ticket.seq_);
  throw Error(ticket.verb_, "ETIMEDOUT",
              "no answer from the agent within " + std::to_string(limit.count()) + " ms", nullptr);
}

std::optional<Json> Client::poll(const Ticket& ticket, milliseconds limit) {
  const Clock::time_point deadline = Clock::now() + limit;
  std::unique_lock lock(mutex_);
  for (;;) {
    if (const auto it = answers_.find(ticket.seq_); it != answers_.end()) {
      Json answer = std::move(it->second);
      answers_.erase(it);
      return answer;
    }
    if (!broken_.empty()) throw Error(ticket.verb_, "EPIPE", broken_, nullptr);
    if (Clock::now() >= deadline) return std::nullopt;
    if (reading_) {
      changed_.wait_until(lock, deadline);
      continue;
    }
    reading_ = true;
    lock.unlock();
    read_answers(deadline);
    lock.lock();
    reading_ = false;
    changed_.notify_all();
  }
}

// Reads once, at most until `deadline`. Only the thread that set `reading_` is here.
void Client::read_answers(Clock::time_point deadline) {
  const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
  pollfd wanted{fd_.get(), POLLIN, 0};
  if (::poll(&wanted, 1, static_cast<int>(std::clamp<std::int64_t>(left.count(), 0, 60'000))) <= 0)
    return;
  char chunk[65536];
  const ssize_t count = recv(fd_.get(), chunk, sizeof chunk, 0);
  if (count < 0 && errno == EINTR) return;
  const int error = count < 0 ? errno : 0;
  const std::lock_guard lock(mutex_);
  if (count <= 0) {
    broken_ = "the agent closed the connection";
    if (error != 0) broken_ += " (" + errno_name(error) + ")";
    return;
  }
  buffer_.append(chunk, static_cast<std::size_t>(count));
  std::size_t begin = 0;
  for (std::size_t end; (end = buffer_.find('\n', begin)) != std::string::npos; begin = end + 1) {
    Json answer = Json::parse(buffer_.begin() + static_cast<std::ptrdiff_t>(begin),
                              buffer_.begin() + static_cast<std::ptrdiff_t>(end), nullptr, false);
    if (!answer.is_object() || !answer.contains("seq") || !answer["seq"].is_number_unsigned()) {
      broken_ = "the agent sent a line that is no answer";
      return;
    }
    const auto seq = answer["seq"].get<std::uint64_t>();
    if (wanted_.erase(seq) > 0) answers_.emplace(seq, std::move(answer));
  }
  buffer_.erase(0, begin);
  if (buffer_.size() > kMaxAnswerLine) broken_ = "the agent sent a line that is too long";
}

}  // namespace displif_cts::agent
