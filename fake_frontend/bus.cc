// The service thread: its loop, and the bus. Requests and events are in messages.cc, what they are
// about in operations.cc.
#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <stdexcept>

#include "fake_frontend/service.h"
#include "harness/displif/shared_memory.h"
#include "harness/xen/domains.h"
#include "harness/xen/poll.h"

namespace displif_cts::fake_frontend {
namespace {

using bus::Side;
using bus::State;

// Names what nobody has made: no guest of a test has as many ports.
constexpr std::uint32_t kNoSuchPort = 60000;

std::uint32_t number_of(const displif::ConnectorTransport& transport, Node node) {
  switch (node) {
    case Node::req_ring_ref:
      return xen::raw(transport.req_ring_ref);
    case Node::req_event_channel:
      return xen::raw(transport.req_event_channel);
    case Node::evt_ring_ref:
      return xen::raw(transport.evt_ring_ref);
    case Node::evt_event_channel:
      return xen::raw(transport.evt_event_channel);
  }
  return 0;
}

std::string_view name_of(Node node) {
  switch (node) {
    case Node::req_ring_ref:
      return displif::node::kReqRingRef;
    case Node::req_event_channel:
      return displif::node::kReqEventChannel;
    case Node::evt_ring_ref:
      return displif::node::kEvtRingRef;
    case Node::evt_event_channel:
      return displif::node::kEvtEventChannel;
  }
  return "";
}

constexpr std::array kNodes{Node::req_ring_ref, Node::req_event_channel, Node::evt_ring_ref,
                            Node::evt_event_channel};

bool is_reference(Node node) { return Nodes::refs().contains(node); }

bool applies(const std::optional<AtNodes>& fault, Node node, std::size_t connector) {
  return fault && fault->nodes.contains(node) && (connector == 0 || fault->every_connector);
}

}  // namespace

FakeFrontend::Service::Service(std::uint16_t device, Options options, trace::Recorder& recorder)
    : device_(device),
      options_(std::move(options)),
      tracer_(recorder),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wake_fd_ < 0) throw xen::Error("eventfd", "the service's wake-up", errno);
  thread_ = std::thread([this] { loop(); });
}

FakeFrontend::Service::~Service() {
  post([this] { quit_ = true; });
  thread_.join();
  close(wake_fd_);
}

// --- the thread ----------------------------------------------------------------------------------

void FakeFrontend::Service::post(std::function<void()> task) {
  {
    const std::lock_guard lock(command_mutex_);
    commands_.push_back(std::move(task));
  }
  const std::uint64_t one = 1;
  // Fails only when the counter is full, that is, when the thread is about to wake anyway.
  [[maybe_unused]] const ssize_t written = ::write(wake_fd_, &one, sizeof one);
}

bool FakeFrontend::Service::run_commands() {
  while (!quit_) {
    std::function<void()> task;
    {
      const std::lock_guard lock(command_mutex_);
      if (commands_.empty()) return true;
      task = std::move(commands_.front());
      commands_.pop_front();
    }
    task();
    meet_doom();
  }
  return false;
}

void FakeFrontend::Service::loop() {
  const std::shared_ptr<void> context =
      options_.thread_context ? options_.thread_context() : std::shared_ptr<void>();
  while (run_commands()) {
    try {
      step();
      meet_doom();
    } catch (const std::exception& error) {
      fail(error.what());
    }
  }
  try {
    vanish();
  } catch (const std::exception& error) {
    trouble(fmt::format("while ending: {}", error.what()));
  }
  kept_links_.clear();
  kept_memory_.clear();
  channels_.reset();
}

// Something of our own is broken. Commands are still taken, the wire is left alone.
void FakeFrontend::Service::fail(const std::string& reason) {
  trouble(reason);
  try {
    vanish();
  } catch (const std::exception& error) {
    trouble(error.what());
  }
  update([&](Journal& j) { j.ended = reason; });
}

void FakeFrontend::Service::doom(std::string reason, bool for_good) {
  if (doomed_) return;
  doomed_ = std::move(reason);
  doomed_for_good_ = for_good;
}

void FakeFrontend::Service::meet_doom() {
  if (!doomed_) return;
  const std::string reason = *std::exchange(doomed_, std::nullopt);
  tracer_.log("dies: " + reason);
  vanish();
  if (doomed_for_good_) update([&](Journal& j) { j.ended = reason; });
}

