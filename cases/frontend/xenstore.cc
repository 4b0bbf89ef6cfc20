// displif.h, "Frontend XenBus Nodes": what the frontend publishes, and in which form.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "cases/support/frontend_case.h"
#include "harness/displif/nodes.h"
#include "harness/xen/store.h"

namespace displif_cts::cases {
namespace {

struct NodeRule {
  std::string_view name;
  const Requirement& requirement;
  bool reference;
};
const NodeRule kNodes[] = {
    {displif::node::kReqRingRef, req::xenstore_req_ring_ref, true},
    {displif::node::kReqEventChannel, req::xenstore_req_event_channel, false},
    {displif::node::kEvtRingRef, req::xenstore_evt_ring_ref, true},
    {displif::node::kEvtEventChannel, req::xenstore_evt_event_channel, false},
};

std::vector<std::pair<CaseSpec, unsigned>> transport_specs() {
  std::vector<std::pair<CaseSpec, unsigned>> list;
  for (const unsigned count : {1U, 4U}) {
    CaseSpec spec;
    spec.id = fmt::format("frontend.xenstore.transport.{}", count);
    spec.title = fmt::format(
        "With {} connectors, each publishes a ring, an event page and a "
        "channel for each, of its own, that the backend can use.",
        count);
    spec.requirements = of(req::xenstore_req_ring_ref, req::xenstore_req_event_channel,
                           req::xenstore_evt_ring_ref, req::xenstore_evt_event_channel,
                           req::xenstore_numbers_decimal, req::xenstore_transport_per_connector,
                           req::xenstore_reference_zero_unused, req::bus_connected_after_backend);
    list.emplace_back(std::move(spec), count);
  }
  return list;
}

FRONTEND_CASES(Transport, unsigned, transport_specs()) {
  if (peer().max_connectors < param) GTEST_SKIP() << "the peer has fewer connectors";
  FakeBackend& backend = create_device(with_connectors(param));
  const std::string device = backend.paths().frontend;
  backend.start();
  // The fake maps what it is given and binds to it, or says which node it cannot use.
  const auto connected = backend.await_connected(soon());
  const std::string trouble = fmt::format("{}", fmt::join(backend.trouble(), "; "));
  xen::Store store = xen::Store::open();
  std::map<std::uint32_t, std::string> references;
  std::map<std::uint32_t, std::string> ports;
  for (unsigned connector = 0; connector < param; ++connector) {
    for (const NodeRule& node : kNodes) {
      const std::string name = displif::node::of_connector(connector, node.name);
      const auto text = store.read(fmt::format("{}/{}", device, name));
      const bool usable = connected || trouble.find(node.name) == std::string::npos;
      if (!check(node.requirement, text && usable, {fmt::format("{} published, and usable", name)},
                 !text    ? fmt::format("{} is missing", name)
                 : usable ? fmt::format("{} = {}", name, *text)
                          : fmt::format("{} = {}: {}", name, *text, trouble)) &&
          !text)
        continue;
      const auto number = displif::parse_uint32(*text);
      if (!check(req::xenstore_numbers_decimal, number.ok(), {name + ": a decimal number"},
                 name + " = " + *text))
        continue;
      if (node.reference)
        check(req::xenstore_reference_zero_unused, *number != 0, {name + " other than 0"},
              name + " = " + *text);
      auto& taken = node.reference ? references : ports;
      const auto [other, fresh] = taken.emplace(*number, name);
      check(req::xenstore_transport_per_connector, fresh, {name + " of its own"},
            fresh ? name + " = " + *text : name + " as " + other->second);
    }
  }
  require(check_awaited(req::bus_connected_after_backend, connected, "state Connected"));
}

FRONTEND_CASE(Version,
              {.id = "frontend.xenstore.version",
               .title = "The frontend publishes the version it chose, one of the backend's.",
               .requirements = of(req::xenstore_version_supported, req::xenstore_version_published,
                                  req::xenstore_numbers_decimal,
                                  req::bus_connected_after_backend)}) {
  fake_backend::Options options;
  options.versions = {1, 2};
  FakeBackend& backend = create_device(options);
  backend.start();
  const auto connected = backend.await_connected(soon());
  const std::string device = backend.paths().frontend;
  xen::Store store = xen::Store::open();
  const auto text = store.read(device + "/" + std::string(displif::node::kVersion));
  check(req::xenstore_version_published, text.has_value(), {"a node `version`"},
        text ? "version = " + *text : "no node `version`");
  check(req::xenstore_numbers_decimal, !text || displif::parse_uint32(*text).ok(),
        {"version: a decimal number, or no node"}, text ? "version = " + *text : "no node");
  // Without the node version 1 is in use, which the backend offers.
  const std::string chosen = text.value_or("1");
  check(req::xenstore_version_supported, chosen == "1" || chosen == "2", {"1", "2"}, chosen);
  require(check_awaited(req::bus_connected_after_backend, connected, "state Connected"));
}

FRONTEND_CASE(Flood,
              {.id = "frontend.xenstore.flood",
               .title = "The backend's state node is written three hundred times over, and other "
                        "nodes beside it: the frontend goes on.",
               .requirements = of(req::xenstore_flood_survived),
               .timeout = seconds(40)}) {
  FakeBackend& backend = connect();
  guest.open();
  xen::Store store = xen::Store::open();
  const std::string path = backend.paths().backend;
  for (unsigned time = 0; time < 300; ++time) {
    store.write(path + "/state", "4");
    if (time % 10 == 0) store.write(fmt::format("{}/junk-{}", path, time), std::string(200, 'x'));
  }
  check_timed(req::xenstore_flood_survived, guest_answers(seconds(10)), {"the guest answers"},
              "the guest is silent");
  check(req::xenstore_flood_survived, backend.connected(), {"Connected, as before"},
        "another connection, or none");
  guest.close();
  check_usable(req::xenstore_flood_survived, backend);
}

}  // namespace
}  // namespace displif_cts::cases
