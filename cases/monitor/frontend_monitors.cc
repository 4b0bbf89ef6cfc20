#include "cases/monitor/frontend_monitors.h"

#include <charconv>
#include <iterator>

#include "cases/monitor/object_rules.h"
#include "cases/monitor/packet_rules.h"
#include "cases/monitor/transport_rules.h"
#include "cases/requirements.gen.h"
#include "harness/displif/nodes.h"
#include "harness/runner/registry.h"

namespace displif_cts::cases {
namespace {

using monitor::Rule;
using trace::Direction;
using trace::Kind;

bool add(std::string id, std::string title, std::vector<const Requirement*> requirements) {
  runner::CaseInfo info;
  info.id = std::move(id);
  info.title = std::move(title);
  info.role = Role::frontend;
  info.requirements = std::move(requirements);
  info.monitor = true;
  return runner::Registry::instance().add(std::move(info));
}

[[maybe_unused]] const bool registered =
    add("frontend.monitor.reserved-zero", "Reserved octets of every request are 0.",
        {&req::packet_reserved_zero}) &&
    add("frontend.monitor.operation-codes",
        "Every request has an operation that the connection's version defines.",
        {&req::packet_operation_known, &req::packet_operation_in_version}) &&
    add("frontend.monitor.ring-of-request",
        "Requests that are not about a connector come on connector 0's ring.",
        {&req::ring_control_requests_on_connector_0}) &&
    add("frontend.monitor.request-ids", "Unanswered requests of a ring have ids of their own.",
        {&req::ring_ids_distinguish_outstanding}) &&
    add("frontend.monitor.cookies", "Cookies are not 0, and free when they are given out.",
        {&req::packet_dbuf_cookie_valid, &req::packet_fb_cookie_valid,
         &req::dbuf_create_cookie_unique, &req::fb_attach_cookie_unique}) &&
    add("frontend.monitor.resolution", "Every configuration is within the connector's resolution.",
        {&req::set_config_within_resolution}) &&
    add("frontend.monitor.object-lifetime",
        "What a request names exists, and goes in a sensible order.",
        {&req::dbuf_destroy_after_detach, &req::fb_attach_dbuf_cookie,
         &req::fb_detach_only_attached, &req::set_config_cookie, &req::pg_flip_cookie,
         &req::order_displayed_framebuffer_kept}) &&
    add("frontend.monitor.destroyed-buffers", "Only buffers that exist are destroyed.",
        {&req::dbuf_destroy_only_existing}) &&
    add("frontend.monitor.flipped-connectors", "Only connectors that were configured are flipped.",
        {&req::order_flip_when_configured}) &&
    add("frontend.monitor.initial-pages", "Rings and event pages are handed over as new ones are.",
        {&req::ring_initial_indexes, &req::event_page_initial_indexes,
         &req::event_page_header_reserved_zero}) &&
    add("frontend.monitor.ring-indexes", "The request producer moves as a ring allows.",
        {&req::ring_producer_advances, &req::ring_never_overfull}) &&
    add("frontend.monitor.notifications", "Every request that asks for it is announced.",
        {&req::ring_notifies}) &&
    add("frontend.monitor.event-page", "Confirmations stay behind the events.",
        {&req::event_page_consumer_behind_producer}) &&
    add("frontend.monitor.directories", "Every page directory is sound.",
        {&req::page_directory_covers_buffer, &req::page_directory_references_distinct}) &&
    add("frontend.monitor.edid-buffers",
        "Every request for an EDID comes with room for the largest.",
        {&req::get_edid_buffer_size, &req::get_edid_directory}) &&
    add("frontend.monitor.bus-states", "The frontend's states follow the state diagrams.",
        {&req::bus_states_in_order, &req::bus_frontend_state_defined});

class FrontendMonitors : public runner::Monitors {
 public:
  explicit FrontendMonitors(trace::Recorder& recorder) {
    for (auto make : {monitor::packet_rules, monitor::object_rules, monitor::transport_rules}) {
      auto made = make();
      std::move(made.begin(), made.end(), std::back_inserter(rules_));
    }
    recorder.observe([this](const trace::Message& message) { take(message); });
  }