void FakeFrontend::Service::at(Moment moment) {
  {
    const std::lock_guard lock(journal.mutex);
    DeathFault& fault = journal.faults.death;
    if (fault.times == 0 || fault.moment != moment) return;
    if (fault.after > 0) {
      --fault.after;
      return;
    }
    strike(fault.times);
  }
  tracer_.log("fault death");
  doom("fault death", false);
}

// A duty to survive that is left out.
void FakeFrontend::Service::fatal(Times FrontendFaults::*fault, std::string_view name) {
  if (strikes(fault, name)) doom("fault " + std::string(name), true);
}

bool FakeFrontend::Service::strikes(Times FrontendFaults::*fault, std::string_view name) {
  {
    const std::lock_guard lock(journal.mutex);
    if (!strike(journal.faults.*fault)) return false;
  }
  tracer_.log("fault " + std::string(name));
  return true;
}

bool FakeFrontend::Service::strikes_at(AtOperations FrontendFaults::*fault, std::uint8_t operation,
                                       std::string_view name) {
  {
    const std::lock_guard lock(journal.mutex);
    AtOperations& current = journal.faults.*fault;
    if (!current.operations.contains(operation) || !strike(current.times)) return false;
  }
  tracer_.log("fault " + std::string(name));
  return true;
}

int FakeFrontend::Service::wait_ms() const {
  const auto waiting = [](const Link& link) { return link.responses_waiting; };
  if (taking_ && std::ranges::any_of(links_, waiting)) return 0;
  auto until = xen::Clock::now() + std::chrono::minutes(1);
  if (!timers_.empty()) until = std::min(until, timers_.begin()->first);
  if (!links_.empty()) until = std::min(until, xen::in(options_.unnotified_after / 2));
  return xen::poll_timeout(until);
}

void FakeFrontend::Service::step() {
  std::array<pollfd, 3> fds{};
  fds[0] = {wake_fd_, POLLIN, 0};
  fds[1] = {!stuck_ && store_ && backend_watch_ ? store_->fd() : -1, POLLIN, 0};
  fds[2] = {!stuck_ && channels_ && taking_ ? channels_->fd() : -1, POLLIN, 0};
  if (poll(fds.data(), fds.size(), wait_ms()) < 0 && errno != EINTR) {
    throw xen::Error("poll", "the service's descriptors", errno);
  }
  std::uint64_t count = 0;
  [[maybe_unused]] const ssize_t drained = ::read(wake_fd_, &count, sizeof count);
  if (stuck_) return;
  run_timers();
  if (!backend_watch_) return;
  // As many events as one device can sensibly cause between two turns.
  bool looked = false;
  for (int events = 0; events < 64 && store_ && backend_watch_; ++events) {
    if (!store_->next_event(xen::Clock::now())) break;
    looked = true;
    if (++store_events_ == 200) fatal(&FrontendFaults::store_flood_fatal, "store-flood-fatal");
  }
  if (looked) look_at_backend();
  if (!taking_ || doomed_) return;
  if (channels_) drain_ports();
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (links_[i].responses_waiting) take_responses(i, true);
  }
  rescue_unnotified();
}

void FakeFrontend::Service::run_timers() {
  while (!timers_.empty() && timers_.begin()->first <= xen::Clock::now()) {
    const auto due = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    due();
  }
}

void FakeFrontend::Service::trouble(const std::string& text) {
  tracer_.log(text);
  update([&](Journal& j) {
    if (j.trouble.size() < kJournalLimit) j.trouble.push_back(text);
  });
}

// --- life ----------------------------------------------------------------------------------------

xen::Store& FakeFrontend::Service::store() {
  if (!store_) store_.emplace(xen::Store::open());
  return *store_;
}

