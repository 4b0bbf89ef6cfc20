// XenStore nodes that no tool stack and no sane backend writes.
#include <fmt/format.h>

#include <thread>

#include "cases/frontend/frontend_node.h"
#include "cases/support/frontend_case.h"
#include "harness/displif/nodes.h"
#include "harness/xen/store.h"

namespace displif_cts::cases::hostile_nodes {
namespace {

using bus::State;

struct Text {
  std::string name;
  std::string text;
};

std::vector<std::pair<CaseSpec, Text>> resolution_specs() {
  std::vector<std::pair<CaseSpec, Text>> list;
  for (const Text& bad :
       {Text{"no-number", "wide"}, Text{"no-height", "800x"}, Text{"negative", "-800x-600"},
        Text{"zero", "0x0"}, Text{"huge", "4294967295x4294967295"}}) {
    CaseSpec spec;
    spec.id = "frontend.xenstore.malformed-resolution." + bad.name;
    spec.title = "A connector's resolution of '" + bad.text +
                 "' does no harm, and a device that is configured well works afterwards.";
    spec.requirements = of(req::xenstore_malformed_configuration_survived);
    spec.timeout = seconds(40);
    list.emplace_back(std::move(spec), bad);
  }
  return list;
}

FRONTEND_CASES(Resolution, Text, resolution_specs()) {
  const Requirement& survived = req::xenstore_malformed_configuration_survived;
  FakeBackend& bad = create_device();
  const std::string node =
      bad.paths().frontend + "/" + displif::node::of_connector(0, displif::node::kResolution);
  xen::Store store = xen::Store::open();
  store.write(node, param.text);
  bad.start();
  std::this_thread::sleep_for(quiet());
  check_timed(survived, guest_answers(seconds(4)), {"the guest answers while it reads the node"},
              "the guest is silent");
  // It may refuse the device or make something of it.
  FrontendNode frontend(bad);
  const auto state = frontend.await({State::connected, State::closing, State::closed}, soon());
  if (state == State::connected &&
      guest.call("open", {{"name", "odd"}, {"timeout_ms", "500"}}).ok) {
    guest.call("connectors", {{"fd", "odd"}});
    guest.call("close", {{"name", "odd"}});
  }
  check_timed(survived, guest_answers(), {"the guest answers"}, "the guest is silent");
  bad.unplug([&] {
    guest.call("await-no-device",
               {{"path", bad.paths().frontend.substr(bad.paths().frontend.find("device/"))},
                {"timeout_ms", std::to_string(peer().removal.count() + 2000)}},
               peer().removal + seconds(8));
  });
  check_usable(survived, connect());
}

std::vector<std::pair<CaseSpec, Text>> state_specs() {
  std::vector<std::pair<CaseSpec, Text>> list;
  for (const Text& bad : {Text{"undefined", "99"}, Text{"no-number", "four"}, Text{"empty", ""},
                          Text{"negative", "-1"}, Text{"initialised", "3"}}) {
    CaseSpec spec;
    spec.id = "frontend.bus.backend-state." + bad.name;
    spec.title = "A connected backend whose state turns to '" + bad.text +
                 "' does no harm, and a new connection works.";
    spec.requirements = of(req::bus_backend_state_survived);
    spec.timeout = seconds(40);
    list.emplace_back(std::move(spec), bad);
  }
  return list;
}

FRONTEND_CASES(BackendState, Text, state_specs()) {
  const Requirement& survived = req::bus_backend_state_survived;
  FakeBackend& backend = connect();
  guest.open();
  show_picture(guest.connector(), "picture");
  backend.set_state_text(param.text);
  check_timed(survived, guest_answers(), {"the guest answers"}, "the guest is silent");
  // A frontend that gave the connection up may be on its way to the next one, or wait for its
  // clients; what becomes of one whose backend closes on that way is the case of
  // backend-closes.before-connected.
  await_any_state(backend, {State::connected, State::reconfiguring, State::closed}, soon());
  backend.shutdown();
  guest.close();
  const auto state = await_any_state(backend, {State::initialising}, after_removal_limit());
  require(check_timed(survived, state.has_value(), {"Initialising, when the backend has closed"},
                      "it is not there"));
  backend.start();
  require(check_awaited(survived, backend.await_connected(soon()), "Connected again"));
  check_usable(survived, backend);
}

}  // namespace
}  // namespace displif_cts::cases::hostile_nodes
