// displif.h, "State diagrams": the recovery flow, after the backend has gone away.
#include <fmt/format.h>

#include "cases/frontend/frontend_node.h"
#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"
#include "harness/displif/nodes.h"
#include "harness/xen/store.h"

namespace displif_cts::cases {
namespace {

using bus::State;
using displif::Operation;

// How the backend goes away, and what its state node says then.
struct Departure {
  std::string name;
  std::string words;
  void (*leave)(FakeBackend&);
};

const std::vector<Departure>& departures() {
  static const std::vector<Departure> all{
      {"closed", "closes in order", [](FakeBackend& backend) { backend.shutdown(); }},
      {"initialising", "dies, and its node is set to Initialising",
       [](FakeBackend& backend) {
         backend.vanish();
         backend.set_state(State::initialising);
       }},
      {"unknown", "dies, and its node is set to Unknown",
       [](FakeBackend& backend) {
         backend.vanish();
         backend.set_state(State::unknown);
       }},
  };
  return all;
}

std::vector<std::pair<CaseSpec, Departure>> unused_specs() {
  std::vector<std::pair<CaseSpec, Departure>> list;
  for (const Departure& departure : departures()) {
    CaseSpec spec;
    spec.id = "frontend.recovery.unused." + departure.name;
    spec.title = "Nobody uses the device when the backend " + departure.words +
                 ": the frontend goes to Initialising, and a new connection works.";
    spec.requirements = of(req::recovery_unused_device_reinitialises, req::recovery_reconnects);
    list.emplace_back(std::move(spec), departure);
  }
  return list;
}

FRONTEND_CASES(UnusedDevice, Departure, unused_specs()) {
  FakeBackend& backend = connect();
  FrontendNode frontend(backend);
  param.leave(backend);
  const auto state = frontend.await({State::initialising}, after_removal_limit());
  check_timed(req::recovery_unused_device_reinitialises, state.has_value(), {"Initialising"},
              frontend.text());
  backend.start();
  const auto connected = backend.await_connected(soon());
  require(check_awaited(req::recovery_reconnects, connected, "Connected again"));
  check_usable(req::recovery_reconnects, backend);
}

FRONTEND_CASE(BackendRestarts,
              {.id = "frontend.recovery.restarts",
               .title = "A backend that died and is in InitWait again, without any state in "
                        "between, finds the frontend ready for a new connection.",
               .requirements = of(req::recovery_reconnects)}) {
  FakeBackend& backend = connect();
  backend.vanish();
  backend.start();
  require(check_awaited(req::recovery_reconnects, backend.await_connected(after_removal_limit()),
                        "Connected again"));
  check_usable(req::recovery_reconnects, backend);
}

FRONTEND_CASE(ReconnectsManyTimes,
              {.id = "frontend.recovery.many-times",
               .title = "Six connections after each other all work, and leave nothing behind.",
               .requirements = of(req::recovery_reconnects, req::health_grants_released,
                                  req::health_event_channels_released),
               .timeout = seconds(60)}) {
  const std::uint64_t grants_before = guest_grants();
  const std::uint64_t ports_before = guest_ports();
  FakeBackend& backend = connect();
  constexpr unsigned kTimes = 6;
  for (unsigned time = 1; time < kTimes; ++time) {
    backend.shutdown();
    require(check_awaited(req::recovery_reconnects,
                          backend.await_state(State::initialising, after_removal_limit()),
                          "Initialising"));
    backend.start();
    require(check_awaited(req::recovery_reconnects, backend.await_connected(soon()),
                          "Connected again"));
  }
  check_usable(req::recovery_reconnects, backend);
  backend.shutdown();
  const std::uint64_t grants =
      settle([this] { return guest_grants(); }, grants_before, after_removal_limit());
  check_timed(req::health_grants_released, grants <= grants_before,
              {fmt::format("at most {} grants in use", grants_before)}, std::to_string(grants));
  const std::uint64_t ports =
      settle([this] { return guest_ports(); }, ports_before, after_removal_limit());
  check_timed(req::health_event_channels_released, ports <= ports_before,
              {fmt::format("at most {} open channels", ports_before)}, std::to_string(ports));
}

std::vector<std::pair<CaseSpec, Departure>> held_specs() {
  std::vector<std::pair<CaseSpec, Departure>> list;
  for (const Departure& departure : departures()) {
    CaseSpec spec;
    spec.id = "frontend.recovery.client-holds." + departure.name;
    spec.title = "A client shows a picture when the backend " + departure.words +
                 ": it is told, no other comes in, and when it has left a new connection works.";
    spec.requirements = of(req::recovery_used_device_waits, req::recovery_clients_see_errors,
                           req::recovery_no_new_clients, req::recovery_reconnects);
    spec.timeout = seconds(40);
    list.emplace_back(std::move(spec), departure);
  }
  return list;
}

FRONTEND_CASES(ClientHolds, Departure, held_specs()) {
  FakeBackend& backend = connect();
  guest.open();
  show_picture(guest.connector(), "held");
  FrontendNode frontend(backend);
  param.leave(backend);
  const auto state =
      frontend.await({State::reconfiguring, State::initialising}, after_removal_limit());
  require(check_timed(req::recovery_used_device_waits, state.has_value(),
                      {"Reconfiguring", "Initialising"}, frontend.text()));

  const Result made = guest.call(
      "create-dumb",
      {{"fd", "card"}, {"name", "late"}, {"width", "64"}, {"height", "64"}, {"bpp", "32"}});
  check(req::recovery_clients_see_errors, !made.ok, {"an error"}, made.text());
  const Result opened = guest.call("open", {{"name", "newcomer"}, {"timeout_ms", "0"}});
  check(req::recovery_no_new_clients, !opened.ok, {"the device cannot be opened"}, "it was opened");

  guest.close();
  const auto free = frontend.await({State::initialising}, after_removal_limit());
  check_timed(req::recovery_used_device_waits, free.has_value(),
              {"Initialising, now that the client is gone"}, frontend.text());
  backend.start();
  require(
      check_awaited(req::recovery_reconnects, backend.await_connected(soon()), "Connected again"));
  check_usable(req::recovery_reconnects, backend);
}

FRONTEND_CASE(ReconnectsWhileHeld,
              {.id = "frontend.recovery.client-holds.through-reconnection",
               .title = "The backend is back while a client of the old device still holds it: a "
                        "new connection stands at once, or when the client has left.",
               .requirements = of(req::recovery_reconnects),
               .timeout = seconds(40)}) {
  FakeBackend& backend = connect();
  guest.open();
  show_picture(guest.connector(), "held");
  backend.shutdown();
  await_any_state(backend, {State::reconfiguring, State::initialising}, after_removal_limit());
  backend.start();
  if (backend.await_connected(soon())) check_usable(req::recovery_reconnects, backend);
  guest.close();
  require(check_awaited(req::recovery_reconnects, backend.await_connected(after_removal_limit()),
                        "Connected again"));
  check_usable(req::recovery_reconnects, backend);
}

// The backend says that it has closed, and goes on looking at the rings it still has mapped.
FRONTEND_CASE(
    NoRequestsWithoutBackend,
    {.id = "frontend.recovery.no-requests",
     .title = "After the backend has failed, nothing that a client does becomes a request.",
     .requirements = of(req::recovery_no_requests_without_backend),
     .timeout = seconds(40)}) {
  fake_backend::Options options;
  options.connectors = {{.resolution = {160, 120}}};  // little stays mapped when the guest lets go
  FakeBackend& backend = connect(options);
  guest.open();
  const Picture picture = show_picture(guest.connector(), "held");
  backend.follow_frontend(false);  // and keeps what it has mapped
  backend.set_state(State::closed);
  const auto state = await_any_state(
      backend, {State::reconfiguring, State::initialising, State::closed}, after_removal_limit());
  require(check_timed(req::recovery_no_requests_without_backend, state.has_value(),
                      {"Reconfiguring", "Initialising", "Closed"}, state_text(backend)));
  Cursor requests = backend.request_cursor();
  guest.call("create-dumb",
             {{"fd", "card"}, {"name", "late"}, {"width", "64"}, {"height", "64"}, {"bpp", "32"}});
  guest.crtc_off(picture.connector);
  guest.rm_fb(picture.fb);
  guest.close();
  const auto request = backend.none_until({}, xen::in(milliseconds(500)), requests);
  check(req::recovery_no_requests_without_backend, !request, {"no request"},
        request ? displif::operation_name(request->request.operation) : "no request");
  backend.shutdown();
}

FRONTEND_CASE(FlipPending,
              {.id = "frontend.recovery.flip-pending",
               .title = "A client that waits for a flip when the backend closes is released.",
               .requirements = of(req::recovery_outstanding_request_ends, req::recovery_reconnects),
               .timeout = seconds(40)}) {
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "held");
  backend.set_faults([](BackendFaults& faults) { faults.flip_event_never = 1; });
  Cursor requests = backend.request_cursor();
  guest.page_flip(picture.connector, picture.fb);
  expect_request(req::pg_flip_cookie, backend, Operation::pg_flip, requests);
  backend.shutdown();
  bool released = false;
  try {
    released = guest.wait_event(peer().flip_event + peer().removal).arrived;
  } catch (const std::runtime_error&) {
    released = true;  // an error releases the client as well
  }
  check_timed(req::recovery_outstanding_request_ends, released, {"an event", "an error"},
              released ? "released" : "still waiting");
  guest.close();
  backend.await_state(State::initialising, after_removal_limit());
  backend.start();
  require(
      check_awaited(req::recovery_reconnects, backend.await_connected(soon()), "Connected again"));
  check_usable(req::recovery_reconnects, backend);
}

std::vector<std::pair<CaseSpec, Cause>> outstanding_specs() {
  std::vector<std::pair<CaseSpec, Cause>> list;
  for (const Cause& cause : all_causes()) {
    if (cause.operation == Operation::pg_flip) continue;  // the call does not wait: see FlipPending
    CaseSpec spec;
    spec.id = "frontend.recovery.outstanding." + cause.name;
    spec.title = "The backend closes before it has answered " + name_of(cause.operation) +
                 ": the client's call returns.";
    spec.requirements = of(req::recovery_outstanding_request_ends, req::recovery_reconnects);
    spec.timeout = seconds(40);
    list.emplace_back(std::move(spec), cause);
  }
  return list;
}

FRONTEND_CASES(OutstandingRequest, Cause, outstanding_specs()) {
  FakeBackend& backend = connect();
  guest.open();
  const GuestConnector connector = guest.connector();
  arrange(guest, param, connector);
  backend.set_faults([this](BackendFaults& faults) {
    faults.response_never = {.times = fake_backend::kAlways, .operations = only(param.operation)};
  });
  Cursor requests = backend.request_cursor();
  const GuestCall call = call_of(param, connector);
  guest.start("waiting", call.verb, call.args);
  expect_request(req::recovery_outstanding_request_ends, backend, param.operation, requests);
  backend.shutdown();
  const milliseconds limit = peer().response + peer().removal;
  bool returned = true;
  try {
    guest.finish("waiting", limit);
  } catch (const GuestSilent&) {
    returned = false;
  }
  check_timed(req::recovery_outstanding_request_ends, returned, {"the call returns"},
              returned ? "it returned" : "it is still waiting");
  guest.close();
  backend.clear_faults();
  backend.await_state(State::initialising, after_removal_limit());
  backend.start();
  require(
      check_awaited(req::recovery_reconnects, backend.await_connected(soon()), "Connected again"));
  check_usable(req::recovery_reconnects, backend);
}

// A backend that comes back may serve another configuration: the fake's is fixed, so that another
// fake serves the same device then.
FRONTEND_CASE(OtherConfiguration,
              {.id = "frontend.recovery.client-holds.other-configuration",
               .title = "The backend comes back with more connectors while a client holds the old "
                        "device: the new device has them, and the old one's end does no harm.",
               .requirements = of(req::recovery_other_configuration_adopted),
               .timeout = seconds(40)}) {
  if (peer().max_connectors < 4) GTEST_SKIP() << "the peer has fewer connectors";
  const Requirement& adopted = req::recovery_other_configuration_adopted;
  FakeBackend& first = connect(small_connectors(1));
  guest.open("old");
  show_picture(guest.connector(0, "old"), "picture", "old");
  first.shutdown();
  first.await_state(State::initialising, after_removal_limit());
  const auto options = small_connectors(4);
  xen::Store store = xen::Store::open();
  for (unsigned i = 0; i < options.connectors.size(); ++i) {
    const displif::Resolution& size = options.connectors[i].resolution;
    store.write(
        first.paths().frontend + "/" + displif::node::of_connector(i, displif::node::kResolution),
        fmt::format("{}x{}", size.width, size.height));
  }
  const std::string device = first.paths().frontend.substr(first.paths().frontend.rfind('/') + 1);
  FakeBackend second(guest_domain(), static_cast<std::uint16_t>(std::stoul(device)), options,
                     recorder());
  second.start();
  // A frontend may hold the new device back until the old one's client has left.
  bool left = false;
  if (!second.await_connected(after_removal_limit())) {
    guest.call("close", {{"name", "old"}});
    left = true;
    require(check_awaited(adopted, second.await_connected(soon()), "Connected again"));
  }
  guest.open("new");
  check_equal(adopted, "connectors", std::size_t{4}, guest.connectors("new").size());
  if (!left) guest.call("close", {{"name", "old"}});
  check_timed(adopted, guest_answers(), {"the guest answers when the old device has gone"},
              "the guest is silent");
  guest.call("close", {{"name", "new"}});
  check_usable(adopted, second);
  second.vanish();
}

}  // namespace
}  // namespace displif_cts::cases
