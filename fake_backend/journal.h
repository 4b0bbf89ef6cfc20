// What the fake has seen and done, shared between the service thread, which writes, and the case's
// thread, which waits.
#pragma once

#include <condition_variable>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "fake_backend/fake_backend.h"
#include "harness/displif/nodes.h"
#include "harness/fake/journal.h"

namespace displif_cts::fake_backend {

using fake::kJournalLimit;

struct Journal {
  explicit Journal(Model initial) : model(std::move(initial)) {}

  mutable std::mutex mutex;  // guards everything below
  std::condition_variable changed;

  fake::Entries<ReceivedRequest> requests;
  fake::Entries<SentResponse> responses;
  fake::Entries<SentEvent> events;
  fake::Entries<StateChange> states;
  std::vector<std::string> trouble;
  std::map<DbufCookie, displif::Directory> directories;
  std::vector<std::optional<displif::ConnectorTransport>> transports;

  Model model;
  BackendFaults faults;
  std::optional<bus::State> frontend_state;
  std::optional<bus::State> backend_state;
  bool frontend_known = false;  // the frontend's state was read at least once
  bool serving = false;
  bool connected = false;
  unsigned connections = 0;
  unsigned protocol = 1;
  std::string ended;  // why the service cannot go on; empty while it can

  // Leaves what the entries are about. With `mutex` held.
  void forget();
  // One line: what was seen last. With `mutex` held.
  std::string last_seen() const;
};

// "request 12: SET_CONFIG id 3 on connector 0, status 0"
std::string describe(const ReceivedRequest& request);

}  // namespace displif_cts::fake_backend
