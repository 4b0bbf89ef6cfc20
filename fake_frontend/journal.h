// What the fake has seen and done, shared between the service thread, which writes, and the case's
// threads, which wait.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fake_frontend/fake_frontend.h"
#include "harness/fake/journal.h"

namespace displif_cts::fake_frontend {

using fake::kJournalLimit;

// The flip that a connector waits for, and what became of the last one.
struct FlipState {
  struct Pending {
    FbCookie cookie{};
    std::uint64_t serial = 0;  // distinguishes flips, for the timer
  };
  std::optional<Pending> pending;
  std::optional<ReceivedEvent> completed;
  std::string lost;  // why the last one will never complete
};

struct Journal {
  mutable std::mutex mutex;  // guards everything below
  std::condition_variable changed;

  fake::Entries<SentRequest> requests;
  fake::Entries<ReceivedResponse> responses;
  fake::Entries<ReceivedEvent> events;
  fake::Entries<StateChange> states;
  std::vector<std::string> trouble;
  std::vector<FlipState> flips;  // by connector
  std::vector<std::optional<displif::ConnectorTransport>> transports;
  std::vector<displif::Resolution> connectors;

  FrontendFaults faults;
  std::optional<bus::State> backend_state;
  std::optional<bus::State> frontend_state;
  bool backend_known = false;  // the backend's state was read at least once
  bool serving = false;
  bool transport = false;  // rings stand
  bool connected = false;
  bool endless = false;  // faults: calls wait without end
  unsigned connections = 0;
  unsigned protocol = 1;
  unsigned clients = 0;
  std::optional<std::string> backend_versions;
  bool be_alloc = false;
  std::string ended;  // why the service cannot go on; empty while it can

  // One line: what was seen last. With `mutex` held.
  std::string last_seen() const;
};

// "request 12: SET_CONFIG id 3 on connector 0, status 0"
std::string describe(const SentRequest& request);

}  // namespace displif_cts::fake_frontend
