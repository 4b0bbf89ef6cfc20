// displif.h, "State diagrams", seen from the frontend: the way up, the ways down, and up again.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_bus {
namespace {

using bus::Side;
using bus::State;
using fake_frontend::kAlways;
using fake_frontend::StateChange;

BACKEND_CASE(ReachesInitWait, {.id = "backend.bus.reaches-init-wait",
                               .title = "A new device's backend goes to InitWait.",
                               .requirements = of(req::bus_backend_reaches_init_wait)}) {
  FakeFrontend& frontend = create_device();
  const auto state = await_any_state(frontend, {State::init_wait}, soon());
  check_timed(req::bus_backend_reaches_init_wait, state.has_value(), {"InitWait"},
              state_text(backend_state(frontend)));
}

BACKEND_CASE(Versions,
             {.id = "backend.bus.versions",
              .title = "With InitWait the backend lists the protocol versions it knows.",
              .requirements = of(req::bus_versions_published, req::bus_versions_list_format)}) {
  FakeFrontend& frontend = create_device();
  await_any_state(frontend, {State::init_wait, State::connected}, soon());
  const auto versions = read_backend_node(frontend, displif::node::kVersions);
  check(req::bus_versions_published, versions.has_value(), {"a list of versions"},
        versions ? "\"" + *versions + "\"" : "no `versions` node");
  if (!versions) {
    check(req::bus_versions_list_format, true, {"a list of versions, or no node"}, "no node");
    return;
  }
  const auto parsed = displif::parse_versions(*versions);
  check(req::bus_versions_list_format, parsed.ok(), {"decimal numbers, separated by commas"},
        parsed.ok() ? "\"" + *versions + "\"" : parsed.error());
}

BACKEND_CASE(WaitsForInitialised,
             {.id = "backend.bus.waits-for-initialised",
              .title = "Until the frontend is Initialised the backend stays in InitWait; then it "
                       "connects.",
              .requirements = of(req::bus_backend_waits_for_initialised,
                                 req::bus_backend_connects)}) {
  FakeFrontend& frontend = create_device();
  frontend.set_faults([](FrontendFaults& faults) { faults.never_initialises = 1; });
  frontend.start();
  await_any_state(frontend, {State::init_wait, State::connected}, soon());
  const auto early = await_any_state(frontend, {State::connected}, quiet());
  check(req::bus_backend_waits_for_initialised, !early,
        {"not Connected while the frontend is in Initialising"},
        state_text(backend_state(frontend)));
  frontend.vanish();
  frontend.start();
  check_awaited(req::bus_backend_connects, frontend.await_connected(soon()),
                "Connected after the frontend's Initialised");
}

std::vector<std::pair<CaseSpec, unsigned>> connector_counts() {
  std::vector<std::pair<CaseSpec, unsigned>> list;
  for (const unsigned count : {1U, 2U, 4U}) {
    CaseSpec spec;
    spec.id = fmt::format("backend.bus.connectors.{}", count);
    spec.title = fmt::format("With {} configured connectors each one is served.", count);
    spec.requirements = of(req::bus_backend_connects, req::bus_backend_serves_every_connector);
    list.emplace_back(std::move(spec), count);
  }
  return list;
}

BACKEND_CASES(Connectors, unsigned, connector_counts()) {
  SKIP_IF(lacks_connectors(param));
  FakeFrontend& frontend = create_device(with_connectors(param));
  frontend.start();
  const auto connected = frontend.await_connected(soon());
  require(check_awaited(req::bus_backend_connects, connected, "both ends Connected"));
  for (std::size_t connector = 0; connector < param; ++connector) {
    const Picture picture = frontend.show(connector);
    check_done(req::bus_backend_serves_every_connector, picture.reply,
               fmt::format("a picture on connector {}", connector));
    check_flip(req::bus_backend_serves_every_connector, frontend, connector, picture.fb,
               fmt::format("a flip on connector {}", connector));
  }
}

// --- what the backend writes as its state --------------------------------------------------------

// Whether the backend may go from `before` to `after`, each being what a watcher saw: a state that
// lasts shorter than a look is missing.
bool may_follow(std::optional<State> before, State after) {
  if (after != State::connected) return true;
  return before == State::init_wait || before == State::initialised || before == State::connected;
}

BACKEND_CASE(States,
             {.id = "backend.bus.states",
              .title = "All that the backend writes as its state is a state, and Connected "
                       "is reached by way of InitWait only.",
              .requirements = of(req::bus_state_defined, req::bus_backend_states_in_order)}) {
  FakeFrontend& frontend = connect();
  use_once(frontend);
  frontend.reconnect(soon());
  frontend.leave();
  std::this_thread::sleep_until(quiet());  // what it writes when nobody is there any more
  std::optional<State> before;
  for (const StateChange& change : frontend.states()) {
    if (change.side != Side::backend) continue;
    check(req::bus_state_defined, change.state.has_value(),
          {"a number from 0 to 8 (enum xenbus_state)"}, "\"" + change.text + "\"");
    if (!change.state) continue;
    check(req::bus_backend_states_in_order, may_follow(before, *change.state),
          {"Connected after InitWait or Initialised"},
          fmt::format("{} after {}", bus::name(*change.state), state_text(before)));
    before = change.state;
  }
}

// --- the ways down -------------------------------------------------------------------------------

struct Leaving {
  std::string name;
  std::string title;
  std::function<void(FakeFrontend&)> leave;
};

std::vector<std::pair<CaseSpec, Leaving>> leavings() {
  const std::vector<Leaving> all{
      {"closing", "goes to Closing, and to Closed when the backend has let go",
       [](FakeFrontend& frontend) { frontend.leave(); }},
      {"closed", "goes to Closed at once, and takes everything away",
       [](FakeFrontend& frontend) {
         frontend.set_faults([](FrontendFaults& faults) { faults.leaves_abruptly = 1; });
         frontend.leave();
       }},
      {"only-closing", "goes to Closing and does nothing more",
       [](FakeFrontend& frontend) {
         frontend.follow_backend(false);
         frontend.set_state(State::closing);
       }},
      {"only-closed", "goes to Closed and leaves everything granted",
       [](FakeFrontend& frontend) {
         frontend.follow_backend(false);
         frontend.set_state(State::closed);
       }},
  };
  std::vector<std::pair<CaseSpec, Leaving>> list;
  for (const Leaving& leaving : all) {
    CaseSpec spec;
    spec.id = "backend.bus.frontend-leaves." + leaving.name;
    spec.title = fmt::format("A frontend that {} is let go.", leaving.title);
    spec.requirements = of(req::bus_backend_follows_closing);
    list.emplace_back(std::move(spec), leaving);
  }
  return list;
}

BACKEND_CASES(FrontendLeaves, Leaving, leavings()) {
  FakeFrontend& frontend = connect();
  show_picture(frontend);
  param.leave(frontend);
  const Deadline limit = removal_limit();
  std::optional<State> state = backend_state(frontend);
  while (state == State::connected && xen::Clock::now() < limit)
    state =
        await_any_state(
            frontend, {State::init_wait, State::initialising, State::closing, State::closed}, limit)
            .value_or(State::connected);
  check_timed(req::bus_backend_follows_closing, state != State::connected,
              {"the backend is no longer Connected"}, state_text(state));
}

BACKEND_CASE(UnmapsOnClose,
             {.id = "backend.bus.frontend-leaves.nothing-mapped",
              .title = "When the frontend has left, the backend maps none of its pages.",
              .requirements = of(req::backend_all_unmapped_on_close)}) {
  SKIP_IF(lacks_mappings());
  const std::uint64_t before = mapped_baseline();
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  frontend.page_flip(0, picture.fb);
  frontend.await_flip(0, event_limit());
  require(check(req::backend_all_unmapped_on_close, mapped_pages().value_or(0) > before,
                {"more pages mapped with the connection than without"}, "as many"));
  frontend.leave();
  check_mapped_at_most(req::backend_all_unmapped_on_close, before, "the frontend has left");
}

BACKEND_CASE(UnbindsOnClose,
             {.id = "backend.bus.frontend-leaves.no-channels",
              .title = "When the frontend has left, the backend has closed the connection's event "
                       "channels.",
              .requirements = of(req::backend_channels_closed_on_close)}) {
  SKIP_IF(lacks_ports());
  FakeFrontend& frontend = create_device();
  await_any_state(frontend, {State::init_wait}, soon());
  const std::uint64_t before = backend_ports().value_or(0);
  start(frontend);
  require(check(req::backend_channels_closed_on_close, backend_ports().value_or(0) > before,
                {"more channels with the connection than without"}, "as many"));
  frontend.leave();
  const std::uint64_t after = settle([this] { return backend_ports(); }, before, removal_limit());
  check_timed(req::backend_channels_closed_on_close, after <= before,
              {fmt::format("at most {} open channels", before)}, std::to_string(after));
}

// --- and up again --------------------------------------------------------------------------------

BACKEND_CASE(Recovers, {.id = "backend.bus.recovers",
                        .title = "When a frontend that had left is in Initialising again, the "
                                 "backend is in InitWait, and a new connection works.",
                        .requirements = of(req::bus_backend_recovers_to_init_wait,
                                           req::bus_backend_reconnects)}) {
  FakeFrontend& frontend = connect();
  show_picture(frontend);
  frontend.leave();
  frontend.set_faults([](FrontendFaults& faults) { faults.never_initialises = 1; });
  frontend.start();
  const auto state = await_any_state(frontend, {State::init_wait}, soon());
  require(check_timed(req::bus_backend_recovers_to_init_wait, state.has_value(), {"InitWait"},
                      state_text(backend_state(frontend))));
  frontend.vanish();
  frontend.clear_faults();
  frontend.start();
  require(check_awaited(req::bus_backend_reconnects, frontend.await_connected(soon()),
                        "both ends Connected"));
  const std::string trouble = use_once(frontend);
  check(req::bus_backend_reconnects, trouble.empty(), {"the seven operations work"},
        trouble.empty() ? "they work" : trouble);
}

BACKEND_CASE(ReconnectsOften,
             {.id = "backend.bus.reconnects-often",
              .title = "Ten connections, one after the other, each start anew: objects of old are "
                       "gone and their cookies free.",
              .requirements = of(req::bus_backend_reconnects,
                                 req::backend_objects_end_with_connection),
              .timeout = seconds(60)}) {
  constexpr int kConnections = 10;
  FakeFrontend& frontend = connect();
  for (int connection = 1; connection <= kConnections; ++connection) {
    BufferSpec spec;
    spec.cookie = DbufCookie{77};
    const BufferReply buffer = frontend.create_buffer(spec);
    require(check_done(req::backend_objects_end_with_connection, buffer,
                       fmt::format("buffer 0x4d on connection {}", connection)));
    FramebufferSpec fb;
    fb.cookie = FbCookie{78};
    require(check_done(req::backend_objects_end_with_connection,
                       frontend.attach_fb(buffer.cookie, fb),
                       fmt::format("framebuffer 0x4e on connection {}", connection)));
    const auto again = frontend.reconnect(soon());
    require(check_awaited(req::bus_backend_reconnects, again,
                          fmt::format("connection {}", connection + 1)));
  }
}

BACKEND_CASE(ReconnectsLeaveNothing,
             {.id = "backend.bus.reconnects-leave-nothing",
              .title = "After twenty connections with pictures and flips the backend's process has "
                       "no more descriptors and memory than a few connections take.",
              .requirements = of(req::health_descriptors_released, req::health_memory_released),
              .timeout = seconds(90)}) {
  SKIP_IF(lacks_process());
  constexpr int kConnections = 20;
  FakeFrontend& frontend = connect();
  for (int connection = 1;; ++connection) {
    const Picture picture = show_picture(frontend);
    frontend.page_flip(0, picture.fb);
    frontend.await_flip(0, event_limit());
    if (connection == kConnections) break;
    require(check_awaited(req::bus_backend_reconnects, frontend.reconnect(soon()),
                          fmt::format("connection {}", connection + 1)));
  }
}

BACKEND_CASE(
    FrontendRestarts,
    {.id = "backend.bus.frontend-restarts",
     .title = "A frontend that died and starts anew, without a word of Closing, is served.",
     .requirements = of(req::bus_backend_recovers_to_init_wait, req::bus_backend_reconnects,
                        req::backend_frontend_death_survived)}) {
  FakeFrontend& frontend = connect();
  show_picture(frontend);
  frontend.vanish();
  frontend.start();
  const auto again = frontend.await_connected(soon());
  check_awaited(req::bus_backend_recovers_to_init_wait, again, "Connected, by way of InitWait");
  require(check_awaited(req::bus_backend_reconnects, again, "both ends Connected"));
  const std::string trouble = use_once(frontend);
  check(req::backend_frontend_death_survived, trouble.empty(), {"the seven operations work"},
        trouble.empty() ? "they work" : trouble);
}

// --- the tool stack takes the device away --------------------------------------------------------

enum class When { init_wait, connected, showing };

std::vector<std::pair<CaseSpec, When>> removals() {
  std::vector<std::pair<CaseSpec, When>> list;
  for (const auto& [name, when, title] :
       {std::tuple{"init-wait", When::init_wait, "before the frontend came"},
        std::tuple{"connected", When::connected, "when both ends are connected"},
        std::tuple{"showing", When::showing, "while a picture is shown"}}) {
    CaseSpec spec;
    spec.id = std::string("backend.bus.removal.") + name;
    spec.title = fmt::format("Asked for the removal {}, the backend closes and is Closed.", title);
    spec.requirements = of(req::bus_backend_closes_on_removal);
    list.emplace_back(std::move(spec), when);
  }
  return list;
}

BACKEND_CASES(Removal, When, removals()) {
  FakeFrontend& frontend = create_device();
  if (param == When::init_wait) {
    await_any_state(frontend, {State::init_wait}, soon());
  } else {
    start(frontend);
  }
  if (param == When::showing) show_picture(frontend);
  const bool closed = remove_device(frontend);
  check_timed(req::bus_backend_closes_on_removal, closed, {"Closed"},
              closed ? "Closed" : "not Closed within the limit for removal");
}

BACKEND_CASE(ForcedRemoval,
             {.id = "backend.bus.removal.forced",
              .title = "A frontend whose nodes are taken away while it is connected is let go, and "
                       "the next device is served.",
              .requirements = of(req::bus_frontend_node_gone_survived,
                                 req::backend_stays_responsive)}) {
  FakeFrontend& frontend = connect();
  show_picture(frontend);
  const bool closed = remove_device(frontend, bus::RemoveOrder::forced);
  check_timed(req::bus_frontend_node_gone_survived, closed, {"Closed"},
              closed ? "Closed" : "not Closed within the limit for removal");
  FakeFrontend& next = connect();
  const std::string trouble = use_once(next);
  check(req::backend_stays_responsive, trouble.empty(), {"the next device works"},
        trouble.empty() ? "it works" : trouble);
}

BACKEND_CASE(FrontendNodesGo,
             {.id = "backend.bus.frontend-nodes-go",
              .title = "A frontend that removes its own state node is handled as one that closed.",
              .requirements = of(req::bus_frontend_node_gone_survived)}) {
  FakeFrontend& frontend = connect();
  show_picture(frontend);
  frontend.follow_backend(false);
  frontend.remove_node("state");
  await_any_state(frontend, {State::init_wait, State::closed}, quiet());  // as it likes
  frontend.vanish();
  check_recovers(req::bus_frontend_node_gone_survived, frontend);
}

// --- several devices -----------------------------------------------------------------------------

BACKEND_CASE(TwoDevices, {.id = "backend.bus.two-devices",
                          .title = "Two devices of one frontend are served side by side, and the "
                                   "end of one leaves the other.",
                          .requirements = of(req::bus_connection_limits_device)}) {
  SKIP_IF(lacks_second_device());
  FakeFrontend& first = connect();
  FakeFrontend& second = connect();
  const Picture picture = show_picture(second);
  for (int round = 0; round < 3; ++round) {
    const std::string trouble = use_once(first);
    check(req::bus_connection_limits_device, trouble.empty(), {"the first device works"},
          trouble.empty() ? "it works" : trouble);
  }
  first.leave();
  check_flip(req::bus_connection_limits_device, second, 0, picture.fb,
             "a flip of the second device");
}

BACKEND_CASE(AttackedNeighbour,
             {.id = "backend.bus.attacked-neighbour",
              .title = "A device whose frontend breaks its ring leaves another device served.",
              .requirements = of(req::bus_connection_limits_device)}) {
  FakeFrontend& bad = connect();
  FakeFrontend& good = connect();
  const Picture picture = show_picture(good);
  bad.publish_req_prod(0, 0x8000'0000U);
  bad.notify_requests(0);
  for (int flip = 0; flip < 5; ++flip) {
    check_flip(req::bus_connection_limits_device, good, 0, picture.fb,
               "a flip of the other device");
  }
}

// --- states out of order -------------------------------------------------------------------------

struct OddState {
  std::string name;
  std::string text;  // "-": the node is removed
  bool connected;    // else: while the backend is in InitWait
};

std::vector<std::pair<CaseSpec, OddState>> odd_states() {
  const std::vector<OddState> all{
      {"initialising", "1", true},
      {"init-wait", "2", true},
      {"initialised", "3", true},
      {"reconfiguring", "7", true},
      {"reconfigured", "8", true},
      {"undefined", "77", true},
      {"malformed", "4x", true},
      {"empty", "", true},
      {"negative", "-1", true},
      {"huge", "99999999999999999999", true},
      {"unknown", "0", true},
      {"early-connected", "4", false},
      {"early-closing", "5", false},
      {"early-closed", "6", false},
      {"early-malformed", "three", false},
  };
  std::vector<std::pair<CaseSpec, OddState>> list;
  for (const OddState& odd : all) {
    CaseSpec spec;
    spec.id = "backend.bus.odd-state." + odd.name;
    spec.title =
        fmt::format("A frontend that writes \"{}\" as its state {} does no harm.", odd.text,
                    odd.connected ? "while connected" : "before there is a transport");
    spec.requirements = of(req::bus_frontend_state_survived);
    list.emplace_back(std::move(spec), odd);
  }
  return list;
}

BACKEND_CASES(OddStates, OddState, odd_states()) {
  FakeFrontend& frontend = create_device();
  if (param.connected) {
    start(frontend);
    show_picture(frontend);
    frontend.follow_backend(false);
    frontend.set_state_text(param.text);
  } else {
    frontend.set_faults([](FrontendFaults& faults) { faults.never_initialises = kAlways; });
    frontend.start();
    await_any_state(frontend, {State::init_wait}, soon());
    frontend.follow_backend(false);
    frontend.set_state_text(param.text);
  }
  // Time to look at the node, and to do what is wrong.
  await_any_state(frontend, {State::closed}, quiet());
  frontend.vanish();
  frontend.clear_faults();
  check_recovers(req::bus_frontend_state_survived, frontend);
}

BACKEND_CASE(SlowFrontend,
             {.id = "backend.bus.slow-frontend",
              .title = "A frontend that takes its time on the way to Connected is waited for.",
              .requirements = of(req::bus_backend_connects)}) {
  FakeFrontend& frontend = create_device();
  frontend.set_faults([](FrontendFaults& faults) {
    faults.initialised_late = {1, milliseconds(300)};
    faults.connected_late = {1, milliseconds(300)};
    faults.nodes_written_singly = 1;
  });
  frontend.start();
  check_awaited(req::bus_backend_connects, frontend.await_connected(soon()), "both ends Connected");
}

}  // namespace
}  // namespace displif_cts::cases::backend_bus