// The backend is whom the device's nodes name (displif.h, "Frontend XenBus Nodes"; libxl writes
// `backend` and `backend-id`, libxl_device.c, libxl__device_generic_add).
void FakeFrontend::Service::start() {
  if (phase_ != Phase::idle) vanish();
  own_ = options_.frontend ? *options_.frontend : xen::Domains(store()).own();
  paths.frontend =
      fmt::format("{}/device/{}/{}", store().domain_path(own_), displif::node::kDevice, device_);
  const auto backend = store().read(paths.frontend + "/backend");
  const auto id = store().read(paths.frontend + "/backend-id");
  if (!backend || (!id && !options_.backend)) {
    store_.reset();
    throw xen::Error("start", paths.frontend + ": no such device", ENOENT);
  }
  paths.backend = *backend;
  backend_ = options_.backend
                 ? *options_.backend
                 : static_cast<xen::DomId>(displif::parse_uint32(id.value_or("")).value());
  if (!channels_) channels_.emplace(xen::EventChannels::open());
  grants_.emplace(xen::Grants::open());
  phase_ = Phase::waiting;
  follow = true;
  update([](Journal& j) {
    j.serving = true;
    j.backend_known = false;
    j.ended.clear();
    j.endless = false;
  });
  if (store().read(paths.frontend + "/state") == bus::print(State::initialising)) {
    written_state_ = bus::print(State::initialising);
    update([](Journal& j) { j.frontend_state = State::initialising; });
  } else {
    go(State::initialising);
  }
  if (strikes(&FrontendFaults::initialises_early, "initialises-early")) set_up();
  backend_watch_.emplace(store().watch(paths.backend + "/state"));
}

// A backend that is about to connect would take the end of this connection and the beginning of the
// next for one: nothing in its own state says what it has seen.
bool FakeFrontend::Service::begin_leaving(bool now) {
  if (phase_ == Phase::idle) return true;
  const bool abruptly = strikes(&FrontendFaults::leaves_abruptly, "leaves-abruptly");
  if (phase_ == Phase::initialised && !now && !abruptly) return false;
  follow = false;
  if (abruptly) return true;
  go(State::closing);
  at(Moment::closing);
  return true;
}

void FakeFrontend::Service::finish_leaving() {
  if (phase_ == Phase::idle) return;
  tear_down("the frontend leaves");
  go(State::closed);
}

// Everything that a dying process would lose, in the order in which it owns it.
void FakeFrontend::Service::drop_everything() {
  timers_.clear();
  links_.clear();
  old_links_.clear();
  buffers_.clear();
  shared_.clear();
  granted_.clear();
  bound_.clear();
  framebuffers_.clear();
  late_draws_.clear();
  grants_.reset();
  if (kept_links_.empty()) channels_.reset();
  backend_watch_.reset();
  store_.reset();
}

void FakeFrontend::Service::vanish() {
  tear_down("the frontend is gone");
  drop_everything();
  phase_ = Phase::idle;
  config_final_ = flip_final_ = stuck_ = false;
  give_up_all("the frontend is gone");
  update([](Journal& j) {
    j.serving = false;
    j.clients = 0;
    j.endless = false;
  });
}

// --- clients -------------------------------------------------------------------------------------

bool FakeFrontend::Service::open_client() {
  const bool reconfiguring = written_state_ == bus::print(State::reconfiguring);
  const bool open = phase_ == Phase::connected ||
                    (reconfiguring && strikes(&FrontendFaults::new_clients_while_reconfiguring,
                                              "new-clients-while-reconfiguring")) ||
                    (phase_ == Phase::waiting && !reconfiguring && journal.connections > 0 &&
                     strikes(&FrontendFaults::close_keeps_device, "close-keeps-device"));
  if (open) update([](Journal& j) { ++j.clients; });
  return open;
}

void FakeFrontend::Service::close_client() {
  bool last = false;
  update([&](Journal& j) { last = j.clients > 0 && --j.clients == 0; });
  if (last) after_last_client();
}

// displif.h, "Recovery flow": once all clients are gone the frontend is ready again.
void FakeFrontend::Service::after_last_client() {
  if (phase_ != Phase::waiting || written_state_ != bus::print(State::reconfiguring)) return;
  if (strikes(&FrontendFaults::reconfiguring_for_ever, "reconfiguring-for-ever")) return;
  go(State::initialising);
  look_at_backend();
  if (phase_ == Phase::waiting && follow) follow_backend(journal.backend_state);
}

// --- XenStore ------------------------------------------------------------------------------------

std::optional<std::string> FakeFrontend::Service::read_recorded(
    const std::string& path, std::optional<std::size_t> connector) {
  auto value = store().read(path);
  tracer_.node(From::backend, path, value, connector);
  return value;
}

void FakeFrontend::Service::write_node(std::string_view name, std::string_view value) {
  const std::string path = paths.frontend + "/" + std::string(name);
  store().write(path, value);
  tracer_.node(From::frontend, path, std::string(value));
}

