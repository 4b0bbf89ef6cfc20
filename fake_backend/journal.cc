#include "fake_backend/journal.h"

#include <fmt/format.h>

namespace displif_cts::fake_backend {
namespace {

std::string state_text(const std::optional<bus::State>& state) {
  return state ? std::string(bus::name(*state)) : "none";
}

double ms_ago(std::uint64_t ns) { return static_cast<double>(trace::now_ns() - ns) / 1e6; }

}  // namespace

std::string describe(const ReceivedRequest& request) {
  return fmt::format("request {}: {} id {} on connector {}, {}", request.number,
                     displif::operation_name(request.request.operation), request.request.id,
                     request.connector,
                     request.status ? "status " + displif::status_name(*request.status)
                                    : std::string("unanswered"));
}

void Journal::forget() {
  requests.clear();
  responses.clear();
  events.clear();
  states.clear();
  trouble.clear();
  directories.clear();
}

std::string Journal::last_seen() const {
  std::string text = fmt::format(
      "frontend {}, backend {}, {}", frontend_known ? state_text(frontend_state) : "not seen",
      state_text(backend_state),
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
  if (!ended.empty()) text += "; the backend's service has ended: " + ended;
  return text;
}

bool RequestFilter::accepts(const ReceivedRequest& request) const {
  return (!operation || request.request.operation == static_cast<std::uint8_t>(*operation)) &&
         (!connector || request.connector == *connector) && (!matches || matches(request));
}

std::string RequestFilter::text() const {
  if (!description.empty()) return description;
  std::string text = operation ? displif::operation_name(static_cast<std::uint8_t>(*operation))
                               : std::string("any request");
  if (connector) text += fmt::format(" on connector {}", *connector);
  if (matches) text += " that the case's condition accepts";
  return text;
}

RequestFilter RequestFilter::op(displif::Operation operation) { return {.operation = operation}; }

}  // namespace displif_cts::fake_backend
