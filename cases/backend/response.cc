// displif.h, "Responses" and "Status return codes": what every answer keeps, to right requests and
// to wrong ones.
#include <fmt/format.h>

#include <algorithm>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_response {
namespace {

using displif::DbufDestroy;
using displif::FbDetach;
using displif::GetEdid;
using displif::PgFlip;
using displif::RequestBody;
using displif::SetConfig;
using fake_frontend::ReceivedResponse;

constexpr DbufCookie kBuffer{0x5011};
constexpr DbufCookie kOtherBuffer{0x5012};
constexpr FbCookie kFb{0x5021};
constexpr FbCookie kOtherFb{0x5022};
constexpr DbufCookie kNoBuffer{0x50DE};
constexpr FbCookie kNoFb{0x50DF};

// What requests are made of: a buffer with a framebuffer, shown.
struct Scene {
  FakeFrontend::SharedBuffer pages;
  FakeFrontend::SharedBuffer edid;
  displif::Resolution screen;
};

enum class Wanted { success, error, either };

struct Situation {
  std::string name;
  Wanted wanted;
  std::function<RequestBody(const Scene&)> request;
};

const std::vector<Situation>& situations() {
  using S = Scene;
  static const std::vector<Situation> all{
      {"dbuf-create.right", Wanted::success,
       [](const S& s) { return create_of(kOtherBuffer, s.pages); }},
      {"dbuf-create.wrong", Wanted::error,
       [](const S& s) { return create_of(DbufCookie{}, s.pages); }},
      {"fb-attach.right", Wanted::success, [](const S&) { return attach_of(kBuffer, kOtherFb); }},
      {"fb-attach.wrong", Wanted::error, [](const S&) { return attach_of(kNoBuffer, kNoFb); }},
      {"set-config.right", Wanted::success, [](const S& s) { return config_of(s.screen, kFb); }},
      {"set-config.wrong", Wanted::error, [](const S& s) { return config_of(s.screen, kNoFb); }},
      {"pg-flip.right", Wanted::success, [](const S&) { return PgFlip{kFb}; }},
      {"pg-flip.wrong", Wanted::error, [](const S&) { return PgFlip{kNoFb}; }},
      {"set-config.reset", Wanted::success, [](const S&) { return SetConfig{}; }},
      {"fb-detach.right", Wanted::success, [](const S&) { return FbDetach{kFb}; }},
      {"fb-detach.wrong", Wanted::either, [](const S&) { return FbDetach{kNoFb}; }},
      {"dbuf-destroy.right", Wanted::success, [](const S&) { return DbufDestroy{kBuffer}; }},
      {"dbuf-destroy.wrong", Wanted::either, [](const S&) { return DbufDestroy{kNoBuffer}; }},
      {"get-edid.right", Wanted::either,
       [](const S& s) {
         return GetEdid{XENDISPL_EDID_MAX_SIZE, s.edid.directory.at(0)};
       }},
      {"get-edid.wrong", Wanted::error,
       [](const S&) {
         return GetEdid{XENDISPL_EDID_MAX_SIZE, xen::GrantRef{}};
       }},
  };
  return all;
}

// Those that the version knows.
std::vector<Situation> situations_of(unsigned protocol) {
  std::vector<Situation> known;
  for (const Situation& situation : situations())
    if (protocol >= 2 || !situation.name.starts_with("get-edid")) known.push_back(situation);
  return known;
}

Scene make_scene(FakeFrontend& frontend) {
  Scene scene;
  scene.screen = frontend.connectors().at(0);
  scene.pages = frontend.share_pages(kOctets);
  scene.edid = frontend.share_pages(XENDISPL_EDID_MAX_SIZE);
  return scene;
}

// --- each operation, right and wrong -------------------------------------------------------------

std::vector<std::pair<CaseSpec, Situation>> field_specs() {
  std::vector<std::pair<CaseSpec, Situation>> list;
  for (const Situation& situation : situations()) {
    CaseSpec spec;
    spec.id = "backend.response.fields." + situation.name;
    spec.title = fmt::format("The answer to {} is one, in time, and in order in all its fields.",
                             situation.name);
    spec.requirements =
        of(req::response_every_request_answered, req::response_in_time,
           req::response_one_per_request, req::response_id_echoed, req::response_operation_echoed,
           req::response_reserved_zero, req::response_status_zero_or_negative);
    if (situation.wanted == Wanted::success)
      spec.requirements.push_back(&req::response_success_is_zero);
    if (situation.wanted == Wanted::error)
      spec.requirements.push_back(&req::response_error_is_negative);
    list.emplace_back(std::move(spec), situation);
  }
  return list;
}

std::string reserved_text(const displif::Response& response, unsigned protocol) {
  for (const auto& range : displif::reserved_response_bytes(response.operation, protocol))
    for (std::size_t at = range.offset; at < range.offset + range.size; ++at)
      if (response.packet.at(at) != std::byte{})
        return fmt::format("octet {} is {:#04x}", at,
                           std::to_integer<unsigned>(response.packet.at(at)));
  return {};
}

BACKEND_CASES(Fields, Situation, field_specs()) {
  FakeFrontend& frontend = connect();
  if (param.name.starts_with("get-edid") && frontend.protocol() < 2)
    GTEST_SKIP() << "version 1 has no GET_EDID";
  const Scene scene = make_scene(frontend);
  // As far as the request needs it. What this comes to is judged by the operations' own cases.
  BufferSpec whole;
  whole.width = scene.screen.width;
  whole.height = scene.screen.height;
  whole.cookie = kBuffer;
  frontend.create_buffer(whole);
  FramebufferSpec fb;
  fb.cookie = kFb;
  frontend.attach_fb(kBuffer, fb);
  frontend.set_config(0, kFb);
  const bool detach = param.name.starts_with("dbuf-destroy");
  if (detach || param.name.starts_with("fb-detach")) frontend.reset_config(0);
  if (detach) frontend.detach_fb(kFb);

  const RequestBody body = param.request(scene);
  const std::uint8_t operation = displif::operation_of(body);
  Cursor cursor = frontend.response_cursor();
  const std::size_t first = cursor.next;
  const Reply reply = frontend.send(0, body);
  check_timed(req::response_every_request_answered, reply.response.has_value(), {"a response"},
              reply.text());
  const auto more = frontend.no_unsolicited_until(quiet(), cursor);
  const std::vector<ReceivedResponse> all = frontend.responses();
  const std::span responses = std::span(all).subspan(std::min(first, all.size()));
  check(req::response_one_per_request, responses.size() == 1, {"one response"},
        fmt::format("{} responses{}", responses.size(), more ? ", one to no request" : ""));
  const auto requests = frontend.requests();
  if (!reply.request) throw std::runtime_error("the request was not sent: " + reply.text());
  const std::uint16_t id = requests.at(*reply.request).request.id;
  for (const ReceivedResponse& each : responses) {
    const displif::Response& response = each.response;
    check_equal(req::response_id_echoed, "id", id, response.id);
    check_equal(req::response_operation_echoed, "operation", hex_text(operation),
                hex_text(response.operation));
    const std::string dirt = reserved_text(response, frontend.protocol());
    check(req::response_reserved_zero, dirt.empty(), {"reserved octets 0"},
          dirt.empty() ? "reserved octets 0" : dirt);
    check(req::response_status_zero_or_negative, is_legal_status(response.status),
          {"a status from -4095 to 0"}, displif::status_name(response.status));
    if (param.wanted == Wanted::success)
      check(req::response_success_is_zero, response.status == 0, {"status 0"},
            displif::status_name(response.status));
    if (param.wanted == Wanted::error)
      check(req::response_error_is_negative, response.status < 0, {"a negative status"},
            displif::status_name(response.status));
  }
  const milliseconds took((reply.answered_ns - reply.sent_ns) / 1'000'000);
  check_timed(req::response_in_time, reply.response && took <= peer().response,
              {fmt::format("a response within {} ms", peer().response.count())},
              reply.response ? fmt::format("after {} ms", took.count()) : reply.text());
}

// --- over the laps of the ring -------------------------------------------------------------------

BACKEND_CASE(Laps,
             {.id = "backend.response.laps",
              .title = "Over three laps of the ring every response is clean, and carries its "
                       "request's id, whatever that is.",
              .requirements = of(req::response_reserved_zero, req::response_id_echoed,
                                 req::response_operation_echoed, req::response_one_per_request),
              .timeout = seconds(40)}) {
  static constexpr std::array<std::uint16_t, 8> kIds{0,      0xFFFF, 0x8000, 1,
                                                     0x00FF, 0xFF00, 0x7FFF, 2};
  constexpr std::size_t kRequests = 3 * 32 + 5;
  FakeFrontend& frontend = connect();
  const Scene scene = make_scene(frontend);
  frontend.send(0, create_of(kBuffer, scene.pages));
  frontend.send(0, attach_of(kBuffer, kFb));
  Cursor cursor = frontend.response_cursor();
  const std::size_t first = cursor.next;
  const std::vector<Situation> known = situations_of(frontend.protocol());
  std::size_t clean = 0;
  std::string dirt;
  for (std::size_t i = 0; i < kRequests; ++i) {
    const RequestBody body = known[i % known.size()].request(scene);
    const std::uint16_t id = kIds[i % kIds.size()];
    const Reply reply = frontend.send(0, displif::encode_request(id, body));
    if (!reply.response)
      require(check_timed(req::response_id_echoed, false, {"a response with the request's id"},
                          reply.text()));
    if (reply.response->id != id)
      check_equal(req::response_id_echoed, "id", id, reply.response->id);
    if (reply.response->operation != displif::operation_of(body))
      check_equal(req::response_operation_echoed, "operation", displif::operation_of(body),
                  reply.response->operation);
    const std::string found = reserved_text(*reply.response, frontend.protocol());
    if (found.empty()) {
      ++clean;
    } else if (dirt.empty()) {
      dirt = fmt::format("response {}: {}", i, found);
    }
  }
  check(req::response_id_echoed, true, {"ids as sent"}, "ids as sent");
  check(req::response_operation_echoed, true, {"operations as sent"}, "operations as sent");
  check(req::response_reserved_zero, clean == kRequests, {"reserved octets 0"},
        dirt.empty() ? "reserved octets 0" : dirt);
  frontend.no_unsolicited_until(quiet(), cursor);
  check_equal(req::response_one_per_request, "responses", kRequests,
              frontend.responses().size() - first);
}

// --- operations that do not exist ----------------------------------------------------------------

std::vector<std::pair<CaseSpec, std::uint8_t>> undefined_codes() {
  std::vector<std::pair<CaseSpec, std::uint8_t>> list;
  for (const unsigned code : {0x00U, 0x01U, 0x0FU, 0x17U, 0x7FU, 0x80U, 0xFFU}) {
    CaseSpec spec;
    spec.id = fmt::format("backend.request.undefined-operation.{:02x}", code);
    spec.title = fmt::format("A request with the undefined code {:#04x} is refused.", code);
    spec.requirements = of(req::request_undefined_operation_refused, req::backend_stays_responsive);
    list.emplace_back(std::move(spec), static_cast<std::uint8_t>(code));
  }
  return list;
}

BACKEND_CASES(UndefinedOperation, std::uint8_t, undefined_codes()) {
  FakeFrontend& frontend = connect();
  check_refused(req::request_undefined_operation_refused,
                frontend.send(0, displif::Unknown{param, {}}), "the request");
  check_recovers(req::backend_stays_responsive, frontend);
}

// --- reserved octets of requests -----------------------------------------------------------------

BACKEND_CASE(ReservedOctets,
             {.id = "backend.request.reserved-octets",
              .title = "Requests of every operation whose reserved octets are not 0 are answered, "
                       "and do no harm.",
              .requirements = of(req::request_reserved_octets_survived)}) {
  FakeFrontend& frontend = connect();
  const Scene scene = make_scene(frontend);
  frontend.send(0, create_of(kBuffer, scene.pages));
  frontend.send(0, attach_of(kBuffer, kFb));
  for (const Situation& situation : situations_of(frontend.protocol())) {
    const RequestBody body = situation.request(scene);
    displif::Packet packet = displif::encode_request(frontend.take_id(0), body);
    for (const auto& range :
         displif::reserved_bytes(displif::operation_of(body), frontend.protocol()))
      std::fill_n(packet.begin() + static_cast<std::ptrdiff_t>(range.offset), range.size,
                  std::byte{0xA5});
    check_answered(req::request_reserved_octets_survived, frontend.send(0, packet), situation.name);
  }
  check_recovers(req::request_reserved_octets_survived, frontend);
}

// --- ids -----------------------------------------------------------------------------------------

BACKEND_CASE(DuplicateIds,
             {.id = "backend.request.duplicate-ids",
              .title = "Eight requests with one id are answered eight times, with that id.",
              .requirements = of(req::request_duplicate_ids_answered)}) {
  constexpr std::size_t kRequests = 8;
  constexpr std::uint16_t kId = 0x7777;
  FakeFrontend& frontend = connect();
  const std::size_t first = frontend.response_cursor().next;
  const std::vector<displif::Packet> packets(
      kRequests, displif::encode_request(kId, RequestBody{PgFlip{kNoFb}}));
  if (frontend.submit(0, packets).empty()) throw std::runtime_error("the requests were not sent");
  const std::size_t answered = await_responses(frontend, first + kRequests, answer_limit()) - first;
  check_timed(req::request_duplicate_ids_answered, answered == kRequests,
              {fmt::format("{} responses", kRequests)}, fmt::format("{} responses", answered));
  const auto responses = frontend.responses();
  const bool same = std::all_of(
      responses.begin() + static_cast<std::ptrdiff_t>(std::min(first, responses.size())),
      responses.end(), [](const ReceivedResponse& each) { return each.response.id == kId; });
  check(req::request_duplicate_ids_answered, same, {"each with that id"},
        same ? "each with that id" : "another id among them");
}

}  // namespace
}  // namespace displif_cts::cases::backend_response
