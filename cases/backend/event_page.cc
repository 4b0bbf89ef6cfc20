// displif.h, "Events" and "Back to front events delivery".
#include <fmt/format.h>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_event_page {
namespace {

using displif::PgFlip;
using displif::PgFlipEvent;
using fake_frontend::kAlways;
using fake_frontend::ReceivedEvent;

// One flip, and its event; none when there is none in time.
Awaited<ReceivedEvent> flip_once(FakeFrontend& frontend, FbCookie fb, Deadline limit) {
  Cursor cursor = frontend.event_cursor();
  const Reply reply = frontend.send(0, PgFlip{fb});
  if (!reply.ok()) return Awaited<ReceivedEvent>::failed("PG_FLIP: " + reply.text());
  return frontend.await_event({}, limit, cursor);
}

BACKEND_CASE(Fields, {.id = "backend.event-page.fields",
                      .title = "Over two laps of the page every event is in its slot, announced, "
                               "clean, and numbered in sequence.",
                      .requirements = of(req::event_notified, req::event_type_defined,
                                         req::event_reserved_zero, req::event_id_sequential,
                                         req::event_slots_wrap, req::event_in_prod_within_page),
                      .timeout = seconds(60)}) {
  constexpr std::uint32_t kFlips = 2 * 63 + 14;
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  for (std::uint32_t i = 0; i < kFlips; ++i) {
    const auto received = flip_once(frontend, picture.fb, event_limit());
    const auto indexes = frontend.indexes(0);
    if (!indexes) throw std::runtime_error("there is no event page");
    bool sound =
        check(req::event_in_prod_within_page, indexes->in_prod == i + 1,
              {fmt::format("in_prod {}", i + 1)}, fmt::format("in_prod {}", indexes->in_prod));
    require(check_awaited(req::event_slots_wrap, received, fmt::format("event {}", i)));
    const displif::Event& event = received->event;
    // What lay in the slot a lap ago is what lies there when this event went elsewhere.
    require(check(req::event_slots_wrap, i < 63 || event.id != i - 63, {fmt::format("event {}", i)},
                  fmt::format("the event of a lap ago, id {}", event.id)));
    const auto* flip = std::get_if<PgFlipEvent>(&event.body);
    const auto dirt =
        displif::nonzero_bytes(event.packet, displif::reserved_event_bytes(event.type));
    sound &= check(req::event_type_defined, event.type == XENDISPL_EVT_PG_FLIP, {"type PG_FLIP"},
                   "type " + displif::event_name(event.type));
    sound &= check(req::event_notified, received->notified, {"announced on its channel"},
                   received->notified ? "announced on its channel" : "found unannounced");
    sound &=
        check(req::event_reserved_zero, dirt.empty(), {"reserved octets 0"},
              dirt.empty() ? "reserved octets 0" : fmt::format("octet {} is not", dirt.front()));
    sound &= check_equal(req::event_id_sequential, "id", static_cast<std::uint16_t>(i), event.id);
    if (flip != nullptr)
      sound &= check_equal(req::event_slots_wrap, "fb_cookie", hex_text(raw(picture.fb)),
                           hex_text(raw(flip->fb_cookie)));
    require(sound);
  }
}

BACKEND_CASE(IdsPerConnection,
             {.id = "backend.event-page.ids-per-connection",
              .title = "The numbers of events begin at 0 with each connection, on each connector.",
              .requirements = of(req::event_id_sequential)}) {
  const std::size_t connectors = std::min(peer().max_connectors, 2U);
  FakeFrontend& frontend = connect(with_connectors(connectors));
  for (int connection = 0; connection < 2; ++connection) {
    for (std::size_t connector = 0; connector < connectors; ++connector) {
      const Picture picture = show_picture(frontend, connector);
      for (std::uint16_t id = 0; id < 3; ++id) {
        Cursor cursor = frontend.event_cursor();
        frontend.send(connector, PgFlip{picture.fb});
        const auto event = frontend.await_event({}, event_limit(), cursor);
        require(check_awaited(req::event_id_sequential, event, "an event"));
        check_equal(req::event_id_sequential, "id", id, event->event.id);
      }
    }
    if (connection == 0) {
      const auto again = frontend.reconnect(soon());
      require(check_awaited(req::bus_backend_reconnects, again, "both ends Connected"));
    }
  }
}

// --- confirmation --------------------------------------------------------------------------------

std::vector<std::pair<CaseSpec, std::uint32_t>> confirmations() {
  std::vector<std::pair<CaseSpec, std::uint32_t>> list;
  for (const std::uint32_t group : {0U, 10U, 63U}) {
    CaseSpec spec;
    spec.id = group == 0 ? "backend.event-page.unconfirmed"
                         : fmt::format("backend.event-page.confirmed-in-groups.{}", group);
    spec.title = fmt::format("Events keep coming when the frontend confirms {}.",
                             group == 0 ? "none" : fmt::format("each {}th only", group));
    spec.requirements = of(req::event_confirmation_optional, req::event_consumer_untouched);
    spec.timeout = seconds(60);
    list.emplace_back(std::move(spec), group);
  }
  return list;
}

BACKEND_CASES(Confirmation, std::uint32_t, confirmations()) {
  constexpr int kFlips = 2 * 63 + 14;
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  frontend.set_faults([this](FrontendFaults& faults) {
    if (param == 0) {
      faults.events_unconfirmed = kAlways;
    } else {
      faults.events_confirmed_in_groups = {kAlways, param};
    }
  });
  for (int i = 0; i < kFlips; ++i) {
    const auto event = flip_once(frontend, picture.fb, event_limit());
    require(check_awaited(req::event_confirmation_optional, event, fmt::format("event {}", i)));
    const auto indexes = frontend.indexes(0);
    if (param == 0 && indexes && indexes->in_cons != 0)
      require(check(req::event_consumer_untouched, false, {"in_cons 0, as we left it"},
                    fmt::format("in_cons {}", indexes->in_cons)));
  }
  check(req::event_consumer_untouched, true, {"in_cons as we wrote it"}, "as we wrote it");
}

// --- attacks -------------------------------------------------------------------------------------

struct Attack {
  std::string name;
  std::string title;
  std::function<void(FakeFrontend&)> act;
};

std::vector<std::pair<CaseSpec, Attack>> confirmation_attacks() {
  const auto cons = [](std::uint32_t by) {
    return [by](FakeFrontend& frontend) {
      frontend.publish_in_cons(0, frontend.indexes(0)->in_prod + by);
    };
  };
  const std::vector<Attack> all{
      {"one-ahead", "A confirmation that is one ahead of the events", cons(1)},
      {"far-ahead", "A confirmation that is far ahead", cons(1000)},
      {"half-range", "A confirmation that is half the range ahead", cons(0x8000'0000U)},
      {"page-behind", "A confirmation that fell behind by a page's length", cons(0U - 64U)},
      {"far-behind", "A confirmation that fell far behind", cons(0U - 100000U)},
  };
  std::vector<std::pair<CaseSpec, Attack>> list;
  for (const Attack& attack : all) {
    CaseSpec spec;
    spec.id = "backend.event-page.confirmation." + attack.name;
    spec.title = attack.title + " does no harm.";
    spec.requirements = of(req::event_bogus_confirmation_survived);
    list.emplace_back(std::move(spec), attack);
  }
  return list;
}

BACKEND_CASES(ConfirmationAttacks, Attack, confirmation_attacks()) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  frontend.set_faults([](FrontendFaults& faults) { faults.events_unconfirmed = kAlways; });
  flip_once(frontend, picture.fb, event_limit());
  param.act(frontend);
  for (int i = 0; i < 70; ++i)
    check_answered(req::event_bogus_confirmation_survived, frontend.send(0, PgFlip{picture.fb}),
                   "a flip");
  check_recovers(req::event_bogus_confirmation_survived, frontend);
}

std::vector<std::pair<CaseSpec, Attack>> page_attacks() {
  const auto prod = [](std::uint32_t value) {
    return [value](FakeFrontend& frontend) { frontend.overwrite_in_prod(0, value); };
  };
  const std::vector<Attack> all{
      {"producer-zero", "A producer index that the frontend sets back to 0", prod(0)},
      {"producer-far", "A producer index that the frontend sets far ahead", prod(0x4000'0000U)},
      {"producer-most", "A producer index that the frontend sets to its largest value",
       prod(0xFFFF'FFFFU)},
      {"slots", "A page that the frontend fills with rubbish",
       [](FakeFrontend& frontend) {
         displif::Packet rubbish;
         rubbish.fill(std::byte{0xA5});
         for (std::uint32_t slot = 0; slot < 63; ++slot)
           frontend.write_event_slot(0, slot, rubbish);
       }},
  };
  std::vector<std::pair<CaseSpec, Attack>> list;
  for (const Attack& attack : all) {
    CaseSpec spec;
    spec.id = "backend.event-page.overwritten." + attack.name;
    spec.title = attack.title + " does no harm.";
    spec.requirements = of(req::event_page_overwritten_survived);
    list.emplace_back(std::move(spec), attack);
  }
  return list;
}

BACKEND_CASES(PageAttacks, Attack, page_attacks()) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  flip_once(frontend, picture.fb, event_limit());
  param.act(frontend);
  for (int i = 0; i < 3; ++i)
    check_answered(req::event_page_overwritten_survived, frontend.send(0, PgFlip{picture.fb}),
                   "a flip");
  check_recovers(req::event_page_overwritten_survived, frontend);
}

}  // namespace
}  // namespace displif_cts::cases::backend_event_page
