// What a frontend must leave as it is: the nodes that it published, the backend's indexes, and what
// it asked for until it is answered.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <thread>
#include <vector>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"
#include "harness/displif/nodes.h"
#include "harness/xen/store.h"

namespace displif_cts::cases::shared_memory {
namespace {

using displif::Operation;

// How long something that must not change is looked at.
constexpr int kLooks = 16;

// Calls `look` a few times over `time`, until it returns something else than nothing.
std::string watch_for_change(milliseconds time, const std::function<std::string()>& look) {
  std::string seen;
  for (int i = 0; i < kLooks && seen.empty(); ++i) {
    seen = look();
    std::this_thread::sleep_for(time / kLooks);
  }
  return seen;
}

// Of each connector; none where they cannot be read.
using Transports = std::vector<std::optional<displif::ConnectorTransport>>;

Transports published_transports(xen::Store& store, const std::string& device, unsigned connectors) {
  Transports all;
  for (unsigned connector = 0; connector < connectors; ++connector) {
    const auto read = displif::read_transport([&](const std::string& name) {
      return store.read(device + "/" + displif::node::of_connector(connector, name));
    });
    all.push_back(read.ok() ? std::optional(*read) : std::nullopt);
  }
  return all;
}

// As the backend read them when the frontend was Initialised.
Transports transports_in_use(const FakeBackend& backend, unsigned connectors) {
  Transports all;
  for (unsigned connector = 0; connector < connectors; ++connector)
    all.push_back(backend.transport(connector));
  return all;
}

std::string text_of(const Transports& transports) {
  std::string text;
  for (const auto& each : transports)
    text += each ? fmt::format("ring {}, channel {}, event page {}, channel {}; ",
                               xen::raw(each->req_ring_ref), xen::raw(each->req_event_channel),
                               xen::raw(each->evt_ring_ref), xen::raw(each->evt_event_channel))
                 : "not readable; ";
  return text;
}

FRONTEND_CASE(TransportKept, {.id = "frontend.xenstore.transport-kept",
                              .title = "The transport parameters stay as they were published "
                                       "while the connection is in use.",
                              .requirements = of(req::xenstore_transport_kept)}) {
  const unsigned connectors = std::min(peer().max_connectors, 2U);
  FakeBackend& backend = connect(with_connectors(connectors));
  xen::Store store = xen::Store::open();
  const std::string device = backend.paths().frontend;
  const Transports published = transports_in_use(backend, connectors);
  const xen::Watch watch = store.watch(device);
  guest.open();
  for (const GuestConnector& connector : guest.all_connectors(connectors))
    show_picture(connector, fmt::format("picture{}", connector.id));
  guest.close();
  const Transports now = published_transports(store, device, connectors);
  check(req::xenstore_transport_kept, now == published, {text_of(published)}, text_of(now));
  // Writing the same again would be a change, too: a backend that watches would connect anew.
  std::string written;
  while (const auto event = store.next_event(xen::in(quiet())))
    if (event->path.ends_with("-ref") || event->path.ends_with("-channel")) written = event->path;
  check(req::xenstore_transport_kept, written.empty(), {"no transport node is written"},
        written.empty() ? "none is" : written);
}

FRONTEND_CASE(BackendIndexes,
              {.id = "frontend.ring.backend-indexes-untouched",
               .title = "The response producer and the request threshold keep what the backend "
                        "wrote, before and after each answer, over a lap of the ring.",
               .requirements = of(req::ring_backend_indexes_untouched),
               .timeout = seconds(30)}) {
  FakeBackend& backend = connect();
  guest.open();
  const DumbBuffer buffer = guest.create_dumb("buffer", 64, 64);
  const auto foreign = [&]() -> std::string {
    const auto indexes = backend.indexes(0);
    if (!indexes) return "not connected";
    const bool kept =
        indexes->rsp_prod == indexes->rsp_prod_pvt && indexes->req_event == indexes->req_cons + 1;
    return kept ? ""
                : fmt::format("rsp_prod {} and req_event {}, written as {} and {}",
                              indexes->rsp_prod, indexes->req_event, indexes->rsp_prod_pvt,
                              indexes->req_cons + 1);
  };
  for (int lap = 0; lap < 17; ++lap) {
    guest.add_fb("fb", buffer);
    guest.rm_fb("fb");
  }
  // The backend asks to be told of the next request right after it has answered the last.
  const Deadline settled = soon();
  while (!foreign().empty() && xen::Clock::now() < settled)
    std::this_thread::sleep_for(milliseconds(1));
  backend.set_faults([](BackendFaults& faults) { faults.response_never = {.times = 1}; });
  Cursor requests = backend.request_cursor();
  guest.start("waiting", "add-fb", {{"fd", "card"}, {"name", "late"}, {"buffer", "buffer"}});
  const auto request =
      expect_request(req::ring_backend_indexes_untouched, backend, Operation::fb_attach, requests);
  while (!foreign().empty() && xen::Clock::now() < settled)
    std::this_thread::sleep_for(milliseconds(1));
  const std::string while_waiting = watch_for_change(quiet() / 2, foreign);
  check(req::ring_backend_indexes_untouched, while_waiting.empty(),
        {"while a request is unanswered: as the backend wrote them"}, while_waiting);
  displif::Response response;
  response.id = request.request.id;
  response.operation = request.request.operation;
  backend.send_response(0, displif::encode_response(response));
  guest.finish("waiting");
  const std::string after = watch_for_change(quiet() / 2, foreign);
  check(req::ring_backend_indexes_untouched, after.empty(),
        {"after the answer: as the backend wrote them"}, after);
}

FRONTEND_CASE(RequestKept, {.id = "frontend.ring.request-kept-until-answered",
                            .title = "A request, and the directory that it names, stay as they "
                                     "were sent until it is answered.",
                            .requirements = of(req::ring_request_kept_until_answered,
                                               req::page_directory_kept_while_read)}) {
  FakeBackend& backend = connect();
  guest.open();
  backend.set_faults([](BackendFaults& faults) { faults.response_never = {.times = 1}; });
  Cursor requests = backend.request_cursor();
  guest.start("waiting", "create-dumb",
              {{"fd", "card"}, {"name", "buffer"}, {"width", "1024"}, {"height", "1024"}});
  const auto request = expect_request(req::ring_request_kept_until_answered, backend,
                                      Operation::dbuf_create, requests);
  const auto cookie = request.request.as<displif::DbufCreate>()->dbuf_cookie;
  std::string slot;
  std::string directory;
  std::optional<displif::Directory> first;
  const auto look_at_slot = [&] {
    const displif::Packet now = backend.request_slot(0, request.ring_index);
    const auto changed = std::mismatch(now.begin(), now.end(), request.request.packet.begin());
    if (changed.first != now.end())
      slot = fmt::format("octet {} changed", changed.first - now.begin());
  };
  const auto look_at_directory = [&] {
    if (!first) {
      first = backend.directory(cookie);
      return;
    }
    const auto now = backend.reread_directory(cookie);
    if (!now) {
      directory = "the directory cannot be read any more";
    } else if (!now->problems.empty()) {
      directory = now->problems.front().text;
    } else if (now->refs != first->refs) {
      directory = "the directory lists other references";
    }
  };
  watch_for_change(quiet(), [&] {
    look_at_slot();
    if (slot.empty() && directory.empty()) look_at_directory();
    return slot;
  });
  // What the directory is judged by is not there if the backend read the request in mid-change.
  require(check(req::ring_request_kept_until_answered, slot.empty(), {"the request as it was sent"},
                slot));
  require(check(req::page_directory_kept_while_read, first.has_value(),
                {"a directory that the backend can read"}, "none"));
  check(req::page_directory_kept_while_read, directory.empty(), {"the directory as it was sent"},
        directory);
  displif::Response response;
  response.id = request.request.id;
  response.operation = request.request.operation;
  backend.send_response(0, displif::encode_response(response));
  guest.finish("waiting");
}

}  // namespace
}  // namespace displif_cts::cases::shared_memory
