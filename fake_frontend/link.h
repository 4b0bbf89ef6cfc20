// One connector's transport while it stands.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "harness/displif/event_page.h"
#include "harness/displif/nodes.h"
#include "harness/displif/ring.h"
#include "harness/xen/event_channels.h"
#include "harness/xen/grants.h"

namespace displif_cts::fake_frontend {

// What page faults ask of a link that is made.
struct LinkFaults {
  xen::Access ring_access = xen::Access::read_write;
  xen::Access page_access = xen::Access::read_write;
  std::uint32_t ring_start = 0;
  std::uint32_t event_start = 0;
};

struct Link {
  // Grants both pages and offers both channels. Throws xen::Error; nothing stays then.
  static Link make(xen::EventChannels& channels, xen::DomId backend, const LinkFaults& faults) {
    xen::SharedPages ring = xen::SharedPages::share(backend, 1, faults.ring_access);
    xen::SharedPages page = xen::SharedPages::share(backend, 1, faults.page_access);
    xen::BoundPort req = channels.bind_unbound(backend);
    xen::BoundPort evt = channels.bind_unbound(backend);
    return Link(std::move(ring), std::move(page), std::move(req), std::move(evt), faults);
  }

  displif::ConnectorTransport transport() const {
    return {.req_ring_ref = req_ref,
            .req_event_channel = req_channel,
            .evt_ring_ref = evt_ref,
            .evt_event_channel = evt_channel};
  }

  // Members are destroyed last one first: the channels go before the pages. Empty once ended.
  std::optional<xen::SharedPages> ring_page;
  std::optional<xen::SharedPages> event_page;
  std::optional<xen::BoundPort> req_port;
  std::optional<xen::BoundPort> evt_port;
  displif::FrontRing ring;        // not touched without ring_page
  displif::EventConsumer events;  // not touched without event_page

  xen::GrantRef req_ref;
  xen::GrantRef evt_ref;
  xen::Port req_channel;
  xen::Port evt_channel;

  std::uint16_t next_id = 0;
  std::deque<std::size_t> outstanding;  // numbers of unanswered requests, oldest first
  // The last request written into each slot.
  std::vector<std::optional<displif::Packet>> written;
  std::uint64_t req_notifications = 0;
  std::uint64_t evt_notifications = 0;
  bool responses_waiting = false;  // look at the ring: more may have come
  bool threshold_stale = false;    // a fault keeps rsp_event from moving: silence is no wonder

  // Id of an event minus its index, as the connection's events have it: displif.h leaves ids open,
  // backends count. Tells old slots from new ones when in_prod is beyond the page.
  std::uint16_t event_id_offset = 0;
  std::uint32_t unconfirmed = 0;

  // What was recorded last, so that an index is recorded when it changes.
  std::optional<std::uint32_t> rsp_prod_seen;
  std::optional<std::uint32_t> req_event_seen;
  std::optional<std::uint32_t> rsp_event_told;
  std::optional<std::uint32_t> in_prod_seen;
  std::optional<std::uint32_t> rsp_prod_refused;
  std::optional<std::uint32_t> in_prod_refused;

  // Since when something has lain in ring or page unannounced.
  std::optional<xen::Clock::time_point> responses_since;
  std::optional<xen::Clock::time_point> events_since;
  bool event_left = false;  // a fault leaves what is in the page until the next notification

  // Which framebuffer the connector shows; none: off.
  std::optional<displif::FbCookie> shown;

 private:
  Link(xen::SharedPages ring_memory, xen::SharedPages event_memory, xen::BoundPort req,
       xen::BoundPort evt, const LinkFaults& faults)
      : ring_page(std::move(ring_memory)),
        event_page(std::move(event_memory)),
        req_port(std::move(req)),
        evt_port(std::move(evt)),
        ring(ring_page->page(0), faults.ring_start),
        events(event_page->page(0), faults.event_start),
        req_ref(ring_page->refs().front()),
        evt_ref(event_page->refs().front()),
        req_channel(req_port->port()),
        evt_channel(evt_port->port()),
        written(ring.size()) {}
};

}  // namespace displif_cts::fake_frontend
