// The life of a guest: it is paused, and goes on. What comes meanwhile waits in shared memory and
// in XenStore, where the guest finds it all at once. Pauses are shorter than any limit of the
// peer's.
#include <fmt/format.h>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"

namespace displif_cts::cases::frontend_life {
namespace {

using bus::State;
using displif::Operation;

#define SKIP_WITHOUT_PAUSE() \
  if (const std::string lacking = lacks_pause(); !lacking.empty()) GTEST_SKIP() << lacking

FRONTEND_CASE(PausedInitialising,
              {.id = "frontend.life.paused.initialising",
               .title = "The backend is ready while the guest is paused: the guest connects when "
                        "it goes on.",
               .requirements = of(req::recovery_pause_survived)}) {
  SKIP_WITHOUT_PAUSE();
  FakeBackend& backend = create_device();
  while_paused([&] { backend.start(); });
  check_awaited(req::recovery_pause_survived, backend.await_connected(soon()), "Connected");
}

FRONTEND_CASE(
    PausedRequest,
    {.id = "frontend.life.paused.request-outstanding",
     .title = "A request is answered while the guest is paused: its call returns when the "
              "guest goes on.",
     .requirements = of(req::recovery_pause_survived)}) {
  SKIP_WITHOUT_PAUSE();
  FakeBackend& backend = connect();
  guest.open();
  backend.set_faults([](BackendFaults& faults) {
    faults.response_never = {.times = 1, .operations = only(Operation::dbuf_create)};
  });
  Cursor requests = backend.request_cursor();
  guest.start("waiting", "create-dumb",
              {{"fd", "card"}, {"name", "late"}, {"width", "64"}, {"height", "64"}, {"bpp", "32"}});
  const auto create =
      expect_request(req::recovery_pause_survived, backend, Operation::dbuf_create, requests);
  while_paused([&] {
    displif::Response response;
    response.id = create.request.id;
    response.operation = create.request.operation;
    backend.send_response(0, displif::encode_response(response));
  });
  const Result made = guest.finish("waiting", peer().response + seconds(5));
  check(req::recovery_pause_survived, made.ok, {"the call succeeds"}, made.text());
  guest.close();
  check_usable(req::recovery_pause_survived, backend);
}

FRONTEND_CASE(
    PausedFlip,
    {.id = "frontend.life.paused.flip-pending",
     .title = "A flip's event comes while the guest is paused: the flip completes when the "
              "guest goes on.",
     .requirements = of(req::recovery_pause_survived)}) {
  SKIP_WITHOUT_PAUSE();
  FakeBackend& backend = connect();
  guest.open();
  const Picture picture = show_picture(guest.connector(), "picture");
  backend.set_faults([](BackendFaults& faults) { faults.flip_event_never = 1; });
  Cursor requests = backend.request_cursor();
  const Result called = guest.page_flip(picture.connector, picture.fb);
  require(check(req::recovery_pause_survived, called.ok, {"a page flip is taken"}, called.text()));
  const auto flip =
      expect_request(req::recovery_pause_survived, backend, Operation::pg_flip, requests);
  while_paused([&] { backend.send_flip_event(0, flip.request.as<displif::PgFlip>()->fb_cookie); });
  const FlipEvent event = guest.wait_event(before_flip_limit());
  check_timed(req::recovery_pause_survived, event.arrived, {"the flip's event"}, "no event");
  guest.close();
  check_usable(req::recovery_pause_survived, backend);
}

FRONTEND_CASE(PausedClose,
              {.id = "frontend.life.paused.backend-closes",
               .title = "The backend closes while the guest is paused: the guest follows when it "
                        "goes on, and connects again.",
               .requirements = of(req::recovery_pause_survived)}) {
  SKIP_WITHOUT_PAUSE();
  FakeBackend& backend = connect();
  while_paused([&] { backend.shutdown(); });
  const auto state =
      await_any_state(backend, {State::initialising, State::closed}, after_removal_limit());
  check_timed(req::recovery_pause_survived, state.has_value(), {"Initialising", "Closed"},
              state_text(backend));
  backend.start();
  require(check_awaited(req::recovery_pause_survived, backend.await_connected(soon()),
                        "Connected again"));
  check_usable(req::recovery_pause_survived, backend);
}

FRONTEND_CASE(PausedRestart,
              {.id = "frontend.life.paused.backend-restarts",
               .title = "The backend closes and is ready again while the guest is paused, so that "
                        "only its last state is seen: the guest makes a new connection.",
               .requirements = of(req::recovery_pause_survived)}) {
  SKIP_WITHOUT_PAUSE();
  FakeBackend& backend = connect();
  while_paused([&] {
    backend.shutdown();
    backend.start();
  });
  require(check_awaited(req::recovery_pause_survived,
                        backend.await_connected(after_removal_limit()), "Connected again"));
  check_usable(req::recovery_pause_survived, backend);
}

}  // namespace
}  // namespace displif_cts::cases::frontend_life
