// One connector's transport while the two ends are connected.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "harness/displif/event_page.h"
#include "harness/displif/nodes.h"
#include "harness/displif/ring.h"
#include "harness/xen/event_channels.h"
#include "harness/xen/grants.h"

namespace displif_cts::fake_backend {

class Link {
 public:
  // Maps both pages and binds both channels. Throws std::runtime_error that names the node;
  // nothing stays mapped or bound then.
  static Link connect(const xen::Grants& grants, xen::EventChannels& channels, xen::DomId frontend,
                      const displif::ConnectorTransport& transport) {
    const auto map = [&](std::string_view node, xen::GrantRef reference) {
      return named(node, [&] { return grants.map(frontend, reference, xen::Access::read_write); });
    };
    const auto bind = [&](std::string_view node, auto port) {
      return named(node, [&] { return channels.bind_interdomain(frontend, port); });
    };
    namespace node = displif::node;
    xen::Mapping ring = map(node::kReqRingRef, transport.req_ring_ref);
    xen::Mapping page = map(node::kEvtRingRef, transport.evt_ring_ref);
    xen::BoundPort req = bind(node::kReqEventChannel, transport.req_event_channel);
    xen::BoundPort evt = bind(node::kEvtEventChannel, transport.evt_event_channel);
    return Link(std::move(ring), std::move(page), std::move(req), std::move(evt));
  }

  // Members are destroyed last one first: the channels go before the pages.
  xen::Mapping ring_page;
  xen::Mapping event_page;
  xen::BoundPort req_port;
  xen::BoundPort evt_port;
  displif::BackRing ring;
  displif::EventProducer events;

  std::uint16_t next_event_id = 0;  // displif.h leaves ids open; frontends count from 0
  std::uint64_t req_notifications = 0;
  std::uint64_t evt_notifications = 0;
  bool work = true;  // look at the ring: it may hold requests already

  // What was recorded last, so that an index is recorded when it changes.
  std::optional<std::uint32_t> req_prod_seen;
  std::optional<std::uint32_t> rsp_event_seen;
  std::optional<std::uint32_t> in_cons_seen;
  std::uint32_t in_prod_published = 0;
  std::optional<std::uint32_t> refused;  // the impossible req_prod that was complained about

  // Since when requests have lain in the ring unannounced.
  std::optional<xen::Clock::time_point> backlog_since;
  bool threshold_stale = false;  // a fault kept req_event from moving: silence is no wonder

 private:
  // An error says which node is to blame.
  template <class F>
  static auto named(std::string_view node, F&& use) -> decltype(use()) {
    try {
      return use();
    } catch (const xen::Error& error) {
      throw std::runtime_error(std::string(node) + ": " + error.what());
    }
  }

  Link(xen::Mapping ring_memory, xen::Mapping event_memory, xen::BoundPort req, xen::BoundPort evt)
      : ring_page(std::move(ring_memory)),
        event_page(std::move(event_memory)),
        req_port(std::move(req)),
        evt_port(std::move(evt)),
        ring(ring_page.page(0)),
        events(event_page.page(0)) {}
};

}  // namespace displif_cts::fake_backend
