// displif.h, "Responses": answers that the header does not provide for.
#include <fmt/format.h>

#include <thread>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"

namespace displif_cts::cases::ring_answers {
namespace {

using displif::Operation;
using fake_backend::kAlways;

constexpr std::int32_t kRefused = -5;      // -XEN_EIO
constexpr std::uint8_t kUndefined = 0x55;  // no operation

std::vector<std::pair<CaseSpec, Cause>> positive_specs() {
  std::vector<std::pair<CaseSpec, Cause>> list;
  for (const Cause& cause : all_causes()) {
    if (!cause.call_can_fail) continue;
    CaseSpec spec;
    spec.id = "frontend.ring.positive-status." + cause.name;
    spec.title = cause.name + ": a status of 1 is no success for the guest's call, and no harm.";
    spec.requirements = of(req::ring_positive_status_is_failure, req::health_peer_alive);
    list.emplace_back(std::move(spec), cause);
  }
  return list;
}

FRONTEND_CASES(PositiveStatus, Cause, positive_specs()) {
  FakeBackend& backend = connect();
  guest.open();
  const GuestConnector connector = guest.connector();
  arrange(guest, param, connector);
  backend.set_faults([this](BackendFaults& faults) {
    faults.positive_status = {.times = 1, .operations = only(param.operation), .status = 1};
  });
  const GuestCall call = call_of(param, connector);
  const Result result = guest.call(call.verb, call.args);
  check(req::ring_positive_status_is_failure, !result.ok, {"an error"}, result.text());
  guest.close();
  check_usable(req::health_peer_alive, backend);
}

FRONTEND_CASE(WrongOperation, {.id = "frontend.ring.response-operation",
                               .title = "Responses that carry another operation than their "
                                        "requests do no harm.",
                               .requirements = of(req::ring_response_operation_checked),
                               .timeout = seconds(60)}) {
  FakeBackend& backend = connect();
  guest.open();
  backend.set_faults([](BackendFaults& faults) { faults.response_wrong_operation = {kAlways}; });
  // A frontend may take each answer by its id, or wait for a better one until it gives up.
  const auto limit = peer().response * 2 + seconds(3);
  guest.call("create-dumb", {{"fd", "card"}, {"name", "buffer"}, {"width", "64"}, {"height", "64"}},
             limit);
  guest.call("add-fb", {{"fd", "card"}, {"name", "fb"}, {"buffer", "buffer"}}, limit);
  // One that no version defines, and the true one after it.
  backend.set_faults([](BackendFaults& faults) { faults.response_never = {.times = 1}; });
  Cursor requests = backend.request_cursor();
  guest.start(
      "waiting", "create-dumb",
      {{"fd", "card"}, {"name", "other"}, {"width", "64"}, {"height", "64"}, {"bpp", "32"}});
  const auto request = expect_request(req::ring_response_operation_checked, backend,
                                      Operation::dbuf_create, requests);
  displif::Response undefined{.id = request.request.id, .operation = kUndefined, .status = 0};
  backend.send_response(0, displif::encode_response(undefined));
  std::this_thread::sleep_for(quiet());
  undefined.operation = XENDISPL_OP_DBUF_CREATE;
  backend.send_response(0, displif::encode_response(undefined));
  guest.finish("waiting", limit);
  guest.call("close", {{"name", "card"}}, limit);
  check_usable(req::ring_response_operation_checked, backend);
}

std::vector<std::pair<CaseSpec, Cause>> concurrent_specs() {
  std::vector<std::pair<CaseSpec, Cause>> list;
  for (const Cause& cause : all_causes()) {
    if (!cause.call_can_fail) continue;  // the others return before they are answered
    CaseSpec spec;
    spec.id = "frontend.ring.concurrent-calls." + cause.name;
    spec.title = cause.name +
                 " by several programs at once, slowly answered: each call gets its own answer.";
    spec.requirements = of(req::ring_concurrent_calls);
    spec.timeout = seconds(30);
    list.emplace_back(std::move(spec), cause);
  }
  return list;
}

FRONTEND_CASES(ConcurrentCalls, Cause, concurrent_specs()) {
  constexpr int kPrograms = 4;
  FakeBackend& backend = connect();
  guest.open();
  const bool attaches = param.operation == Operation::fb_attach;
  const auto name_of_buffer = [](int i) { return "buffer" + std::to_string(i); };
  if (attaches)
    for (int i = 0; i < kPrograms; ++i) guest.create_dumb(name_of_buffer(i), 64, 64);
  backend.set_faults([this](BackendFaults& faults) {
    faults.response_late = {
        .times = kAlways, .operations = only(param.operation), .delay = milliseconds(60)};
    faults.error_status = {.times = 1, .operations = only(param.operation), .status = kRefused};
  });
  for (int i = 0; i < kPrograms; ++i) {
    if (attaches) {
      guest.start(
          "call" + std::to_string(i), "add-fb",
          {{"fd", "card"}, {"name", "fb" + std::to_string(i)}, {"buffer", name_of_buffer(i)}});
    } else {
      guest.start("call" + std::to_string(i), "create-dumb",
                  {{"fd", "card"}, {"name", name_of_buffer(i)}, {"width", "64"}, {"height", "64"}});
    }
  }
  int refused = 0;
  int done = 0;
  std::string others;
  for (int i = 0; i < kPrograms; ++i) {
    const Result result = guest.finish("call" + std::to_string(i));
    done += result.ok ? 1 : 0;
    refused += result.error == "EIO" ? 1 : 0;
    if (!result.ok && result.error != "EIO") others += " " + result.error;
  }
  check(req::ring_concurrent_calls, refused == 1 && done == kPrograms - 1,
        {fmt::format("{} calls succeed and 1 fails, as answered", kPrograms - 1)},
        fmt::format("{} succeed, {} fail as answered,{}", done, refused,
                    others.empty() ? " no other" : others));
  backend.clear_faults();
  guest.close();
  check_usable(req::ring_concurrent_calls, backend);
}

FRONTEND_CASE(EdidResponse, {.id = "frontend.get-edid.response-in-version-1",
                             .title = "On a connection of version 1, a response to GET_EDID that "
                                      "nobody asked for changes nothing.",
                             .requirements = of(req::get_edid_response_ignored_in_version_1)}) {
  fake_backend::Options options;
  options.versions = {1};
  FakeBackend& backend = connect(options);
  guest.open();
  backend.set_faults([](BackendFaults& faults) { faults.response_never = {.times = 1}; });
  Cursor requests = backend.request_cursor();
  guest.start("waiting", "create-dumb",
              {{"fd", "card"}, {"name", "buffer"}, {"width", "64"}, {"height", "64"}});
  const auto request = expect_request(req::get_edid_response_ignored_in_version_1, backend,
                                      Operation::dbuf_create, requests);
  displif::Response edid;
  edid.id = static_cast<std::uint16_t>(request.request.id ^ 0x8000U);
  edid.operation = raw(Operation::get_edid);
  edid.status = kRefused;
  edid.edid_sz = 0xffffffffU;
  backend.send_response(0, displif::encode_response(edid));
  displif::Response answer;
  answer.id = request.request.id;
  answer.operation = request.request.operation;
  backend.send_response(0, displif::encode_response(answer));
  const Result result = guest.finish("waiting");
  check(req::get_edid_response_ignored_in_version_1, result.ok, {"the call succeeds, as answered"},
        result.text());
}

}  // namespace
}  // namespace displif_cts::cases::ring_answers
