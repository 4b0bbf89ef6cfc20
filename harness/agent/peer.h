// One who sends requests to the agent: a client of its socket, or the host at the other end of a
// character device.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <variant>

#include "harness/agent/line_protocol.h"
#include "harness/agent/loop.h"
#include "harness/agent/unique_fd.h"

namespace displif_cts::agent {

class Peer : public std::enable_shared_from_this<Peer> {
 public:
  using OnRequest = std::function<void(const std::shared_ptr<Peer>&, Request)>;
  using OnClosed = std::function<void(const std::shared_ptr<Peer>&)>;

  // A `device` never closes: while nobody holds its other end, nothing is read, and what was to be
  // sent is dropped, for whoever comes next begins anew.
  Peer(Loop& loop, UniqueFd fd, bool device, OnRequest on_request, OnClosed on_closed);
  ~Peer();
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;
  void begin();

  void send(std::string_view line);

  // Requests of one lane are carried out in the guest one after the other.
  std::uint64_t lane = 0;

 private:
  void on_events(std::uint32_t events);
  void read_some();
  void write_some();
  void close();

  Loop& loop_;
  UniqueFd fd_;
  bool device_;
  bool open_ = true;
  OnRequest on_request_;
  OnClosed on_closed_;
  RequestReader reader_;
  std::string outbox_;
};

// The one answer to a request. The peer may have gone by then.
class Reply {
 public:
  Reply(const std::shared_ptr<Peer>& peer, std::uint64_t seq)
      : peer_(peer), seq_(seq), began_(monotonic_ns()) {}
  std::uint64_t seq() const { return seq_; }
  std::shared_ptr<Peer> peer() const { return peer_.lock(); }

  void ok(Json fields = Json::object()) const;
  void error(int number, std::string_view text, Json fields = Json::object()) const;
  void answer(const Json& whole) const;

 private:
  std::weak_ptr<Peer> peer_;
  std::uint64_t seq_;
  std::uint64_t began_;
};

}  // namespace displif_cts::agent
