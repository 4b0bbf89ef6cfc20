#include "fuzzers/linux_frontend/backend.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

extern "C" {
#include <xen/interface/io/displif.h>
}

namespace displif_cts::linux_frontend {
namespace {

using shim::Known;
using shim::masked;

constexpr std::uint32_t kSlots = 32;
constexpr std::uint32_t kFar = 4096;  // how far an index may lead while its finding is masked
constexpr std::uint32_t kRefsInPage = PAGE_SIZE / sizeof(std::uint32_t) - 1;
constexpr std::uint32_t kNextPage = 0xffff;  // `directory entry=`: the link to the next page
constexpr std::size_t kMostBuffers = 16;

struct Channel {
  std::uint32_t ring_ref = 0;
  std::uint32_t event_ref = 0;
  std::uint32_t ring_port = 0;
  std::uint32_t event_port = 0;
  std::uint32_t req_cons = 0;
  std::uint32_t rsp_seen = 0;  // rsp_prod when the frontend was last interrupted
  std::uint32_t in_seen = 0;
  std::uint64_t fb = 0;  // what it shows
};

struct Buffer {
  std::uint64_t cookie = 0;
  std::uint32_t directory = 0;
  std::uint32_t pages = 0;
  bool ours = false;  // allocated by the backend
};

std::array<Channel, kConnectors> g_channels;
std::vector<Buffer> g_buffers;
std::vector<std::uint32_t> g_held;
std::uint64_t g_generation = 0;
int g_state = 0;

// The frame that a reference grants, while it does.
void* memory_of(std::uint32_t ref, bool ring) {
  const shim::Grant* grant = shim::grant(ref);
  if (grant == nullptr || grant->deferred || grant->ring != ring) return nullptr;
  return reinterpret_cast<void*>(grant->frame * PAGE_SIZE);
}

struct xen_displif_sring* ring_of(const Channel& channel) {
  return static_cast<struct xen_displif_sring*>(memory_of(channel.ring_ref, true));
}

struct xendispl_event_page* events_of(const Channel& channel) {
  return static_cast<struct xendispl_event_page*>(memory_of(channel.event_ref, true));
}

Channel& channel_of(std::uint64_t connector) { return g_channels[connector % kConnectors]; }

std::uint32_t number_in(const char* text) {
  std::uint32_t number = 0;
  for (; text != nullptr && *text >= '0' && *text <= '9'; ++text)
    number = number * 10 + static_cast<std::uint32_t>(*text - '0');
  return number;
}

std::uint32_t number_at(unsigned connector, const char* node) {
  return number_in(
      shim::store_read(shim::below(shim::below(shim::kFrontendPath, connector), node)));
}

void interrupt_ring(Channel& channel) {
  if (const auto* ring = ring_of(channel)) channel.rsp_seen = ring->rsp_prod;
  if (const int irq = shim::irq_of_port(channel.ring_port)) shim::raise(irq);
}

void interrupt_events(Channel& channel) {
  look_at_frontend();
  const bool early = g_state == XenbusStateInitialised;
  if ((g_state != XenbusStateConnected || shim::device_disconnects()) &&
      masked(early ? Known::event_before_connected : Known::event_while_disconnecting)) {
    return;
  }
  if (const auto* page = events_of(channel)) channel.in_seen = page->in_prod;
  if (const int irq = shim::irq_of_port(channel.event_port)) shim::raise(irq);
}

// May an index go from `present` to `wanted`, where the frontend last looked at `seen`?
bool near_enough(Known known, std::uint32_t present, std::uint32_t wanted, std::uint32_t seen) {
  return !masked(known) || (wanted - present <= kFar && wanted - seen <= kFar);
}

void put_response(struct xen_displif_sring* ring, std::uint32_t slot,
                  const struct xendispl_resp& response, std::uint64_t fill) {
  struct xendispl_resp* at = &ring->ring[slot % kSlots].rsp;
  if (fill != 1) std::memset(at, fill == 2 ? 0xff : 0, sizeof(union xen_displif_sring_entry));
  at->id = response.id;
  at->operation = response.operation;
  at->status = response.status;
}

std::int32_t allowed_status(std::uint64_t status) {
  const auto wanted = static_cast<std::int32_t>(status);
  return masked(Known::fb_status_below_errno) ? std::max(wanted, -MAX_ERRNO) : wanted;
}

const Buffer* buffer_at(std::uint64_t index) {
  return g_buffers.empty() ? nullptr : &g_buffers[index % g_buffers.size()];
}

// The `page`-th page of the directory, following the links; null where they lead nowhere.
std::uint32_t* directory_page(const Buffer& buffer, std::uint32_t page) {
  std::uint32_t ref = buffer.directory;
  for (;;) {
    auto* memory = static_cast<std::uint32_t*>(memory_of(ref, false));
    if (memory == nullptr || reinterpret_cast<std::uintptr_t>(memory) >= 0x100000000000)
      return nullptr;
    if (page-- == 0) return memory;
    ref = memory[0];
  }
}

void write_entries(const Buffer& buffer, std::uint32_t first, std::uint32_t count,
                   fuzz::GrefKind kind, std::uint32_t value) {
  std::uint32_t* page = nullptr;
  for (std::uint32_t entry = first; entry < first + count; ++entry) {
    if (page == nullptr || entry % kRefsInPage == 0)
      page = directory_page(buffer, entry / kRefsInPage);
    if (page == nullptr) return;
    std::uint32_t ref = value;
    switch (kind) {
      case fuzz::GrefKind::valid:
        ref = shim::kBackendRefs + 1 + entry;
        break;
      case fuzz::GrefKind::zero:
        ref = 0;
        break;
      case fuzz::GrefKind::directory:
        ref = buffer.directory;
        break;
      case fuzz::GrefKind::revoked:
        ref = shim::kBackendRefs / 2;
        break;
      case fuzz::GrefKind::duplicate:
        ref = shim::kBackendRefs;
        break;
      case fuzz::GrefKind::foreign:
        ref = 0x7fff0000;
        break;
      case fuzz::GrefKind::absolute:
        break;
    }
    page[1 + entry % kRefsInPage] = ref;
  }
}

// What a backend keeps of a request, whatever it answers.
void note_request(Channel& channel, const struct xendispl_req& request) {
  switch (request.operation) {
    case XENDISPL_OP_DBUF_CREATE:
      if (g_buffers.size() == kMostBuffers) g_buffers.erase(g_buffers.begin());
      g_buffers.push_back({request.op.dbuf_create.dbuf_cookie,
                           request.op.dbuf_create.gref_directory,
                           static_cast<std::uint32_t>(
                               (request.op.dbuf_create.buffer_sz + PAGE_SIZE - 1) / PAGE_SIZE),
                           (request.op.dbuf_create.flags & XENDISPL_DBUF_FLG_REQ_ALLOC) != 0});
      break;
    case XENDISPL_OP_DBUF_DESTROY:
      std::erase_if(g_buffers, [&](const Buffer& b) {
        return b.cookie == request.op.dbuf_destroy.dbuf_cookie;
      });
      break;
    case XENDISPL_OP_SET_CONFIG:
      channel.fb = request.op.set_config.fb_cookie;
      break;
    case XENDISPL_OP_PG_FLIP:
      channel.fb = request.op.pg_flip.fb_cookie;
      break;
    default:
      break;
  }
}

void put_event(Channel& channel, struct xendispl_event_page* page, std::uint8_t type,
               std::uint16_t id_off, std::uint64_t cookie, std::uint32_t push) {
  const std::uint32_t index = page->in_prod;
  struct xendispl_evt* event = &XENDISPL_IN_RING_REF(page, index);
  std::memset(event, 0, sizeof(*event));
  event->id = static_cast<std::uint16_t>(index + id_off);
  event->type = type;
  event->op.pg_flip.fb_cookie = cookie;
  if (near_enough(Known::event_index_far, index, index + push, channel.in_seen))
    page->in_prod = index + push;
}

void forget() {
  for (const Channel& channel : g_channels) {
    std::erase(g_held, channel.ring_ref);
    std::erase(g_held, channel.event_ref);
  }
  g_channels.fill({});
  g_buffers.clear();
}

void keep(std::uint32_t ref) {
  shim::Grant* grant = shim::grant(ref);
  if (grant == nullptr || grant->mapped || grant->deferred) return;
  grant->mapped = true;
  g_held.push_back(ref);
}

}  // namespace

void backend_begin() {
  g_channels.fill({});
  g_buffers.clear();
  g_held.clear();
  g_generation = 0;
  g_state = 0;
}

void look_at_frontend() {
  if (g_generation == shim::store_generation()) return;
  g_generation = shim::store_generation();
  const int state = static_cast<int>(number_in(shim::store_read(shim::kFrontendState)));
  if (state == g_state) return;
  const bool had = g_state == XenbusStateInitialised || g_state == XenbusStateConnected;
  g_state = state;
  if (state == XenbusStateInitialised || (state == XenbusStateConnected && !had)) {
    forget();
    for (std::size_t i = 0; i < kConnectors; ++i) {
      const auto connector = static_cast<unsigned>(i);
      g_channels[i].ring_ref = number_at(connector, XENDISPL_FIELD_REQ_RING_REF);
      g_channels[i].ring_port = number_at(connector, XENDISPL_FIELD_REQ_CHANNEL);
      g_channels[i].event_ref = number_at(connector, XENDISPL_FIELD_EVT_RING_REF);
      g_channels[i].event_port = number_at(connector, XENDISPL_FIELD_EVT_CHANNEL);
    }
  }
}

void respond(const fuzz::Action& action) {
  using F = fuzz::Respond;
  look_at_frontend();
  Channel& channel = channel_of(action.values[F::connector]);
  struct xen_displif_sring* ring = ring_of(channel);
  if (ring == nullptr) return;
  for (std::uint64_t i = 0; i < action.values[F::count]; ++i) {
    // Without an open request: about the last one.
    const bool open = ring->req_prod != channel.req_cons;
    const struct xendispl_req request =
        ring->ring[(open ? channel.req_cons : channel.req_cons - 1) % kSlots].req;
    if (open) {
      ++channel.req_cons;
      note_request(channel, request);
    }
    struct xendispl_resp response = {};
    response.id = static_cast<std::uint16_t>(request.id + action.values[F::id]);
    response.operation = action.values[F::operation] == 0
                             ? request.operation
                             : static_cast<std::uint8_t>(action.values[F::operation]);
    response.status = allowed_status(action.values[F::status]);
    const std::uint32_t prod = ring->rsp_prod;
    put_response(ring, prod + static_cast<std::uint32_t>(action.values[F::slot]), response,
                 action.values[F::fill]);
    const std::uint32_t wanted = prod + static_cast<std::uint32_t>(action.values[F::push]);
    if (near_enough(Known::response_index_far, prod, wanted, channel.rsp_seen))
      ring->rsp_prod = wanted;
  }
  if (action.values[F::notify] != 0) interrupt_ring(channel);
}

void send_event(const fuzz::Action& action) {
  using F = fuzz::Happen;
  look_at_frontend();
  Channel& channel = channel_of(action.values[F::connector]);
  struct xendispl_event_page* page = events_of(channel);
  if (page == nullptr) return;
  constexpr std::array<std::uint64_t, 4> kCookies{0, 1, 0, 0xdeadbeefdeadbeef};
  const std::uint64_t kind = action.values[F::cookie];
  const std::uint64_t cookie = kind == 0   ? channel.fb
                               : kind == 1 ? channel.fb + 64
                                           : kCookies[kind % 4];
  for (std::uint64_t i = 0; i < action.values[F::count]; ++i) {
    put_event(channel, page, static_cast<std::uint8_t>(action.values[F::type]),
              static_cast<std::uint16_t>(action.values[F::id]), cookie,
              static_cast<std::uint32_t>(action.values[F::push]));
  }
  if (action.values[F::notify] != 0) interrupt_events(channel);
}

void set_index(const fuzz::Action& action) {
  using F = fuzz::Index;
  look_at_frontend();
  Channel& channel = channel_of(action.values[F::connector]);
  auto* ring = ring_of(channel);
  auto* page = events_of(channel);
  const auto which = static_cast<fuzz::IndexName>(action.values[F::which] % 6);
  const bool event = which == fuzz::IndexName::in_cons || which == fuzz::IndexName::in_prod;
  if (event ? page == nullptr : ring == nullptr) return;
  const auto wanted = [&](std::uint32_t present) {
    const auto value = static_cast<std::uint32_t>(action.values[F::value]);
    return action.values[F::relative] != 0 ? present + value : value;
  };
  switch (which) {
    case fuzz::IndexName::req_prod:
      ring->req_prod = wanted(ring->req_prod);
      break;
    case fuzz::IndexName::req_event:
      ring->req_event = wanted(ring->req_event);
      break;
    case fuzz::IndexName::rsp_event:
      ring->rsp_event = wanted(ring->rsp_event);
      break;
    case fuzz::IndexName::rsp_prod:
      if (near_enough(Known::response_index_far, ring->rsp_prod, wanted(ring->rsp_prod),
                      channel.rsp_seen)) {
        ring->rsp_prod = wanted(ring->rsp_prod);
      }
      break;
    case fuzz::IndexName::in_prod:
      if (near_enough(Known::event_index_far, page->in_prod, wanted(page->in_prod),
                      channel.in_seen)) {
        page->in_prod = wanted(page->in_prod);
      }
      break;
    case fuzz::IndexName::in_cons:
      if (!masked(Known::event_index_far) || page->in_prod - wanted(page->in_cons) <= kFar) {
        page->in_cons = wanted(page->in_cons);
      }
      break;
  }
  if (action.values[F::notify] == 0) return;
  if (event) {
    interrupt_events(channel);
  } else {
    interrupt_ring(channel);
  }
}

void poke(const fuzz::Action& action) {
  using F = fuzz::Poke;
  look_at_frontend();
  Channel& channel = channel_of(action.values[F::connector]);
  const bool event = action.values[F::page] % 2 == 1;
  auto* memory =
      static_cast<std::uint32_t*>(memory_of(event ? channel.event_ref : channel.ring_ref, true));
  if (memory == nullptr) return;
  const std::uint32_t offset = action.values[F::offset] % PAGE_SIZE & ~3U;
  auto value = static_cast<std::uint32_t>(action.values[F::value]);
  if (offset < 64 && masked(event ? Known::event_index_far : Known::response_index_far)) return;
  if (!event && offset % 64 == 4) value = static_cast<std::uint32_t>(allowed_status(value));
  memory[offset / 4] = value;
}

void fill_directory(const fuzz::Action& action) {
  using F = fuzz::Directory;
  look_at_frontend();
  // A request that waits may be what the directory belongs to.
  for (Channel& channel : g_channels) {
    const auto* ring = ring_of(channel);
    if (ring == nullptr || ring->req_prod == channel.req_cons) continue;
    const struct xendispl_req& request = ring->ring[channel.req_cons % kSlots].req;
    const bool known = std::any_of(g_buffers.begin(), g_buffers.end(), [&](const Buffer& b) {
      return b.cookie == request.op.dbuf_create.dbuf_cookie;
    });
    if (request.operation == XENDISPL_OP_DBUF_CREATE && !known) note_request(channel, request);
  }
  const Buffer* buffer =
      g_buffers.empty()
          ? nullptr
          : &g_buffers[g_buffers.size() - 1 - action.values[F::buffer] % g_buffers.size()];
  if (buffer == nullptr) return;
  if (action.values[F::entry] == kNextPage) {
    if (std::uint32_t* page = directory_page(*buffer, 0))
      page[0] = static_cast<std::uint32_t>(action.values[F::value]);
    return;
  }
  write_entries(*buffer, static_cast<std::uint32_t>(action.values[F::entry]),
                static_cast<std::uint32_t>(action.values[F::count]),
                static_cast<fuzz::GrefKind>(action.values[F::gref] % 7),
                static_cast<std::uint32_t>(action.values[F::value]));
}

void hold(const fuzz::Action& action) {
  using F = fuzz::Hold;
  look_at_frontend();
  if (action.values[F::release] != 0) {
    release_all();
    return;
  }
  const auto what = static_cast<fuzz::HoldKind>(action.values[F::what] % 3);
  if (what == fuzz::HoldKind::ring) {
    for (const Channel& channel : g_channels) {
      keep(channel.ring_ref);
      keep(channel.event_ref);
    }
    return;
  }
  const Buffer* buffer = buffer_at(action.values[F::buffer]);
  if (buffer == nullptr) return;
  if (what == fuzz::HoldKind::directory) {
    keep(buffer->directory);
  } else if (const std::uint32_t* page = directory_page(*buffer, 0);
             page != nullptr && !buffer->ours) {
    for (std::uint32_t i = 0; i < std::min(buffer->pages, 16U); ++i) keep(page[1 + i]);
  }
}

void release_all() {
  for (const std::uint32_t ref : g_held) shim::grant_unmapped(ref);
  g_held.clear();
}

bool serve(bool events) {
  look_at_frontend();
  bool served = false;
  for (Channel& channel : g_channels) {
    struct xen_displif_sring* ring = ring_of(channel);
    if (ring == nullptr || ring->req_prod == channel.req_cons) continue;
    if (ring->req_prod - channel.req_cons > kSlots)
      channel.req_cons = ring->req_prod - 1;  // somebody moved the index
    const struct xendispl_req request = ring->ring[channel.req_cons++ % kSlots].req;
    note_request(channel, request);
    if (request.operation == XENDISPL_OP_DBUF_CREATE && g_buffers.back().ours) {
      write_entries(g_buffers.back(), 0, g_buffers.back().pages, fuzz::GrefKind::valid, 0);
    }
    struct xendispl_resp response = {};
    response.id = request.id;
    response.operation = request.operation;
    put_response(ring, ring->rsp_prod, response, 0);
    if (near_enough(Known::response_index_far, ring->rsp_prod, ring->rsp_prod + 1,
                    channel.rsp_seen))
      ++ring->rsp_prod;
    interrupt_ring(channel);
    served = true;
    if (request.operation != XENDISPL_OP_PG_FLIP || !events) continue;
    if (struct xendispl_event_page* page = events_of(channel)) {
      put_event(channel, page, XENDISPL_EVT_PG_FLIP, 0, request.op.pg_flip.fb_cookie, 1);
      interrupt_events(channel);
    }
  }
  return served;
}

bool only_memory(const fuzz::Action& action) {
  switch (action.kind) {
    case fuzz::Kind::response:
      return action.values[fuzz::Respond::notify] == 0;
    case fuzz::Kind::event:
      return action.values[fuzz::Happen::notify] == 0;
    case fuzz::Kind::index:
      return action.values[fuzz::Index::notify] == 0;
    case fuzz::Kind::poke:
    case fuzz::Kind::directory:
      return true;
    default:
      return false;
  }
}

}  // namespace displif_cts::linux_frontend
