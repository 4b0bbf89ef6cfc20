// The guest's programs, as cases speak to them: DRM calls made by displif-cts-exerciser in the
// guest (lab/guest/PROTOCOL.md), reached through displif-cts-agent.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "cases/requirements.gen.h"
#include "cases/support/guest_log.h"
#include "harness/agent/client.h"
#include "harness/trace/json.h"
#include "harness/trace/recorder.h"

namespace displif_cts::cases {

// The guest did not answer in time. Ends the case; health then finds out whether it hangs.
struct GuestSilent : std::runtime_error {
  using std::runtime_error::runtime_error;
};

using agent::Args;

// What a DRM call of the guest came to.
struct Result {
  bool ok = false;
  std::string error;  // "EINVAL", empty when ok
  Json answer;

  std::string text() const { return ok ? "success" : error; }  // for `seen`
};

// What DRM_IOCTL_MODE_CREATE_DUMB gave.
struct DumbBuffer {
  std::string name;
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  std::uint32_t bpp = 0;
  std::uint32_t pitch = 0;  // octets a row
  std::uint64_t size = 0;   // octets
};

struct GuestConnector {
  std::uint32_t id = 0;
  std::uint32_t crtc = 0;
  bool connected = false;
  std::uint32_t width = 0;  // of its one mode
  std::uint32_t height = 0;
};

struct FlipEvent {
  bool arrived = false;
  std::uint64_t after_ns = 0;  // guest's time between call and event
};

class Guest {
 public:
  Guest(agent::Client& client, trace::Recorder& recorder) : client_(client), recorder_(recorder) {
    log_.skip();  // an earlier guest's crash may stand there, and is no reason to give this one up
  }

  // Any verb of the exerciser. Throws GuestSilent after `limit`, or at once when the guest was
  // silent before or its kernel has crashed; std::runtime_error when the exerciser does not know
  // the verb.
  Result call(const std::string& verb, const Args& args = {},
              std::chrono::milliseconds limit = std::chrono::seconds(15));
  // As call(), but an error ends the case, as failed: nothing that the case has arranged stands
  // against the call (requirement health.clients-served).
  Json must(const std::string& verb, const Args& args = {},
            std::chrono::milliseconds limit = std::chrono::seconds(15));
  // The requirement that says so; health.clients-served unless a case has another. The old one.
  const Requirement& judge_as(const Requirement& requirement) {
    return *std::exchange(served_, &requirement);
  }
  const Requirement& judged_as() const { return *served_; }

  // Starts a call and returns; finish() gives its result. `name` is chosen by the caller.
  void start(const std::string& name, const std::string& verb, const Args& args = {});
  Result finish(const std::string& name,
                std::chrono::milliseconds limit = std::chrono::seconds(15));
  // Whether it has been found silent or crashed.
  bool lost() const { return !lost_.empty(); }

  // Opens the display device (waits until the guest has made it, at most `limit`).
  void open(const std::string& fd = "card",
            std::chrono::milliseconds limit = std::chrono::seconds(5));
  Result close(const std::string& fd = "card");
  std::vector<GuestConnector> connectors(const std::string& fd = "card");
  // As many as the tool stack has given the device: the peer must list each.
  std::vector<GuestConnector> all_connectors(std::size_t count, const std::string& fd = "card");
  GuestConnector connector(std::size_t index = 0, const std::string& fd = "card");

  DumbBuffer create_dumb(const std::string& name, std::uint32_t width, std::uint32_t height,
                         std::uint32_t bpp = 32, const std::string& fd = "card");
  void fill(const DumbBuffer& buffer, std::uint64_t seed);  // lab/guest/pattern.h
  void add_fb(const std::string& name, const DumbBuffer& buffer, const std::string& format = "XR24",
              const std::string& fd = "card");
  Result set_crtc(const GuestConnector& connector, const std::string& fb, std::uint32_t width,
                  std::uint32_t height, const std::string& fd = "card");
  Result crtc_off(const GuestConnector& connector, const std::string& fd = "card");
  Result page_flip(const GuestConnector& connector, const std::string& fb,
                   const std::string& fd = "card");
  // The next flip event on `fd`; none within `limit` is a result, not an error.
  FlipEvent wait_event(std::chrono::milliseconds limit, const std::string& fd = "card");
  Result rm_fb(const std::string& name, const std::string& fd = "card");
  Result destroy_dumb(const std::string& name, const std::string& fd = "card");

 private:
  Result send(const std::string& verb, const Args& args, std::chrono::milliseconds limit);
  Json await(const agent::Client::Ticket& ticket, const std::string& verb,
             std::chrono::milliseconds limit);
  bool answers_hello();
  [[noreturn]] void throw_silent(const std::string& verb, std::chrono::milliseconds limit);

  agent::Client& client_;
  trace::Recorder& recorder_;
  GuestLog log_{client_};
  std::string log_text_;
  const Requirement* served_ = &req::health_clients_served;
  std::string lost_;  // why the guest will not answer any more
};

}  // namespace displif_cts::cases