void FakeFrontend::Service::remove_node(std::string_view name) {
  const std::string path = paths.frontend + "/" + std::string(name);
  store().remove(path);
  tracer_.node(From::frontend, path, std::nullopt);
}

void FakeFrontend::Service::write_state(std::string_view text) {
  const std::string path = paths.frontend + "/state";
  // Whoever writes to a device that was removed makes debris; Linux looks first, too
  // (xenbus_client.c, __xenbus_switch_state).
  if (!store().read(path)) return;
  written_state_ = text;
  const auto state = bus::parse_state(text);
  tracer_.state(Side::frontend, state, text);
  update([&](Journal& j) {
    j.frontend_state = state;
    if (j.states.size() >= kJournalLimit) return;
    j.states.push_back({.number = j.states.size(),
                        .side = Side::frontend,
                        .state = state,
                        .text = written_state_,
                        .ns = now_ns()});
  });
  store().write(path, text);
}

void FakeFrontend::Service::go(State state) { write_state(bus::print(state)); }

// --- the backend's states ------------------------------------------------------------------------

void FakeFrontend::Service::look_at_backend() {
  const auto text = store().read_if_visible(paths.backend + "/state");
  const auto state = text ? bus::parse_state(*text) : std::nullopt;
  bool first = false;
  std::optional<State> before;
  {
    const std::lock_guard lock(journal.mutex);
    first = !journal.backend_known;
    before = journal.backend_state;
  }
  if (!first && state == before) return;
  tracer_.state(Side::backend, state, text.value_or(""));
  update([&](Journal& j) {
    j.backend_known = true;
    j.backend_state = state;
    if (j.states.size() >= kJournalLimit) return;
    j.states.push_back({.number = j.states.size(),
                        .side = Side::backend,
                        .state = state,
                        .text = text.value_or(""),
                        .ns = now_ns()});
  });
  if (before == State::connected && state == State::init_wait && phase_ == Phase::connected &&
      strikes(&FrontendFaults::restart_missed, "restart-missed")) {
    return;
  }
  if (follow) follow_backend(state);
}

// displif.h, "State diagrams". A backend that leaves Connected, to wherever, has ended the
// connection: it cannot have kept what it had mapped.
void FakeFrontend::Service::follow_backend(std::optional<State> state) {
  const State seen = state.value_or(State::unknown);
  if (seen == State::connected) {
    if (phase_ == Phase::initialised) backend_connected();
    return;
  }
  if (seen == State::initialised || seen == State::reconfiguring || seen == State::reconfigured) {
    return;
  }
  if (phase_ == Phase::connected ||
      (phase_ == Phase::initialised && seen != State::init_wait && seen != State::initialising)) {
    backend_gone(fmt::format("the backend is in {}", bus::name(seen)));
  }
  if (seen == State::init_wait && phase_ == Phase::waiting &&
      written_state_ == bus::print(State::initialising)) {
    set_up();
  }
}

// displif.h, "Normal flow" and "Recovery flow".
void FakeFrontend::Service::backend_gone(std::string_view why) {
  unsigned clients = 0;
  {
    const std::lock_guard lock(journal.mutex);
    clients = journal.clients;
  }
  if (strikes(&FrontendFaults::close_ignored, "close-ignored")) return;
  if (clients > 0 &&
      strikes(&FrontendFaults::failure_ignored_while_used, "failure-ignored-while-used")) {
    return;
  }
  const bool for_ever =
      clients == 0 && strikes(&FrontendFaults::reconfiguring_for_ever, "reconfiguring-for-ever");
  tear_down(why);
  if (clients > 0 || for_ever) {
    go(State::reconfiguring);
  } else {
    go(options_.backend_gone == Options::BackendGone::close ? State::closed : State::initialising);
  }
}

