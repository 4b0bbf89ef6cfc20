// What a case knows of the run it is part of.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "harness/runner/registry.h"
#include "harness/trace/json.h"
#include "harness/trace/recorder.h"

namespace displif_cts::runner {

// The peer descriptor (lab/peers/NAME.yaml), as far as cases need it.
struct Peer {
  std::string name;
  std::string version;
  std::set<Capability> capabilities;
  unsigned max_connectors = 1;
  // The unique ids that its connectors have to have, in order; none: any will do.
  std::vector<std::string> connector_ids;
  // Complaints of the peer's kernel that are known, each by a word of its text. They are judged by
  // a monitor of their own, so that they neither redden every case nor hide another complaint.
  std::vector<std::string> known_complaints;
  // How long it may take for what it does at once: a state after a state, a request after a call.
  std::chrono::milliseconds prompt{10'000};
  // The peer's own limits in time: how long it waits for a response, for a flip's event, and how
  // long it may take to let go of a device.
  std::chrono::milliseconds response{3000};
  std::chrono::milliseconds flip_event{3000};
  std::chrono::milliseconds removal{3000};

  // Throws std::runtime_error that names the field at fault.
  static Peer from_json(const Json& descriptor);
};

struct RunContext {
  Role role = Role::frontend;          // of the peer
  std::string bed;                     // "qemu", "loopback", "host"
  std::filesystem::path agent_socket;  // of displif-cts-agent
  std::uint16_t domain = 0;            // the peer's domain id
  Peer peer;
  std::uint64_t seed = 0;
  // The id of the case's first device. Each case of a run has ids of its own, so that it never
  // meets what is left of another's device.
  std::uint16_t first_device = 0;
  bool leaks = false;  // the peer's kernel is scanned for lost memory behind each case
};

// Valid in a case process only.
struct CaseContext {
  const RunContext& run;
  const CaseInfo& info;
  trace::Recorder& recorder;
};
const CaseContext& current();

// Judges every message of a case beside it. finish() records the checks that sum up what was seen.
class Monitors {
 public:
  virtual ~Monitors() = default;
  virtual void finish(trace::Recorder& recorder) = 0;
};

// Looks at the peer from outside before and after a case, in the runner's own process: a case that
// crashes cannot take it along.
class HealthProbe {
 public:
  virtual ~HealthProbe() = default;
  // Before the case. Throws when the bed cannot be looked at.
  virtual void baseline() = 0;
  // After it: records checks of the health requirements and one `health` record. Returns whether
  // the peer was left as it was found, so that another case may follow on the same machine. `lost`:
  // the case has already found the peer silent.
  virtual bool judge(trace::Recorder& recorder, bool lost) = 0;
};

struct Hooks {
  std::function<std::unique_ptr<HealthProbe>(const RunContext&)> make_health;
  std::function<std::unique_ptr<Monitors>(trace::Recorder&)> attach_monitors;
};

}  // namespace displif_cts::runner
