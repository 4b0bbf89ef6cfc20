// displif.h, "Connector Request Transport Parameters", "Connector Event Transport Parameters" and
// "Protocol version": what a frontend may publish, and what a backend makes of it.
#include <fmt/format.h>

#include <algorithm>

#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_transport {
namespace {

using bus::State;
using fake_frontend::AtNodes;
using fake_frontend::Node;
using fake_frontend::Nodes;
using fake_frontend::NodeText;
using fake_frontend::TextFault;

using SetFault = std::function<void(FrontendFaults&)>;

struct Transport {
  std::string name;
  std::string title;
  SetFault fault;
  std::size_t connectors = 1;
};

struct NamedNode {
  std::string name;
  Node node;
};

const std::vector<NamedNode>& nodes() {
  static const std::vector<NamedNode> all{{"req-ring-ref", Node::req_ring_ref},
                                          {"req-event-channel", Node::req_event_channel},
                                          {"evt-ring-ref", Node::evt_ring_ref},
                                          {"evt-event-channel", Node::evt_event_channel}};
  return all;
}

bool is_reference(Node node) { return node == Node::req_ring_ref || node == Node::evt_ring_ref; }

// What no backend can connect to.
std::vector<Transport> unusable() {
  std::vector<Transport> all;
  const auto add = [&all](const std::string& what, const NamedNode& node, const std::string& title,
                          AtNodes FrontendFaults::*field) {
    all.push_back({node.name + "-" + what, node.name + " " + title,
                   [field, at = node.node](FrontendFaults& faults) {
                     faults.*field = {.times = 1, .nodes = Nodes::only(at)};
                   }});
  };
  for (const NamedNode& node : nodes()) {
    add("missing", node, "is missing", &FrontendFaults::node_missing);
    add("invalid", node, "names what does not exist", &FrontendFaults::node_invalid);
    add("foreign", node, "names what another domain was given", &FrontendFaults::node_foreign);
    if (!is_reference(node.node)) continue;
    add("zero", node, "is 0", &FrontendFaults::reference_zero);
    add("read-only", node, "names a page that is granted for reading only",
        &FrontendFaults::page_read_only);
  }
  all.push_back({"second-connector-missing", "the second connector's nodes are missing",
                 [](FrontendFaults& faults) { faults.connector_left_out = 1; }, 2});
  return all;
}

std::vector<std::pair<CaseSpec, Transport>> unusable_specs() {
  std::vector<std::pair<CaseSpec, Transport>> list;
  for (const Transport& transport : unusable()) {
    CaseSpec spec;
    spec.id = "backend.transport.unusable." + transport.name;
    spec.title = fmt::format("Where {} the backend does not connect, and serves the next attempt.",
                             transport.title);
    spec.requirements =
        of(req::bus_unusable_transport_not_connected, req::bus_unusable_transport_survived);
    list.emplace_back(std::move(spec), transport);
  }
  return list;
}

BACKEND_CASES(Unusable, Transport, unusable_specs()) {
  SKIP_IF(lacks_connectors(param.connectors));
  FakeFrontend& frontend = create_device(with_connectors(param.connectors));
  frontend.set_faults(param.fault);
  frontend.start();
  await_any_state(frontend, {State::init_wait}, soon());
  const auto connected = await_any_state(frontend, {State::connected}, quiet());
  check(req::bus_unusable_transport_not_connected, !connected, {"any state but Connected"},
        state_text(connected ? connected : backend_state(frontend)));
  check_recovers(req::bus_unusable_transport_survived, frontend);
}

BACKEND_CASE(UnusableKeepsNothing,
             {.id = "backend.transport.unusable-keeps-nothing",
              .title = "What a backend mapped and bound of an unusable transport it gives back.",
              .requirements = of(req::bus_unusable_transport_survived)}) {
  SKIP_IF(lacks_mappings());
  for (const Transport& transport : unusable()) {
    if (transport.connectors > peer().max_connectors) continue;
    FakeFrontend& frontend = create_device(with_connectors(transport.connectors));
    frontend.set_faults(transport.fault);
    frontend.start();
    // A backend that takes no notice of the device keeps nothing either. One that does may have
    // refused the transport before anybody looks.
    const auto noticed = await_any_state(
        frontend, {State::init_wait, State::connected, State::closing, State::closed}, soon());
    require(check_timed(req::bus_unusable_transport_survived, noticed.has_value(),
                        {"InitWait or what comes after it"}, state_text(backend_state(frontend))));
    await_any_state(frontend, {State::connected, State::closed}, quiet());
    remove_device(frontend);
    check_mapped_at_most(req::bus_unusable_transport_survived, mapped_baseline(),
                         transport.title + " and the device is gone");
  }
}

// What a backend may or may not be able to make sense of.
std::vector<Transport> doubtful() {
  std::vector<Transport> all;
  const auto number = [&all](const std::string& name, const std::string& text) {
    all.push_back({"number-" + name, fmt::format("numbers read \"{}\"", text),
                   [text](FrontendFaults& faults) {
                     faults.number_malformed = NodeText{1, Nodes::all(), text};
                   }});
  };
  number("negative", "-1");
  number("hexadecimal", "0x8");
  number("trailing-text", "8abc");
  number("too-large", "99999999999999999999");
  number("empty", "");
  number("blank", " 8");
  number("word", "eight");
  number("above-32-bits", "4294967304");
  all.push_back({"transport-shared", "two connectors share one page and channel",
                 [](FrontendFaults& faults) { faults.transport_shared = 1; }, 2});
  all.push_back({"event-page-is-ring", "one page is ring and event page",
                 [](FrontendFaults& faults) { faults.event_page_is_ring = 1; }});
  all.push_back({"connector-added", "there are nodes for one connector too many",
                 [](FrontendFaults& faults) { faults.connector_added = 1; }});
  all.push_back({"transport-late", "the nodes come after Initialised",
                 [](FrontendFaults& faults) { faults.transport_late = 1; }});
  all.push_back({"initialises-early", "the frontend is Initialised before the backend's InitWait",
                 [](FrontendFaults& faults) { faults.initialises_early = 1; }});
  all.push_back({"connects-early", "the frontend is Connected before the backend",
                 [](FrontendFaults& faults) { faults.connects_early = 1; }});
  all.push_back({"ring-start", "the ring's indexes do not begin at 0", [](FrontendFaults& faults) {
                   faults.ring_start = {1, 1000, false};
                 }});
  all.push_back({"ring-padding", "the ring's padding is not 0",
                 [](FrontendFaults& faults) { faults.ring_padding_dirty = 1; }});
  all.push_back(
      {"event-start", "the event page's indexes do not begin at 0", [](FrontendFaults& faults) {
         faults.event_start = {1, 1000, false};
       }});
  all.push_back({"event-header", "the event page's header is not 0",
                 [](FrontendFaults& faults) { faults.event_header_dirty = 1; }});
  return all;
}

std::vector<std::pair<CaseSpec, Transport>> doubtful_specs() {
  std::vector<std::pair<CaseSpec, Transport>> list;
  for (const Transport& transport : doubtful()) {
    CaseSpec spec;
    spec.id = "backend.transport.odd." + transport.name;
    spec.title = fmt::format("Where {} no harm is done.", transport.title);
    spec.requirements = of(req::bus_unusable_transport_survived);
    list.emplace_back(std::move(spec), transport);
  }
  return list;
}

BACKEND_CASES(Doubtful, Transport, doubtful_specs()) {
  SKIP_IF(lacks_connectors(param.connectors));
  FakeFrontend& frontend = create_device(with_connectors(param.connectors));
  frontend.set_faults(param.fault);
  frontend.start();
  if (frontend.await_connected(quiet())) use_once(frontend);
  check_recovers(req::bus_unusable_transport_survived, frontend);
}

// --- nodes that change ---------------------------------------------------------------------------

BACKEND_CASE(ChangedLater,
             {.id = "backend.transport.changed-later",
              .title = "Transport nodes that are overwritten once connected change nothing.",
              .requirements = of(req::bus_nodes_changed_survived)}) {
  FakeFrontend& frontend = create_device();
  frontend.set_faults([](FrontendFaults& faults) { faults.transport_changed_later = 1; });
  start(frontend);
  frontend.clear_faults();
  const std::string trouble = use_once(frontend);
  check(req::bus_nodes_changed_survived, trouble.empty(), {"the connection works on"},
        trouble.empty() ? "it works on" : trouble);
}

BACKEND_CASE(RemovedLater,
             {.id = "backend.transport.removed-later",
              .title = "Transport nodes that are removed once connected change nothing.",
              .requirements = of(req::bus_nodes_changed_survived)}) {
  FakeFrontend& frontend = connect();
  for (const NamedNode& node : nodes()) frontend.remove_node("0/" + node.name);
  const std::string trouble = use_once(frontend);
  check(req::bus_nodes_changed_survived, trouble.empty(), {"the connection works on"},
        trouble.empty() ? "it works on" : trouble);
}

BACKEND_CASE(GarbageNodes, {.id = "backend.transport.garbage",
                            .title = "Nodes of a frontend's own making, long and many, do no harm.",
                            .requirements = of(req::bus_nodes_changed_survived)}) {
  FakeFrontend& frontend = create_device();
  frontend.set_faults([](FrontendFaults& faults) { faults.never_initialises = 1; });
  frontend.start();
  await_any_state(frontend, {State::init_wait}, soon());
  frontend.write_node("rubbish", std::string(2000, 'x'));
  frontend.write_node("0/rubbish", std::string(2000, '%'));
  frontend.write_node("not-a-number/resolution", "0x0");
  frontend.write_node("255/req-ring-ref", "8");
  for (int i = 0; i < 32; ++i) frontend.write_node(fmt::format("junk/{}", i), "junk");
  frontend.vanish();
  frontend.clear_faults();
  check_recovers(req::bus_nodes_changed_survived, frontend);
}

// --- version -------------------------------------------------------------------------------------

BACKEND_CASE(VersionMissing,
             {.id = "backend.transport.version-missing",
              .title = "A frontend that publishes no version is served all the same.",
              .requirements = of(req::bus_backend_connects)}) {
  FakeFrontend& frontend = create_device();
  frontend.set_faults([](FrontendFaults& faults) { faults.version_missing = 1; });
  frontend.start();
  require(check_awaited(req::bus_backend_connects, frontend.await_connected(soon()),
                        "both ends Connected"));
  const Picture picture = frontend.show(0);
  check_done(req::bus_backend_connects, picture.reply, "a picture");
}

std::vector<std::pair<CaseSpec, SetFault>> odd_versions() {
  std::vector<std::pair<CaseSpec, SetFault>> list;
  const auto add = [&list](const std::string& name, const std::string& title, SetFault fault) {
    CaseSpec spec;
    spec.id = "backend.transport.version-" + name;
    spec.title = title;
    spec.requirements = of(req::bus_version_not_offered_survived);
    list.emplace_back(std::move(spec), std::move(fault));
  };
  add("unsupported", "A version that was not offered does no harm.",
      [](FrontendFaults& faults) { faults.version_unsupported = 1; });
  for (const auto& [name, text] :
       {std::pair{"word", "two"}, std::pair{"empty", ""}, std::pair{"negative", "-2"},
        std::pair{"list", "1,2"}, std::pair{"huge", "99999999999999999999"}}) {
    add(name, fmt::format("The version \"{}\" does no harm.", text),
        [text = std::string(text)](FrontendFaults& faults) {
          faults.version_malformed = TextFault{1, text};
        });
  }
  return list;
}

BACKEND_CASES(OddVersions, SetFault, odd_versions()) {
  FakeFrontend& frontend = create_device();
  frontend.set_faults(param);
  frontend.start();
  if (frontend.await_connected(quiet())) use_once(frontend);
  check_recovers(req::bus_version_not_offered_survived, frontend);
}

std::vector<std::pair<CaseSpec, unsigned>> versions() {
  std::vector<std::pair<CaseSpec, unsigned>> list;
  for (const unsigned version : {1U, 2U}) {
    CaseSpec spec;
    spec.id = fmt::format("backend.transport.version.{}", version);
    spec.title =
        fmt::format("A frontend of version {} is served where the backend offers it.", version);
    spec.requirements =
        of(req::bus_backend_connects, req::dbuf_create_accepted, req::fb_attach_accepted,
           req::set_config_accepted, req::pg_flip_accepted);
    list.emplace_back(std::move(spec), version);
  }
  return list;
}

BACKEND_CASES(Versions, unsigned, versions()) {
  DeviceSpec device;
  device.frontend.versions = {param};
  FakeFrontend& frontend = create_device(std::move(device));
  await_any_state(frontend, {State::init_wait}, soon());
  const auto offered = read_backend_node(frontend, displif::node::kVersions);
  const auto list = displif::parse_versions(offered.value_or("1"));
  if (list.ok() && std::ranges::find(*list, param) == list->end())
    GTEST_SKIP() << "the backend offers \"" << offered.value_or("") << "\" only";
  frontend.start();
  require(check_awaited(req::bus_backend_connects, frontend.await_connected(soon()),
                        "both ends Connected"));
  const Picture picture = show_picture(frontend);
  check_done(req::pg_flip_accepted, frontend.page_flip(0, picture.fb), "a flip");
}

}  // namespace
}  // namespace displif_cts::cases::backend_transport
