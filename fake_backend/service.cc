// The service thread: its loop, and the bus. What it does about requests is in requests.cc.
#include "fake_backend/service.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <mutex>
#include <stdexcept>
#include <thread>

#include "fake_backend/breakdown.h"
#include "harness/displif/describe.h"
#include "harness/xen/domains.h"
#include "harness/xen/poll.h"

namespace displif_cts::fake_backend {
namespace {

using bus::State;
using trace::Direction;
using trace::Kind;

xen::DomId own_domain(const Options& options) {
  if (options.backend) return *options.backend;
  xen::Store store = xen::Store::open();
  return xen::Domains(store).own();
}

ModelOptions model_options(const Options& options) {
  ModelOptions model = options.limits;
  model.connectors.clear();
  model.has_edid.clear();
  for (const Connector& connector : options.connectors) {
    model.connectors.push_back(connector.resolution);
    model.has_edid.push_back(!connector.edid.empty());
  }
  model.be_alloc = options.be_alloc;
  return model;
}

Json state_fields(bus::Side side, const std::optional<State>& state, const std::string& text) {
  Json fields{{"side", bus::name(side)}};
  if (state) {
    fields["state"] = static_cast<unsigned>(*state);
    fields["name"] = bus::name(*state);
  } else {
    fields["text"] = text;
  }
  return fields;
}

}  // namespace

FakeBackend::Service::Service(xen::DomId frontend, std::uint16_t device, Options options,
                              trace::Recorder& recorder)
    : frontend_(frontend),
      device_(device),
      options_(std::move(options)),
      recorder_(recorder),
      backend_(own_domain(options_)),
      journal(Model(model_options(options_))),
      paths(bus::device_paths(frontend_, backend_, device_)),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (wake_fd_ < 0) throw xen::Error("eventfd", "the service's wake-up", errno);
  journal.transports.resize(options_.connectors.size());
  if (options_.own_thread) thread_ = std::thread([this] { loop(); });
}

FakeBackend::Service::~Service() {
  if (thread_.joinable()) {
    post([this] { quit_ = true; });
    thread_.join();
  } else {
    end();
  }
  close(wake_fd_);
}

// --- the thread ----------------------------------------------------------------------------------

void FakeBackend::Service::post(std::function<void()> task) {
  {
    const std::lock_guard lock(command_mutex_);
    commands_.push_back(std::move(task));
  }
  const std::uint64_t one = 1;
  // Fails only when the counter is full, that is, when the thread is about to wake anyway.
  [[maybe_unused]] const ssize_t written = write(wake_fd_, &one, sizeof one);
}

bool FakeBackend::Service::run_commands() {
  while (!quit_) {
    std::function<void()> task;
    {
      const std::lock_guard lock(command_mutex_);
      if (commands_.empty()) return true;
      task = std::move(commands_.front());
      commands_.pop_front();
    }
    task();
  }
  return false;
}

void FakeBackend::Service::loop() {
  while (run_commands()) {
    try {
      step(std::chrono::minutes(1));
    } catch (const std::exception& error) {
      fail(error.what());
    }
  }
  end();
}

bool FakeBackend::Service::turn(std::chrono::milliseconds most) {
  try {
    step(most);
  } catch (const std::exception& error) {
    fail(error.what());
  }
  return std::ranges::any_of(links_, &Link::work);
}

void FakeBackend::Service::end() {
  try {
    vanish();
    if (buffers_) buffers_->release_kept();
    instance_.reset();
  } catch (const std::exception& error) {
    trouble(fmt::format("while ending: {}", error.what()));
  }
}

// Something of our own is broken. Commands are still taken, the wire is left alone.
void FakeBackend::Service::fail(const std::string& reason) {
  trouble(reason);
  try {
    vanish();
  } catch (const std::exception& error) {
    trouble(error.what());
  }
  update([&](Journal& j) { j.ended = reason; });
}

int FakeBackend::Service::wait_ms() const {
  if (std::ranges::any_of(links_, &Link::work)) return 0;
  auto until = xen::Clock::now() + std::chrono::minutes(1);
  if (!timers_.empty()) until = std::min(until, timers_.begin()->first);
  if (!links_.empty()) until = std::min(until, xen::in(options_.unnotified_after / 2));
  return xen::poll_timeout(until);
}

