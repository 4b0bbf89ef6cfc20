#include "cases/support/tool_stack.h"

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <thread>

#include "harness/agent/client.h"
#include "harness/agent/devices.h"

namespace displif_cts::cases {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLook{5};  // between two looks at a node
// For the agent's own way beyond what it waits for.
constexpr milliseconds kAnswer = std::chrono::seconds(60);

xen::Store open_tool_stack_store() {
  const char* control = std::getenv("DISPLIF_CTS_CONTROL_STORE");
  if (control == nullptr) return xen::Store::open();
  // XENSTORED_PATH holds for the connection that is opened while it stands, and for no other.
  struct Restore {
    std::optional<std::string> own;
    ~Restore() {
      if (own) {
        setenv("XENSTORED_PATH", own->c_str(), 1);
      } else {
        unsetenv("XENSTORED_PATH");
      }
    }
  } restore;
  if (const char* own = std::getenv("XENSTORED_PATH")) restore.own = own;
  setenv("XENSTORED_PATH", control, 1);
  return xen::Store::open();
}

agent::Args paths_as_arguments(const bus::DevicePaths& paths) {
  return {{"frontend", paths.frontend}, {"libxl", paths.libxl}, {"backend", paths.backend}};
}

bool carries_out(const std::set<std::string>& verbs) {
  const auto known = [&](const char* verb) { return verbs.contains(verb); };
  return known("device-add") && known("device-begin-removal") && known("device-destroy") &&
         known("await-state");
}

}  // namespace

ToolStack::ToolStack(agent::Client* agent, const std::set<std::string>& verbs)
    : agent_(carries_out(verbs) ? agent : nullptr), store_(open_tool_stack_store()) {}

void ToolStack::create_device(const bus::DeviceConfig& config) {
  if (agent_ == nullptr) {
    bus::create_device(store_, config);
  } else {
    agent_->call("device-add", {{"device", agent::format_creation(bus::compose_creation(config))}});
  }
}

bool ToolStack::begin_removal(const bus::DevicePaths& paths, bus::RemoveOrder order) {
  if (agent_ == nullptr) return bus::begin_removal(store_, paths, order);
  agent::Args args = paths_as_arguments(paths);
  args.emplace_back("forced", order == bus::RemoveOrder::forced ? "1" : "0");
  return agent_->call("device-begin-removal", args).value("present", false);
}

void ToolStack::destroy_device(const bus::DevicePaths& paths) {
  if (agent_ == nullptr) {
    bus::destroy_device(store_, paths);
  } else {
    agent_->call("device-destroy", paths_as_arguments(paths));
  }
}

ToolStack::Arrival ToolStack::await_state(const std::string& path,
                                          std::initializer_list<bus::State> states, bool gone,
                                          xen::Deadline deadline) {
  if (agent_ == nullptr) {
    for (;;) {
      const std::optional<std::string> text = store_.read(path);
      const auto state = text ? bus::parse_state(*text) : std::nullopt;
      const bool there = state && std::find(states.begin(), states.end(), *state) != states.end();
      const bool reached = there || (!text && gone);
      if (reached || xen::Clock::now() >= deadline) return {reached, text};
      std::this_thread::sleep_for(kLook);
    }
  }
  const auto left =
      std::chrono::duration_cast<milliseconds>(std::max(deadline - xen::Clock::now(), {}));
  std::string wanted;
  for (const bus::State state : states) wanted += bus::print(state);
  const Json answer = agent_->call("await-state",
                                   {{"path", path},
                                    {"states", wanted},
                                    {"gone", gone ? "1" : "0"},
                                    {"timeout_ms", std::to_string(left.count())}},
                                   left + kAnswer);
  Arrival arrival{answer.value("reached", false), std::nullopt};
  if (const auto text = answer.find("value"); text != answer.end() && text->is_string())
    arrival.text = text->get<std::string>();
  return arrival;
}

}  // namespace displif_cts::cases
