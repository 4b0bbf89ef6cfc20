#include "fuzzers/backend/own_backend.h"

#include <stdexcept>
#include <utility>

#include "harness/bus/state.h"

namespace displif_cts::fuzz_backend {
namespace {

using bus::State;
using namespace std::chrono_literals;

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

}  // namespace

OwnBackend::OwnBackend(const std::string& fault) : fault_(fault) {
  loopback::InProcess::keep_mappings();
}

OwnBackend::~OwnBackend() {
  backend_.reset();
  close_frontend();
}

fake_backend::ModelOptions OwnBackend::model_options() const {
  const fake_backend::Options options = backend_options();
  fake_backend::ModelOptions model = options.limits;
  for (const auto& connector : options.connectors) {
    model.connectors.push_back(connector.resolution);
    model.has_edid.push_back(!connector.edid.empty());
  }
  model.be_alloc = options.be_alloc;
  return model;
}

void OwnBackend::make_backend() {
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

bool OwnBackend::await_connection(bool connected) {
  const auto until = xen::in(kLimit);
  while (backend_->connected() != connected) {
    backend_->turn(kLook);
    if (xen::Clock::now() >= until) return false;
  }
  return true;
}

std::string OwnBackend::trouble() const {
  const auto trouble = backend_->trouble();
  return trouble.empty() ? std::string() : trouble.back();
}

void OwnBackend::connect() {
  make_backend();
  publish_transport();
  write_node(displif::node::kVersion, "2");
  write_state(bus::print(State::initialised));
  if (!await_connection(true)) {
    throw std::runtime_error("the backend does not connect: " + trouble());
  }
  settle(true);
  write_state(bus::print(State::connected));
  hear_of("state");
}

bool OwnBackend::disconnect() {
  write_state(bus::print(State::closed));
  return await_connection(false);
}

void OwnBackend::run(Waiting& /*waiting*/) { run(); }

bool OwnBackend::await(Waiting& waiting) { return waiting.settled(); }

void OwnBackend::run() {
  // Each turn takes at most a ring's length of requests from each connector.
  for (int turns = 0; turns < 64; ++turns) {
    if (!backend_->turn(0ms)) return;
  }
}

void OwnBackend::run_for(std::chrono::milliseconds most) {
  backend_->turn(most);
  run();
}

void OwnBackend::hear_of(std::string_view node) {
  // libxenstore's thread may be late with the first piece of news; the next come with it.
  if (node == "state") run_for(200ms);
  run_for(2ms);
}

}  // namespace displif_cts::fuzz_backend
