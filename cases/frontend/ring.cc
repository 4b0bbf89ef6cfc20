// ring.h and displif.h, "Requests" and "Responses": the request ring, kept and broken.
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <thread>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"

namespace displif_cts::cases {
namespace {

using displif::Operation;
using fake_backend::kAlways;

constexpr std::int32_t kRefused = -5;  // -XEN_EIO
constexpr unsigned kProtocol = 2;      // the version with the fewest reserved octets

std::string place(const ReceivedRequest& request) {
  return fmt::format("{} on connector {}", displif::operation_name(request.request.operation),
                     request.connector);
}

displif::Packet response_to(const ReceivedRequest& request, std::uint16_t id, std::int32_t status) {
  displif::Response response;
  response.id = id;
  response.operation = request.request.operation;
  response.status = status;
  return displif::encode_response(response);
}

// --- what the frontend owes ----------------------------------------------------------------------

FRONTEND_CASE(Notifies, {.id = "frontend.ring.notifies",
                         .title = "Every request that the backend asked to be told of is announced "
                                  "on its ring's channel, beyond the end of the ring.",
                         .requirements = of(req::ring_notifies),
                         .timeout = seconds(30)}) {
  FakeBackend& backend = connect();
  guest.open();
  const DumbBuffer buffer = guest.create_dumb("buffer", 64, 64);
  constexpr int kTimes = 20;  // of two requests; the ring has 32 slots
  Cursor requests{};
  for (int time = 0; time < kTimes; ++time) {
    const std::string name = "fb" + std::to_string(time);
    guest.add_fb(name, buffer);
    guest.rm_fb(name);
    // The fake finds unannounced requests too, a while later.
    for (const Operation operation : {Operation::fb_attach, Operation::fb_detach}) {
      const auto request = expect_request(req::ring_notifies, backend, operation, requests);
      require(check(req::ring_notifies, request.notified, {"announced: " + place(request)},
                    (request.notified ? "announced: " : "not announced: ") + place(request)));
    }
  }
}

FRONTEND_CASE(AsksForNotification,
              {.id = "frontend.ring.asks-for-notification",
               .title = "While a request is unanswered, the frontend's threshold asks to be told "
                        "of the response, over a lap of the ring.",
               .requirements = of(req::ring_asks_for_notification),
               .timeout = seconds(40)}) {
  FakeBackend& backend = connect();
  guest.open();
  // The answers are given by hand, after the look at the ring.
  backend.set_faults([](BackendFaults& faults) {
    faults.response_never = {.times = kAlways, .operations = only(Operation::dbuf_create)};
  });
  constexpr int kTimes = 34;
  Cursor requests = backend.request_cursor();
  for (int time = 0; time < kTimes; ++time) {
    guest.start("waiting", "create-dumb",
                {{"fd", "card"},
                 {"name", "buffer" + std::to_string(time)},
                 {"width", "32"},
                 {"height", "32"},
                 {"bpp", "32"}});
    const auto request =
        expect_request(req::ring_asks_for_notification, backend, Operation::dbuf_create, requests);
    const auto indexes = expect_indexes(req::ring_asks_for_notification, backend);
    const std::uint32_t unanswered = indexes.req_prod - indexes.rsp_prod;
    const std::uint32_t asked = indexes.rsp_event - indexes.rsp_prod;
    require(check(
        req::ring_asks_for_notification, asked >= 1 && asked <= unanswered,
        {fmt::format("rsp_event from 1 to {} ahead of rsp_prod {}", unanswered, indexes.rsp_prod)},
        fmt::format("rsp_event {}", indexes.rsp_event)));
    backend.send_response(0, response_to(request, request.request.id, 0));
    guest.finish("waiting");
  }
}

std::vector<std::pair<CaseSpec, unsigned>> ring_specs() {
  std::vector<std::pair<CaseSpec, unsigned>> list;
  for (const unsigned count : {1U, 4U}) {
    CaseSpec spec;
    spec.id = fmt::format("frontend.ring.of-operation.{}", count);
    spec.title = fmt::format(
        "With {} connectors, configurations and flips come on their own "
        "connector's ring, everything else on connector 0's.",
        count);
    spec.requirements =
        of(req::ring_control_requests_on_connector_0, req::ring_connector_requests_on_own_ring);
    list.emplace_back(std::move(spec), count);
  }
  return list;
}

FRONTEND_CASES(RingOfOperation, unsigned, ring_specs()) {
  if (peer().max_connectors < param) GTEST_SKIP() << "the peer has fewer connectors";
  const auto options = small_connectors(param);
  FakeBackend& backend = connect(options);
  guest.open();
  for (const GuestConnector& connector : guest.all_connectors(param)) {
    const std::size_t own = index_of(connector, options);
    Cursor requests = backend.request_cursor();
    // What comes on a wrong ring may be refused: the ring is what counts.
    const std::string fb = "fb" + std::to_string(own);
    const DumbBuffer buffer =
        guest.create_dumb("buffer" + std::to_string(own), connector.width, connector.height);
    guest.add_fb(fb, buffer);
    const bool shown = guest.set_crtc(connector, fb, connector.width, connector.height).ok;
    if (guest.page_flip(connector, fb).ok && shown)
      guest.wait_event(peer().flip_event + seconds(2));
    guest.crtc_off(connector);
    guest.rm_fb(fb);
    guest.destroy_dumb(buffer.name);
    for (const Cause& cause : all_causes()) {
      const bool own_ring =
          cause.operation == Operation::set_config || cause.operation == Operation::pg_flip;
      const Requirement& requirement = own_ring ? req::ring_connector_requests_on_own_ring
                                                : req::ring_control_requests_on_connector_0;
      Cursor here = requests;
      const auto request = expect_request(requirement, backend, cause.operation, here);
      check(requirement, request.connector == (own_ring ? own : 0),
            {fmt::format("{} on connector {}", name_of(cause.operation), own_ring ? own : 0)},
            place(request));
    }
  }
}

// --- what the slots hold -------------------------------------------------------------------------

// The reserved octets of `request` that are not 0, or "none".
std::string reserved_nonzero(const ReceivedRequest& request) {
  const auto ranges = displif::reserved_bytes(request.request.operation, kProtocol);
  const auto offsets = displif::nonzero_bytes(request.request.packet, ranges);
  return offsets.empty() ? "none" : fmt::format("octets {}", fmt::join(offsets, ", "));
}

FRONTEND_CASE(ReservedZero, {.id = "frontend.ring.reserved-zero",
                             .title = "Reserved octets are 0 in every operation, over two laps "
                                      "of the ring.",
                             .requirements = of(req::packet_reserved_zero),
                             .timeout = seconds(40)}) {
  FakeBackend& backend = connect(small_connectors(1));
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  constexpr int kRounds = 9;  // of eight requests
  for (int round = 0; round < kRounds; ++round) {
    const DumbBuffer small = guest.create_dumb("small", 32, 32);
    guest.add_fb("small-fb", small);
    guest.call("flips", {{"fd", "card"},
                         {"crtc", std::to_string(picture.connector.crtc)},
                         {"fbs", picture.fb},
                         {"count", "2"}});
    guest.crtc_off(picture.connector);
    guest.set_crtc(picture.connector, picture.fb, picture.connector.width,
                   picture.connector.height);
    guest.rm_fb("small-fb");
    guest.destroy_dumb("small");
  }
  const auto requests = backend.requests();
  require(check(req::packet_reserved_zero, requests.size() >= 64, {"64 requests or more"},
                fmt::format("{} requests", requests.size())));
  for (const ReceivedRequest& request : requests)
    check(req::packet_reserved_zero, reserved_nonzero(request) == "none",
          {"non-zero reserved octets: none"},
          place(request) + ", non-zero reserved octets: " + reserved_nonzero(request));
}

FRONTEND_CASE(ReservedZeroAfterErrors,
              {.id = "frontend.ring.reserved-zero-after-errors",
               .title = "Reserved octets are 0 in requests that reuse the slots of responses with "
                        "an error status.",
               .requirements = of(req::packet_reserved_zero)}) {
  FakeBackend& backend = connect();
  guest.open();
  const DumbBuffer buffer = guest.create_dumb("buffer", 64, 64);
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {
        .times = kAlways, .operations = only(Operation::fb_attach), .status = kRefused};
  });
  constexpr int kLap = 32;
  for (int time = 0; time < kLap; ++time)
    guest.call("add-fb", {{"fd", "card"},
                          {"name", "refused"},
                          {"buffer", buffer.name},
                          {"width", "64"},
                          {"height", "64"},
                          {"format", "XR24"}});
  backend.clear_faults();
  Cursor requests = backend.request_cursor();
  guest.add_fb("taken", buffer);
  guest.rm_fb("taken");
  guest.destroy_dumb(buffer.name);
  for (const Operation operation :
       {Operation::fb_attach, Operation::fb_detach, Operation::dbuf_destroy}) {
    const auto request = expect_request(req::packet_reserved_zero, backend, operation, requests);
    check(req::packet_reserved_zero, reserved_nonzero(request) == "none",
          {"non-zero reserved octets: none"},
          place(request) + ", non-zero reserved octets: " + reserved_nonzero(request));
  }
}

