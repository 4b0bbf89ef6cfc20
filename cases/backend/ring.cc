// ring.h, the backend's end of the request ring; displif.h, "Feature and Parameter Negotiation".
#include <fmt/format.h>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_ring {
namespace {

using displif::DbufDestroy;
using displif::FbDetach;
using displif::PgFlip;
using displif::RequestBody;
using fake_frontend::kAlways;

constexpr DbufCookie kBuffer{0x5011};
constexpr FbCookie kFb{0x5021};
constexpr std::uint32_t kSlots = 32;

// `count` requests that a conformant backend carries out: framebuffers of one buffer.
std::vector<RequestBody> attachments(std::uint64_t count, std::uint64_t first = 0x6000) {
  std::vector<RequestBody> bodies;
  for (std::uint64_t i = 0; i < count; ++i)
    bodies.emplace_back(attach_of(kBuffer, FbCookie{first + i}));
  return bodies;
}

Reply make_raw_buffer(FakeFrontend& frontend) {
  return frontend.send(0, create_of(kBuffer, frontend.share_pages(kOctets)));
}

// --- notifications -------------------------------------------------------------------------------

BACKEND_CASE(ResponseNotified,
             {.id = "backend.ring.response-notified",
              .title = "Each of forty responses is announced on the ring's channel.",
              .requirements = of(req::ring_response_notified)}) {
  FakeFrontend& frontend = connect();
  for (int i = 0; i < 40; ++i) {
    const Reply reply = frontend.send(0, PgFlip{kFb});
    if (!reply.response)
      require(
          check_timed(req::ring_response_notified, false, {"an announced response"}, reply.text()));
    const auto requests = frontend.requests();
    if (!requests.at(*reply.request).answer_notified)
      require(check_timed(req::ring_response_notified, false, {"an announced response"},
                          fmt::format("response {} lay unannounced", i)));
  }
  check(req::ring_response_notified, true, {"forty announced responses"}, "forty");
}

BACKEND_CASE(RequestThreshold,
             {.id = "backend.ring.request-threshold",
              .title = "Before it waits, the backend asks to be notified of the next request.",
              .requirements = of(req::ring_req_event_updated)}) {
  FakeFrontend& frontend = connect();
  for (int i = 0; i < 5; ++i) {
    const Reply reply = frontend.send(0, PgFlip{kFb});
    std::uint32_t req_prod = 0;
    std::uint32_t req_event = 0;
    const bool asked = await(
        [&] {
          const auto indexes = frontend.indexes(0);
          if (!indexes) return false;
          req_prod = indexes->req_prod;
          req_event = indexes->req_event;
          return req_event == req_prod + 1;
        },
        answer_limit());
    require(check_timed(req::ring_req_event_updated, asked,
                        {fmt::format("req_event {}", req_prod + 1)},
                        fmt::format("req_event {}, {}", req_event, reply.text())));
  }
}

// --- many requests -------------------------------------------------------------------------------

std::vector<std::pair<CaseSpec, std::uint32_t>> batches() {
  std::vector<std::pair<CaseSpec, std::uint32_t>> list;
  for (const std::uint32_t count : {2U, 7U, 31U, kSlots}) {
    CaseSpec spec;
    spec.id = fmt::format("backend.ring.batch.{}", count);
    spec.title = fmt::format("{} requests that are pushed together are all served.", count);
    spec.requirements = of(req::ring_batch_served);
    if (count == kSlots) spec.requirements.push_back(&req::ring_full_ring_served);
    list.emplace_back(std::move(spec), count);
  }
  return list;
}

BACKEND_CASES(Batch, std::uint32_t, batches()) {
  const Requirement& requirement =
      param == kSlots ? req::ring_full_ring_served : req::ring_batch_served;
  FakeFrontend& frontend = connect();
  require(check_done(req::dbuf_create_accepted, make_raw_buffer(frontend), "a buffer"));
  for (std::uint64_t round = 0; round < 3; ++round) {
    const auto sent = frontend.submit(0, attachments(param, 0x6000 + round * kSlots));
    if (sent.size() != param) throw std::runtime_error("the requests were not sent");
    std::size_t served = 0;
    for (const std::size_t request : sent)
      if (frontend.await_reply(request, answer_limit()).ok()) ++served;
    const bool all =
        check_timed(requirement, served == param, {fmt::format("{} answered with status 0", param)},
                    fmt::format("{} answered with status 0", served));
    if (param == kSlots)
      check_timed(req::ring_batch_served, all, {"all of a full ring"}, std::to_string(served));
    require(all);
  }
}

BACKEND_CASE(Wraps, {.id = "backend.ring.wraps",
                     .title = "Over four laps of the ring every request is found in its slot, and "
                              "answered in the next one.",
                     .requirements = of(req::ring_wraps, req::ring_rsp_prod_monotonic,
                                        req::ring_rsp_prod_within_requests,
                                        req::ring_frontend_fields_untouched),
                     .timeout = seconds(40)}) {
  constexpr int kRequests = 4 * static_cast<int>(kSlots) + 3;
  FakeFrontend& frontend = connect();
  std::uint32_t last = 0;
  // Before the answers: a ring whose indexes are not sound gives none.
  const auto judge_indexes = [&] {
    const auto indexes = frontend.indexes(0);
    if (!indexes) throw std::runtime_error("there is no ring");
    const auto ahead = static_cast<std::int32_t>(indexes->rsp_prod - indexes->req_prod);
    const auto step = static_cast<std::int32_t>(indexes->rsp_prod - last);
    const std::string text = fmt::format("rsp_prod {} after {}, with req_prod {}",
                                         indexes->rsp_prod, last, indexes->req_prod);
    bool sound = true;
    if (step < 0)
      sound = check(req::ring_rsp_prod_monotonic, false, {"rsp_prod going forward"}, text);
    else if (ahead > 0)
      sound = check(req::ring_rsp_prod_within_requests, false, {"rsp_prod up to req_prod"}, text);
    if (indexes->req_prod != indexes->req_prod_pvt)
      sound = check(req::ring_frontend_fields_untouched, false,
                    {fmt::format("req_prod {}", indexes->req_prod_pvt)},
                    fmt::format("req_prod {}", indexes->req_prod));
    require(sound);
    last = indexes->rsp_prod;
  };
  const Reply buffer = make_raw_buffer(frontend);
  judge_indexes();
  require(check_done(req::dbuf_create_accepted, buffer, "a buffer"));
  for (int i = 0; i < kRequests; ++i) {
    const Reply reply =
        i % 2 == 0 ? frontend.send(0, attach_of(kBuffer, kFb)) : frontend.send(0, FbDetach{kFb});
    judge_indexes();
    require(check_done(req::ring_wraps, reply, fmt::format("request {}", i)));
  }
  check(req::ring_rsp_prod_within_requests, true, {"rsp_prod up to req_prod"}, "always");
  check(req::ring_rsp_prod_monotonic, true, {"rsp_prod going forward"}, "always");
  check(req::ring_frontend_fields_untouched, true, {"req_prod as we wrote it"}, "always");
}

BACKEND_CASE(EveryRing, {.id = "backend.ring.full-rings",
                         .title = "Full rings of two connectors are served side by side.",
                         .requirements = of(req::ring_full_ring_served,
                                            req::bus_backend_serves_every_connector)}) {
  SKIP_IF(lacks_connectors(2));
  FakeFrontend& frontend = connect(with_connectors(2));
  std::vector<std::size_t> sent;
  for (const std::size_t connector : {0U, 1U}) {
    const std::vector<RequestBody> flips(kSlots, RequestBody{PgFlip{kFb}});
    const auto numbers = frontend.submit(connector, flips);
    if (numbers.size() != kSlots) throw std::runtime_error("the requests were not sent");
    sent.insert(sent.end(), numbers.begin(), numbers.end());
  }
  std::size_t first = 0;
  std::size_t second = 0;
  for (std::size_t i = 0; i < sent.size(); ++i)
    if (frontend.await_reply(sent[i], answer_limit()).response) ++(i < kSlots ? first : second);
  check_timed(req::ring_full_ring_served, first == kSlots, {"32 answers on connector 0"},
              std::to_string(first));
  check_timed(req::bus_backend_serves_every_connector, second == kSlots,
              {"32 answers on connector 1"}, std::to_string(second));
}

// --- whose ring ----------------------------------------------------------------------------------

struct Misplaced {
  std::string name;
  std::function<RequestBody(const FakeFrontend::SharedBuffer&)> request;
};

std::vector<std::pair<CaseSpec, Misplaced>> misplaced() {
  using Pages = FakeFrontend::SharedBuffer;
  const std::vector<Misplaced> all{
      {"dbuf-create", [](const Pages& pages) { return create_of(DbufCookie{0x5012}, pages); }},
      {"dbuf-destroy", [](const Pages&) { return DbufDestroy{kBuffer}; }},
      {"fb-attach", [](const Pages&) { return attach_of(kBuffer, FbCookie{0x5022}); }},
      {"fb-detach", [](const Pages&) { return FbDetach{kFb}; }},
  };
  std::vector<std::pair<CaseSpec, Misplaced>> list;
  for (const Misplaced& each : all) {
    CaseSpec spec;
    spec.id = "backend.ring.other-connector." + each.name;
    spec.title = fmt::format("{} on another ring than connector 0's is refused.", each.name);
    spec.requirements =
        of(req::ring_generic_operations_on_connector_zero, req::backend_stays_responsive);
    list.emplace_back(std::move(spec), each);
  }
  return list;
}

BACKEND_CASES(OtherConnector, Misplaced, misplaced()) {
  SKIP_IF(lacks_connectors(2));
  FakeFrontend& frontend = connect(with_connectors(2));
  const auto pages = frontend.share_pages(kOctets);
  require(check_done(req::dbuf_create_accepted, frontend.send(0, create_of(kBuffer, pages)),
                     "a buffer"));
  require(check_done(req::fb_attach_accepted, frontend.send(0, attach_of(kBuffer, kFb)),
                     "a framebuffer"));
  check_refused(req::ring_generic_operations_on_connector_zero,
                frontend.send(1, param.request(pages)), param.name + " on connector 1's ring");
  check_recovers(req::backend_stays_responsive, frontend);
}

// --- attacks -------------------------------------------------------------------------------------

struct Jump {
  std::string name;
  std::uint32_t by;  // added to the true req_prod
};

std::vector<std::pair<CaseSpec, Jump>> jumps() {
  std::vector<std::pair<CaseSpec, Jump>> list;
  for (const Jump& jump :
       {Jump{"ring-and-one", kSlots + 1}, Jump{"thousand", 1000}, Jump{"half-range", 0x8000'0000U},
        Jump{"just-below", 0U - 1U}, Jump{"lap-back", 0U - kSlots}, Jump{"most", 0x7FFF'FFFFU}}) {
    CaseSpec spec;
    spec.id = "backend.ring.req-prod-jumps." + jump.name;
    spec.title =
        fmt::format("A req_prod that jumps by {:#x} is not served, and does no harm.", jump.by);
    spec.requirements = of(req::backend_ring_index_validated, req::backend_ring_index_survived);
    list.emplace_back(std::move(spec), jump);
  }
  return list;
}

BACKEND_CASES(Jumps, Jump, jumps()) {
  FakeFrontend& frontend = connect();
  require(check_done(req::dbuf_create_accepted, make_raw_buffer(frontend), "a buffer"));
  require(check_done(req::fb_attach_accepted, frontend.send(0, attach_of(kBuffer, kFb)),
                     "a framebuffer"));
  const auto before = frontend.indexes(0);
  if (!before) throw std::runtime_error("there is no ring");
  // A backend may end the connection over it, and the ring with that; the next one has another.
  const unsigned connection = frontend.connections();
  const auto same_ring = [&] { return frontend.connections() == connection; };
  frontend.take_messages(false);  // what comes now answers nothing that was asked
  frontend.publish_req_prod(0, before->req_prod + param.by);
  frontend.notify_requests(0);
  std::uint32_t rsp_prod = before->rsp_prod;
  await(
      [&] {
        const auto now = frontend.indexes(0);
        if (now && same_ring()) rsp_prod = now->rsp_prod;
        return rsp_prod != before->rsp_prod || !same_ring();
      },
      quiet());
  check(req::backend_ring_index_validated, rsp_prod == before->rsp_prod,
        {"no response to requests that cannot be"},
        fmt::format("{} responses", rsp_prod - before->rsp_prod));
  if (frontend.connected() && same_ring()) frontend.publish_req_prod(0, before->req_prod);
  frontend.take_messages(true);
  check_recovers(req::backend_ring_index_survived, frontend);
}

struct Attack {
  std::string name;
  std::string title;
  std::function<void(FakeFrontend&)> act;
};

std::vector<std::pair<CaseSpec, Attack>> index_attacks() {
  const std::vector<Attack> all{
      {"stale-slot", "A req_prod that is one too high, over a slot that was never written,",
       [](FakeFrontend& frontend) {
         frontend.publish_req_prod(0, frontend.indexes(0)->req_prod + 1);
         frontend.notify_requests(0);
       }},
      {"stale-ring", "A whole ring of slots that were never written",
       [](FakeFrontend& frontend) {
         frontend.publish_req_prod(0, frontend.indexes(0)->req_prod + kSlots);
         frontend.notify_requests(0);
       }},
      {"rsp-prod-zero", "A backend's response producer that is set back to 0",
       [](FakeFrontend& frontend) { frontend.overwrite_rsp_prod(0, 0); }},
      {"rsp-prod-far", "A backend's response producer that is set far ahead",
       [](FakeFrontend& frontend) { frontend.overwrite_rsp_prod(0, 0x4000'0000U); }},
      {"req-event-far", "A backend's threshold that is set far ahead",
       [](FakeFrontend& frontend) { frontend.overwrite_req_event(0, 0x4000'0000U); }},
      {"rsp-event-far", "A threshold that never asks for a response",
       [](FakeFrontend& frontend) { frontend.publish_rsp_event(0, 0x4000'0000U); }},
      {"overfull", "More requests than the ring has slots",
       [](FakeFrontend& frontend) {
         frontend.set_faults([](FrontendFaults& faults) { faults.ring_overfull = {1, 40}; });
       }},
  };
  std::vector<std::pair<CaseSpec, Attack>> list;
  for (const Attack& attack : all) {
    CaseSpec spec;
    spec.id = "backend.ring.indexes." + attack.name;
    spec.title = attack.title + " does no harm.";
    spec.requirements = of(req::backend_ring_index_survived);
    list.emplace_back(std::move(spec), attack);
  }
  return list;
}

BACKEND_CASES(IndexAttacks, Attack, index_attacks()) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  param.act(frontend);
  frontend.page_flip(0, picture.fb);
  frontend.await_flip(0, quiet());
  check_recovers(req::backend_ring_index_survived, frontend);
}

BACKEND_CASE(ChangedRequests,
             {.id = "backend.ring.request-changes",
              .title = "Requests that change in their slots until they are answered do no harm.",
              .requirements = of(req::backend_request_copied_once),
              .timeout = seconds(60)}) {
  FakeFrontend& frontend = connect();
  // A request whose id has changed is waited for in vain, for as long as the peer may take.
  const Deadline enough = xen::in(seconds(15));
  for (int round = 0; round < 20 && (round < 2 || xen::Clock::now() < enough); ++round) {
    frontend.set_faults(
        [](FrontendFaults& faults) { faults.request_changed_later.times = kAlways; });
    const BufferReply buffer = frontend.create_buffer({});
    if (buffer.ok()) {
      const FramebufferReply fb = frontend.attach_fb(buffer.cookie);
      if (fb.ok()) frontend.set_config(0, fb.cookie);
      if (fb.ok()) frontend.page_flip(0, fb.cookie);
      frontend.destroy_buffer(buffer.cookie);
    }
    frontend.clear_faults();
  }
  check_recovers(req::backend_request_copied_once, frontend);
}

BACKEND_CASE(NotificationFlood,
             {.id = "backend.ring.notification-flood",
              .title = "Thousands of notifications about nothing, on both channels, do no harm.",
              .requirements = of(req::backend_notification_flood_survived)}) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  for (int i = 0; i < 2000; ++i) {
    frontend.notify_requests(0);
    frontend.notify_events(0);
  }
  check_done(req::backend_notification_flood_survived, frontend.page_flip(0, picture.fb), "a flip");
  check_awaited(req::backend_notification_flood_survived, frontend.await_flip(0, event_limit()),
                "its event");
  check_recovers(req::backend_notification_flood_survived, frontend);
}

std::vector<std::pair<CaseSpec, Attack>> revocations() {
  const std::vector<Attack> all{
      {"ring-page", "A ring whose grant ends while it is in use",
       [](FakeFrontend& frontend) { frontend.end_ring_page(0); }},
      {"event-page", "An event page whose grant ends while it is in use",
       [](FakeFrontend& frontend) { frontend.end_event_page(0); }},
      {"channels", "Event channels that are closed while they are in use",
       [](FakeFrontend& frontend) { frontend.close_channels(0); }},
  };
  std::vector<std::pair<CaseSpec, Attack>> list;
  for (const Attack& attack : all) {
    CaseSpec spec;
    spec.id = "backend.ring.taken-away." + attack.name;
    spec.title = attack.title + " does no harm.";
    spec.requirements = of(req::backend_page_revoked_survived);
    list.emplace_back(std::move(spec), attack);
  }
  return list;
}

BACKEND_CASES(TakenAway, Attack, revocations()) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  frontend.submit(0, {RequestBody{PgFlip{picture.fb}}, RequestBody{PgFlip{picture.fb}}});
  param.act(frontend);
  frontend.leave();
  check_recovers(req::backend_page_revoked_survived, frontend);
}

}  // namespace
}  // namespace displif_cts::cases::backend_ring
