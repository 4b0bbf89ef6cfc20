#include "fuzzers/backend/attacker.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "fuzzers/backend/finding.h"
#include "fuzzers/backend/named_values.h"
#include "harness/displif/describe.h"

namespace displif_cts::fuzz_backend {
namespace {

using displif::raw;
using fuzz::Action;
using fuzz::Kind;

constexpr std::uint32_t kRingSlots = 32;
constexpr std::uint32_t kNoAnswer = 0x40000000;  // more responses than there can be
// What a backend must not do it is given this time for, where it runs when it likes.
constexpr std::chrono::milliseconds kQuiet{3};

constexpr std::array<std::size_t, kConnectors> kBoth{0, 1};

Attacker* g_attacker = nullptr;

std::uint32_t low(std::uint64_t value) { return static_cast<std::uint32_t>(value); }

// Changes shared memory of a kind that the oracle can follow while the backend runs.
bool fits_in_the_middle(const Action& action) {
  if (action.kind == Kind::directory) return true;
  // Not in_prod: of what the backend has published already nothing would be left to judge.
  if (action.kind == Kind::poke)
    return action.values[fuzz::Poke::page] % 2 == 1 &&
           (action.values[fuzz::Poke::offset] % displif::kPageSize & ~std::size_t{3}) != 4;
  return action.kind == Kind::index &&
         static_cast<fuzz::IndexName>(action.values[fuzz::Index::which] % 6) ==
             fuzz::IndexName::in_cons;
}

}  // namespace

Attacker::Attacker(Machine& machine, bool whole_connections)
    : machine_(machine),
      oracle_(machine.model_options(), machine.runs_when_told()),
      whole_connections_(whole_connections) {
  g_attacker = this;
  loopback::InProcess::before_calls(middle_of_a_call);
  if (!whole_connections_) connect();
}

Attacker::~Attacker() {
  loopback::InProcess::before_calls(nullptr);
  g_attacker = nullptr;
}

void Attacker::connect() {
  machine_.connect();
  oracle_.forget(machine_.protocol());
  sides_.fill({});
  overfull_ = stirred_ = running_ = false;
  connected_ = true;
  connection_ = machine_.connections();
  // A ring and an event page each; somebody else's may map them as it likes.
  base_mapped_ = machine_.runs_when_told() ? kConnectors * 2 : machine_.mapped();
}

void Attacker::play(const fuzz::Input& input) {
  input_ = &input;
  countdown_ = 0;
  if (!connected_) connect();
  for (next_ = 0; next_ < input.size();) perform(input[next_++]);
  if (connected_) {
    run();
    restore();
    if (!oracle_.unsure()) tidy_up();
    machine_.forget();
  }
  if (!whole_connections_ && !oracle_.unsure()) return;
  if (connected_ && !machine_.disconnect()) {
    if (const std::string how = machine_.ended(); !how.empty())
      finding("ended-" + how + "-in-closing", machine_.trouble());
    finding("bus.backend-follows-closing",
            "the frontend is Closed, and the backend stays connected");
  }
  connected_ = false;
  base_mapped_ = 0;
  expect_nothing_left();
  if (machine_.bound() != 0)
    finding("backend.channels-closed-on-close",
            fmt::format("{} event channels stay bound", machine_.bound()));
}

void Attacker::perform(const Action& action) {
  if (!connected_ && action.kind != Kind::bus) return;
  switch (action.kind) {
    case Kind::request:
      send(action);
      break;
    case Kind::index:
      set_index(action);
      break;
    case Kind::poke:
      let_it_answer();
      poke(action);
      break;
    case Kind::directory:
      let_it_answer();
      write_directory(action);
      break;
    case Kind::time:
      run();
      break;
    case Kind::interleave:
      run();
      countdown_ = low(action.values[fuzz::Interleave::points]) % 64 + 1;
      break;
    case Kind::bus:
      if (whole_connections_) set_state(action);
      break;
    case Kind::store:
      if (whole_connections_) write_store(action);
      break;
    default:  // not a frontend's
      break;
  }
}

// --- what the frontend does

displif::Packet Attacker::packet_of(const Action& action, std::uint16_t id) {
  using F = fuzz::Request;
  const auto& v = action.values;
  const auto operation = static_cast<std::uint8_t>(v[F::operation]);
  last_operation_ = operation;
  const displif::DbufCookie dbuf{v[F::dbuf]};
  const displif::FbCookie fb{v[F::fb]};
  const std::uint32_t width = low(v[F::width]), height = low(v[F::height]),
                      depth = low(v[F::depth]);
  const bool allocate = (v[F::flags] & XENDISPL_DBUF_FLG_REQ_ALLOC) != 0;
  switch (static_cast<displif::Operation>(operation)) {
    case displif::Operation::dbuf_create: {
      const std::uint32_t size = named_size(low(v[F::size]), width, height, depth);
      return displif::encode_request(
          id,
          displif::DbufCreate{.dbuf_cookie = dbuf,
                              .width = width,
                              .height = height,
                              .bpp = depth,
                              .buffer_sz = size,
                              .flags = low(v[F::flags]),
                              .gref_directory = reference(v[F::gref], raw(dbuf), size, allocate),
                              .data_ofs = low(v[F::offset])});
    }
    case displif::Operation::dbuf_destroy:
      return displif::encode_request(id, displif::DbufDestroy{dbuf});
    case displif::Operation::fb_attach:
      return displif::encode_request(
          id, displif::FbAttach{dbuf, fb, width, height, named_format(depth)});
    case displif::Operation::fb_detach:
      return displif::encode_request(id, displif::FbDetach{fb});
    case displif::Operation::set_config:
      return displif::encode_request(
          id, displif::SetConfig{fb, low(v[F::x]), low(v[F::y]), width, height, depth});
    case displif::Operation::pg_flip:
      return displif::encode_request(id, displif::PgFlip{fb});
    case displif::Operation::get_edid: {
      const std::uint32_t size =
          v[F::size] == 0 ? XENDISPL_EDID_MAX_SIZE : named_size(low(v[F::size]), 0, 0, 0);
      return displif::encode_request(
          id, displif::GetEdid{size, reference(v[F::gref], raw(dbuf), size, false)});
    }
  }
  return displif::encode_request(id, displif::Unknown{operation, {}});
}

// 0 is the polite one; the numbers that Xen reserves for the tool stack name what is worth naming.
xen::GrantRef Attacker::reference(std::uint64_t named, std::uint64_t cookie, std::uint32_t size,
                                  bool allocate) {
  GuestMemory& memory = machine_.memory();
  switch (named) {
    case 0:
      return memory.directory(cookie, size);
    case 1:
      return xen::GrantRef{0};
    case 2:
      return memory.ungranted();
    case 3:
      return memory.read_only();
    case 4:
      return allocate ? memory.ungranted() : memory.page(0);
    default:
      break;
  }
  const xen::GrantRef ref{low(named)};
  // What the backend fills in must not be a ring: the attacker would lose its own.
  return machine_.is_transport(ref) ? memory.ungranted() : ref;
}

void Attacker::send(const Action& action) {
  using F = fuzz::Request;
  const std::size_t connector = action.values[F::connector] % kConnectors;
  // One ring at a time has requests that are announced: in which order two are served is the
  // backend's choice.
  for (std::size_t i = 0; i < kConnectors; ++i) {
    if (i == connector) continue;
    if (sides_[i].notified) run();
    if (!sides_[i].pending.empty()) let_it_answer();
  }
  Side& side = sides_[connector];
  if (side.prod - side.answered >= kRingSlots) run();
  Transport& transport = machine_.transport(connector);
  const auto id = static_cast<std::uint16_t>(side.next_id + action.values[F::id]);
  ++side.next_id;
  transport.ring.write_slot(side.prod, packet_of(action, id));
  publish(connector, side.prod + low(action.values[F::push]));
  if (action.values[F::notify] != 0) notify(connector);
}

// A backend that runs when it likes may take a request as soon as it is published, and answers it
// in its slot: so it is noted before.
void Attacker::publish(std::size_t connector, std::uint32_t prod) {
  Side& side = sides_[connector];
  const std::uint32_t waiting = prod - side.answered;
  // From a ring that cannot be it takes nothing more; and what is withdrawn it may have taken.
  if (waiting > kRingSlots || waiting < side.pending.size()) let_it_answer();
  side.prod = prod;
  if (!machine_.runs_when_told()) note(connector);
  machine_.transport(connector).ring.set_req_prod(prod);
}

void Attacker::notify(std::size_t connector) {
  machine_.transport(connector).req_port.notify();
  sides_[connector].notified = stirred_ = true;
  if (!machine_.runs_when_told()) run();
}

void Attacker::notify_of_events(std::size_t connector) {
  machine_.transport(connector).evt_port.notify();
  stirred_ = true;
  if (!machine_.runs_when_told()) run();
}

// As memory stands when a request is taken nobody could say of a backend that runs when it likes.
// So it has answered before memory changes, or an index, or another ring has more.
void Attacker::let_it_answer() {
  const auto waits = [](const Side& side) { return !side.pending.empty(); };
  if (!machine_.runs_when_told() && !running_ && std::ranges::any_of(sides_, waits)) run();
}

void Attacker::set_index(const Action& action) {
  using F = fuzz::Index;
  let_it_answer();
  const std::size_t connector = action.values[F::connector] % kConnectors;
  Side& side = sides_[connector];
  Transport& transport = machine_.transport(connector);
  const std::uint32_t value = low(action.values[F::value]);
  const bool relative = action.values[F::relative] != 0;
  const displif::RingIndices now = transport.ring.indices();
  const auto wanted = [&](std::uint32_t present) { return relative ? present + value : value; };
  switch (static_cast<fuzz::IndexName>(action.values[F::which] % 6)) {
    case fuzz::IndexName::req_prod:
      publish(connector, wanted(side.prod));
      break;
    case fuzz::IndexName::req_event:
      transport.ring.set_req_event(wanted(now.req_event));
      break;
    case fuzz::IndexName::rsp_prod:
      side.rsp_poked = true;
      transport.ring.set_rsp_prod(wanted(now.rsp_prod));
      break;
    case fuzz::IndexName::rsp_event:
      transport.ring.set_rsp_event(wanted(now.rsp_event));
      break;
    case fuzz::IndexName::in_cons:
      transport.events.set_in_cons(wanted(transport.events.in_cons()));
      if (action.values[F::notify] != 0) notify_of_events(connector);
      return;
    case fuzz::IndexName::in_prod:
      side.events_poked = true;
      transport.events.set_in_prod(wanted(transport.events.in_prod()));
      if (action.values[F::notify] != 0) notify_of_events(connector);
      return;
  }
  if (action.values[F::notify] != 0) notify(connector);
}

void Attacker::poke(const Action& action) {
  using F = fuzz::Poke;
  const std::size_t connector = action.values[F::connector] % kConnectors;
  Side& side = sides_[connector];
  Transport& transport = machine_.transport(connector);
  const bool event = action.values[F::page] % 2 == 1;
  const std::size_t offset = action.values[F::offset] % displif::kPageSize & ~std::size_t{3};
  const std::uint32_t value = low(action.values[F::value]);
  if (!event && offset == 0) {
    publish(connector, value);
    return;
  }
  const auto page = event ? transport.event_page.page(0) : transport.ring_page.page(0);
  std::memcpy(page.data() + offset, &value, sizeof(value));
  if (event) {
    side.events_poked = side.events_poked || offset == 4;
    return;
  }
  side.rsp_poked = side.rsp_poked || offset == 8;
}

void Attacker::write_directory(const Action& action) {
  using F = fuzz::Directory;
  GuestMemory& memory = machine_.memory();
  const std::uint64_t cookie =
      action.values[F::buffer] + 1;  // 0 is a polite frontend's first cookie
  const std::uint32_t count = std::min(low(action.values[F::count]), 64U);
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::uint32_t entry = low(action.values[F::entry]);
    std::uint32_t value = 0;
    switch (static_cast<fuzz::GrefKind>(action.values[F::gref] % 7)) {
      case fuzz::GrefKind::valid:
        value = raw(memory.page(entry + i));
        break;
      case fuzz::GrefKind::zero:
        break;
      case fuzz::GrefKind::directory:
        value = raw(memory.first(cookie));
        break;
      case fuzz::GrefKind::revoked:
        value = raw(memory.ungranted());
        break;
      case fuzz::GrefKind::duplicate:
        value = raw(memory.page(0));
        break;
      case fuzz::GrefKind::foreign:
        value = raw(memory.read_only());
        break;
      case fuzz::GrefKind::absolute:
        value = low(action.values[F::value]);
        if (machine_.is_transport(xen::GrantRef{value})) value = raw(memory.ungranted());
        break;
    }
    if (entry == 0xffff) {
      memory.link(cookie, value);
      return;
    }
    memory.write_entry(cookie, entry + i, value);
  }
}