  void finish(trace::Recorder& recorder) override {
    for (const auto& rule : rules_) rule->report(recorder);
  }

 private:
  template <class Method, class... Args>
  void tell(Method method, const Args&... args) {
    for (const auto& rule : rules_) ((*rule).*method)(args...);
  }

  // What fake_backend/fake_backend.h says about recorded fields.
  void take(const trace::Message& message) {
    const Json& fields = message.fields;
    switch (message.kind) {
      case Kind::request:
        if (const auto packet = packet_of(message))
          tell(&Rule::on_request, monitor::RequestSeen{connector(fields), number(fields, "index"),
                                                       fields.value("notified", true),
                                                       displif::decode_request(*packet)});
        return;
      case Kind::response:
        if (const auto packet = packet_of(message))
          tell(&Rule::on_response,
               monitor::ResponseSeen{connector(fields), displif::decode_response(*packet)});
        return;
      case Kind::index:
        return take_index(message);
      case Kind::state:
        if (message.direction == Direction::none) {
          if (fields.value("what", "") == "connected") tell(&Rule::on_connection);
        } else if (fields.contains("side")) {
          tell(&Rule::on_state,
               message.direction == Direction::front_to_back ? bus::Side::frontend
                                                             : bus::Side::backend,
               fields.contains("state") ? std::optional(number(fields, "state")) : std::nullopt,
               fields.value("empty", false) ? "(empty)" : fields.value("text", ""));
        }
        return;
      case Kind::xenstore:
        return take_node(message);
      default:
        return;
    }
  }

  void take_index(const trace::Message& message) {
    const Json& fields = message.fields;
    const std::string what = fields.value("what", "");
    if (what == "ring" || what == "event-page") {
      tell(&Rule::on_page, monitor::PageSeen{connector(fields), what == "ring", message.raw});
    } else if (what == "directory") {
      monitor::DirectorySeen directory;
      directory.cookie = fields.value("dbuf_cookie", "");
      directory.repeated = number(fields, "repeated");
      for (const auto& problem : fields.value("problems", Json::array()))
        directory.problems.push_back(problem.get<std::string>());
      tell(&Rule::on_directory, directory);
    } else if (fields.contains("name") && fields.contains("value")) {
      tell(&Rule::on_index, monitor::IndexSeen{connector(fields), fields.value("name", ""),
                                               number(fields, "value"), what == "refused"});
    }
  }

  void take_node(const trace::Message& message) {
    const Json& fields = message.fields;
    if (message.direction == Direction::none && fields.contains("resolution"))
      tell(&Rule::on_resolution, connector(fields), number(fields["resolution"], "width"),
           number(fields["resolution"], "height"));
    if (message.direction == Direction::front_to_back &&
        fields.value("path", "").ends_with("/version"))
      tell(&Rule::on_version, version_of(fields));
  }

  // A frontend that names no version speaks version 1.
  static unsigned version_of(const Json& fields) {
    const auto value = fields.find("value");
    if (value == fields.end() || !value->is_string()) return 1;
    const auto version = displif::parse_version(value->get<std::string>());
    return version ? *version : 1;
  }

  static std::optional<displif::Packet> packet_of(const trace::Message& message) {
    displif::Packet packet;
    if (message.raw.size() != packet.size()) return std::nullopt;
    std::copy(message.raw.begin(), message.raw.end(), packet.begin());
    return packet;
  }

  static unsigned connector(const Json& fields) { return number(fields, "connector"); }
  static std::uint32_t number(const Json& fields, const char* key) {
    return fields.value(key, std::uint32_t{0});
  }

  std::vector<std::unique_ptr<Rule>> rules_;
};

}  // namespace

std::unique_ptr<runner::Monitors> attach_frontend_monitors(trace::Recorder& recorder) {
  return std::make_unique<FrontendMonitors>(recorder);
}

}  // namespace displif_cts::cases