// --- responses that the frontend cannot use ------------------------------------------------------

std::vector<std::pair<CaseSpec, Cause>> specs(const std::string& prefix, const std::string& title,
                                              const std::vector<const Requirement*>& requirements,
                                              milliseconds timeout) {
  std::vector<std::pair<CaseSpec, Cause>> list;
  for (const Cause& cause : all_causes()) {
    CaseSpec spec;
    spec.id = prefix + cause.name;
    spec.title = cause.name + ": " + title;
    spec.requirements = requirements;
    spec.timeout = timeout;
    list.emplace_back(std::move(spec), cause);
  }
  return list;
}

FRONTEND_CASES(UnknownResponseId, Cause,
               specs("frontend.ring.unknown-response-id.",
                     "a response to nobody, before the true one, changes nothing.",
                     of(req::ring_unknown_response_id_ignored), seconds(30))) {
  FakeBackend& backend = connect();
  guest.open();
  const GuestConnector connector = guest.connector();
  arrange(guest, param, connector);
  backend.set_faults([this](BackendFaults& faults) {
    faults.response_extra_unknown_id = {.times = 1, .operations = only(param.operation)};
    // One that takes it for its own must have time to go on.
    faults.response_late = {.times = 1, .operations = only(param.operation), .delay = quiet()};
  });
  Cursor requests = backend.request_cursor();
  const GuestCall call = call_of(param, connector);
  const Result result = guest.call(call.verb, call.args);
  check(req::ring_unknown_response_id_ignored, result.ok, {"the call succeeds"}, result.text());
  expect_request(req::ring_unknown_response_id_ignored, backend, param.operation, requests);
  if (param.operation == Operation::pg_flip) {
    const FlipEvent event = guest.wait_event(peer().flip_event + seconds(2));
    check(req::ring_unknown_response_id_ignored, event.arrived, {"the flip completes"}, "no event");
  }
  check(req::ring_unknown_response_id_ignored, guest.connector().connected,
        {"the connector reads connected"}, "it reads disconnected");
  guest.close();
  check_usable(req::ring_unknown_response_id_ignored, backend);
}