void Attacker::set_state(const Action& action) {
  run();
  const std::uint32_t state = low(action.values[fuzz::Bus::state]);
  if (state == static_cast<std::uint32_t>(bus::State::initialised)) machine_.publish_transport();
  machine_.write_state(std::to_string(state));
  machine_.hear_of("state");
  expect_connected();
}

void Attacker::write_store(const Action& action) {
  using F = fuzz::Store;
  run();
  const std::string name =
      named_node(action.values[F::node], action.values[F::connector] % kConnectors);
  if (action.values[F::remove] != 0) {
    machine_.remove_node(name);
  } else {
    // XenStore's own rules for a value are its server's to keep.
    machine_.write_node(name, action.text.substr(0, 64));
  }
  machine_.hear_of(name);
  expect_connected();
}

// The backend may have let go of the connection, or taken up a new one, so quickly that nobody saw
// the end of the old.
void Attacker::expect_connected() {
  connected_ = machine_.connected();
  const unsigned connection = machine_.connections();
  if (connected_ && connection == connection_) {
    machine_.settle(false);
    return;
  }
  machine_.settle(connection != connection_);
  connection_ = connection;
  oracle_.forget(machine_.protocol());
  sides_.fill({});
  base_mapped_ = connected_ ? kConnectors * 2 : 0;
  expect_nothing_left();
}

