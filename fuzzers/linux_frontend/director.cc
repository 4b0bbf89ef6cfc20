#include "fuzzers/linux_frontend/director.h"

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <string>

#include "fuzzers/input/codec.h"
#include "fuzzers/linux_frontend/backend.h"
#include "fuzzers/linux_frontend/programs.h"
#include "fuzzers/linux_frontend/shim/drm_model.h"
#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"
#include "fuzzers/linux_frontend/shim/text.h"

namespace displif_cts::linux_frontend {
namespace {

using fuzz::Action;
using fuzz::Kind;
using shim::Known;
using shim::masked;

constexpr std::uint64_t kMostTime = 20'000;  // ms that one action lets pass
constexpr int kRounds = 3000;                // more waits than an execution can have
constexpr int kMostRemovals = 4;             // of one execution: each can wait a hundred times

const fuzz::Input* g_input = nullptr;
std::size_t g_next = 0;
bool g_serving = false;
bool g_events = true;
int g_removals = 0;

bool idle_hook() { return g_serving && serve(g_events); }

// Time passes until nobody waits any more.
void settle() {
  for (int round = 0; round < kRounds; ++round) {
    shim::run_tasks();
    if (shim::all_idle()) return;
    const std::uint64_t next = shim::until_next();
    if (next == shim::kNever) return;
    shim::advance(next);
  }
}

// As when a mask makes the input wait: its interleaving point is past then, if there was anything
// to wait for.
void settle(bool (*busy)()) {
  if (!busy()) return;
  shim::interrupt_after(0);
  for (int round = 0; round < kRounds && busy(); ++round) {
    shim::run_tasks();
    const std::uint64_t next = shim::until_next();
    if (next == shim::kNever) return;
    shim::advance(next);
  }
}

void settle_clients() { settle(shim::any_client_waits); }

shim::Path connector_node(unsigned connector, const char* node) {
  return shim::below(shim::below(shim::kFrontendPath, connector), node);
}

int read_number(const char* text, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int found = shim::scan_text(text, format, arguments);
  va_end(arguments);
  return found;
}

// As the driver counts them.
int connectors_in_store() {
  unsigned count = 0;
  for (; count < kConnectors; ++count) {
    const char* text = shim::store_read(connector_node(count, "resolution"));
    int width = 0;
    if (text == nullptr || read_number(text, "%d", &width) != 1) break;
  }
  return static_cast<int>(count);
}

bool held() { return anything_held() || shim::any_exported(); }

void let_go() {
  settle_clients();
  close_files();
  settle_clients();
  if (shim::any_exported()) {
    drop_exported();
    settle_clients();
  }
  settle(shim::any_work);  // a commit that waits for the one before it holds framebuffers
}

// The driver is about to read its configuration. False: not now.
bool config_hook() {
  const bool old_device = held() || shim::newest_drm_device() != nullptr;
  return !old_device || connectors_in_store() == shim::configured_connectors() ||
         !masked(Known::reconnect_with_other_connectors);
}

void write_state(std::uint32_t state) {
  const bool ends = state <= XenbusStateInitWait || state == XenbusStateClosed;
  if (ends && masked(Known::close_while_waiting)) settle_clients();
  shim::store_write(shim::kBackendState, state);
  shim::backend_state_written();
}

void write_store(const Action& action) {
  using F = fuzz::Store;
  const auto node = static_cast<fuzz::NodeName>(action.values[F::node] % 8);
  const auto connector = static_cast<unsigned>(action.values[F::connector] % kConnectors);
  shim::Path path{};
  switch (node) {
    case fuzz::NodeName::resolution:
    case fuzz::NodeName::connector:
      if (!shim::is_idle(shim::Thread::xenwatch) && masked(Known::reconnect_with_other_connectors))
        return;
      path = connector_node(connector, "resolution");
      break;
    case fuzz::NodeName::be_alloc:
      path = shim::below(shim::kFrontendPath, "be-alloc");
      break;
    case fuzz::NodeName::versions:
      path = shim::below(shim::path_of(shim::kBackend), "versions");
      break;
    case fuzz::NodeName::backend_state: {
      unsigned state = 0;
      if (read_number(action.text.c_str(), "%u", &state) == 1) write_state(state);
      return;
    }
    case fuzz::NodeName::unique_id:
      path = connector_node(connector, "unique-id");
      break;
    case fuzz::NodeName::backend_id:
      path = shim::below(shim::kFrontendPath, "backend-id");
      break;
    default:  // nobody reads an EDID; the others are a frontend's
      return;
  }
  if (action.values[F::remove] != 0 || node == fuzz::NodeName::connector) {
    shim::store_remove(path);
  } else {
    shim::store_write(path, action.text);
  }
}

void change_device(fuzz::DeviceEvent what) {
  if (what != fuzz::DeviceEvent::probe && ++g_removals > kMostRemovals) return;
  if (masked(Known::close_while_waiting)) settle_clients();
  if (masked(Known::removed_while_held) && what != fuzz::DeviceEvent::probe) let_go();
  switch (what) {
    case fuzz::DeviceEvent::remove:
      shim::unplug_device();
      break;
    case fuzz::DeviceEvent::probe:
      shim::plug_device();
      break;
    case fuzz::DeviceEvent::module:
      shim::unbind_device();
      break;
  }
}

void perform(const Action& action) {
  switch (action.kind) {
    case Kind::bus:
      write_state(static_cast<std::uint32_t>(action.values[fuzz::Bus::state]));
      break;
    case Kind::response:
      respond(action);
      break;
    case Kind::event:
      send_event(action);
      break;
    case Kind::index:
      set_index(action);
      break;
    case Kind::poke:
      poke(action);
      break;
    case Kind::directory:
      fill_directory(action);
      break;
    case Kind::hold:
      hold(action);
      break;
    case Kind::store:
      write_store(action);
      break;
    case Kind::time:
      shim::advance(std::min(action.values[fuzz::Time::ms], kMostTime));
      break;
    case Kind::serve:
      g_serving = action.values[fuzz::Serve::on] != 0;
      g_events = action.values[fuzz::Serve::events] != 0;
      break;
    case Kind::client:
      if (shim::device_goes() && masked(Known::removed_while_held)) break;
      if (shim::device_disconnects() && masked(Known::close_while_waiting)) break;
      call(action);
      break;
    case Kind::fail:
      shim::fail_after(static_cast<shim::Failure>(action.values[fuzz::Fail::what] %
                                                  static_cast<unsigned>(shim::Failure::count)),
                       static_cast<std::uint32_t>(action.values[fuzz::Fail::after]),
                       static_cast<std::uint32_t>(
                           std::min<std::uint64_t>(action.values[fuzz::Fail::count], 32)));
      break;
    case Kind::device:
      change_device(static_cast<fuzz::DeviceEvent>(action.values[fuzz::Device::what] % 3));
      break;
    case Kind::edid:     // this driver never asks for one
    case Kind::fault:    // said in actions instead, see input/idioms.cc
    case Kind::request:  // a backend sends none
    case Kind::interleave:
      break;
  }
}

void print_action(const Action& action) {
  if (!shim::g_verbose) return;
  const std::string text = fuzz::print({action});
  std::fprintf(stderr, "-- %s", text.c_str() + text.find('\n') + 1);
}

// In the middle of what cannot be interrupted: only shared memory changes.
void memory_hook() {
  while (g_next < g_input->size() && only_memory((*g_input)[g_next])) {
    print_action((*g_input)[g_next]);
    perform((*g_input)[g_next++]);
  }
}

void begin() {
  shim::g_memory_hook = memory_hook;
  shim::g_idle_hook = idle_hook;
  shim::g_config_hook = config_hook;
  g_serving = false;
  g_events = true;
  g_removals = 0;
  shim::scheduler_begin();
  shim::failures_begin();
  shim::memory_begin();
  shim::grants_begin();
  shim::interrupts_begin();
  shim::store_begin();
  shim::bus_begin();
  shim::drm_begin();
  backend_begin();
  programs_begin();
  shim_module_init();
  shim::run_tasks();
}

// Politely, so that what is left over is the driver's doing.
void finish() {
  g_serving = g_events = true;
  shim::interrupt_after(0);
  shim::failures_begin();
  settle();
  let_go();
  write_state(XenbusStateClosed);
  settle();
  shim::unplug_device();
  shim::store_write(shim::kBackendState, "2");  // what the driver's remove() waits for
  settle();
  // An unbinding that was still under way has bound the driver again.
  if (shim::bus_device() != nullptr) shim::unplug_device();
  settle();
  shim_module_exit();
  release_all();
  shim::scheduler_end();
  shim::drm_end();
  shim::interrupts_end();
  shim::grants_end();
  shim::memory_end();
}

}  // namespace

void play(const fuzz::Input& input) {
  g_input = &input;
  begin();
  for (g_next = 0; g_next < input.size();) {
    const Action& action = input[g_next++];
    print_action(action);
    if (action.kind == Kind::interleave) {
      shim::interrupt_after(static_cast<std::uint32_t>(action.values[fuzz::Interleave::points]) +
                            1);
      continue;
    }
    perform(action);
    shim::run_tasks();
  }
  finish();
}

}  // namespace displif_cts::linux_frontend
