#include "fuzzers/guest/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "fuzzers/input/codec.h"

namespace displif_cts::fuzz_guest {
namespace {

using bus::State;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kMostTime{8000};  // that a session lets pass by `time`
constexpr milliseconds kStill{20};       // between two signs of life
constexpr int kManyLives = 100;          // for what is certain to come
constexpr int kLives = 12;               // without a move: everybody waits for what comes next
constexpr milliseconds kSilence{1000};   // after which the guest is asked whether it lives
constexpr milliseconds kTurn{2};
constexpr milliseconds kFinish{9000};            // more than two limits of the driver's own
constexpr std::chrono::microseconds kPoint{50};  // a point of interleaving
constexpr int kMostRemovals = 4;

std::string text_of(const fuzz::Action& action) {
  const std::string text = fuzz::print({action});
  const std::size_t line = text.find('\n') + 1;
  return text.substr(line, text.size() - line - 1);
}

bool ends(std::uint32_t state) {
  return state <= static_cast<std::uint32_t>(State::init_wait) ||
         state == static_cast<std::uint32_t>(State::closed);
}

}  // namespace

Session::Session(const Place& place, const Masks& masks, trace::Recorder& recorder)
    : place_(place),
      masks_(masks),
      recorder_(recorder),
      attacker_(place.frontend, place.device, masks_, recorder),
      programs_(place.agent, masks_, recorder),
      time_left_(kMostTime) {}

void Session::play(const fuzz::Input& input) {
  bool interleaved = false;
  std::chrono::microseconds soon{};  // that the action after an interleaved one follows it
  for (const fuzz::Action& action : input) {
    if (programs_.silent()) break;
    recorder_.log("-- " + text_of(action));
    if (action.kind == fuzz::Kind::interleave) {
      interleaved = true;
      soon = kPoint * action.values[fuzz::Interleave::points];
      continue;
    }
    settle_as_masked(action);
    perform(action);
    if (interleaved) {
      interleaved = false;
      std::this_thread::sleep_for(soon);
      continue;
    }
    if (action.kind == fuzz::Kind::bus) await_reaction();
    // An interrupt has been handled before the guest gives a sign of life.
    if (action.kind == fuzz::Kind::index) programs_.look_for_life();
    settle();
  }
  finish();
}

void Session::perform(const fuzz::Action& action) {
  switch (action.kind) {
    case fuzz::Kind::client:
      programs_.call(action);
      break;
    case fuzz::Kind::serve:
      serving_ = action.values[fuzz::Serve::on] != 0;
      events_ = action.values[fuzz::Serve::events] != 0;
      break;
    case fuzz::Kind::time:
      pass(milliseconds(action.values[fuzz::Time::ms]));
      break;
    case fuzz::Kind::device:
      change_device(static_cast<fuzz::DeviceEvent>(action.values[fuzz::Device::what] % 3));
      break;
    default:
      attacker_.perform(action);
      break;
  }
}

// What a masked finding needs does not happen.
void Session::settle_as_masked(const fuzz::Action& action) {
  const bool closes =
      (action.kind == fuzz::Kind::bus &&
       ends(static_cast<std::uint32_t>(action.values[fuzz::Bus::state]))) ||
      (action.kind == fuzz::Kind::device &&
       action.values[fuzz::Device::what] % 3 != static_cast<unsigned>(fuzz::DeviceEvent::probe));
  if (closes && masks_[Known::channels_leak]) connect_first();
  if (closes && masks_[Known::close_while_waiting]) settle_clients();
  const bool goes = closes && action.kind == fuzz::Kind::device;
  if (goes && masks_[Known::removed_while_held] && programs_.any_open()) close_files();
  const bool other_connectors =
      action.kind == fuzz::Kind::store &&
      (action.values[fuzz::Store::node] == static_cast<unsigned>(fuzz::NodeName::resolution) ||
       action.values[fuzz::Store::node] == static_cast<unsigned>(fuzz::NodeName::connector));
  if (other_connectors && masks_[Known::reconnect_with_other_connectors] && programs_.any_open()) {
    settle_clients();
    close_files();
  }
}

// A frontend that has channels and is not Connected loses them when its backend closes.
void Session::connect_first() {
  if (attacker_.frontend_state() != State::initialised) return;
  attacker_.write_state(static_cast<std::uint32_t>(State::connected));
  await_reaction();
}

void Session::change_device(fuzz::DeviceEvent what) {
  if (what != fuzz::DeviceEvent::probe && ++removals_ > kMostRemovals) return;
  switch (what) {
    case fuzz::DeviceEvent::remove:
      attacker_.unplug();
      pass(milliseconds(50));
      break;
    case fuzz::DeviceEvent::probe:
      attacker_.plug();
      pass(milliseconds(50));
      break;
    case fuzz::DeviceEvent::module:
      programs_.rebind(fmt::format("vdispl-{}", place_.device));
      break;
  }
}

// --- time ----------------------------------------------------------------------------------------

// Whether anything moved.
bool Session::turn(milliseconds most) {
  bool moved = attacker_.look(most);
  if (serving_ && attacker_.serve(events_)) moved = true;
  if (programs_.take_answers()) moved = true;
  return moved;
}

// Until `done`, or until the guest has had ample time to move and has not. How long that is depends
// on how busy the machine is, so it is counted in signs of life that the guest gave meanwhile.
void Session::wait_while_moving(const std::function<bool()>& done, int most) {
  int lives = 0;
  auto last = Clock::now();
  while (!done() && !programs_.silent()) {
    if (turn(kTurn)) lives = 0;
    if (lives == 0 || Clock::now() - last >= kStill) {
      if (lives++ == most) return;
      if (lives > 1) programs_.look_for_life();
      last = Clock::now();
    }
  }
}

// Until no program is at a call, or all that are wait for what only the next action brings.
void Session::settle() {
  wait_while_moving(
      [&] {
        // A request in a ring, and nobody to answer it, is worth no more waiting.
        return programs_.idle() || (!serving_ && attacker_.answers_wait());
      },
      kLives);
  turn(milliseconds(0));
}

// Until no program is at a call, however long it waits.
void Session::settle_clients() {
  const auto limit = Clock::now() + kFinish;
  auto last = Clock::now();
  while (!programs_.idle() && !programs_.silent() && Clock::now() < limit) {
    if (!turn(kTurn) && Clock::now() - last < kSilence) continue;
    if (Clock::now() - last >= kSilence) programs_.look_for_life();
    last = Clock::now();
  }
}

// Closing asks the backend for as much as showing did.
void Session::close_files() {
  programs_.close_all();
  const bool served = serving_;
  serving_ = true;
  settle_clients();
  serving_ = served;
}

void Session::pass(milliseconds time) {
  time = std::min(time, time_left_);
  time_left_ -= time;
  const auto limit = Clock::now() + time;
  do turn(kTurn);
  while (Clock::now() < limit);
}

// What the frontend does about a state that we have written, if it is to do anything.
void Session::await_reaction() {
  const auto own = attacker_.own_state();
  const auto reacted = [&] {
    const auto state = attacker_.frontend_state();
    if (own == State::init_wait) return state == State::initialised;
    if (own == State::connected) return state != State::initialised;
    return state != State::connected && state != State::initialised;
  };
  // What a frontend does in any case, however slow the machine is.
  const State before = attacker_.frontend_state().value_or(State::initialising);
  const bool certain = (own == State::init_wait && before != State::connected) ||
                       (own == State::connected && before == State::initialised) ||
                       (own == State::closed && before == State::connected);
  wait_while_moving(reacted, certain ? kManyLives : kLives);
}

// Politely, so that what is left over is the driver's doing.
void Session::finish() {
  recorder_.log("-- the session ends");
  serving_ = events_ = true;
  programs_.look_for_life();  // what was notified last has been handled then
  turn(milliseconds(0));
  attacker_.make_good(!programs_.idle());
  settle_clients();
  close_files();
  stuck_ = programs_.stuck();
  if (masks_[Known::channels_leak]) connect_first();
  attacker_.let_go();
  attacker_.unplug();
  const std::string& path = attacker_.paths().frontend;
  programs_.await_no_device(path.substr(path.find("device/")), place_.removal);
  attacker_.discard();
}

Json Session::counts() const {
  const Attacker::Counts& counts = attacker_.counts();
  return Json{{"requests", counts.requests},
              {"responses", counts.responses},
              {"events", counts.events},
              {"calls", programs_.calls()}};
}

}  // namespace displif_cts::fuzz_guest