void FakeBackend::Service::step(std::chrono::milliseconds most) {
  if (Breakdown::happened()) {  // commands are still taken
    pollfd wake{wake_fd_, POLLIN, 0};
    [[maybe_unused]] const int woken = poll(&wake, 1, 100);
    std::uint64_t ignored = 0;
    [[maybe_unused]] const ssize_t emptied = read(wake_fd_, &ignored, sizeof ignored);
    return;
  }
  std::array<pollfd, 3> fds{};
  fds[0] = {wake_fd_, POLLIN, 0};
  fds[1] = {store_ && frontend_watch_ ? store_->fd() : -1, POLLIN, 0};
  fds[2] = {channels_ ? channels_->fd() : -1, POLLIN, 0};
  const int wait = most.count() == 0 ? 0 : std::min(wait_ms(), static_cast<int>(most.count()));
  if (poll(fds.data(), fds.size(), wait) < 0 && errno != EINTR) {
    throw xen::Error("poll", "the service's descriptors", errno);
  }
  if (fds[0].revents != 0) {
    std::uint64_t count = 0;
    [[maybe_unused]] const ssize_t drained = read(wake_fd_, &count, sizeof count);
  }
  if (phase_ == Phase::idle && !frontend_watch_) return;
  // As many events as one device can sensibly cause between two turns.
  for (int events = 0; fds[1].revents != 0 && events < 64; ++events) {
    const auto event = store_ ? store_->next_event(xen::Clock::now()) : std::nullopt;
    if (!event) break;
    on_store_event(*event);
  }
  if (channels_ && fds[2].revents != 0) drain_ports();
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (links_[i].work) serve(i, true);
  }
  while (!timers_.empty() && timers_.begin()->first <= xen::Clock::now()) {
    const auto due = std::move(timers_.begin()->second);
    timers_.erase(timers_.begin());
    due();
  }
  rescue_unnotified();
}

void FakeBackend::Service::trouble(const std::string& text) {
  recorder_.log("backend: " + text);
  update([&](Journal& j) {
    if (j.trouble.size() < kJournalLimit) j.trouble.push_back(text);
  });
}

// --- life ----------------------------------------------------------------------------------------

xen::Store& FakeBackend::Service::store() {
  if (!store_) store_.emplace(xen::Store::open());
  return *store_;
}

void FakeBackend::Service::create_device(const std::function<void(bus::DeviceConfig&)>& change) {
  bus::DeviceConfig config;
  config.frontend = frontend_;
  config.backend = backend_;
  config.dev_id = device_;
  config.be_alloc = options_.be_alloc;
  config.libxl_record = false;  // only `xl` reads it
  config.connectors.clear();
  for (const Connector& connector : options_.connectors) {
    config.connectors.push_back({connector.resolution, connector.unique_id});
  }
  if (change) change(config);
  instance_ = std::make_unique<bus::DeviceInstance>(std::move(config));
}

void FakeBackend::Service::destroy_device() { instance_.reset(); }

void FakeBackend::Service::discard_device() {
  if (instance_) instance_->discard();
  instance_.reset();
}

void FakeBackend::Service::begin_removal() {
  if (instance_) instance_->begin_removal(bus::RemoveOrder::polite);
}

void FakeBackend::Service::remove_frontend() {
  if (!instance_) return;
  follow = false;
  instance_->remove_frontend();
  tear_down("the device is unplugged");
  go(State::init_wait);
}

void FakeBackend::Service::start() {
  if (Breakdown::happened()) return;
  if (phase_ != Phase::idle) vanish();
  if (!store().read(paths.backend + "/state")) {
    throw xen::Error("start", paths.backend + "/state: no such device", ENOENT);
  }
  channels_.emplace(xen::EventChannels::open());
  grants_.emplace(xen::Grants::open());
  buffers_.emplace(*grants_, frontend_);
  for (std::size_t i = 0; i < options_.connectors.size(); ++i) {
    const Connector& connector = options_.connectors[i];
    recorder_.message(
        Kind::xenstore, Direction::none,
        Json{{"connector", i},
             {"resolution",
              {{"width", connector.resolution.width}, {"height", connector.resolution.height}}},
             {"unique_id", connector.unique_id}});
  }
  phase_ = Phase::waiting;
  follow = true;
  update([](Journal& j) {
    j.serving = true;
    j.frontend_known = false;
    j.ended.clear();
  });
  publish_versions();
  go(State::init_wait);
  if (strikes(&BackendFaults::connects_early, "connects-early")) go(State::connected);
  frontend_watch_.emplace(store().watch(paths.frontend + "/state"));
  own_watch_.emplace(store().watch(paths.backend + "/state"));
  bool watches_all = false;
  {
    const std::lock_guard lock(journal.mutex);
    const Situation situation = journal.faults.breaks_down.situation;
    watches_all = situation == Situation::nodes_changed || situation == Situation::node_flood;
  }
  if (watches_all) nodes_watch_.emplace(store().watch(paths.frontend));
}

