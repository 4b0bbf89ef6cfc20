#include "cases/monitor/transport_rules.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <map>
#include <set>

#include "cases/requirements.gen.h"

namespace displif_cts::cases::monitor {
namespace {

// A page holds 32 packets of 64 octets behind the ring's header (ring.h rounds down to a power of
// two).
constexpr std::uint32_t kRingSize = 32;
constexpr std::uint32_t kHalfRange = 1U << 31U;

// How far `to` is ahead of `from` on free-running indexes; behind is a very large number.
constexpr std::uint32_t ahead(std::uint32_t to, std::uint32_t from) { return to - from; }

class RingIndexes : public Rule {
 public:
  void on_connection() override { rings_.clear(); }

  void on_index(const IndexSeen& index) override {
    Ring& ring = rings_[index.connector];
    if (index.name == "rsp_prod") ring.rsp_prod = index.value;
    if (index.name != "req_prod") return;
    judge_room(index, ring);
    if (index.refused) return;
    advances_.judge(ahead(index.value, ring.req_prod) <= kRingSize,
                    fmt::format("req_prod {} after {} on connector {}", index.value, ring.req_prod,
                                index.connector));
    ring.req_prod = index.value;
  }

  // No request is all zeros, as 0 is no cookie: on the ring's first lap such a slot was announced
  // and never written.
  void on_request(const RequestSeen& request) override {
    const auto& packet = request.request.packet;
    advances_.judge(
        std::ranges::any_of(packet, [](std::byte octet) { return octet != std::byte{0}; }),
        fmt::format("slot {} on connector {} was announced and not written", request.index,
                    request.connector));
  }

  void report(trace::Recorder& recorder) const override {
    for (const Tally* tally : {&advances_, &room_})
      tally->report(recorder, "frontend.monitor.ring-indexes");
  }

 private:
  struct Ring {
    std::uint32_t req_prod = 0;
    std::uint32_t rsp_prod = 0;
  };

  void judge_room(const IndexSeen& index, const Ring& ring) {
    // A backend that published too many responses gave the room away itself.
    const bool answered_ahead = ahead(ring.rsp_prod, index.value) - 1 < kHalfRange;
    room_.judge(answered_ahead || ahead(index.value, ring.rsp_prod) <= kRingSize,
                fmt::format("req_prod {} with {} answered on connector {}", index.value,
                            ring.rsp_prod, index.connector));
  }

  std::map<unsigned, Ring> rings_;
  Tally advances_{req::ring_producer_advances,
                  "req_prod moves forward, by at most the ring's size"};
  Tally room_{req::ring_never_overfull, "at most 32 unanswered requests"};
};

class EventPageIndexes : public Rule {
 public:
  void on_connection() override { pages_.clear(); }

  void on_index(const IndexSeen& index) override {
    Page& page = pages_[index.connector];
    if (index.name == "in_cons_overwritten") page.in_cons = index.value;  // by the backend
    if (index.name == "in_prod") {
      page.in_prod = index.value;
    } else if (index.name == "in_cons") {
      behind_.judge(ahead(index.value, page.in_cons) <= ahead(page.in_prod, page.in_cons),
                    fmt::format("in_cons {} after {} with in_prod {} on connector {}", index.value,
                                page.in_cons, page.in_prod, index.connector));
      page.in_cons = index.value;
    }
  }

  void report(trace::Recorder& recorder) const override {
    behind_.report(recorder, "frontend.monitor.event-page");
  }

 private:
  struct Page {
    std::uint32_t in_prod = 0;
    std::uint32_t in_cons = 0;
  };
  std::map<unsigned, Page> pages_;
  Tally behind_{req::event_page_consumer_behind_producer,
                "in_cons moves forward, and not past in_prod"};
};

// Only values and what must come before them are judged: XenStore shows the latest state, so that
// two quick changes look like one, and nearly any pair can be the ends of a legal chain.
class BusStates : public Rule {
 public:
  void on_state(bus::Side side, std::optional<std::uint32_t> state,
                const std::string& text) override {
    if (side == bus::Side::backend) {
      backend_ = state.value_or(0);
      backend_since_.insert(backend_);
      return;
    }
    if (!state && text.empty()) return;  // the device is gone
    if (state == frontend_) return;
    defined_.judge(state && *state <= raw_of(bus::State::reconfigured),
                   fmt::format("state '{}'", state ? std::to_string(*state) : text));
    tally_.judge(state && allowed(*state),
                 fmt::format("frontend {} -> {} with the backend in {}", frontend_,
                             state ? std::to_string(*state) : text, backend_));
    if (!state) return;
    frontend_ = *state;
    backend_since_ = {backend_};
  }

  void report(trace::Recorder& recorder) const override {
    tally_.report(recorder, "frontend.monitor.bus-states");
    defined_.report(recorder, "frontend.monitor.bus-states");
  }

