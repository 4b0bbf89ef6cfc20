// Several guests on one backend: what one does, or dies of, is nothing to another.
#include <fmt/format.h>

#include "cases/support/backend_case.h"
#include "cases/support/neighbour.h"
#include "cases/support/tool_stack.h"

namespace displif_cts::cases::backend_guests {
namespace {

using bus::State;

// The other guest's device, as the tool stack makes and takes it.
class NeighbourDevice {
 public:
  explicit NeighbourDevice(xen::DomId backend, bool be_alloc = false) : tools_(nullptr, {}) {
    bus::DeviceConfig config;
    config.frontend = Neighbour::domain();
    config.backend = backend;
    config.be_alloc = be_alloc;
    config.connectors = {connector_of(320, 240, 0)};
    paths_ = bus::device_paths(config.frontend, backend, config.dev_id);
    tools_.create_device(config);
  }
  ~NeighbourDevice() {
    try {
      remove(bus::RemoveOrder::forced, xen::in(seconds(1)));
    } catch (const std::exception&) {  // the case has its verdict
    }
  }
  NeighbourDevice(const NeighbourDevice&) = delete;
  NeighbourDevice& operator=(const NeighbourDevice&) = delete;

  // Whether the frontend's state became `state`.
  bool await_frontend(State state, Deadline deadline) {
    return tools_.await_state(paths_.frontend + "/state", {state}, false, deadline).reached;
  }

  // Whether the backend has taken notice of the device. One that is asked to let go before that
  // may write its first state over the request, which says nothing about a guest's death.
  bool await_backend(Deadline deadline) {
    return tools_
        .await_state(paths_.backend + "/state",
                     {State::init_wait, State::initialised, State::connected}, false, deadline)
        .reached;
  }

  // Whether the backend closed in time; the nodes are gone then in any case.
  bool remove(bus::RemoveOrder order, Deadline deadline) {
    if (removed_) return true;
    removed_ = true;
    const bool closed =
        !tools_.begin_removal(paths_, order) ||
        tools_.await_state(paths_.backend + "/state", {State::closed}, true, deadline).reached;
    tools_.destroy_device(paths_);
    return closed;
  }