void FakeBackend::Service::publish_versions() {
  const std::string path = paths.backend + "/" + std::string(displif::node::kVersions);
  if (strikes(&BackendFaults::versions_missing, "versions-missing")) {
    store().remove(path);
    return;
  }
  std::string value = displif::print_versions(options_.versions);
  if (strikes(&BackendFaults::versions_malformed, "versions-malformed")) value = "two;";
  if (strikes(&BackendFaults::versions_unknown, "versions-unknown")) value = "4711,4712";
  publish_node(path, value);
}

void FakeBackend::Service::publish_node(const std::string& path, const std::string& value) {
  store().write(path, value);
  recorder_.message(Kind::xenstore, Direction::back_to_front,
                    Json{{"path", path}, {"value", value}});
}

// Everything that a dying process would lose, in the order in which it owns it.
void FakeBackend::Service::drop_everything() {
  timers_.clear();
  links_.clear();
  kept_links_.clear();
  kept_ports_.clear();
  nodes_watch_.reset();
  buffers_.reset();
  channels_.reset();
  grants_.reset();
  frontend_watch_.reset();
  own_watch_.reset();
  store_.reset();
}

void FakeBackend::Service::vanish() {
  tear_down("the backend is gone");
  drop_everything();
  phase_ = Phase::idle;
  update([](Journal& j) { j.serving = false; });
}

void FakeBackend::Service::shut_down() {
  follow = false;
  go(State::closing);
  tear_down("the backend closes");
  go(State::closed);
}

// --- bus -----------------------------------------------------------------------------------------

void FakeBackend::Service::write_state(std::string_view text) {
  const std::string path = paths.backend + "/state";
  // Whoever writes to a device that was removed makes debris; Linux looks first, too
  // (xenbus_client.c, __xenbus_switch_state).
  if (!store().read(path)) return;
  written_state_ = text;
  const auto state = bus::parse_state(text);
  recorder_.message(Kind::state, Direction::back_to_front,
                    state_fields(bus::Side::backend, state, written_state_));
  update([&](Journal& j) {
    j.backend_state = state;
    if (j.states.size() >= kJournalLimit) return;
    j.states.push_back({.number = j.states.size(),
                        .side = bus::Side::backend,
                        .state = state,
                        .text = written_state_,
                        .ns = trace::now_ns()});
  });
  store().write(path, text);
}

void FakeBackend::Service::go(State state) {
  if (state == State::init_wait &&
      strikes(&BackendFaults::stays_initialising, "stays-initialising"))
    return;
  write_state(bus::print(state));
}

void FakeBackend::Service::on_store_event(const xen::WatchEvent& event) {
  if (frontend_watch_ && event.token == frontend_watch_->token()) look_at_frontend();
  if (own_watch_ && event.token == own_watch_->token()) look_at_own_state();
  if (nodes_watch_ && event.token == nodes_watch_->token() && !event.path.ends_with("/state") &&
      event.path != paths.frontend) {
    meet(Situation::nodes_changed);
    if (phase_ == Phase::connected && ++node_changes_ > 200) meet(Situation::node_flood);
  }
}

// The tool stack asks for a removal by writing Closing into the backend's node (libxl_device.c,
// libxl__initiate_device_generic_remove), and waits for Closed.
void FakeBackend::Service::look_at_own_state() {
  const auto text = store().read(paths.backend + "/state");
  if (!text || *text == written_state_ || *text != bus::print(State::closing) || !follow) return;
  if (strikes(&BackendFaults::ignores_removal, "ignores-removal")) return;
  if (!store().read_if_visible(paths.frontend + "/state")) meet(Situation::frontend_death);
  if (Breakdown::happened()) return;
  recorder_.log("backend: the tool stack asks for the device's removal");
  shut_down();
}

