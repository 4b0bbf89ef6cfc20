#include "fuzzers/backend/machine.h"

#include <dlfcn.h>
#include <fmt/format.h>

extern "C" {
#include <xentoollog.h>
}

#include <cstdlib>
#include <filesystem>
#include <stdexcept>

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

Machine::Machine()
    : folder_(made_folder()), paths_(bus::device_paths(kFrontend, kBackend, kDevice)) {
  host_ = std::make_unique<loopback::Host>(folder_);
  host_->add_domain(kBackend, {.privileged = true, .shared_pages = 65536});
  host_->add_domain(kFrontend, {.shared_pages = 4096});
  in_process_ = std::make_unique<loopback::InProcess>(*host_, kBackend);
  const loopback::ThreadDomain in(kFrontend);
  store_.emplace(xen::Store::open());
  channels_.emplace(xen::EventChannels::open());
  memory_.emplace(kBackend);
}

void Machine::close_frontend() {
  transports_.clear();
  former_.clear();
  memory_.reset();
  channels_.reset();
  store_.reset();
}

Machine::~Machine() {
  close_frontend();
  in_process_.reset();
  host_.reset();
  std::filesystem::remove_all(folder_);
}

void Machine::write_node(std::string_view name, std::string_view value) {
  store_->write(paths_.frontend + "/" + std::string(name), std::string(value));
}

void Machine::remove_node(std::string_view name) {
  store_->remove(paths_.frontend + "/" + std::string(name));
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

std::size_t Machine::mapped() const { return host_->mapped_pages(kFrontend); }

}  // namespace displif_cts::fuzz_backend
