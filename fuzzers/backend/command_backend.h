// Somebody's backend as the one under attack: a program in domain 0 that nothing was done to, on
// loopback's machine in this process. The environment says of it (lab/fuzz/outside.py):
//   DISPLIF_FUZZ_COMMAND       for the shell
//   DISPLIF_FUZZ_READY         a regular expression for the line that it says when it is ready;
//   none:
//                              a tenth of a second after its start
//   DISPLIF_FUZZ_LIBRARIES     where the replacements of Xen's libraries are
//   DISPLIF_FUZZ_CAPABILITIES  of its descriptor, with commas
//   DISPLIF_FUZZ_PEER_COVERAGE  set: it has AFL++'s instrumentation (peer_coverage.h)
//   DISPLIF_FUZZ_TIMES         ms for a response, a flip's event, a removal, with commas
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "fuzzers/backend/machine.h"
#include "fuzzers/backend/program.h"
#include "harness/bus/device.h"

namespace displif_cts::fuzz_backend {

// It does not come as far as to be attacked.
class NotStarted : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

class CommandBackend final : public Machine {
 public:
  // The program is ready, and the device is there. Throws NotStarted.
  CommandBackend();
  ~CommandBackend() override;

  // The first time throws NotStarted; later, what goes wrong is a finding.
  void connect() override;
  bool disconnect() override;
  bool connected() const override { return connected_; }
  unsigned connections() const override { return connections_; }
  std::string trouble() const override;
  std::string ended(bool soon = false) override;
  void run(Waiting& waiting) override;
  bool await(Waiting& waiting) override;
  void hear_of(std::string_view /*node*/) override {}
  void forget() override;
  bool runs_when_told() const override { return false; }
  fake_backend::ModelOptions model_options() const override;
  unsigned protocol() const override { return protocol_; }

 private:
  void start();
  void await_ready();
  static void tell_last_words(const std::string& output);
  bool wait(Waiting& waiting, std::chrono::milliseconds most);
  std::string backend_state() const;
  bool await_state(std::initializer_list<bus::State> wanted);
  // False: the program has ended, or its state is no longer Connected.
  bool look();

  std::chrono::milliseconds response_{3000}, event_{3000}, removal_{3000};
  std::unique_ptr<bus::DeviceInstance> device_;
  std::unique_ptr<Program> program_;
  bool be_alloc_ = false;
  bool edid_ = false;
  unsigned protocol_ = 1;
  bool connected_ = false;
  unsigned connections_ = 0;
};

}  // namespace displif_cts::fuzz_backend