void FakeBackend::Service::look_at_frontend() {
  const auto text = store().read_if_visible(paths.frontend + "/state");
  // What the frontend does may be its answer to a removal whose event comes behind this one: to go
  // to InitWait then would undo the removal. Hence in this order.
  if (own_watch_) look_at_own_state();
  const auto state = text ? bus::parse_state(*text) : std::nullopt;
  bool first = false;
  std::optional<State> before;
  {
    const std::lock_guard lock(journal.mutex);
    first = !journal.frontend_known;
    before = journal.frontend_state;
  }
  if (text && !state) meet(Situation::frontend_state);
  if (!text && phase_ == Phase::connected) meet(Situation::frontend_gone);
  if (Breakdown::happened()) return;
  if (!first && state == before) return;
  Json fields = state_fields(bus::Side::frontend, state, text.value_or(""));
  if (text && text->empty()) fields["empty"] = true;  // without it, the node is missing
  recorder_.message(Kind::state, Direction::front_to_back, std::move(fields));
  update([&](Journal& j) {
    j.frontend_known = true;
    j.frontend_state = state;
    if (j.states.size() >= kJournalLimit) return;
    j.states.push_back({.number = j.states.size(),
                        .side = bus::Side::frontend,
                        .state = state,
                        .text = text.value_or(""),
                        .ns = trace::now_ns()});
  });
  if (follow) follow_frontend(state, first ? std::nullopt : before);
}

// displif.h, "State diagrams". A frontend that leaves Connected, to wherever, has ended the
// connection; the backend is ready for the next one in InitWait.
void FakeBackend::Service::follow_frontend(std::optional<State> state,
                                           std::optional<State> before) {
  const State seen = state.value_or(State::unknown);
  if (seen == State::connected || seen == State::init_wait || seen == State::reconfigured) return;
  if (seen == State::initialised) {
    // Came back faster than we could see it leave.
    if (phase_ == Phase::connected && before == State::connected) tear_down("reconnection");
    if (phase_ == Phase::waiting) connect();
    return;
  }
  if ((seen == State::closing || seen == State::closed) &&
      strikes(&BackendFaults::ignores_closing, "ignores-closing")) {
    return;
  }
  const bool lost = phase_ == Phase::connected;
  tear_down("the frontend has left");
  // Reconfiguring: the frontend waits for its clients, and tells by Initialising when they are
  // gone.
  if (seen == State::reconfiguring || !state) return;
  // A frontend that comes out of Reconfiguring has not listened before: tell it again.
  const bool deaf = seen == State::initialising && before == State::reconfiguring;
  // InitWait stands, or a fault has put Connected in its place.
  const bool announced = written_state_ == bus::print(State::init_wait) ||
                         written_state_ == bus::print(State::connected);
  if (lost && strikes(&BackendFaults::connected_after_closed, "connected-after-closed")) {
    go(State::closed);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // for a watcher to see both
    go(State::connected);
    return;
  }
  if (!lost && !deaf && announced) return;
  go(strikes(&BackendFaults::no_recovery, "no-recovery") ? State::closed : State::init_wait);
}

std::optional<std::string> FakeBackend::Service::read_recorded(const std::string& path,
                                                               std::optional<std::size_t> of) {
  auto value = store().read(path);
  Json fields{{"path", path}, {"value", value ? Json(*value) : Json()}};
  if (of) fields["connector"] = *of;
  recorder_.message(Kind::xenstore, Direction::front_to_back, std::move(fields));
  return value;
}

// Throws std::runtime_error when the frontend chose a version that was not offered.
unsigned FakeBackend::Service::negotiated_protocol() {
  const std::string name(displif::node::kVersion);
  const auto text = read_recorded(paths.frontend + "/" + name, std::nullopt);
  if (!text) return 1;
  const unsigned version = displif::parse_version(*text).value();
  if (std::ranges::find(options_.versions, version) == options_.versions.end()) {
    throw std::runtime_error(fmt::format("version {} was not offered", version));
  }
  return version;
}

// Throws std::runtime_error that names the node at fault.
std::vector<displif::ConnectorTransport> FakeBackend::Service::read_transports() {
  std::vector<displif::ConnectorTransport> transports;
  for (std::size_t i = 0; i < options_.connectors.size(); ++i) {
    const std::string base = fmt::format("{}/{}/", paths.frontend, i);
    const auto transport = displif::read_transport(
        [&](const std::string& name) { return read_recorded(base + name, i); });
    if (!transport) throw std::runtime_error(base + transport.error());
    transports.push_back(*transport);
  }
  return transports;
}

