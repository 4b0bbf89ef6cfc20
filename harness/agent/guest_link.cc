#include "harness/agent/guest_link.h"

#include <sys/epoll.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

extern "C" {
#include <xenstore.h>
}

namespace displif_cts::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kRetry{100};
constexpr std::uint64_t kMaxLimitMs = 86'400'000;
constexpr std::size_t kMaxGuestLine = 16u << 20;  // a guest decides what it sends
constexpr std::size_t kMaxGuestOutbox = 2 * kMaxPayload;

std::optional<std::uint16_t> parse_domid(const std::string& text) {
  const bool digits = !text.empty() && text.size() <= 5 &&
                      text.find_first_not_of("0123456789") == std::string::npos;
  const unsigned long value = digits ? std::stoul(text) : 0xFFFF;
  // The first reserved id is 0x7FF0 (xen.h).
  return value < 0x7FF0 ? std::optional(static_cast<std::uint16_t>(value)) : std::nullopt;
}

std::optional<std::string> read_node(xs_handle* store, const std::string& path) {
  unsigned length = 0;
  char* text = static_cast<char*>(xs_read(store, XBT_NULL, path.c_str(), &length));
  if (text == nullptr) return std::nullopt;
  std::string out(text, length);
  std::free(text);
  return out;
}

std::optional<std::uint16_t> domid_of_name(xs_handle* store, const std::string& name) {
  unsigned count = 0;
  char** domains = xs_directory(store, XBT_NULL, "/local/domain", &count);
  if (domains == nullptr) return std::nullopt;
  std::optional<std::uint16_t> found;
  for (unsigned i = 0; i < count && !found; ++i)
    if (read_node(store, "/local/domain/" + std::string(domains[i]) + "/name") == name)
      found = parse_domid(domains[i]);
  std::free(domains);
  return found;
}

}  // namespace

GuestLink::GuestLink(Loop& loop, std::string guest) : loop_(loop), guest_(std::move(guest)) {}

GuestLink::~GuestLink() {
  if (channel_) loop_.forget(channel_->fd());
  if (store_ == nullptr) return;
  loop_.forget(xs_fileno(store_));
  xs_close(store_);
}

void GuestLink::begin() {
  if (guest_.empty()) return;
  if (store_ == nullptr) {
    store_ = xs_open(0);
    if (store_ == nullptr) {  // xenstored may still be starting
      loop_.after(kRetry, [this] { begin(); });
      return;
    }
    xs_watch(store_, "@introduceDomain", "guest");
    xs_watch(store_, "@releaseDomain", "guest");
    loop_.watch(xs_fileno(store_), EPOLLIN, [this](std::uint32_t) {
      while (char** event = xs_check_watch(store_)) std::free(event);
      find_guest();
    });
  }
  find_guest();
}

void GuestLink::end() { close_channel("the agent ends"); }

bool GuestLink::introduced(std::uint16_t domid) const {
  return store_ != nullptr && xs_is_domain_introduced(store_, domid);
}

void GuestLink::find_guest() {
  const std::optional<std::uint16_t> known = parse_domid(guest_);
  std::optional<std::uint16_t> now = known ? known : domid_of_name(store_, guest_);
  if (now && !introduced(*now)) now.reset();
  if (now == domid_ && (!now || channel_)) {
    // A name is written some time after the domain is introduced.
    if (now || known || looking_) return;
    looking_ = true;
    loop_.after(kRetry * 5, [this] {
      looking_ = false;
      find_guest();
    });
    return;
  }
  if (now != domid_) close_channel("the guest has gone");
  domid_ = now;
  open_channel();
}

void GuestLink::open_channel() {
  if (!domid_ || channel_) return;
  channel_ = Vchan::serve(*domid_, vchan_path(*domid_));
  if (!channel_) {
    std::fprintf(stderr, "displif-cts-agent: no vchan to domain %u: %s\n", *domid_,
                 std::strerror(errno));
    loop_.after(kRetry * 10, [this] { open_channel(); });
    return;
  }
  loop_.watch(channel_->fd(), EPOLLIN, [this](std::uint32_t) {
    channel_->acknowledge();
    pump();
  });
}

void GuestLink::close_channel(const char* why) {
  if (channel_) {
    loop_.forget(channel_->fd());
    channel_.reset();
  }
  session_.clear();
  inbox_.clear();
  scanned_ = 0;
  outbox_.clear();
  written_ = 0;
  std::vector<std::uint64_t> lost;
  for (const auto& [number, request] : under_way_)
    if (request.octets.empty()) lost.push_back(number);
  for (const std::uint64_t number : lost) fail(number, ECONNRESET, why, false);
}

