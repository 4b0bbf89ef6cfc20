#include "fuzzers/guest/attacker.h"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <array>
#include <thread>

#include "harness/displif/page_directory.h"
#include "harness/displif/shared_memory.h"
#include "harness/xen/domains.h"

namespace displif_cts::fuzz_guest {
namespace {

using bus::State;
using displif::raw;
using F = fuzz::GrefKind;

constexpr std::uint32_t kFar = 4096;         // how far an index may lead while that is masked
constexpr std::uint32_t kNextPage = 0xffff;  // `directory entry=`: the link to the next page
constexpr std::size_t kMostBuffers = 16;
constexpr std::uint32_t kMostPages = 1024;  // of a buffer that we allocate
constexpr std::uint32_t kMostEntries = 4096;
constexpr std::int32_t kMaxErrno = 4095;

xen::DomId own_domain(xen::Store& store) { return xen::Domains(store).own(); }

bool has_rings(std::optional<State> state) {
  return state == State::initialised || state == State::connected;
}

// A driver may still hold what it shared.
bool keeps_rings(std::optional<State> state) {
  return has_rings(state) || state == State::reconfiguring || state == State::closing;
}

}  // namespace

Attacker::Attacker(xen::DomId frontend, std::uint16_t device, const Masks& masks,
                   trace::Recorder& recorder)
    : frontend_(frontend),
      masks_(masks),
      recorder_(recorder),
      store_(xen::Store::open()),
      grants_(xen::Grants::open()),
      channels_handle_(xen::EventChannels::open()) {
  config_.frontend = frontend;
  config_.backend = own_domain(store_);
  config_.dev_id = device;
  config_.libxl_record = false;
  config_.connectors = {{.resolution = {64, 16}, .unique_id = "0"}};
  plug();
  watch_.emplace(store_.watch(paths().frontend + "/state"));
}

Attacker::~Attacker() {
  disconnect();
  held_.clear();
  buffers_.clear();
}

// --- the device ----------------------------------------------------------------------------------

void Attacker::plug() {
  const bus::DevicePaths all = bus::device_paths(frontend_, config_.backend, config_.dev_id);
  if (device_ && store_.read(all.frontend + "/state")) return;
  if (device_) device_->discard();
  device_ = std::make_unique<bus::DeviceInstance>(config_);
  own_state_ = State::initialising;
}

void Attacker::unplug() {
  device_->remove_frontend();
  disconnect();
  write_state(static_cast<std::uint32_t>(State::init_wait));
}

void Attacker::discard() {
  if (device_) device_->discard();
}

void Attacker::write_state(std::uint32_t state) {
  const std::string path = paths().backend + "/state";
  if (!store_.read(path)) return;
  store_.write(path, std::to_string(state));
  own_state_ = bus::parse_state(std::to_string(state));
}

bool Attacker::look(std::chrono::milliseconds most) {
  std::array<pollfd, 2> fds{{{store_.fd(), POLLIN, 0}, {channels_handle_.fd(), POLLIN, 0}}};
  poll(fds.data(), fds.size(), static_cast<int>(most.count()));
  while (const auto port = channels_handle_.wait(xen::Clock::now())) channels_handle_.unmask(*port);
  bool news = false;
  while (store_.next_event(xen::Clock::now())) news = true;
  if (!news) return false;
  const auto before = state_;
  follow();
  return state_ != before;
}

void Attacker::follow() {
  const auto text = store_.read(paths().frontend + "/state");
  const auto now = text ? bus::parse_state(*text) : std::nullopt;
  if (now == state_) return;
  const bool had = has_rings(state_);
  state_ = now;
  recorder_.log(fmt::format(
      "frontend: {}", text ? std::string(now ? bus::name(*now) : *text) : std::string("no state")));
  if (now == State::initialised || (now == State::connected && !had)) {
    disconnect();
    connect();
  } else if (!keeps_rings(now)) {
    disconnect();
  }
}

void Attacker::connect() {
  for (unsigned i = 0; i < kConnectors; ++i) {
    const auto transport = displif::read_transport([&](const std::string& name) {
      return store_.read(paths().frontend + "/" + displif::node::of_connector(i, name));
    });
    if (!transport) continue;
    channels_[i].transport = *transport;
    try {
      channels_[i].link.emplace(
          fake_backend::Link::connect(grants_, channels_handle_, frontend_, *transport));
    } catch (const std::exception& error) {
      recorder_.log(fmt::format("connector {}: {}", i, error.what()));
    }
  }
}

void Attacker::disconnect() {
  for (Channel& channel : channels_) channel = Channel{};
  buffers_.clear();
}

void Attacker::let_go() { held_.clear(); }

// --- what an input says --------------------------------------------------------------------------

void Attacker::perform(const fuzz::Action& action) {
  look(std::chrono::milliseconds(0));
  try {
    switch (action.kind) {
      case fuzz::Kind::bus:
        write_state(static_cast<std::uint32_t>(action.values[fuzz::Bus::state]));
        break;
      case fuzz::Kind::response:
        respond(action);
        break;
      case fuzz::Kind::event:
        send_event(action);
        break;
      case fuzz::Kind::index:
        set_index(action);
        break;
      case fuzz::Kind::poke:
        poke(action);
        break;
      case fuzz::Kind::directory:
        fill_directory(action);
        break;
      case fuzz::Kind::hold:
        hold(action);
        break;
      case fuzz::Kind::store:
        write_node(action);
        break;
      default:
        break;
    }
  } catch (const xen::Error& error) {  // the frontend took away what we act on
    recorder_.log(error.what());
  }
}

bool Attacker::near_enough(Known mask, std::uint32_t present, std::uint32_t wanted,
                           std::uint32_t seen) const {
  return !masks_[mask] || (wanted - present <= kFar && wanted - seen <= kFar);
}

std::int32_t Attacker::allowed(std::uint64_t status) const {
  const auto wanted = static_cast<std::int32_t>(status);
  return masks_[Known::fb_status_below_errno] ? std::max(wanted, -kMaxErrno) : wanted;
}

std::optional<displif::Request> Attacker::open_request(const Channel& channel) const {
  if (!channel.link) return std::nullopt;
  const auto& ring = channel.link->ring.shared();
  if (ring.indices().req_prod == channel.req_cons) return std::nullopt;
  return displif::decode_request(ring.read_slot(channel.req_cons));
}

displif::Request Attacker::last_request(const Channel& channel) const {
  return displif::decode_request(channel.link->ring.shared().read_slot(channel.req_cons - 1));
}

// What a backend keeps of a request, whatever it answers.
void Attacker::note(Channel& channel, const displif::Request& request) {
  if (const auto* create = request.as<displif::DbufCreate>()) {
    if (buffers_.size() == kMostBuffers) buffers_.erase(buffers_.begin());
    Buffer buffer;
    buffer.cookie = raw(create->dbuf_cookie);
    buffer.directory = create->gref_directory;
    buffer.pages = displif::buffer_pages(create->buffer_sz);
    buffer.backend_allocated = (create->flags & XENDISPL_DBUF_FLG_REQ_ALLOC) != 0;
    buffers_.push_back(std::move(buffer));
  } else if (const auto* destroy = request.as<displif::DbufDestroy>()) {
    std::erase_if(buffers_, [&](const Buffer& b) { return b.cookie == raw(destroy->dbuf_cookie); });
  } else if (const auto* config = request.as<displif::SetConfig>()) {
    channel.fb = raw(config->fb_cookie);
  } else if (const auto* flip = request.as<displif::PgFlip>()) {
    channel.fb = raw(flip->fb_cookie);
  }
}

void Attacker::notify_requests(Channel& channel) {
  channel.rsp_seen = channel.link->ring.shared().indices().rsp_prod;
  channel.link->req_port.notify();
}

void Attacker::notify_events(Channel& channel) {
  look(std::chrono::milliseconds(0));
  if (!channel.link) return;
  const Known mask = state_ == State::initialised ? Known::event_before_connected
                                                  : Known::event_while_disconnecting;
  if (state_ != State::connected && masks_[mask]) return;
  channel.in_seen = channel.link->events.shared().in_prod();
  channel.link->evt_port.notify();
}

void Attacker::respond(const fuzz::Action& action) {
  using R = fuzz::Respond;
  Channel& channel = channel_of(action.values[R::connector]);
  if (!channel.link) return;
  auto& ring = channel.link->ring.shared();
  for (std::uint64_t i = 0; i < action.values[R::count]; ++i) {
    // Without an open request: about the last one.
    const auto open = open_request(channel);
    const displif::Request request = open ? *open : last_request(channel);
    if (open) {
      ++channel.req_cons;
      ++counts_.requests;
      note(channel, request);
    }
    const std::uint32_t prod = ring.indices().rsp_prod;
    const std::uint32_t slot = prod + static_cast<std::uint32_t>(action.values[R::slot]);
    xendispl_resp response{};
    if (action.values[R::fill] == 1)
      response = displif::from_packet<xendispl_resp>(ring.read_slot(slot));
    if (action.values[R::fill] == 2) __builtin_memset(&response, 0xff, sizeof(response));
    response.id = static_cast<std::uint16_t>(request.id + action.values[R::id]);
    response.operation = action.values[R::operation] == 0
                             ? request.operation
                             : static_cast<std::uint8_t>(action.values[R::operation]);
    response.status = allowed(action.values[R::status]);
    ring.write_slot(slot, displif::to_packet(response));
    const std::uint32_t wanted = prod + static_cast<std::uint32_t>(action.values[R::push]);
    if (near_enough(Known::response_index_far, prod, wanted, channel.rsp_seen))
      ring.set_rsp_prod(wanted);
    ++counts_.responses;
  }
  if (action.values[R::notify] != 0) notify_requests(channel);
}

void Attacker::put_event(Channel& channel, std::uint8_t type, std::uint16_t id_off,
                         std::uint64_t cookie, std::uint32_t push) {
  auto& page = channel.link->events.shared();
  const std::uint32_t index = page.in_prod();
  xendispl_evt event{};
  event.id = static_cast<std::uint16_t>(index + id_off);
  event.type = type;
  event.op.pg_flip.fb_cookie = cookie;
  page.write_slot(index, displif::to_packet(event));
  if (near_enough(Known::event_index_far, index, index + push, channel.in_seen))
    page.set_in_prod(index + push);
  ++counts_.events;
}

void Attacker::send_event(const fuzz::Action& action) {
  using H = fuzz::Happen;
  Channel& channel = channel_of(action.values[H::connector]);
  if (!channel.link) return;
  const std::array<std::uint64_t, 4> cookies{channel.fb, channel.fb + 64, 0, 0xdeadbeefdeadbeef};
  for (std::uint64_t i = 0; i < action.values[H::count]; ++i) {
    put_event(channel, static_cast<std::uint8_t>(action.values[H::type]),
              static_cast<std::uint16_t>(action.values[H::id]),
              cookies[action.values[H::cookie] % cookies.size()],
              static_cast<std::uint32_t>(action.values[H::push]));
  }
  if (action.values[H::notify] != 0) notify_events(channel);
}

void Attacker::set_index(const fuzz::Action& action) {
  using I = fuzz::Index;
  Channel& channel = channel_of(action.values[I::connector]);
  if (!channel.link) return;
  auto& ring = channel.link->ring.shared();
  auto& page = channel.link->events.shared();
  const displif::RingIndices now = ring.indices();
  const auto wanted = [&](std::uint32_t present) {
    const auto value = static_cast<std::uint32_t>(action.values[I::value]);
    return action.values[I::relative] != 0 ? present + value : value;
  };
  const auto which = static_cast<fuzz::IndexName>(action.values[I::which] % 6);
  switch (which) {
    case fuzz::IndexName::req_prod:
      ring.set_req_prod(wanted(now.req_prod));
      break;
    case fuzz::IndexName::req_event:
      ring.set_req_event(wanted(now.req_event));
      break;
    case fuzz::IndexName::rsp_event:
      ring.set_rsp_event(wanted(now.rsp_event));
      break;
    case fuzz::IndexName::rsp_prod:
      if (near_enough(Known::response_index_far, now.rsp_prod, wanted(now.rsp_prod),
                      channel.rsp_seen))
        ring.set_rsp_prod(wanted(now.rsp_prod));
      break;
    case fuzz::IndexName::in_prod:
      if (near_enough(Known::event_index_far, page.in_prod(), wanted(page.in_prod()),
                      channel.in_seen))
        page.set_in_prod(wanted(page.in_prod()));
      break;
    case fuzz::IndexName::in_cons:
      if (!masks_[Known::event_index_far] || page.in_prod() - wanted(page.in_cons()) <= kFar)
        page.set_in_cons(wanted(page.in_cons()));
      break;
  }
  if (action.values[I::notify] == 0) return;
  if (which == fuzz::IndexName::in_cons || which == fuzz::IndexName::in_prod) {
    notify_events(channel);
  } else {
    notify_requests(channel);
  }
}

void Attacker::poke(const fuzz::Action& action) {
  using P = fuzz::Poke;
  Channel& channel = channel_of(action.values[P::connector]);
  if (!channel.link) return;
  const bool event = action.values[P::page] % 2 == 1;
  const std::size_t offset = action.values[P::offset] % xen::kPageSize & ~std::size_t{3};
  auto value = static_cast<std::uint32_t>(action.values[P::value]);
  if (offset < 64 && masks_[event ? Known::event_index_far : Known::response_index_far]) return;
  if (!event && offset % 64 == 4) value = static_cast<std::uint32_t>(allowed(value));
  xen::Mapping& memory = event ? channel.link->event_page : channel.link->ring_page;
  displif::shared::store(memory.page(0), offset, value);
}

// --- page directories ----------------------------------------------------------------------------

std::optional<xen::Mapping> Attacker::map(xen::GrantRef ref) {
  try {
    return grants_.map(frontend_, ref, xen::Access::read_write);
  } catch (const xen::Error&) {
    return std::nullopt;
  }
}

// The `page`-th page of the directory, following the links; none where they lead nowhere.
std::optional<xen::Mapping> Attacker::directory_page(const Buffer& buffer, std::uint32_t page) {
  xen::GrantRef ref = buffer.directory;
  for (;;) {
    auto memory = map(ref);
    if (!memory || page-- == 0) return memory;
    ref = xen::GrantRef{displif::shared::load(memory->page(0), 0)};
  }
}

xen::SharedPages& Attacker::own_pages(Buffer& buffer) {
  if (!buffer.ours) {
    buffer.ours.emplace(
        xen::SharedPages::share(frontend_, std::clamp<std::uint32_t>(buffer.pages, 1, kMostPages),
                                xen::Access::read_write));
  }
  return *buffer.ours;
}

std::uint32_t Attacker::reference(Buffer& buffer, std::uint32_t entry, F kind,
                                  std::uint32_t value) {
  const auto pages = [&]() -> const std::vector<xen::GrantRef>& {
    return own_pages(buffer).refs();
  };
  switch (kind) {
    case F::valid:
      return raw(pages()[entry % pages().size()]);
    case F::duplicate:
      return raw(pages().front());
    case F::directory:
      return raw(buffer.directory);
    case F::revoked:
      return raw(xen::SharedPages::share(frontend_, 1, xen::Access::read_write).refs().front());
    case F::foreign:
      return 0x7fff0000;
    case F::zero:
      return 0;
    case F::absolute:
      break;
  }
  return value;
}

void Attacker::write_entries(Buffer& buffer, std::uint32_t first, std::uint32_t count, F kind,
                             std::uint32_t value) {
  constexpr auto kPerPage = static_cast<std::uint32_t>(displif::kRefsPerDirectoryPage);
  std::optional<xen::Mapping> page;
  for (std::uint32_t entry = first; entry < first + std::min(count, kMostEntries); ++entry) {
    if (!page || entry % kPerPage == 0) page = directory_page(buffer, entry / kPerPage);
    if (!page) return;
    displif::shared::store(page->page(0), std::size_t{4} * (1 + entry % kPerPage),
                           reference(buffer, entry, kind, value));
  }
}

void Attacker::fill_directory(const fuzz::Action& action) {
  using D = fuzz::Directory;
  // A request that waits may be what the directory belongs to.
  for (Channel& channel : channels_) {
    const auto request = open_request(channel);
    const auto* create = request ? request->as<displif::DbufCreate>() : nullptr;
    if (create == nullptr) continue;
    const bool known = std::ranges::any_of(
        buffers_, [&](const Buffer& b) { return b.cookie == raw(create->dbuf_cookie); });
    if (!known) note(channel, *request);
  }
  if (buffers_.empty()) return;
  Buffer& buffer = buffers_[buffers_.size() - 1 - action.values[D::buffer] % buffers_.size()];
  const auto value = static_cast<std::uint32_t>(action.values[D::value]);
  const auto kind = static_cast<F>(action.values[D::gref] % 7);
  if (action.values[D::entry] == kNextPage) {
    if (const auto page = directory_page(buffer, 0))
      displif::shared::store(page->page(0), 0, value);
    return;
  }
  write_entries(buffer, static_cast<std::uint32_t>(action.values[D::entry]),
                static_cast<std::uint32_t>(action.values[D::count]), kind, value);
}

// Mappings that outlive what they belong to.
void Attacker::hold(const fuzz::Action& action) {
  using H = fuzz::Hold;
  if (action.values[H::release] != 0) {
    held_.clear();
    return;
  }
  const auto keep = [&](xen::GrantRef ref) {
    if (auto memory = map(ref)) held_.push_back(std::move(*memory));
  };
  const auto what = static_cast<fuzz::HoldKind>(action.values[H::what] % 3);
  if (what == fuzz::HoldKind::ring) {
    for (const Channel& channel : channels_) {
      if (!channel.link) continue;
      keep(channel.transport.req_ring_ref);
      keep(channel.transport.evt_ring_ref);
    }
    return;
  }
  if (buffers_.empty()) return;
  const Buffer& buffer = buffers_[action.values[H::buffer] % buffers_.size()];
  if (what == fuzz::HoldKind::directory) {
    keep(buffer.directory);
  } else if (const auto page = directory_page(buffer, 0); page && !buffer.backend_allocated) {
    for (std::uint32_t i = 0; i < std::min(buffer.pages, 16U); ++i)
      keep(xen::GrantRef{displif::shared::load(page->page(0), std::size_t{4} * (1 + i))});
  }
}

// --- XenStore ------------------------------------------------------------------------------------

std::string Attacker::path_of(fuzz::NodeName node, unsigned connector) const {
  const std::string own = fmt::format("{}/{}/", paths().frontend, connector);
  switch (node) {
    case fuzz::NodeName::resolution:
    case fuzz::NodeName::connector:
      return own + "resolution";
    case fuzz::NodeName::unique_id:
      return own + "unique-id";
    case fuzz::NodeName::be_alloc:
      return paths().frontend + "/be-alloc";
    case fuzz::NodeName::backend_id:
      return paths().frontend + "/backend-id";
    case fuzz::NodeName::versions:
      return paths().backend + "/versions";
    default:  // nobody reads an EDID; the others are a frontend's
      return {};
  }
}

void Attacker::write_node(const fuzz::Action& action) {
  using S = fuzz::Store;
  const auto node = static_cast<fuzz::NodeName>(action.values[S::node] % 8);
  const auto connector = static_cast<unsigned>(action.values[S::connector] % kConnectors);
  if (node == fuzz::NodeName::backend_state) {
    if (const auto state = bus::parse_state(action.text))
      write_state(static_cast<std::uint32_t>(*state));
    return;
  }
  const std::string path = path_of(node, connector);
  // Whoever writes to a device that was unplugged makes debris.
  if (path.empty() || !store_.read(paths().frontend + "/state")) return;
  if (action.values[S::remove] != 0 || node == fuzz::NodeName::connector) {
    store_.remove(path);
  } else {
    store_.write(path, action.text);
    store_.set_permissions(
        path, {{config_.backend, xen::NodeAccess::none}, {frontend_, xen::NodeAccess::read}});
  }
}

// --- polite service ------------------------------------------------------------------------------

bool Attacker::answers_wait() const {
  return std::ranges::any_of(
      channels_, [&](const Channel& channel) { return open_request(channel).has_value(); });
}

// What a frontend has consumed shows in rsp_event, which it sets to one more (ring.h,
// RING_FINAL_CHECK_FOR_RESPONSES), and in in_cons.
void Attacker::make_good(bool waits) {
  for (Channel& channel : channels_) {
    if (!channel.link) continue;
    auto& ring = channel.link->ring.shared();
    auto& page = channel.link->events.shared();
    const displif::RingIndices now = ring.indices();
    ring.set_rsp_prod(now.rsp_event - 1);
    channel.rsp_seen = now.rsp_event - 1;
    channel.req_cons = waits && now.req_prod != 0 ? now.req_prod - 1 : now.req_prod;
    page.set_in_prod(page.in_cons());
    channel.in_seen = page.in_cons();
  }
}

bool Attacker::serve(bool events) {
  bool served = false;
  for (Channel& channel : channels_) {
    const auto request = open_request(channel);
    if (!request) continue;
    auto& ring = channel.link->ring.shared();
    const std::uint32_t prod = ring.indices().req_prod;
    // Somebody moved the index.
    channel.req_cons = prod - channel.req_cons > ring.size() ? prod : channel.req_cons + 1;
    ++counts_.requests;
    note(channel, *request);
    served = true;
    try {
      if (request->as<displif::DbufCreate>() != nullptr && buffers_.back().backend_allocated)
        write_entries(buffers_.back(), 0, buffers_.back().pages, F::valid, 0);
      const std::uint32_t at = ring.indices().rsp_prod;
      ring.write_slot(
          at, displif::encode_response({.id = request->id, .operation = request->operation}));
      if (near_enough(Known::response_index_far, at, at + 1, channel.rsp_seen))
        ring.set_rsp_prod(at + 1);
      ++counts_.responses;
      notify_requests(channel);
      const auto* flip = request->as<displif::PgFlip>();
      if (flip == nullptr || !events) continue;
      put_event(channel, XENDISPL_EVT_PG_FLIP, 0, raw(flip->fb_cookie), 1);
      notify_events(channel);
    } catch (const xen::Error& error) {
      recorder_.log(error.what());
    }
  }
  return served;
}

}  // namespace displif_cts::fuzz_guest