void FakeBackend::Service::map_links(const std::vector<displif::ConnectorTransport>& transports) {
  for (const auto& transport : transports) {
    links_.push_back(Link::connect(*grants_, *channels_, frontend_, transport));
    record_page(links_.size() - 1);
  }
}

// Both pages as the frontend handed them over.
void FakeBackend::Service::record_page(std::size_t connector) {
  const Link& link = links_[connector];
  std::array<std::byte, 64> head{};
  link.ring_page.copy_out(0, head);
  Json fields{{"connector", connector}, {"what", "ring"}};
  fields.update(displif::describe(link.ring.shared().indices()));
  recorder_.message(Kind::index, Direction::none, head, std::move(fields));
  link.event_page.copy_out(0, head);
  recorder_.message(Kind::index, Direction::none, head,
                    Json{{"connector", connector},
                         {"what", "event-page"},
                         {"in_cons", link.events.shared().in_cons()},
                         {"in_prod", link.events.shared().in_prod()}});
}

void FakeBackend::Service::connect() {
  if (strikes(&BackendFaults::never_connects, "never-connects")) return;
  unsigned protocol = 0;
  std::vector<displif::ConnectorTransport> transports;
  unsigned connection = 0;
  {
    const std::lock_guard lock(journal.mutex);
    connection = journal.connections + 1;
  }
  if (connection > 1 && strikes(&BackendFaults::connects_once, "connects-once")) return;
  recorder_.message(Kind::state, Direction::none,
                    Json{{"connection", connection}, {"what", "connected"}});
  try {
    protocol = negotiated_protocol();
    transports = read_transports();
    map_links(transports);
  } catch (const std::runtime_error& error) {
    // displif.h, "Recovery flow": an unrecoverable error of the frontend is handled as if it had
    // closed.
    links_.clear();
    trouble(fmt::format("cannot connect: {}", error.what()));
    meet(protocol == 0 ? Situation::version : Situation::transport);
    if (Breakdown::happened()) return;
    if (strikes(&BackendFaults::connects_without_transport, "connects-without-transport"))
      go(State::connected);
    recorder_.message(Kind::state, Direction::none,
                      Json{{"connection", connection}, {"what", "disconnected"}});
    return;
  }
  phase_ = Phase::connected;
  update([&](Journal& j) {
    j.model.set_protocol(protocol);
    if (!strike(j.faults.objects_kept_after_close)) j.model.clear();
    j.protocol = protocol;
    j.connections = connection;
    j.transports.assign(transports.begin(), transports.end());
    j.directories.clear();
    j.connected = true;
  });
  go(State::connected);
}

// What a connection leaves behind that only the process shows: it outlasts the device.
void FakeBackend::Service::leak() {
  constexpr int kDescriptors = 4;
  constexpr std::size_t kOctets = 16U << 20;
  static std::mutex mutex;
  static std::vector<std::ifstream> files;
  static std::vector<std::vector<std::byte>> memory;
  const std::lock_guard lock(mutex);
  if (strikes(&BackendFaults::descriptors_leaked, "descriptors-leaked"))
    for (int i = 0; i < kDescriptors; ++i) files.emplace_back("/dev/null");
  if (strikes(&BackendFaults::memory_leaked, "memory-leaked"))
    memory.emplace_back(kOctets, std::byte{1});
}

void FakeBackend::Service::tear_down(std::string_view why) {
  if (phase_ != Phase::connected) return;
  phase_ = Phase::waiting;
  timers_.clear();
  const bool keep = strikes(&BackendFaults::mapping_kept_after_close, "mapping-kept-after-close");
  for (std::size_t i = 0; i < links_.size(); ++i) read_confirmations(i);
  buffers_->clear(keep);
  if (keep) std::ranges::move(links_, std::back_inserter(kept_links_));
  if (!keep && strikes(&BackendFaults::channels_kept_after_close, "channels-kept-after-close"))
    for (Link& link : links_) {
      kept_ports_.push_back(std::move(link.req_port));
      kept_ports_.push_back(std::move(link.evt_port));
    }
  leak();
  links_.clear();
  if (!keep) buffers_->release_kept();
  unsigned connection = 0;
  update([&](Journal& j) {
    j.connected = false;
    if (!strike(j.faults.objects_kept_after_close)) j.model.clear();
    connection = j.connections;
  });
  recorder_.message(Kind::state, Direction::none,
                    Json{{"connection", connection}, {"what", "disconnected"}, {"why", why}});
}

}  // namespace displif_cts::fake_backend