 private:
  bool allowed(std::uint32_t state) const {
    switch (static_cast<bus::State>(state)) {
      case bus::State::initialising:
      case bus::State::closing:
      case bus::State::closed:
        return true;
      // Initialising may have come and gone unseen: the backend reads the node when it can.
      case bus::State::initialised:
        return backend_was(bus::State::init_wait) ||
               (frontend_ == raw_of(bus::State::initialising) &&
                backend_was(bus::State::connected));
      case bus::State::connected:
        return backend_was(bus::State::connected);
      // The recovery flow begins with a backend that leaves Connected.
      case bus::State::reconfiguring:
        return frontend_ != raw_of(bus::State::initialising) &&
               frontend_ != raw_of(bus::State::closed) &&
               (frontend_ != raw_of(bus::State::connected) || !backend_stayed_connected());
      default:
        return false;
    }
  }

  static std::uint32_t raw_of(bus::State state) { return static_cast<std::uint32_t>(state); }
  bool backend_stayed_connected() const {
    return backend_since_ == std::set<std::uint32_t>{raw_of(bus::State::connected)};
  }
  bool backend_was(bus::State state) const { return backend_since_.contains(raw_of(state)); }

  std::uint32_t frontend_ = raw_of(bus::State::initialising);  // as the tool stack writes it
  std::uint32_t backend_ = raw_of(bus::State::initialising);
  std::set<std::uint32_t> backend_since_{backend_};  // since the frontend's last change
  Tally defined_{req::bus_frontend_state_defined, "a state that xenbus.h defines"};
  Tally tally_{req::bus_states_in_order, "a change that the state diagrams provide for"};
};

// Octets [first, last) of a page's head that are not 0.
std::string nonzero(std::span<const std::byte> raw_head, std::size_t first, std::size_t last) {
  std::string found;
  for (std::size_t at = first; at < last && at < raw_head.size(); ++at)
    if (raw_head[at] != std::byte{0})
      found += fmt::format("{}octet {} = {:#04x}", found.empty() ? "" : ", ", at,
                           std::to_integer<unsigned>(raw_head[at]));
  return found;
}

std::uint32_t word(std::span<const std::byte> raw_head, std::size_t offset) {
  std::uint32_t value = 0;
  if (offset + sizeof value <= raw_head.size())
    std::memcpy(&value, raw_head.data() + offset, sizeof value);
  return value;
}

class InitialPages : public Rule {
 public:
  void on_page(const PageSeen& page) override {
    if (page.ring) {
      judge_ring(page);
    } else {
      judge_event_page(page);
    }
  }

  void report(trace::Recorder& recorder) const override {
    for (const Tally* tally : {&ring_, &events_, &reserved_})
      tally->report(recorder, "frontend.monitor.initial-pages");
  }

 private:
  void judge_ring(const PageSeen& page) {
    const std::uint32_t req_prod = word(page.raw, offsetof(xen_displif_sring, req_prod));
    const std::uint32_t req_event = word(page.raw, offsetof(xen_displif_sring, req_event));
    const std::uint32_t rsp_prod = word(page.raw, offsetof(xen_displif_sring, rsp_prod));
    const std::uint32_t rsp_event = word(page.raw, offsetof(xen_displif_sring, rsp_event));
    const std::string padding = nonzero(page.raw, offsetof(xen_displif_sring, pvt), 64);
    ring_.judge(
        req_prod == 0 && rsp_prod == 0 && req_event == 1 && rsp_event == 1 && padding.empty(),
        fmt::format("connector {}: req_prod {}, rsp_prod {}, req_event {}, rsp_event {} {}",
                    page.connector, req_prod, rsp_prod, req_event, rsp_event, padding));
  }

  void judge_event_page(const PageSeen& page) {
    const std::uint32_t cons = word(page.raw, offsetof(xendispl_event_page, in_cons));
    const std::uint32_t prod = word(page.raw, offsetof(xendispl_event_page, in_prod));
    events_.judge(cons == 0 && prod == 0,
                  fmt::format("connector {}: in_cons {}, in_prod {}", page.connector, cons, prod));
    const std::string found = nonzero(page.raw, offsetof(xendispl_event_page, reserved), 64);
    reserved_.judge(found.empty(), fmt::format("connector {}: {}", page.connector, found));
  }

  Tally ring_{req::ring_initial_indexes, "both producers 0, both thresholds 1, padding 0"};
  Tally events_{req::event_page_initial_indexes, "in_cons 0, in_prod 0"};
  Tally reserved_{req::event_page_header_reserved_zero, "reserved octets 0"};
};

}  // namespace

std::vector<std::unique_ptr<Rule>> transport_rules() {
  std::vector<std::unique_ptr<Rule>> rules;
  rules.push_back(std::make_unique<RingIndexes>());
  rules.push_back(std::make_unique<EventPageIndexes>());
  rules.push_back(std::make_unique<BusStates>());
  rules.push_back(std::make_unique<InitialPages>());
  return rules;
}

}  // namespace displif_cts::cases::monitor