 private:
  ToolStack tools_;
  bus::DevicePaths paths_;
  bool removed_ = false;
};

BACKEND_CASE(TwoAtOnce,
             {.id = "backend.guests.two-at-once",
              .title = "Two guests use the backend at the same time, with the same cookies: both "
                       "are served, and the end of one leaves the other.",
              .requirements = of(req::backend_guests_kept_apart)}) {
  SKIP_IF(Neighbour::lacking());
  const Requirement& apart = req::backend_guests_kept_apart;
  FakeFrontend& mine = connect();
  const Picture picture = show_picture(mine);
  NeighbourDevice device(backend_domain());
  constexpr unsigned kFlips = 20;
  Neighbour neighbour(0, {"--flips", std::to_string(kFlips), "--interval", "2"});
  for (unsigned flip = 0; flip < kFlips; ++flip) {
    check_flip(apart, mine, 0, picture.fb, "a flip of the first guest");
  }
  const auto status = neighbour.await_end(xen::in(seconds(10)));
  check_timed(apart, status == 0, {"the second guest's pictures and flips succeed"},
              !status ? "it has not come to its end" : fmt::format("it ended with {}", *status));
  device.remove(bus::RemoveOrder::polite, removal_limit());
  const std::string trouble = use_once(mine);
  check(apart, trouble.empty(), {"the first guest is served when the second has gone"},
        trouble.empty() ? "it is" : trouble);
}

struct Death {
  std::string name;
  std::string when;
  std::vector<std::string> arguments;
  State state;        // of the frontend, awaited first
  std::string trace;  // awaited next; empty: nothing
  bool be_alloc = false;
};

std::vector<std::pair<CaseSpec, Death>> deaths() {
  const std::vector<std::string> alone{"--no-picture"};
  const std::vector<Death> all{
      {"initialising",
       "before it has a transport",
       {"--no-picture", "--fault", "frontend.omission.never-initialises"},
       State::initialising,
       ""},
      {"initialised",
       "while it waits for the backend",
       {"--no-picture", "--fault", "frontend.omission.never-connects"},
       State::initialised,
       ""},
      {"connected", "while connected and idle", alone, State::connected, ""},
      {"displaying",
       "while it shows a picture",
       {"--interval", "60000"},
       State::connected,
       "\"op\":\"SET_CONFIG\""},
      {"flipping",
       "in the midst of page flips",
       {"--interval", "1"},
       State::connected,
       "\"kind\":\"evt\""},
      {"be-alloc",
       "while it uses the backend's own pages",
       {"--be-alloc", "--interval", "60000"},
       State::connected,
       "\"op\":\"SET_CONFIG\"",
       true},
  };
  std::vector<std::pair<CaseSpec, Death>> list;
  for (const Death& death : all) {
    CaseSpec spec;
    spec.id = "backend.guests.destroyed." + death.name;
    spec.title = fmt::format(
        "A guest that is destroyed {} is taken away without a trace, and another one is served.",
        death.when);
    spec.requirements = of(req::backend_frontend_death_survived, req::backend_guests_kept_apart);
    if (death.be_alloc) spec.needs = {kBeAlloc};
    list.emplace_back(std::move(spec), death);
  }
  return list;
}

BACKEND_CASES(Destroyed, Death, deaths()) {
  SKIP_IF(Neighbour::lacking());
  FakeFrontend& mine = connect();
  const Picture picture = show_picture(mine);
  const auto ports_before = backend_ports();
  NeighbourDevice device(backend_domain(), param.be_alloc);
  Neighbour neighbour(0, param.arguments);
  const bool there = device.await_backend(soon()) && device.await_frontend(param.state, soon()) &&
                     (param.trace.empty() || neighbour.await_trace(param.trace, soon()));
  require(check_timed(req::backend_guests_kept_apart, there, {"a second guest gets as far as any"},
                      "it does not"));
  neighbour.kill();
  check_flip(req::backend_guests_kept_apart, mine, 0, picture.fb,
             "a flip while the dead guest's device is there");
  const bool closed = device.remove(bus::RemoveOrder::forced, removal_limit());
  check_timed(req::backend_frontend_death_survived, closed, {"the backend closes the device"},
              closed ? "it closes the device" : "it does not, within the limit for removal");
  if (ports_before) {
    const auto now = settle([this] { return backend_ports(); }, *ports_before, removal_limit());
    check_timed(req::backend_frontend_death_survived, now <= *ports_before,
                {fmt::format("at most {} event channels of the backend's", *ports_before)},
                std::to_string(now));
  }
  const std::string trouble = use_once(mine);
  check(req::backend_guests_kept_apart, trouble.empty(), {"the other guest is served"},
        trouble.empty() ? "it is" : trouble);
}

BACKEND_CASE(
    Exhaustion,
    {.id = "backend.guests.exhaustion",
     .title = "A guest makes as many buffers and framebuffers as it is allowed to: another "
              "guest gets what it needs.",
     .requirements = of(req::backend_guests_kept_apart, req::dbuf_create_resources_bounded),
     .timeout = seconds(60)}) {
  SKIP_IF(Neighbour::lacking());
  constexpr unsigned kMany = 300;
  FakeFrontend& greedy = connect();
  BufferSpec small;
  small.width = 8;
  small.height = 8;
  DbufCookie last{};
  unsigned buffers = 0;
  for (; buffers < kMany; ++buffers) {
    const BufferReply made = greedy.create_buffer(small);
    if (!made.ok()) {
      check_answered(req::dbuf_create_resources_bounded, made, "one buffer more");
      break;
    }
    last = made.cookie;
  }
  check(req::dbuf_create_resources_bounded, buffers > 0, {"buffers, and a refusal of too many"},
        fmt::format("{} buffers", buffers));
  for (unsigned number = 0; number < kMany; ++number) {
    const FramebufferReply made = greedy.attach_fb(last);
    if (made.ok()) continue;
    check_answered(req::dbuf_create_resources_bounded, made, "one framebuffer more");
    break;
  }
  NeighbourDevice device(backend_domain());
  Neighbour neighbour(0, {"--flips", "3", "--interval", "1"});
  const auto status = neighbour.await_end(xen::in(seconds(15)));
  check_timed(req::backend_guests_kept_apart, status == 0,
              {"the second guest's pictures and flips succeed"},
              !status ? "it has not come to its end" : fmt::format("it ended with {}", *status));
}

}  // namespace
}  // namespace displif_cts::cases::backend_guests
