// displif.h, "State diagrams": the normal flow, from Initialising to Connected and to the end.
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <set>

#include "cases/frontend/frontend_node.h"
#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"
#include "harness/displif/nodes.h"
#include "harness/xen/store.h"

namespace displif_cts::cases {
namespace {

using bus::State;

FRONTEND_CASE(StaysInitialising,
              {.id = "frontend.bus.stays-initialising",
               .title = "Until the backend is in InitWait the frontend stays in "
                        "Initialising; then it goes on.",
               .requirements = of(req::bus_waits_for_backend, req::bus_reaches_initialised)}) {
  FakeBackend& backend = create_device();
  FrontendNode frontend(backend);
  const auto left = frontend.await({State::init_wait, State::initialised, State::connected,
                                    State::closing, State::closed, State::reconfiguring},
                                   xen::in(quiet()));
  check(req::bus_waits_for_backend, !left && frontend.state() == State::initialising,
        {"Initialising while the backend is in Initialising"}, frontend.text());
  backend.start();
  check_awaited(req::bus_reaches_initialised, backend.await_connected(soon()),
                "Initialised, then Connected, after the backend's InitWait");
}

// XenStore delivers the events of one watch in the order of the writes, so the order of the events
// below the device is the order in which the frontend wrote its nodes.
std::vector<std::string> drain(xen::Store& store, milliseconds quiet) {
  std::vector<std::string> paths;
  while (const auto event = store.next_event(xen::in(quiet))) paths.push_back(event->path);
  return paths;
}

constexpr std::size_t kNever = std::numeric_limits<std::size_t>::max();

// The place of the `back`-th last event of a node, counted from 0; kNever if there are not as many.
std::size_t place_of(const std::vector<std::string>& events, const std::string& node,
                     std::size_t back = 0) {
  for (std::size_t i = events.size(); i-- > 0;)
    if (events[i].ends_with(node) && back-- == 0) return i;
  return kNever;
}

FRONTEND_CASE(TransportBeforeInitialised,
              {.id = "frontend.bus.transport-before-initialised",
               .title = "All transport parameters are published before the state is Initialised.",
               .requirements = of(req::bus_transport_before_initialised)}) {
  const unsigned connectors = std::min(peer().max_connectors, 2U);
  FakeBackend& backend = create_device(with_connectors(connectors));
  xen::Store store = xen::Store::open();
  const xen::Watch watch = store.watch(backend.paths().frontend);
  backend.start();
  const auto connected = backend.await_connected(soon());
  if (!connected)
    require(check_awaited(req::bus_transport_before_initialised, connected, "Connected"));
  const auto events = drain(store, quiet());
  // Of the frontend's states Connected was the last, and Initialised the one before.
  const std::size_t initialised = place_of(events, "/state", 1);
  require(check(req::bus_transport_before_initialised, initialised != kNever,
                {"Initialised, then Connected"}, "one change of state"));
  for (unsigned connector = 0; connector < connectors; ++connector)
    for (const auto node : {displif::node::kReqRingRef, displif::node::kReqEventChannel,
                            displif::node::kEvtRingRef, displif::node::kEvtEventChannel}) {
      const std::string name = displif::node::of_connector(connector, node);
      const std::size_t written = place_of(events, "/" + name);
      check(req::bus_transport_before_initialised, written < initialised,
            {name + " is written before the state"},
            name + (written == kNever       ? " is not written"
                    : written < initialised ? " is written before the state"
                                            : " is written after the state"));
    }
}

FRONTEND_CASE(ConnectedAfterBackend,
              {.id = "frontend.bus.connected-after-backend",
               .title = "The frontend goes to Connected when the backend has, and not before.",
               .requirements = of(req::bus_connected_after_backend)}) {
  FakeBackend& backend = create_device();
  backend.set_faults([](BackendFaults& faults) { faults.never_connects = 1; });
  backend.start();
  const auto initialised = backend.await_state(State::initialised, soon());
  if (!initialised)
    require(check_awaited(req::bus_connected_after_backend, initialised, "Initialised"));
  const auto early = backend.await_state(State::connected, xen::in(quiet()));
  check(req::bus_connected_after_backend, !early, {"Initialised while the backend is in InitWait"},
        early ? "Connected while the backend is in InitWait" : "Initialised");
  backend.vanish();
  backend.start();
  check_awaited(req::bus_connected_after_backend, backend.await_connected(soon()),
                "Connected after the backend's Connected");
}

std::multiset<std::string> sizes_of(const std::vector<fake_backend::Connector>& connectors) {
  std::multiset<std::string> sizes;
  for (const auto& connector : connectors)
    sizes.insert(fmt::format("{}x{}", connector.resolution.width, connector.resolution.height));
  return sizes;
}

std::multiset<std::string> sizes_of(const std::vector<GuestConnector>& connectors) {
  std::multiset<std::string> sizes;
  for (const auto& connector : connectors)
    sizes.insert(fmt::format("{}x{}", connector.width, connector.height));
  return sizes;
}

std::vector<std::pair<CaseSpec, unsigned>> connector_counts() {
  std::vector<std::pair<CaseSpec, unsigned>> list;
  for (const unsigned count : {1U, 2U, 4U}) {
    CaseSpec spec;
    spec.id = fmt::format("frontend.bus.connectors.{}", count);
    spec.title = fmt::format("{} configured connectors are {} connectors of the configured sizes.",
                             count, count);
    spec.requirements = of(req::bus_connectors_as_configured, req::xenstore_resolution_adopted);
    list.emplace_back(std::move(spec), count);
  }
  return list;
}

FRONTEND_CASES(Connectors, unsigned, connector_counts()) {
  if (peer().max_connectors < param) GTEST_SKIP() << "the peer has fewer connectors";
  const auto options = with_connectors(param);
  FakeBackend& backend = create_device(options);
  backend.start();
  // The fake connects when each connector has a transport.
  require(check_awaited(req::bus_connectors_as_configured, backend.await_connected(soon()),
                        fmt::format("{} connectors set up", param)));
  guest.open();
  const auto connectors = guest.connectors();
  const auto connected = std::count_if(connectors.begin(), connectors.end(),
                                       [](const auto& each) { return each.connected; });
  check_equal(req::bus_connectors_as_configured, "connectors", param,
              static_cast<unsigned>(connectors.size()));
  check_equal(req::bus_connectors_as_configured, "connected connectors", param,
              static_cast<unsigned>(connected));
  check_equal(req::xenstore_resolution_adopted, "modes",
              fmt::format("{}", fmt::join(sizes_of(options.connectors), ", ")),
              fmt::format("{}", fmt::join(sizes_of(connectors), ", ")));
}

FRONTEND_CASE(BackendCloses,
              {.id = "frontend.bus.backend-closes.connected",
               .title = "When the backend closes, the frontend takes the device away, gives its "
                        "channels back, and is Closed or ready for more.",
               .requirements = of(req::bus_close_removes_device, req::bus_close_removes_channels,
                                  req::bus_close_final_state)}) {
  const std::uint64_t ports_before = guest_ports();
  FakeBackend& backend = connect();
  guest.open();
  guest.close();
  require(check(req::bus_close_removes_channels, guest_ports() > ports_before,
                {"more open channels with the device than without"}, "as many"));
  backend.shutdown();
  const Deadline limit = after_removal_limit();
  const auto state = await_any_state(backend, {State::closed, State::initialising}, limit);
  check_timed(req::bus_close_final_state, state.has_value(), {"Closed", "Initialising"},
              state_text(backend));
  const Result opened = guest.call("open", {{"name", "late"}, {"timeout_ms", "0"}});
  check(req::bus_close_removes_device, !opened.ok, {"the device cannot be opened"},
        "it was opened");
  const std::uint64_t ports = settle([this] { return guest_ports(); }, ports_before, limit);
  check_timed(req::bus_close_removes_channels, ports <= ports_before,
              {fmt::format("at most {} open channels", ports_before)}, std::to_string(ports));
}

FRONTEND_CASE(BackendClosesEarly,
              {.id = "frontend.bus.backend-closes.before-connected",
               .title = "When the backend closes before it was connected, the frontend gives its "
                        "channels back, and is Closed or ready for more.",
               .requirements = of(req::bus_close_removes_channels, req::bus_close_final_state)}) {
  const std::uint64_t ports_before = guest_ports();
  FakeBackend& backend = create_device();
  backend.set_faults([](BackendFaults& faults) { faults.never_connects = 1; });
  backend.start();
  const auto initialised = backend.await_state(State::initialised, soon());
  if (!initialised)
    require(check_awaited(req::bus_reaches_initialised, initialised, "Initialised"));
  require(check(req::bus_close_removes_channels, guest_ports() > ports_before,
                {"more open channels with the device than without"}, "as many"));
  backend.shutdown();
  const Deadline limit = after_removal_limit();
  const auto state = await_any_state(backend, {State::closed, State::initialising}, limit);
  check_timed(req::bus_close_final_state, state.has_value(), {"Closed", "Initialising"},
              state_text(backend));
  const std::uint64_t ports = settle([this] { return guest_ports(); }, ports_before, limit);
  check_timed(req::bus_close_removes_channels, ports <= ports_before,
              {fmt::format("at most {} open channels", ports_before)}, std::to_string(ports));
}

}  // namespace
}  // namespace displif_cts::cases