FRONTEND_CASE(MatchedById, {.id = "frontend.ring.response-matched-by-id",
                            .title = "A response with another id, and an error, does not fail the "
                                     "request that waits; its own response decides.",
                            .requirements = of(req::ring_response_matched_by_id)}) {
  FakeBackend& backend = connect();
  guest.open();
  backend.set_faults([](BackendFaults& faults) { faults.response_never = {.times = 2}; });
  for (const std::int32_t status : {0, kRefused}) {
    Cursor requests = backend.request_cursor();
    guest.start("waiting", "create-dumb",
                {{"fd", "card"},
                 {"name", "buffer" + std::to_string(-status)},
                 {"width", "64"},
                 {"height", "64"},
                 {"bpp", "32"}});
    const auto request =
        expect_request(req::ring_response_matched_by_id, backend, Operation::dbuf_create, requests);
    const auto foreign_id = static_cast<std::uint16_t>(request.request.id ^ 0x8000U);
    backend.send_response(0, response_to(request, foreign_id, status == 0 ? kRefused : 0));
    std::this_thread::sleep_for(quiet());
    backend.send_response(0, response_to(request, request.request.id, status));
    const Result result = guest.finish("waiting");
    const std::string expected = status == 0 ? "success" : "EIO";
    check(req::ring_response_matched_by_id, result.ok == (status == 0), {expected}, result.text());
  }
}