// --- what the backend does

void Attacker::middle_of_a_call() {
  if (g_attacker->running_ && g_attacker->countdown_ > 0 && --g_attacker->countdown_ == 0)
    g_attacker->in_the_middle();
}

void Attacker::in_the_middle() {
  while (next_ < input_->size() && fits_in_the_middle((*input_)[next_])) {
    memory_moves_ = memory_moves_ || (*input_)[next_].kind == Kind::directory;
    events_move_ = events_move_ || (*input_)[next_].kind == Kind::poke;
    const Action& action = (*input_)[next_++];
    // Notifying is a call of the same interface.
    Action quiet = action;
    if (quiet.kind == Kind::index) quiet.values[fuzz::Index::notify] = 0;
    perform(quiet);
  }
}

// What the backend may take from the ring.
void Attacker::note(std::size_t connector) {
  Side& side = sides_[connector];
  displif::SharedRing& ring = machine_.transport(connector).ring;
  // What the frontend itself has put there must not look like an answer.
  if (side.rsp_poked && side.pending.empty()) ring.set_rsp_prod(side.answered + kNoAnswer);
  if (side.events_poked && side.pending.empty() && !machine_.runs_when_told())
    machine_.transport(connector).events.set_in_prod(side.in_prod + kNoAnswer);
  const std::uint32_t waiting = side.prod - side.answered;
  overfull_ = overfull_ || waiting > kRingSlots;
  if (waiting > kRingSlots)
    return;  // there cannot be that many: ring.h, "Ill-behaved frontend determination"
  for (auto i = static_cast<std::uint32_t>(side.pending.size()); i < waiting; ++i) {
    const displif::Request request = displif::decode_request(ring.read_slot(side.answered + i));
    side.pending.push_back({request, Oracle::directory_of(request, machine_.memory())});
  }
}

