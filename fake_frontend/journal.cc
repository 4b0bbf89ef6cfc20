#include "fake_frontend/journal.h"

#include <fmt/format.h>

#include "fake_frontend/tracer.h"

namespace displif_cts::fake_frontend {
namespace {

std::string state_text(const std::optional<bus::State>& state) {
  return state ? std::string(bus::name(*state)) : "none";
}

double ms_ago(std::uint64_t ns) { return static_cast<double>(now_ns() - ns) / 1e6; }

}  // namespace

std::string describe(const SentRequest& request) {
  return fmt::format("request {}: {} id {} on connector {}, {}", request.number,
                     displif::operation_name(request.request.operation), request.request.id,
                     request.connector,
                     request.response ? "status " + displif::status_name(request.response->status)
                     : request.given_up.empty() ? std::string("unanswered")
                                                : request.given_up);
}

std::string Journal::last_seen() const {
  std::string text = fmt::format(
      "backend {}, frontend {}, {}", backend_known ? state_text(backend_state) : "not seen",
      state_text(frontend_state),
      connected ? fmt::format("connected (connection {})", connections) : "not connected");
  if (requests.empty()) {
    text += "; no request";
  } else {
    text += fmt::format("; last {} ({:.0f} ms ago)", describe(requests.back()),
                        ms_ago(requests.back().ns));
  }
  if (!events.empty()) {
    text += fmt::format("; last event id {} on connector {} ({:.0f} ms ago)",
                        events.back().event.id, events.back().connector, ms_ago(events.back().ns));
  }
  if (!trouble.empty()) text += "; trouble: " + trouble.back();
  if (!ended.empty()) text += "; the frontend's service has ended: " + ended;
  return text;
}

bool EventFilter::accepts(const ReceivedEvent& event) const {
  if (connector && event.connector != *connector) return false;
  if (!fb_cookie) return true;
  const auto* flip = std::get_if<displif::PgFlipEvent>(&event.event.body);
  return flip != nullptr && flip->fb_cookie == *fb_cookie;
}

std::string EventFilter::text() const {
  std::string text =
      fb_cookie ? fmt::format("the flip event of framebuffer {:#x}", displif::raw(*fb_cookie))
                : std::string("an event");
  if (connector) text += fmt::format(" on connector {}", *connector);
  return text;
}

std::string Reply::text() const {
  if (response) return "status " + displif::status_name(response->status);
  return failure.empty() ? "no response" : failure;
}

}  // namespace displif_cts::fake_frontend