FRONTEND_CASES(Unanswered, Cause,
               specs("frontend.ring.unanswered.",
                     "when the answer never comes the guest's call ends, and later ones work.",
                     of(req::ring_unanswered_request_ends), seconds(45))) {
  FakeBackend& backend = connect();
  guest.open();
  const GuestConnector connector = guest.connector();
  arrange(guest, param, connector);
  backend.set_faults([this](BackendFaults& faults) {
    faults.response_never = {.times = 1, .operations = only(param.operation)};
  });
  Cursor requests = backend.request_cursor();
  const GuestCall call = call_of(param, connector);
  guest.start("waiting", call.verb, call.args);
  expect_request(req::ring_unanswered_request_ends, backend, param.operation, requests);
  const milliseconds limit = peer().response + seconds(3);
  bool ended = true;
  try {
    const Result result = guest.finish("waiting", limit);
    if (param.call_can_fail)
      check(req::ring_unanswered_request_ends, !result.ok, {"an error"}, result.text());
    // A call that has failed leaves nothing to wait for.
    if (param.operation == Operation::pg_flip && result.ok) ended = guest.wait_event(limit).arrived;
  } catch (const GuestSilent&) {
    ended = false;
  }
  require(check_timed(req::ring_unanswered_request_ends, ended,
                      {fmt::format("the guest waits no longer after {}", limit)},
                      ended ? "it does not" : "it still waits"));
  guest.close();
  check_usable(req::ring_unanswered_request_ends, backend);
}

FRONTEND_CASE(OnlyForeignId, {.id = "frontend.ring.unknown-response-id-only",
                              .title = "When only a response to nobody comes, the request ends as "
                                       "an unanswered one does.",
                              .requirements = of(req::ring_unanswered_request_ends,
                                                 req::ring_response_matched_by_id),
                              .timeout = seconds(30)}) {
  FakeBackend& backend = connect();
  guest.open();
  backend.set_faults([](BackendFaults& faults) {
    faults.response_unknown_id = {.times = 1, .operations = only(Operation::dbuf_create)};
  });
  try {
    const Result result = guest.call(
        "create-dumb",
        {{"fd", "card"}, {"name", "buffer"}, {"width", "64"}, {"height", "64"}, {"bpp", "32"}},
        peer().response * 2 + seconds(3));
    check(req::ring_response_matched_by_id, !result.ok, {"an error"}, result.text());
  } catch (const GuestSilent& silence) {
    check_timed(req::ring_unanswered_request_ends, false, {"the guest waits no longer"},
                silence.what());
    throw;
  }
  guest.close();
  check_usable(req::ring_unanswered_request_ends, backend);
}