// What has not been announced is announced now, where the backend may have begun with it: only what
// it owes can be waited for.
void Attacker::prepare(std::size_t connector) {
  Side& side = sides_[connector];
  if (machine_.runs_when_told()) side.pending.clear();
  note(connector);
  if (machine_.runs_when_told() || side.notified || side.pending.empty()) return;
  machine_.transport(connector).req_port.notify();
  side.notified = stirred_ = true;
}

void Attacker::run() {
  if (!connected_) return;
  memory_moves_ = events_move_ = false;
  if (!machine_.runs_when_told()) quiet_until_ = xen::in(kQuiet);
  for (std::size_t i = 0; i < kConnectors; ++i) prepare(i);
  running_ = true;
  // On a connection that stays, only a notification can move the backend.
  if (stirred_ || whole_connections_) machine_.run(*this);
  running_ = stirred_ = false;
  if (!machine_.connected()) judge_end();
  for (std::size_t i = 0; i < kConnectors; ++i) after_run(i);
}

// The connection is over, and the frontend has not ended it.
void Attacker::judge_end() {
  // ring.h lets a backend give up a frontend whose indices cannot be; ours goes on.
  const bool may_give_up = overfull_ && !machine_.runs_when_told();
  if (const std::string how = machine_.ended(may_give_up); !how.empty()) {
    std::string kind = fmt::format("ended-{}-in-{}", how, displif::operation_name(last_operation_));
    std::ranges::transform(kind, kind.begin(), [](char c) {
      return c == ' ' || c == '_' ? '-' : static_cast<char>(std::tolower(c));
    });
    finding(kind, machine_.trouble());
  }
  if (may_give_up) throw PassedOver{};
  finding("backend.stays-responsive", "the connection has ended: " + machine_.trouble());
}