void FakeFrontend::Service::tear_down(std::string_view why) {
  if (phase_ != Phase::initialised && phase_ != Phase::connected) return;
  phase_ = Phase::waiting;
  timers_.clear();
  if (strikes(&FrontendFaults::outstanding_request_kept, "outstanding-request-kept")) {
    update([](Journal& j) { j.endless = true; });
  } else {
    give_up_all(why);
  }
  bool old_wanted = false;
  {
    const std::lock_guard lock(journal.mutex);
    old_wanted = journal.faults.requests_without_backend != 0;
  }
  const bool pages_leak = strikes(&FrontendFaults::grants_leaked, "grants-leaked");
  const bool channels_leak = strikes(&FrontendFaults::channels_leaked, "channels-leaked") ||
                             strikes(&FrontendFaults::close_keeps_channels, "close-keeps-channels");
  if (pages_leak) {
    for (auto& [handle, buffer] : buffers_) kept_memory_.push_back(std::move(buffer.memory));
    for (auto& [handle, memory] : shared_) kept_memory_.push_back(std::move(memory));
  }
  if (pages_leak || channels_leak) {
    for (Link& link : links_) {
      if (!pages_leak) {
        link.ring_page.reset();
        link.event_page.reset();
      }
      if (!channels_leak) {
        link.req_port.reset();
        link.evt_port.reset();
      }
      kept_links_.push_back(std::move(link));
    }
  } else if (old_wanted) {
    old_links_ = std::move(links_);
  }
  links_.clear();
  buffers_.clear();
  shared_.clear();
  granted_.clear();
  bound_.clear();
  framebuffers_.clear();
  late_draws_.clear();
  unsigned connection = 0;
  update([&](Journal& j) {
    connection = j.connections;
    j.transport = false;
    j.connected = false;
    std::ranges::fill(j.transports, std::nullopt);
    for (FlipState& flip : j.flips) {
      if (flip.pending) flip.lost = std::string(why);
      flip.pending.reset();
    }
  });
  tracer_.connection(connection, "disconnected", why);
}

void FakeFrontend::Service::give_up_all(std::string_view why) {
  update([&](Journal& j) {
    for (Link& link : links_) {
      for (const std::size_t number : link.outstanding) {
        if (j.requests[number].given_up.empty()) j.requests[number].given_up = why;
      }
    }
    if (!links_.empty() || !j.endless) return;
    j.requests.for_each([&](SentRequest& request) {
      if (!request.response && request.given_up.empty()) request.given_up = why;
    });
  });
}

// --- connecting ----------------------------------------------------------------------------------

void FakeFrontend::Service::set_up() {
  if (journal.connections > 0 && strikes(&FrontendFaults::no_reconnection, "no-reconnection")) {
    return;
  }
  if (strikes(&FrontendFaults::never_initialises, "never-initialises")) return;
  unsigned connection = 0;
  update([&](Journal& j) { connection = ++j.connections; });
  tracer_.connection(connection, "connected");
  try {
    read_configuration();
    choose_version();
    make_links();
  } catch (const std::exception& error) {
    // Not this frontend's to repair: it stays where it is until the backend tries again.
    links_.clear();
    trouble(fmt::format("cannot connect: {}", error.what()));
    update([](Journal& j) { --j.connections; });
    tracer_.connection(connection, "disconnected", error.what());
    return;
  }
  spoil_pages();
  phase_ = Phase::initialised;
  taking_ = true;
  config_final_ = flip_final_ = false;
  update([&](Journal& j) {
    j.transport = true;
    j.flips.assign(links_.size(), FlipState{});
    j.transports.clear();
    for (const Link& link : links_) j.transports.emplace_back(link.transport());
  });
  if (const auto late = strikes_with(&FrontendFaults::initialised_late, "initialised-late")) {
    after(late->delay, [this] { become_initialised(); });
  } else {
    become_initialised();
  }
}

void FakeFrontend::Service::become_initialised() {
  if (strikes(&FrontendFaults::transport_late, "transport-late")) {
    go(State::initialised);
    after(std::chrono::milliseconds(20), [this] { publish_transport(); });
  } else {
    publish_transport();
    go(State::initialised);
  }
  at(Moment::initialised);
  if (strikes(&FrontendFaults::connects_early, "connects-early")) go(State::connected);
  std::optional<State> backend;
  {
    const std::lock_guard lock(journal.mutex);
    if (journal.backend_known) backend = journal.backend_state;
  }
  if (backend == State::connected) backend_connected();  // it was there first
}

