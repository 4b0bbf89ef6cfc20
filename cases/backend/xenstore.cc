// What a guest can do to XenStore, and the backend by way of it: floods of changes, and as many
// nodes as the guest may have (XSA-349).
#include <fmt/format.h>

#include "cases/support/backend_case.h"
#include "harness/xen/error.h"

namespace displif_cts::cases::backend_xenstore {
namespace {

BACKEND_CASE(Flood, {.id = "backend.xenstore.flood",
                     .title = "The frontend writes its nodes some thousand times over while it is "
                              "connected: the connection stands and is served.",
                     .requirements = of(req::xenstore_flood_survived)}) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  xen::Store store = xen::Store::open();
  const std::string device = frontend.paths().frontend;
  for (unsigned time = 0; time < 1500; ++time) {
    store.write(device + "/state", "4");
    store.write(fmt::format("{}/flood-{}", device, time % 8), std::to_string(time));
  }
  check_done(req::xenstore_flood_survived, frontend.page_flip(0, picture.fb), "a flip");
  check_awaited(req::xenstore_flood_survived, frontend.await_flip(0, event_limit()), "its event");
  check_recovers(req::xenstore_flood_survived, frontend);
}

BACKEND_CASE(
    Quota, {.id = "backend.xenstore.quota",
            .title = "A guest has made as many nodes as it may: its connection is served, and its "
                     "end is followed.",
            .requirements = of(req::xenstore_flood_survived)}) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  xen::Store store = xen::Store::open();
  const std::string device = frontend.paths().frontend;
  constexpr unsigned kEnough = 20'000;  // xenstored's own quota is 1,000 nodes of a guest
  unsigned made = 0;
  int error = 0;
  for (; made < kEnough && error == 0; ++made) {
    try {
      store.write(fmt::format("{}/many-{}", device, made), "x");
    } catch (const xen::Error& refused) {
      error = refused.number();
    }
  }
  recorder().log(fmt::format("{} nodes, then error {}", made, error));
  check_done(req::xenstore_flood_survived, frontend.page_flip(0, picture.fb), "a flip");
  check_awaited(req::xenstore_flood_survived, frontend.await_flip(0, event_limit()), "its event");
  frontend.leave();
  const auto state =
      await_any_state(frontend, {bus::State::init_wait, bus::State::closed}, removal_limit());
  check_timed(req::xenstore_flood_survived, state.has_value(), {"InitWait", "Closed"},
              state_text(backend_state(frontend)));
  for (unsigned node = 0; node < made; ++node)
    store.remove(fmt::format("{}/many-{}", device, node));
  check_recovers(req::xenstore_flood_survived, frontend);
}

}  // namespace
}  // namespace displif_cts::cases::backend_xenstore
