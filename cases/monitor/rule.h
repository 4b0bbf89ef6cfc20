// What the passive monitors are made of: rules that watch a case's messages, and tallies that judge
// one requirement over all of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/bus/state.h"
#include "harness/displif/wire.h"
#include "harness/trace/recorder.h"
#include "harness/trace/requirement.h"

namespace displif_cts::cases::monitor {

// A request as the backend found it in the ring.
struct RequestSeen {
  unsigned connector;   // whose ring it came on
  std::uint32_t index;  // the ring's free-running index
  bool notified;        // announced on the ring's channel, as the backend had asked
  displif::Request request;
};

struct ResponseSeen {
  unsigned connector;
  displif::Response response;
};

// An index that one side published.
struct IndexSeen {
  unsigned connector;
  std::string name;  // req_prod, rsp_event, in_cons, ... as the shared structures call them
  std::uint32_t value;
  bool refused;  // the backend did not follow it
};

// The head of a shared page as the frontend handed it over.
struct PageSeen {
  unsigned connector;
  bool ring;                       // else an event page
  std::span<const std::byte> raw;  // 64 octets; valid during the call only
};

// A buffer's page directory, as the backend walked it.
struct DirectorySeen {
  std::string cookie;
  std::uint32_t repeated = 0;  // references that occur more than once
  std::vector<std::string> problems;
};

// One requirement, judged over a whole case. Reports one check, or none if nothing was seen.
class Tally {
 public:
  Tally(const Requirement& requirement, std::string expected)
      : requirement_(requirement), expected_(std::move(expected)) {}

  void judge(bool ok, std::string_view seen);
  void report(trace::Recorder& recorder, std::string_view monitor_id) const;

 private:
  static constexpr std::size_t kFaultsKept = 3;

  const Requirement& requirement_;
  std::string expected_;
  std::size_t judged_ = 0;
  std::size_t wrong_ = 0;
  std::vector<std::string> faults_;  // the first few
};

// Watches messages. Every connection starts with on_connection().
class Rule {
 public:
  virtual ~Rule() = default;
  virtual void on_connection() {}
  virtual void on_request(const RequestSeen&) {}
  virtual void on_response(const ResponseSeen&) {}
  virtual void on_index(const IndexSeen&) {}
  virtual void on_page(const PageSeen&) {}
  virtual void on_directory(const DirectorySeen&) {}
  // nullopt: the node held `text`, which is no state, or was missing (no text).
  virtual void on_state(bus::Side, std::optional<std::uint32_t> /*state*/,
                        const std::string& /*text*/) {}
  virtual void on_resolution(unsigned /*connector*/, std::uint32_t /*width*/,
                             std::uint32_t /*height*/) {}
  virtual void on_version(unsigned /*chosen by the frontend*/) {}
  virtual void report(trace::Recorder& recorder) const = 0;
};

// "SET_CONFIG id 17, connector 0, slot 40"
std::string describe(const RequestSeen& request);

}  // namespace displif_cts::cases::monitor