FRONTEND_CASE(LateResponse, {.id = "frontend.ring.late-response",
                             .title = "The late response to a request that was given up does not "
                                      "complete the request that waits now.",
                             .requirements = of(req::ring_late_response_ignored),
                             .timeout = seconds(30)}) {
  FakeBackend& backend = connect();
  guest.open();
  backend.set_faults([](BackendFaults& faults) {
    faults.response_never = {.times = 2, .operations = only(Operation::dbuf_create)};
  });
  const auto args = [](const std::string& name) {
    return Args{{"fd", "card"}, {"name", name}, {"width", "64"}, {"height", "64"}, {"bpp", "32"}};
  };
  Cursor requests = backend.request_cursor();
  guest.start("first", "create-dumb", args("first"));
  const auto first =
      expect_request(req::ring_late_response_ignored, backend, Operation::dbuf_create, requests);
  guest.finish("first", peer().response * 2 + seconds(3));  // given up
  guest.start("second", "create-dumb", args("second"));
  const auto second =
      expect_request(req::ring_late_response_ignored, backend, Operation::dbuf_create, requests);
  backend.send_response(0, response_to(first, first.request.id, 0));
  std::this_thread::sleep_for(quiet());
  backend.send_response(0, response_to(second, second.request.id, kRefused));
  const Result result = guest.finish("second");
  check(req::ring_late_response_ignored, !result.ok, {"the second call fails, as answered"},
        result.text());
}

// --- producer indexes ----------------------------------------------------------------------------

FRONTEND_CASE(ResponseWithoutRequest,
              {.id = "frontend.ring.response-producer-beyond.one",
               .title = "A producer that moves by one while no response was written does not "
                        "complete the request that lies in the slot.",
               .requirements = of(req::ring_response_without_request),
               .timeout = seconds(30)}) {
  FakeBackend& backend = connect();
  guest.open();
  backend.set_faults([](BackendFaults& faults) {
    faults.response_never = {.times = kAlways, .operations = only(Operation::dbuf_create)};
  });
  Cursor requests = backend.request_cursor();
  guest.start(
      "waiting", "create-dumb",
      {{"fd", "card"}, {"name", "buffer"}, {"width", "64"}, {"height", "64"}, {"bpp", "32"}});
  expect_request(req::ring_response_without_request, backend, Operation::dbuf_create, requests);
  const auto indexes = expect_indexes(req::ring_response_without_request, backend);
  backend.publish_rsp_prod(0, indexes.rsp_prod + 1);
  backend.notify_requests(0);
  const Result result = guest.finish("waiting", peer().response * 2 + seconds(3));
  check(req::ring_response_without_request, !result.ok, {"the call ends as an unanswered one"},
        result.text());
  // A ring that disagrees about its indexes is of no more use.
  backend.shutdown();
}

struct Jump {
  std::string name;
  std::uint32_t distance;
  std::string words;
};

std::vector<std::pair<CaseSpec, Jump>> jump_specs() {
  std::vector<std::pair<CaseSpec, Jump>> list;
  for (const Jump& jump : {Jump{"lap", 33, "by one more than the ring has slots"},
                           Jump{"half-range", 1U << 31U, "by half of its range"}}) {
    CaseSpec spec;
    spec.id = "frontend.ring.response-producer-beyond." + jump.name;
    spec.title = "A response producer that jumps ahead " + jump.words +
                 " neither stalls nor crashes the guest, and a new connection works.";
    spec.requirements = of(req::ring_response_producer_beyond_ring);
    spec.timeout = seconds(45);
    list.emplace_back(std::move(spec), jump);
  }
  return list;
}

FRONTEND_CASES(ResponseProducerBeyond, Jump, jump_specs()) {
  FakeBackend& backend = connect();
  guest.open();
  guest.create_dumb("buffer", 64, 64);
  const auto indexes = expect_indexes(req::ring_response_producer_beyond_ring, backend);
  backend.publish_rsp_prod(0, indexes.rsp_prod + param.distance);
  backend.notify_requests(0);
  require(check_timed(req::ring_response_producer_beyond_ring, guest_answers(),
                      {"the guest answers"}, "the guest is silent"));
  backend.shutdown();
  await_any_state(backend, {bus::State::reconfiguring, bus::State::initialising},
                  after_removal_limit());
  guest.close();
  backend.await_state(bus::State::initialising, after_removal_limit());
  backend.start();
  require(check_awaited(req::ring_response_producer_beyond_ring, backend.await_connected(soon()),
                        "Connected again"));
  check_usable(req::ring_response_producer_beyond_ring, backend);
}

}  // namespace
}  // namespace displif_cts::cases