void GuestLink::pump() {
  char chunk[65536];
  bool healthy = true;
  while (healthy && channel_) {
    const long count = channel_->read(chunk, sizeof chunk);
    if (count <= 0) break;
    inbox_.append(chunk, static_cast<std::size_t>(count));
    std::size_t begin = 0;
    for (std::size_t end;
         healthy && (end = inbox_.find('\n', std::max(begin, scanned_))) != std::string::npos;
         begin = end + 1)
      healthy = take_line(std::string_view(inbox_).substr(begin, end - begin));
    inbox_.erase(0, begin);
    scanned_ = inbox_.size();
    healthy = healthy && inbox_.size() <= kMaxGuestLine;
  }
  while (healthy && written_ < outbox_.size()) {
    const long count = channel_->write(std::string_view(outbox_).substr(written_));
    if (count <= 0) break;
    written_ += static_cast<std::size_t>(count);
  }
  if (written_ == outbox_.size()) {
    outbox_.clear();
    written_ = 0;
  }
  if (healthy && channel_->state() != Vchan::State::closed) return;
  close_channel("the exerciser has ended or started again");
  open_channel();
}

bool GuestLink::take_line(std::string_view line) {
  Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return false;
  if (json.contains("event")) {
    const auto session = json.find("session");
    // A second beginning on the same channel: the former exerciser went without a word.
    if (!session_.empty() || session == json.end() || !session->is_string()) return false;
    session_ = session->get<std::string>();
    if (session_.empty() || session_.size() > 64 || percent_encode(session_) != session_) {
      session_.clear();
      return false;
    }
    outbox_ += "0 session id=" + session_ + "\n";
    send_waiting();
    return true;
  }
  const auto number = json.find("seq");
  if (session_.empty() || number == json.end() || !number->is_number_unsigned()) return false;
  const auto it = under_way_.find(number->get<std::uint64_t>());
  if (it == under_way_.end()) return true;  // too late: it has been answered by us
  const auto request = under_way_.extract(it);
  loop_.cancel(request.mapped().timer);
  json["seq"] = request.mapped().reply.seq();
  request.mapped().reply.answer(json);
  return true;
}

void GuestLink::send_waiting() {
  for (auto& [number, request] : under_way_) {
    outbox_ += request.octets;
    request.octets.clear();
    request.octets.shrink_to_fit();
  }
}

void GuestLink::request(std::string_view verb, const Request& original, const Reply& reply) {
  if (guest_.empty()) throw VerbError(ENOTCONN, "the agent was started without --guest");
  if (under_way_.size() >= kMaxUnderWay || outbox_.size() > kMaxGuestOutbox)
    throw VerbError(EAGAIN, "too much is under way to the guest");
  const auto peer = reply.peer();
  if (!peer) return;
  if (peer->lane == 0) peer->lane = next_lane_++;

  milliseconds limit = kDefaultLimit;
  if (original.args.has("timeout_ms"))
    limit = milliseconds(original.args.number("timeout_ms", kMaxLimitMs)) + kGrace;
  if (original.args.has("limit_ms"))
    limit = milliseconds(original.args.number("limit_ms", kMaxLimitMs));
  Arguments args = original.args;
  args.erase("limit_ms");
  if (!args.has("lane")) args.set_encoded("lane", std::to_string(peer->lane));

  const std::uint64_t number = next_number_++;
  UnderWay item{reply, {}, format_request(number, verb, args) + original.payload};
  item.timer = loop_.after(limit, [this, number, limit] {
    fail(number, ETIMEDOUT,
         connected() ? "no answer from the guest within " + std::to_string(limit.count()) + " ms"
                     : "the exerciser is not connected",
         true);
  });
  under_way_.emplace(number, std::move(item));
  if (!connected()) return;
  send_waiting();
  pump();
}

void GuestLink::fail(std::uint64_t number, int error, std::string_view text, bool silent) {
  const auto request = under_way_.extract(number);
  if (request.empty()) return;
  loop_.cancel(request.mapped().timer);
  const Reply& reply = request.mapped().reply;
  // The lane may be stuck: what this caller asks next goes beside it.
  if (const auto peer = reply.peer()) peer->lane = 0;
  Json fields = Json::object();
  if (silent) fields["guest_silent"] = true;
  fields["guest_connected"] = connected();
  reply.error(error, text, fields);
}

}  // namespace displif_cts::agent
