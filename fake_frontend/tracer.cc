#include "fake_frontend/tracer.h"

#include <fmt/format.h>

#include "harness/displif/describe.h"
#include "harness/trace/recorder.h"

namespace displif_cts::fake_frontend {
namespace {

using trace::Direction;
using trace::Kind;

Direction direction(From from) {
  return from == From::frontend ? Direction::front_to_back : Direction::back_to_front;
}

Json numbers(std::span<const xen::GrantRef> refs) {
  Json list = Json::array();
  for (const xen::GrantRef ref : refs) list.push_back(xen::raw(ref));
  return list;
}

}  // namespace

std::uint64_t now_ns() { return trace::now_ns(); }

void Tracer::log(std::string_view text) { recorder_.log("frontend: " + std::string(text)); }

void Tracer::connection(unsigned number, std::string_view what, std::string_view why) {
  Json fields{{"connection", number}, {"what", what}};
  if (!why.empty()) fields["why"] = why;
  recorder_.message(Kind::state, Direction::none, std::move(fields));
}

void Tracer::state(bus::Side side, const std::optional<bus::State>& state, std::string_view text) {
  Json fields{{"side", bus::name(side)}};
  if (state) {
    fields["state"] = static_cast<unsigned>(*state);
    fields["name"] = bus::name(*state);
  } else {
    fields["text"] = text;
  }
  recorder_.message(Kind::state,
                    direction(side == bus::Side::frontend ? From::frontend : From::backend),
                    std::move(fields));
}

void Tracer::node(From from, std::string_view path, const std::optional<std::string>& value,
                  std::optional<std::size_t> connector) {
  Json fields{{"path", path}, {"value", value ? Json(*value) : Json()}};
  if (connector) fields["connector"] = *connector;
  recorder_.message(Kind::xenstore, direction(from), std::move(fields));
}

void Tracer::resolution(std::size_t connector, const displif::Resolution& resolution) {
  recorder_.message(
      Kind::xenstore, Direction::none,
      Json{{"connector", connector},
           {"resolution", {{"width", resolution.width}, {"height", resolution.height}}}});
}

void Tracer::index(From from, std::size_t connector, std::string_view name, std::uint32_t value) {
  recorder_.message(Kind::index, direction(from),
                    Json{{"connector", connector}, {"name", name}, {"value", value}});
}

void Tracer::notification(std::size_t connector, std::string_view channel, std::uint64_t count) {
  recorder_.message(Kind::index, Direction::back_to_front,
                    Json{{"connector", connector},
                         {"what", "notification"},
                         {"channel", channel},
                         {"count", count}});
}

void Tracer::unnotified(std::size_t connector, std::string_view name, std::uint32_t value) {
  recorder_.message(
      Kind::index, Direction::back_to_front,
      Json{{"connector", connector}, {"what", "unnotified"}, {"name", name}, {"value", value}});
}

void Tracer::refused(std::size_t connector, std::string_view name, std::uint32_t value,
                     std::string_view reason) {
  recorder_.message(Kind::index, Direction::back_to_front,
                    Json{{"connector", connector},
                         {"what", "refused"},
                         {"name", name},
                         {"value", value},
                         {"reason", reason}});
}

void Tracer::directory(From from, DbufCookie cookie, std::span<const xen::GrantRef> pages,
                       std::span<const xen::GrantRef> references) {
  recorder_.message(Kind::index, direction(from),
                    Json{{"connector", 0},
                         {"what", "directory"},
                         {"dbuf_cookie", fmt::format("{:#x}", displif::raw(cookie))},
                         {"pages", numbers(pages)},
                         {"references", numbers(references)}});
}

void Tracer::request(const SentRequest& request, unsigned protocol) {
  Json fields{{"connector", request.connector}, {"index", request.ring_index}};
  fields.update(displif::describe(request.request, protocol));
  recorder_.message(Kind::request, Direction::front_to_back, request.request.packet,
                    std::move(fields));
}

void Tracer::response(const ReceivedResponse& response) {
  Json fields{{"connector", response.connector},
              {"index", response.ring_index},
              {"notified", response.notified},
              {"matched", response.request ? Json(*response.request) : Json()}};
  fields.update(displif::describe(response.response));
  recorder_.message(Kind::response, Direction::back_to_front, response.response.packet,
                    std::move(fields));
}

void Tracer::event(const ReceivedEvent& event) {
  Json fields{
      {"connector", event.connector}, {"index", event.page_index}, {"notified", event.notified}};
  fields.update(displif::describe(event.event));
  recorder_.message(Kind::event, Direction::back_to_front, event.event.packet, std::move(fields));
}

}  // namespace displif_cts::fake_frontend
