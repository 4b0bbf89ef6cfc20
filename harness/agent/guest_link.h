// The way to the exerciser in the guest: a vchan whose server the agent is, and requests under way.
//
// A conversation begins with the exerciser's line {"event":"ready","session":S}, answered by
// "0 session id=S". When the exerciser starts again, or the guest does, the channel is made anew:
// nothing of an earlier conversation can be taken for a part of a later one.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "harness/agent/line_protocol.h"
#include "harness/agent/loop.h"
#include "harness/agent/peer.h"
#include "harness/agent/vchan.h"

struct xs_handle;

namespace displif_cts::agent {

class GuestLink {
 public:
  static constexpr std::size_t kMaxUnderWay = 1024;
  static constexpr std::chrono::milliseconds kDefaultLimit{60'000};
  // Added to a verb's own `timeout_ms`, so that the exerciser's "not in time" comes first.
  static constexpr std::chrono::milliseconds kGrace{1'000};

  // `guest`: a domain id, or a domain's name in XenStore; empty: there is no guest.
  GuestLink(Loop& loop, std::string guest);
  ~GuestLink();
  GuestLink(const GuestLink&) = delete;
  GuestLink& operator=(const GuestLink&) = delete;
  void begin();
  void end();  // takes the nodes in XenStore away

  // Of the guest, when XenStore knows it.
  std::optional<std::uint16_t> domid() const { return domid_; }
  bool introduced(std::uint16_t domid) const;
  bool connected() const { return !session_.empty(); }

  // Passes `verb` on; the exerciser's answer becomes the reply's. Silence for `limit_ms` (or
  // `timeout_ms` and a second, or 60 s) is answered with ETIMEDOUT and "guest_silent":true. While
  // the exerciser is not connected the request waits for it. Throws VerbError.
  void request(std::string_view verb, const Request& original, const Reply& reply);

 private:
  struct UnderWay {
    Reply reply;
    Loop::TimerId timer;
    std::string octets;  // to be sent; empty once it is on its way
  };

  void find_guest();
  void open_channel();
  void close_channel(const char* why);
  void pump();
  bool take_line(std::string_view line);  // false: not what an exerciser says
  void send_waiting();
  void fail(std::uint64_t number, int error, std::string_view text, bool silent);

  Loop& loop_;
  std::string guest_;
  xs_handle* store_ = nullptr;
  std::optional<std::uint16_t> domid_;
  std::unique_ptr<Vchan> channel_;
  std::string session_;
  std::string inbox_;
  std::size_t scanned_ = 0;
  std::string outbox_;
  std::size_t written_ = 0;
  std::map<std::uint64_t, UnderWay> under_way_;
  std::uint64_t next_number_ = 1;
  std::uint64_t next_lane_ = 1;
  bool looking_ = false;  // a timer will look for the guest's name
};

}  // namespace displif_cts::agent
