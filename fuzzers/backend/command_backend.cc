#include "fuzzers/backend/command_backend.h"

#include <fmt/format.h>
#include <poll.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <regex>
#include <sstream>
#include <thread>

#include "fuzzers/backend/finding.h"
#include "fuzzers/backend/peer_coverage.h"
#include "harness/bus/state.h"

namespace displif_cts::fuzz_backend {
namespace {

using bus::State;
using std::chrono::milliseconds;
using namespace std::chrono_literals;

constexpr std::chrono::seconds kReady = 10s;
constexpr std::chrono::seconds kConnects = 5s;
// No limit is shorter, whatever the descriptor says: how quick a backend is the cases judge, and a
// sanitizer takes its time for a report, after which there is no answer.
constexpr milliseconds kLeast = 3000ms;
constexpr milliseconds kEnds = 3000ms, kEndsSoon = 500ms;
constexpr unsigned kSpins = 400;          // looks before a wait gives the processor away
constexpr std::size_t kLastWords = 4096;  // octets that are shown of what it said
constexpr milliseconds kLookAt = 5ms;  // how often a wait looks whether the backend is still there

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool has_word(const std::string& list, std::string_view word) {
  std::istringstream words(list);
  for (std::string each; std::getline(words, each, ',');) {
    if (each == word) return true;
  }
  return false;
}

std::string last_line(const std::string& text) {
  std::istringstream lines(text);
  std::string last = "it has said nothing";
  for (std::string line; std::getline(lines, line);) {
    if (!line.empty()) last = line;
  }
  return last.substr(0, 300);
}

}  // namespace

CommandBackend::CommandBackend() {
  const std::string capabilities = variable("DISPLIF_FUZZ_CAPABILITIES");
  be_alloc_ = has_word(capabilities, "be-alloc");
  edid_ = has_word(capabilities, "edid");
  unsigned response = 0, event = 0, removal = 0;
  if (std::sscanf(variable("DISPLIF_FUZZ_TIMES").c_str(), "%u,%u,%u", &response, &event,
                  &removal) == 3) {
    response_ = std::max(kLeast, milliseconds(response));
    event_ = std::max(kLeast, milliseconds(event));
    removal_ = std::max(kLeast, milliseconds(removal));
  }
  start();
}

CommandBackend::~CommandBackend() {
  program_.reset();
  close_frontend();
  device_.reset();
}

void CommandBackend::start() {
  Program::Environment environment = host_->environment(kBackend);
  const std::string before = variable("LD_LIBRARY_PATH");
  environment.emplace_back(
      "LD_LIBRARY_PATH", variable("DISPLIF_FUZZ_LIBRARIES") + (before.empty() ? "" : ":" + before));
  if (const PeerCoverage* coverage = PeerCoverage::asked_for())
    std::ranges::copy(coverage->environment(), std::back_inserter(environment));
  const std::string command = variable("DISPLIF_FUZZ_COMMAND");
  if (command.empty()) throw NotStarted("there is no command: DISPLIF_FUZZ_COMMAND is not set");
  program_ = std::make_unique<Program>(command, environment, folder_ + "/output");
  await_ready();
  bus::DeviceConfig config;
  config.frontend = kFrontend;
  config.backend = kBackend;
  config.dev_id = kDevice;
  config.be_alloc = be_alloc_;
  config.libxl_record = false;
  config.connectors.clear();
  for (std::size_t i = 0; i < kConnectors; ++i)
    config.connectors.push_back({kResolution, std::to_string(i)});
  device_ = std::make_unique<bus::DeviceInstance>(std::move(config));
}

void CommandBackend::await_ready() {
  const std::string pattern = variable("DISPLIF_FUZZ_READY");
  const auto started = xen::Clock::now();
  const std::regex ready(pattern);
  for (;; std::this_thread::sleep_for(2ms)) {
    if (const auto how = program_->ended())
      throw NotStarted(fmt::format("it ended by {} before it was ready: {}", *how,
                                   last_line(program_->output())));
    const auto waited = xen::Clock::now() - started;
    if (pattern.empty() && waited > 100ms) return;
    std::istringstream lines(program_->output());
    for (std::string line; !pattern.empty() && std::getline(lines, line);) {
      if (std::regex_search(line, ready)) return;
    }
    if (waited > kReady)
      throw NotStarted(fmt::format("it did not say that it is ready (/{}/): {}", pattern,
                                   last_line(program_->output())));
  }
}

fake_backend::ModelOptions CommandBackend::model_options() const {
  fake_backend::ModelOptions model;
  for (std::size_t i = 0; i < kConnectors; ++i) {
    model.connectors.push_back(kResolution);
    model.has_edid.push_back(edid_);
  }
  model.be_alloc = be_alloc_;
  return model;
}

// --- the bus

std::string CommandBackend::backend_state() const {
  return store_->read(paths_.backend + "/state").value_or("");
}

bool CommandBackend::await_state(std::initializer_list<State> wanted) {
  const auto until = xen::in(kConnects);
  while (xen::Clock::now() < until && !program_->ended()) {
    const auto state = bus::parse_state(backend_state());
    if (state && std::ranges::find(wanted, *state) != wanted.end()) return true;
    std::this_thread::sleep_for(1ms);
  }
  return false;
}

void CommandBackend::connect() {
  const auto fail = [&](std::string_view requirement, std::string_view what) {
    const std::string text = fmt::format("{}: {}", what, trouble());
    if (connections_ == 0) throw NotStarted(text);
    if (const std::string how = ended(); !how.empty())
      finding("ended-" + how + "-in-connecting", text);
    finding(requirement, text);
  };
  if (connections_ > 0) write_state(bus::print(State::initialising));
  if (!await_state({State::init_wait}))
    fail("bus.backend-recovers-to-init-wait", "the backend does not reach InitWait");
  const std::string versions =
      store_->read(paths_.backend + "/" + std::string(displif::node::kVersions)).value_or("1");
  protocol_ = has_word(versions, "2") ? 2 : 1;
  publish_transport();
  write_node(displif::node::kVersion, std::to_string(protocol_));
  write_state(bus::print(State::initialised));
  if (!await_state({State::connected}))
    fail("bus.backend-reconnects", "the backend does not connect");
  settle(true);
  write_state(bus::print(State::connected));
  if (PeerCoverage* coverage = PeerCoverage::asked_for()) {
    if (connections_ == 0 && !coverage->anything())
      throw NotStarted("it writes nothing into AFL++'s map");
    coverage->clear();
  }
  connected_ = true;
  ++connections_;
}

bool CommandBackend::disconnect() {
  write_state(bus::print(State::closed));
  const bool closed = await_state({State::closed, State::init_wait, State::initialising});
  connected_ = false;
  return closed;
}

// --- what becomes of it

// A handler of its own may still be at work, on a fault for instance, when the connection is over.
std::string CommandBackend::ended(bool soon) {
  const auto until = xen::in(connected_ ? 0ms : soon ? kEndsSoon : kEnds);
  while (!program_->ended() && xen::Clock::now() < until) std::this_thread::sleep_for(5ms);
  return program_->ended().value_or("");
}

// Why it has ended, or let the connection go, it says itself, before.
void CommandBackend::tell_last_words(const std::string& output) {
  std::size_t from = output.size() > kLastWords ? output.find('\n', output.size() - kLastWords) : 0;
  if (from == std::string::npos) from = output.size() - kLastWords;
  std::istringstream lines(output.substr(from));
  for (std::string line; std::getline(lines, line);)
    std::fprintf(stderr, "peer: %s\n", line.c_str());
}

std::string CommandBackend::trouble() const {
  const std::string output = program_->output();
  // For lab/fuzz/findings.py: a sanitizer's report is the finding.
  if (output.find("Sanitizer") != std::string::npos ||
      output.find("runtime error: ") != std::string::npos)
    std::fprintf(stderr, "%s\n", output.c_str());
  else
    tell_last_words(output);
  return fmt::format("state {}; {}", backend_state(), last_line(output));
}

bool CommandBackend::look() {
  if (program_->ended() || bus::parse_state(backend_state()) != State::connected)
    connected_ = false;
  return connected_;
}

void CommandBackend::forget() {
  look();
  program_->trim_output();
}

bool CommandBackend::wait(Waiting& waiting, milliseconds most) {
  const auto limit = xen::in(most);
  const bool was_connected = connected_;  // if not, it is waited for what the end of it brings
  auto look_at = xen::in(kLookAt);
  for (unsigned round = 0;; ++round) {
    waiting.tick();
    if (waiting.settled()) return true;
    if (round < kSpins) {
      sched_yield();
      continue;
    }
    // What is waited for comes with a notification as a rule, yet an attacker's indices may have
    // told the backend that none is wanted.
    pollfd fired{channels_->fd(), POLLIN, 0};
    if (poll(&fired, 1, 1) == 1) {
      if (const auto port = channels_->take()) channels_->unmask(*port);
    }
    const auto now = xen::Clock::now();
    if (now >= look_at && was_connected && !look()) return false;
    if (now >= look_at) look_at = now + kLookAt;
    if (now >= limit) return false;
  }
}

void CommandBackend::run(Waiting& waiting) { wait(waiting, response_); }

bool CommandBackend::await(Waiting& waiting) { return wait(waiting, std::max(event_, removal_)); }

}  // namespace displif_cts::fuzz_backend