bool Attacker::settled() {
  switch (owed_) {
    case Owed::answers:
      return all_answered();
    case Owed::events:
      return std::ranges::all_of(kBoth, [this](std::size_t i) {
        const Side& side = sides_[i];
        return side.flips.empty() ||
               machine_.transport(i).events.in_prod() - side.in_prod == side.flips.size();
      });
    case Owed::unmapping:
      return machine_.mapped() == base_mapped_;
  }
  return true;
}

bool Attacker::all_answered() const {
  for (std::size_t i = 0; i < kConnectors; ++i) {
    const Side& side = sides_[i];
    if (!side.notified) continue;
    const bool overfull = side.prod - side.answered > kRingSlots;
    if (overfull && xen::Clock::now() < quiet_until_) return false;
    const std::uint32_t published = machine_.transport(i).ring.indices().rsp_prod - side.answered;
    if (side.rsp_poked && published == kNoAnswer ? !side.pending.empty()
                                                 : published < side.pending.size())
      return false;
  }
  return true;
}

void Attacker::after_run(std::size_t connector) {
  Side& side = sides_[connector];
  const Transport& transport = machine_.transport(connector);
  const std::uint32_t rsp_prod = transport.ring.indices().rsp_prod;
  std::uint32_t published = rsp_prod - side.answered;
  const bool overfull = side.prod - side.answered > kRingSlots;
  if (side.rsp_poked && published == kNoAnswer) {
    published = 0;
  } else if (published > side.pending.size()) {
    finding(overfull ? "backend.ring-index-validated" : "response.one-per-request",
            fmt::format("{} responses to {} requests", published, side.pending.size()));
  }
  if (side.notified && published < side.pending.size())
    finding("response.every-request-answered",
            fmt::format("{} of {}", published, side.pending.size()));
  side.notified = false;
  for (std::uint32_t i = 0; i < published; ++i) {
    const auto& [request, directory] = side.pending[i];
    const displif::Response response =
        displif::decode_response(transport.ring.read_slot(side.answered + i));
    const bool filled = oracle_.judge(connector, request, response,
                                      memory_moves_ ? Directory::changing : directory);
    // An EDID may have gone where a directory of the attacker's own making led it: into another.
    const auto* edid = request.as<displif::GetEdid>();
    const bool strayed = edid != nullptr && response.status == 0 &&
                         !machine_.memory().polite(edid->gref_directory, edid->buffer_sz);
    if (filled || strayed) {
      // What comes later may have read what the backend wrote.
      memory_moves_ = true;
      machine_.memory().filled();
    }
    const auto* flip = request.as<displif::PgFlip>();
    if (flip != nullptr && response.status == 0) side.flips.push_back(flip->fb_cookie);
  }
  side.answered += published;
  side.pending.clear();
  if (published > 0) side.rsp_poked = false;
  judge_events(connector);
}