// Throws std::runtime_error where the tool stack's nodes make no device.
void FakeFrontend::Service::read_configuration() {
  const auto children = store().directory(paths.frontend);
  const unsigned count =
      displif::count_connectors(children.value_or(std::vector<std::string>())).value();
  if (count == 0) throw std::runtime_error("no connector is configured");
  std::vector<displif::Resolution> connectors;
  const bool ignored = strikes(&FrontendFaults::resolution_ignored, "resolution-ignored");
  for (unsigned i = 0; i < count; ++i) {
    const std::string path =
        paths.frontend + "/" + displif::node::of_connector(i, displif::node::kResolution);
    const auto text = read_recorded(path, i);
    displif::Resolution resolution = displif::parse_resolution(text.value_or("")).value();
    if (ignored) {
      resolution.width -= std::min(resolution.width - 1, 16U);
      resolution.height -= std::min(resolution.height - 1, 16U);
    }
    tracer_.resolution(i, resolution);
    connectors.push_back(resolution);
  }
  if (count > 1 && strikes(&FrontendFaults::connector_left_out, "connector-left-out")) {
    connectors.pop_back();
  }
  if (strikes(&FrontendFaults::connector_added, "connector-added")) {
    connectors.push_back(connectors.back());
  }
  const auto be_alloc = read_recorded(paths.frontend + "/" + std::string(displif::node::kBeAlloc));
  update([&](Journal& j) {
    j.connectors = connectors;
    j.be_alloc = be_alloc == "1";
  });
}

// displif.h, "Frontend XenBus Nodes", version. Throws std::runtime_error where no version is common
// to both.
void FakeFrontend::Service::choose_version() {
  const auto text = read_recorded(paths.backend + "/" + std::string(displif::node::kVersions));
  published_version_.reset();
  unsigned protocol = 1;
  if (text) {
    const std::vector<unsigned> offered = displif::parse_versions(*text).value();
    for (const unsigned version : offered) {
      if (std::ranges::find(options_.versions, version) == options_.versions.end()) continue;
      if (!published_version_ || version > *published_version_) published_version_ = version;
    }
    if (!published_version_) {
      throw std::runtime_error("the backend offers only versions " + *text);
    }
    protocol = *published_version_;
  }
  update([&](Journal& j) {
    j.backend_versions = text;
    j.protocol = protocol;
  });
}

void FakeFrontend::Service::make_links() {
  const auto read_only = strikes_with(&FrontendFaults::page_read_only, "page-read-only");
  LinkFaults faults;
  if (const auto start = strikes_with(&FrontendFaults::ring_start, "ring-indexes-nonzero")) {
    faults.ring_start = start->of(0);
  }
  if (const auto start = strikes_with(&FrontendFaults::event_start, "event-indexes-nonzero")) {
    faults.event_start = start->of(0);
  }
  for (std::size_t i = 0; i < journal.connectors.size(); ++i) {
    LinkFaults of_link = faults;
    if (applies(read_only, Node::req_ring_ref, i)) of_link.ring_access = xen::Access::read_only;
    if (applies(read_only, Node::evt_ring_ref, i)) of_link.page_access = xen::Access::read_only;
    links_.push_back(Link::make(*channels_, backend_, of_link));
  }
}

void FakeFrontend::Service::spoil_pages() {
  const bool padding = strikes(&FrontendFaults::ring_padding_dirty, "ring-padding-dirty");
  const bool header = strikes(&FrontendFaults::event_header_dirty, "event-header-dirty");
  for (Link& link : links_) {
    // Octets 16 to 63 of the ring, 8 to 63 of the event page: behind the indices.
    if (padding) displif::shared::store(link.ring_page->page(0), 32, 0xa5a5a5a5);
    if (header) displif::shared::store(link.event_page->page(0), 32, 0xa5a5a5a5);
  }
}

// Makes what a node of fault node_foreign names: something for another domain.
std::uint32_t FakeFrontend::Service::foreign_node(Node node) {
  try {
    if (is_reference(node)) {
      granted_.push_back(xen::SharedPages::share(options_.stranger, 1, xen::Access::read_write));
      return xen::raw(granted_.back().refs().front());
    }
    bound_.push_back(channels_->bind_unbound(options_.stranger));
    return xen::raw(bound_.back().port());
  } catch (const xen::Error& error) {
    trouble(fmt::format("nothing for domain {}: {}", xen::raw(options_.stranger), error.what()));
    return is_reference(node) ? xen::raw(kNoSuchReference) : kNoSuchPort;
  }
}

