// The recorder: every message, index, state and store change of a case, with its time, becomes one
// record of the stream (docs/stream.md). Observers (the passive monitors) see each message as it is
// recorded.
#pragma once

#include <atomic>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/trace/json.h"
#include "harness/trace/requirement.h"

namespace displif_cts::trace {

// What a `msg` record is about.
enum class Kind { request, response, event, index, state, xenstore, guest, log };

// Which way it went: frontend to backend, backend to frontend, or neither.
enum class Direction { front_to_back, back_to_front, none };

std::string_view name(Kind kind);  // "req", "resp", "evt", "index", "state", "xs", "guest", "log"
std::string_view name(Direction direction);  // "f2b", "b2f", "-"

// Monotonic clock of the domain that records, in nanoseconds.
std::uint64_t now_ns();

// One message as observers see it. `raw` is valid during the call only.
struct Message {
  Kind kind;
  Direction direction;
  std::uint64_t ns;
  std::span<const std::byte> raw;
  const Json& fields;
};

// Where finished records go: the runner's pipe, a file, or a test's vector.
using Sink = std::function<void(const Json& record)>;

// Thread-safe. Records reach the sink in the order of their calls. Observers run under the
// recorder's lock, and must not call it again.
class Recorder {
 public:
  // `case_id` goes into every record; empty outside a case. No sink: nothing is recorded.
  explicit Recorder(Sink sink, std::string case_id = {});

  // Messages and checks share one order: what a check is about stands before it.
  void message(Kind kind, Direction direction, std::span<const std::byte> raw, Json fields);
  void message(Kind kind, Direction direction, Json fields) {
    message(kind, direction, {}, std::move(fields));
  }
  // The same, where the fields cost more than asking whether anybody wants them.
  template <std::invocable Fields>
  void message(Kind kind, Direction direction, std::span<const std::byte> raw, Fields&& fields) {
    if (heard_) message(kind, direction, raw, Json(fields()));
  }
  // From now on requests, responses, events and indices are neither recorded nor shown to
  // observers: for cases that exchange more of them than anybody can read. Says so in the record.
  void stop_messages();
  // A line of the suite's own about what it does now ("guest: page-flip fb1").
  void log(std::string text);

  // One judged statement. `expected` lists every legal outcome; `seen` is the actual one.
  // `timed`: a limit in time decided it, so that a late suite is not held against the peer.
  // Returns `ok`.
  bool check(const Requirement& requirement, bool ok, std::vector<std::string> expected,
             std::string seen, bool timed = false);
  // The same, for a case other than the running one (a monitor): `during` is set to the running.
  bool check_for(std::string_view case_id, const Requirement& requirement, bool ok,
                 std::vector<std::string> expected, std::string seen, bool timed = false);

  // Why a monitor can judge nothing of the running case.
  void skip_for(std::string_view case_id, std::string reason);

  // A file of evidence: `data` is carried in the record as base64, the stream's writer puts it into
  // a file. `name` in [a-z0-9.-], e.g. "screen.png".
  void artifact(std::string_view artifact_name, std::string_view media,
                std::span<const std::byte> data);

  // Any other record of the stream.
  void record(std::string_view type, Json body);

  void observe(std::function<void(const Message&)> observer);

  const std::string& case_id() const { return case_id_; }

 private:
  void emit(std::string_view type, Json body);  // with mutex_ held

  std::atomic<bool> heard_;  // somebody wants what is recorded
  std::mutex mutex_;
  Sink sink_;
  std::string case_id_;
  bool messages_stopped_ = false;
  std::vector<std::function<void(const Message&)>> observers_;
};

// "0011ff"
std::string hex(std::span<const std::byte> bytes);
std::string base64(std::span<const std::byte> bytes);

}  // namespace displif_cts::trace
