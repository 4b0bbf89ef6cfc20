#include "fuzzers/backend/machine.h"

#include <dlfcn.h>
#include <fmt/format.h>

extern "C" {
#include <xentoollog.h>
}

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

#include "harness/bus/state.h"

// Xen's libraries make this logger where none is handed in (xentoollog.h), and say there each
// reference that cannot be mapped: of an attack, nobody wants to read that.
extern "C" xentoollog_logger_stdiostream* xtl_createlogger_stdiostream(FILE* stream,
                                                                       xentoollog_level /*least*/,
                                                                       unsigned flags) {
  using Make = xentoollog_logger_stdiostream* (*)(FILE*, xentoollog_level, unsigned);
  static const auto make = reinterpret_cast<Make>(dlsym(RTLD_NEXT, "xtl_createlogger_stdiostream"));
  return make(stream, XTL_NUM_LEVELS, flags);
}

namespace displif_cts::fuzz_backend {
namespace {

using bus::State;
using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

constexpr xen::DomId kBackend{0};
constexpr xen::DomId kFrontend{1};
constexpr std::uint16_t kDevice = 0;
constexpr std::chrono::milliseconds kLook = 100ms;
constexpr std::chrono::seconds kLimit = 5s;  // of a connection, or its end

fake_backend::Options backend_options() {
  fake_backend::Options options;
  // An EDID of one block on the first connector, none on the second.
  std::vector<std::byte> edid(XENDISPL_EDID_BLOCK_SIZE);
  options.connectors = {{kResolution, "0", std::move(edid)}, {kResolution, "1", {}}};
  options.be_alloc = true;
  options.own_thread = false;
  options.backend = kBackend;
  // What is not announced stays where it is: no time is to decide anything.
  options.unnotified_after = std::chrono::hours(24);
  options.limits.max_buffers = 64;
  return options;
}

std::string made_folder() {
  // Whoever runs the target gives one for several, and removes it also after a crash
  // (lab/fuzz/sockets.py).
  const char* given = std::getenv("DISPLIF_FUZZ_FOLDER");
  const std::filesystem::path parent =
      given != nullptr ? given : std::filesystem::temp_directory_path();
  std::string pattern = (parent / "displif-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr)
    throw std::runtime_error("no folder for sockets can be made in " + pattern);
  return pattern;
}

}  // namespace

Transport::Transport(xen::EventChannels& channels, xen::DomId backend)
    : ring_page(xen::SharedPages::share(backend, 1, xen::Access::read_write)),
      event_page(xen::SharedPages::share(backend, 1, xen::Access::read_write)),
      req_port(channels.bind_unbound(backend)),
      evt_port(channels.bind_unbound(backend)),
      ring(ring_page.page(0)),
      events(event_page.page(0)) {
  ring.initialise();
  events.clear();
}

Machine::Machine(const std::string& fault) : folder_(made_folder()), fault_(fault) {
  host_ = std::make_unique<loopback::Host>(folder_);
  host_->add_domain(kBackend, {.privileged = true, .shared_pages = 65536});
  host_->add_domain(kFrontend, {.shared_pages = 4096});
  in_process_ = std::make_unique<loopback::InProcess>(*host_, kBackend);
  loopback::InProcess::keep_mappings();
  const loopback::ThreadDomain in(kFrontend);
  store_.emplace(xen::Store::open());
  channels_.emplace(xen::EventChannels::open());
  memory_.emplace(kBackend);
}

Machine::~Machine() {
  backend_.reset();
  transports_.clear();
  memory_.reset();
  channels_.reset();
  store_.reset();
  in_process_.reset();
  host_.reset();
  std::filesystem::remove_all(folder_);
}

fake_backend::ModelOptions Machine::model_options() const {
  const fake_backend::Options options = backend_options();
  fake_backend::ModelOptions model = options.limits;
  for (const auto& connector : options.connectors) {
    model.connectors.push_back(connector.resolution);
    model.has_edid.push_back(!connector.edid.empty());
  }
  model.be_alloc = options.be_alloc;
  return model;
}

void Machine::make_backend() {
  backend_.reset();
  backend_ =
      std::make_unique<fake_backend::FakeBackend>(kFrontend, kDevice, backend_options(), recorder_);
  if (!fault_.empty()) {
    const fake_backend::FaultInfo* info = fake_backend::find_fault(fault_);
    if (info == nullptr) throw std::invalid_argument("there is no fault " + fault_);
    backend_->set_faults([&](fake_backend::BackendFaults& faults) { info->apply(faults); });
  }
  backend_->create_device();
  backend_->start();
}

void Machine::write_node(std::string_view name, std::string_view value) {
  store_->write(backend_->paths().frontend + "/" + std::string(name), std::string(value));
}

void Machine::remove_node(std::string_view name) {
  store_->remove(backend_->paths().frontend + "/" + std::string(name));
}

void Machine::publish_transport() {
  const loopback::ThreadDomain in(kFrontend);
  if (former_.empty()) former_ = std::move(transports_);
  transports_.clear();
  for (std::size_t i = 0; i < kConnectors; ++i) {
    transports_.push_back(std::make_unique<Transport>(*channels_, kBackend));
    const Transport& transport = *transports_.back();
    const auto node = [&](std::string_view name, const std::string& value) {
      write_node(fmt::format("{}/{}", i, name), value);
    };
    node(displif::node::kReqRingRef, displif::print(transport.ring_page.refs().front()));
    node(displif::node::kReqEventChannel, displif::print(transport.req_port.port()));
    node(displif::node::kEvtRingRef, displif::print(transport.event_page.refs().front()));
    node(displif::node::kEvtEventChannel, displif::print(transport.evt_port.port()));
  }
}

void Machine::settle(bool new_connection) {
  if (!new_connection && !former_.empty()) transports_ = std::move(former_);
  former_.clear();
}

bool Machine::await(bool connected) {
  const auto until = xen::in(kLimit);
  while (backend_->connected() != connected) {
    backend_->turn(kLook);
    if (xen::Clock::now() >= until) return false;
  }
  return true;
}

void Machine::connect() {
  make_backend();
  publish_transport();
  write_node(displif::node::kVersion, "2");
  write_state(bus::print(State::initialised));
  if (!await(true)) {
    const auto trouble = backend_->trouble();
    throw std::runtime_error("the backend does not connect" +
                             (trouble.empty() ? "" : ": " + trouble.back()));
  }
  settle(true);
  write_state(bus::print(State::connected));
  hear_of("state");
}

bool Machine::disconnect() {
  write_state(bus::print(State::closed));
  return await(false);
}

void Machine::run() {
  // Each turn takes at most a ring's length of requests from each connector.
  for (int turns = 0; turns < 64; ++turns) {
    if (!backend_->turn(0ms)) return;
  }
}

void Machine::run_for(std::chrono::milliseconds most) {
  backend_->turn(most);
  run();
}

void Machine::hear_of(std::string_view node) {
  // libxenstore's thread may be late with the first piece of news; the next come with it.
  if (node == "state") run_for(200ms);
  run_for(2ms);
}

std::size_t Machine::mapped() const { return host_->mapped_pages(kFrontend); }

std::size_t Machine::bound() const {
  std::size_t count = 0;
  for (const loopback::PortState& port : host_->ports(kBackend))
    count += port.link == loopback::Link::interdomain && port.remote == xen::raw(kFrontend) ? 1 : 0;
  return count;
}

bool Machine::is_transport(xen::GrantRef ref) const {
  for (const auto& transport : transports_) {
    if (transport->ring_page.refs().front() == ref || transport->event_page.refs().front() == ref)
      return true;
  }
  return false;
}

}  // namespace displif_cts::fuzz_backend
