// The guest's programs of a session: three of them, and one that stands for its administrator. Each
// makes one call at a time through an agent's connection of its own (lab/guest/PROTOCOL.md, lanes),
// so that one that waits for the backend does not hold up another. Nothing here waits: whoever
// plays the session looks for answers by take_answers().
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "fuzzers/guest/masks.h"
#include "fuzzers/input/action.h"
#include "harness/agent/client.h"
#include "harness/trace/recorder.h"

namespace displif_cts::fuzz_guest {

// No program's call was answered for longer than any of them may take.
inline constexpr std::chrono::milliseconds kCallLimit = std::chrono::seconds(20);

class Programs {
 public:
  static constexpr std::size_t kPrograms = 3;

  Programs(const std::filesystem::path& agent, const Masks& masks, trace::Recorder& recorder);

  // What a `client` action says. A program that is at a call already passes over it.
  void call(const fuzz::Action& action);
  // The administrator takes the driver from the device and gives it back.
  void rebind(const std::string& device);

  // Collects what has been answered. Whether there was anything.
  bool take_answers();
  bool idle() const;      // nobody is at a call
  bool any_open() const;  // somebody has the device open
  // The administrator closes every file of every program. As any call it may wait for the backend.
  void close_all();
  // Asks the guest whether its kernel has let go of the device.
  void await_no_device(const std::string& device, std::chrono::milliseconds limit);
  // The guest does not answer any more: no use to ask it anything.
  bool silent() const { return silent_; }
  // Asks it for a sign of life, which it gives at once, whatever its calls wait for.
  void look_for_life();
  std::uint64_t calls() const { return calls_; }
  // What was called and never returned.
  std::vector<std::string> stuck() const;

 private:
  struct Step {
    std::string verb;
    agent::Args args;
    std::string name;  // of what it makes, or takes away
  };
  struct Buffer {
    std::string name;
    std::uint32_t width = 0;
    std::uint32_t height = 0;
  };
  struct Connector {
    std::uint32_t id = 0, crtc = 0, width = 0, height = 0;
  };
  struct Program {
    std::unique_ptr<agent::Client> client;
    std::string fd;  // empty: the device is not open
    std::deque<Step> steps;
    std::optional<agent::Client::Ticket> ticket;
    std::chrono::steady_clock::time_point since;
    std::vector<Connector> connectors;
    std::vector<Buffer> buffers;
    std::vector<std::string> fbs;
  };

  void plan(Program& program, const fuzz::Action& action);
  void plan_buffer(Program& program, const fuzz::Action& action);
  void plan_display(Program& program, const fuzz::Action& action);
  void plan_prime(Program& program, const fuzz::Action& action);
  void start(Program& program);
  void all_closed();
  void answered(Program& program, const Step& step, const Json& answer);
  std::string fresh(const char* what);
  Program& administrator() { return programs_[kPrograms]; }

  const Masks& masks_;
  trace::Recorder& recorder_;
  std::array<Program, kPrograms + 1> programs_;
  agent::Client watcher_;
  std::vector<std::string> exported_;
  std::uint64_t names_ = 0;
  std::uint64_t calls_ = 0;
  bool silent_ = false;
};

}  // namespace displif_cts::fuzz_guest