void Attacker::judge_events(std::size_t connector) {
  Side& side = sides_[connector];
  const Transport& transport = machine_.transport(connector);
  const auto owed = static_cast<std::uint32_t>(side.flips.size());
  if (owed != 0) await(Owed::events);
  const std::uint32_t sent = transport.events.in_prod() - side.in_prod;
  if (owed == 0 && side.events_poked) return;
  if (sent != owed)
    finding(sent < owed ? "flip.event-follows" : "flip.one-event-per-flip",
            fmt::format("{} events for {} flips", sent, owed));
  const std::uint32_t readable = std::min(owed, displif::kEventSlots);
  for (std::uint32_t i = owed - readable; i < owed && !events_move_; ++i) {
    const displif::Event event =
        displif::decode_event(transport.events.read_slot(side.in_prod + i));
    const auto* flip = std::get_if<displif::PgFlipEvent>(&event.body);
    if (flip == nullptr) finding("event.type-defined", displif::event_name(event.type));
    if (flip->fb_cookie != side.flips[i])
      finding("flip.event-cookie-of-flip", fmt::format("{:#x} was flipped, the event says {:#x}",
                                                       raw(side.flips[i]), raw(flip->fb_cookie)));
    if (!displif::nonzero_bytes(event.packet, displif::reserved_event_bytes(event.type)).empty())
      finding("event.reserved-zero", "a flip's event");
  }
  side.in_prod += owed;
  side.flips.clear();
  side.events_poked = false;
}

// --- afterwards

// All that is the frontend's to write is polite again.
void Attacker::restore() {
  countdown_ = 0;
  machine_.memory().reset();
  for (std::size_t i = 0; i < kConnectors; ++i) {
    Side& side = sides_[i];
    Transport& transport = machine_.transport(i);
    side.prod = side.answered;
    side.next_id = 0;
    side.notified = side.rsp_poked = side.events_poked = false;
    transport.ring.set_req_prod(side.prod);
    transport.ring.set_rsp_prod(side.answered);
    transport.ring.set_rsp_event(side.answered + 1);
    transport.events.set_in_prod(side.in_prod);
    transport.events.set_in_cons(side.in_prod);
  }
}

void Attacker::clean_request(const displif::RequestBody& body, std::size_t connector) {
  Side& side = sides_[connector];
  if (side.prod - side.answered >= kRingSlots) run();
  Transport& transport = machine_.transport(connector);
  const displif::Packet packet = displif::encode_request(side.next_id++, body);
  last_operation_ = displif::decode_request(packet).operation;
  transport.ring.write_slot(side.prod, packet);
  publish(connector, side.prod + 1);
  if (!side.notified) notify(connector);
}

// As a frontend does that is done. The answers are judged like all others, and nothing may be left.
void Attacker::tidy_up() {
  std::vector<displif::DbufCookie> buffers;
  for (const auto& [cookie, buffer] : oracle_.model().buffers()) buffers.push_back(cookie);
  for (std::size_t i = 0; i < kConnectors; ++i) {
    if (!oracle_.model().connectors()[i].configuration) continue;
    clean_request(displif::SetConfig{}, i);
    run();
  }
  // The reference lets a framebuffer go with its buffer; others may keep both until it is detached.
  std::vector<displif::FbCookie> framebuffers;
  if (!machine_.runs_when_told()) {
    for (const auto& [cookie, framebuffer] : oracle_.model().framebuffers())
      framebuffers.push_back(cookie);
  }
  for (const displif::FbCookie cookie : framebuffers) clean_request(displif::FbDetach{cookie}, 0);
  if (!framebuffers.empty()) run();
  for (const displif::DbufCookie cookie : buffers) clean_request(displif::DbufDestroy{cookie}, 0);
  if (!buffers.empty()) run();
  expect_nothing_left();
}

void Attacker::await(Owed owed) {
  owed_ = owed;
  const bool settled = machine_.await(*this);
  owed_ = Owed::answers;
  if (!settled && !machine_.connected() && connected_) judge_end();
}

void Attacker::expect_nothing_left() {
  await(Owed::unmapping);
  const std::size_t mapped = machine_.mapped();
  if (mapped != base_mapped_)
    finding(connected_ ? "dbuf-destroy.buffer-unmapped" : "backend.all-unmapped-on-close",
            fmt::format("{} pages are mapped, {} are the connection's", mapped, base_mapped_));
}

}  // namespace displif_cts::fuzz_backend