std::optional<std::string> FakeFrontend::Service::node_text(const NodeFaults& faults, Node node,
                                                            std::size_t connector) {
  const Link& link = links_[faults.shared ? 0 : connector];
  if (applies(faults.missing, node, connector)) return std::nullopt;
  if (applies(faults.zero, node, connector) && is_reference(node)) return "0";
  if (faults.text && faults.text->nodes.contains(node) && connector == 0) {
    return faults.text->text;
  }
  std::uint32_t number = number_of(link.transport(), node);
  if (faults.page_is_ring && node == Node::evt_ring_ref) number = xen::raw(link.req_ref);
  if (applies(faults.invalid, node, connector)) {
    number = is_reference(node) ? xen::raw(kNoSuchReference) : kNoSuchPort;
  }
  if (applies(faults.foreign, node, connector)) number = foreign_node(node);
  return std::to_string(number);
}

void FakeFrontend::Service::publish_version(
    std::vector<std::pair<std::string, std::string>>& nodes) {
  const std::string name(displif::node::kVersion);
  if (const auto text = strikes_with(&FrontendFaults::version_malformed, "version-malformed")) {
    nodes.emplace_back(name, text->text);
  } else if (strikes(&FrontendFaults::version_unsupported, "version-unsupported")) {
    nodes.emplace_back(name, "4711");
  } else if (!strikes(&FrontendFaults::version_missing, "version-missing") && published_version_) {
    nodes.emplace_back(name, std::to_string(*published_version_));
  }
}

std::vector<std::pair<std::string, std::string>> FakeFrontend::Service::transport_nodes() {
  NodeFaults faults;
  faults.missing = strikes_with(&FrontendFaults::node_missing, "node-missing");
  faults.invalid = strikes_with(&FrontendFaults::node_invalid, "node-invalid");
  faults.foreign = strikes_with(&FrontendFaults::node_foreign, "node-foreign");
  faults.zero = strikes_with(&FrontendFaults::reference_zero, "reference-zero");
  faults.text = strikes_with(&FrontendFaults::number_malformed, "number-malformed");
  faults.shared =
      links_.size() > 1 && strikes(&FrontendFaults::transport_shared, "transport-shared");
  faults.page_is_ring = strikes(&FrontendFaults::event_page_is_ring, "event-page-is-ring");
  std::vector<std::pair<std::string, std::string>> nodes;
  publish_version(nodes);
  for (std::size_t i = 0; i < links_.size(); ++i) {
    for (const Node node : kNodes) {
      const auto text = node_text(faults, node, i);
      if (!text) continue;
      nodes.emplace_back(displif::node::of_connector(static_cast<unsigned>(i), name_of(node)),
                         *text);
    }
  }
  return nodes;
}

void FakeFrontend::Service::publish_transport() {
  if (links_.empty()) return;
  auto nodes = transport_nodes();
  if (strikes(&FrontendFaults::nodes_written_singly, "nodes-written-singly")) {
    std::ranges::reverse(nodes);
    for (const auto& [name, text] : nodes) write_node(name, text);
    return;
  }
  store().transaction([&](xen::Transaction& transaction) {
    for (const auto& [name, text] : nodes) transaction.write(paths.frontend + "/" + name, text);
  });
  for (const auto& [name, text] : nodes) {
    tracer_.node(From::frontend, paths.frontend + "/" + name, text);
  }
}

void FakeFrontend::Service::backend_connected() {
  if (strikes(&FrontendFaults::never_connects, "never-connects")) return;
  if (const auto late = strikes_with(&FrontendFaults::connected_late, "connected-late")) {
    after(late->delay, [this] { become_connected(); });
  } else {
    become_connected();
  }
}

void FakeFrontend::Service::become_connected() {
  phase_ = Phase::connected;
  go(State::connected);
  update([](Journal& j) { j.connected = true; });
  for (Link& link : links_) link.responses_waiting = true;
  if (strikes(&FrontendFaults::transport_changed_later, "transport-changed-later")) {
    for (std::size_t i = 0; i < links_.size(); ++i) {
      for (const Node node : kNodes) {
        write_node(displif::node::of_connector(static_cast<unsigned>(i), name_of(node)),
                   is_reference(node) ? std::to_string(xen::raw(kNoSuchReference))
                                      : std::to_string(kNoSuchPort));
      }
    }
  }
  at(Moment::connected);
}

}  // namespace displif_cts::fake_frontend
