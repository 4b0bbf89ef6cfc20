// One session: a fuzz input (fuzzers/input) played against a frontend in a real guest, by a backend
// that attacks (attacker.h) and the guest's programs (programs.h), and tidied up politely, so that
// what is left over is the driver's doing.
//
// What is the same as in user space (fuzzers/linux_frontend/README.md): what each action means, and
// that the next one comes when nobody moves any more. What is not: time is real; an `interleave`
// says how soon the next action follows, not at which call of the kernel; allocations cannot be
// made to fail (`fail` is passed over), nor are there importers and exporters of other drivers.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "fuzzers/guest/attacker.h"
#include "fuzzers/guest/masks.h"
#include "fuzzers/guest/programs.h"
#include "fuzzers/input/action.h"
#include "harness/trace/recorder.h"

namespace displif_cts::fuzz_guest {

struct Place {
  std::filesystem::path agent;  // socket of displif-cts-agent
  xen::DomId frontend{};
  std::uint16_t device = 0;
  std::chrono::milliseconds removal{1000};  // that the peer may take to let go
};

class Session {
 public:
  Session(const Place& place, const Masks& masks, trace::Recorder& recorder);

  // Plays it all, and tidies up.
  void play(const fuzz::Input& input);

  // Calls of programs that have not returned, though nothing stood against them any more.
  const std::vector<std::string>& stuck() const { return stuck_; }
  // The guest has stopped answering.
  bool lost() const { return programs_.silent(); }
  // Messages and calls, for the record of the session.
  Json counts() const;

 private:
  void perform(const fuzz::Action& action);
  void change_device(fuzz::DeviceEvent what);
  void settle_as_masked(const fuzz::Action& action);
  void connect_first();
  void settle();
  void settle_clients();
  void wait_while_moving(const std::function<bool()>& done, int most);
  void close_files();
  bool turn(std::chrono::milliseconds most);
  void await_reaction();
  void pass(std::chrono::milliseconds time);
  void finish();

  const Place place_;
  const Masks masks_;
  trace::Recorder& recorder_;
  Attacker attacker_;
  Programs programs_;
  bool serving_ = false;
  bool events_ = true;
  std::chrono::milliseconds time_left_;
  int removals_ = 0;
  std::vector<std::string> stuck_;
};

}  // namespace displif_cts::fuzz_guest
