#include "cases/support/backend_case.h"

#include <fmt/format.h>
#include <nettle/base64.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <stdexcept>
#include <thread>

#include "cases/support/kernel_log.h"
#include "cases/support/screen.h"
#include "harness/agent/client.h"
#include "harness/xen/domains.h"
#include "harness/xen/store.h"

namespace displif_cts::cases {
namespace {

using bus::State;

constexpr milliseconds kLook{5};  // between two looks at what tells no changes
// What a process may have more of after a case, and be no leak.
constexpr std::uint64_t kKeptDescriptors = 32;
constexpr std::uint64_t kKeptKib = 64U << 10;
constexpr std::uint64_t kQuarantineKib = 512U << 10;  // AddressSanitizer's, and its records

xen::DomId domain_of_this_process() {
  xen::Store store = xen::Store::open();
  return xen::Domains(store).own();
}

std::unique_ptr<agent::Client> open_agent(const std::filesystem::path& socket) {
  if (socket.empty() || !std::filesystem::exists(socket)) return nullptr;
  return std::make_unique<agent::Client>(socket);
}

std::set<std::string> verbs_of(agent::Client* agent) {
  std::set<std::string> verbs;
  if (agent == nullptr) return verbs;
  const Json hello = agent->call("hello");
  for (const auto& verb : hello.value("verbs", Json::array()))
    if (verb.is_string()) verbs.insert(verb.get<std::string>());
  return verbs;
}

std::optional<std::uint64_t> number(const Json& answer, const char* key) {
  const auto found = answer.find(key);
  if (found == answer.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<std::uint64_t>();
}

std::vector<std::uint8_t> decoded(const std::string& base64) {
  std::vector<std::uint8_t> octets(BASE64_DECODE_LENGTH(base64.size()));
  base64_decode_ctx context;
  base64_decode_init(&context);
  std::size_t length = octets.size();
  if (base64_decode_update(&context, &length, octets.data(), base64.size(), base64.data()) == 0)
    throw std::runtime_error("the screen's pixels are not base64");
  octets.resize(length);
  return octets;
}

std::uint32_t colour(std::uint32_t x, std::uint32_t y, std::uint32_t seed) {
  std::uint32_t value = (y * 8192 + x + 1) * 0x9E3779B1U ^ seed * 0x85EBCA6BU;
  value ^= value >> 15;
  value *= 0x2C1B3C6DU;
  value ^= value >> 13;
  return value & 0xFFFFFFU;
}

}  // namespace

bool is_legal_status(std::int32_t status) { return status <= 0 && status >= -4095; }

bus::ConnectorConfig connector_of(std::uint32_t width, std::uint32_t height, std::size_t index) {
  bus::ConnectorConfig connector;
  connector.resolution = {width, height};
  connector.unique_id = std::to_string(index);
  return connector;
}

BackendCase::BackendCase()
    : agent_(open_agent(run().agent_socket)),
      verbs_(verbs_of(agent_.get())),
      tool_stack_(agent_.get(), verbs_),
      own_(domain_of_this_process()) {}

BackendCase::~BackendCase() = default;

// A picture that stands in a file of the agent's domain is fetched; it is too large for one line.
std::vector<std::uint8_t> BackendCase::screen_octets(const Json& answer) {
  if (!answer.contains("path")) return decoded(answer.value("data", ""));
  constexpr std::uint64_t kPiece = 2U << 20;  // octets
  const std::string path = answer.value("path", "");
  const std::uint64_t size = number(answer, "size").value_or(0);
  std::vector<std::uint8_t> octets;
  while (octets.size() < size) {
    const Json piece = agent_->call("get", {{"path", path},
                                            {"offset", std::to_string(octets.size())},
                                            {"max", std::to_string(kPiece)}});
    const std::vector<std::uint8_t> more = decoded(piece.value("data", ""));
    if (more.empty()) throw std::runtime_error("the screen's pixels end early");
    octets.insert(octets.end(), more.begin(), more.end());
  }
  return octets;
}

void BackendCase::SetUp() {
  mapped_baseline_ = mapped_pages();
  ports_baseline_ = backend_ports();
  process_baseline_ = footprint();
  if (agent_knows("klog") && raw(backend_domain()) == 0) kernel_log_.emplace(*agent_).skip();
}

void BackendCase::TearDown() {
  const auto png = png_of_xrgb8888(std::as_bytes(std::span(last_screen_.octets)),
                                   last_screen_.width, last_screen_.height, last_screen_.width * 4);
  if (!png.empty()) recorder().artifact("screen.png", "image/png", png);
  for (Device& device : devices_) {
    try {
      if (device.removed) continue;
      device.frontend->clear_faults();
      if (device.frontend->serving()) device.frontend->leave();
      if (!remove(device, bus::RemoveOrder::polite))
        recorder().log("clean-up: the backend did not let go of the device in time");
    } catch (const std::exception& error) {
      recorder().log(fmt::format("clean-up: {}", error.what()));
    }
  }
  devices_.clear();
  check_released();
  check_process_released();
  check_kernel_log();
}

// What the peer still holds when its devices are gone, it has leaked.
void BackendCase::check_released() {
  if (mapped_baseline_)
    check_mapped_at_most(req::health_grants_released, *mapped_baseline_, "the devices are gone");
  if (!ports_baseline_) return;
  const std::uint64_t ports =
      settle([this] { return backend_ports(); }, *ports_baseline_, removal_limit());
  check_timed(req::health_event_channels_released, ports <= *ports_baseline_,
              {fmt::format("at most {} open channels, as before the case", *ports_baseline_)},
              fmt::format("{} open channels", ports));
}

// Some is had once and kept: a log, a pool. What each connection adds comes to more.
void BackendCase::check_process_released() {
  if (!process_baseline_) return;
  const std::uint64_t most = process_baseline_->descriptors + kKeptDescriptors;
  const std::uint64_t most_kib =
      process_baseline_->memory_kib + (process_baseline_->sanitized ? kQuarantineKib : kKeptKib);
  std::optional<agent::Footprint> now;
  await(
      [&] {
        now = footprint();
        return !now || (now->descriptors <= most && now->memory_kib <= most_kib);
      },
      removal_limit());
  if (!now) return;  // it has ended: a crash
  check_timed(req::health_descriptors_released, now->descriptors <= most,
              {fmt::format("at most {} open descriptors: {} more than before the case", most,
                           kKeptDescriptors)},
              std::to_string(now->descriptors));
  check_timed(req::health_memory_released, now->memory_kib <= most_kib,
              {fmt::format("at most {} KiB of private memory: {} more than before the case",
                           most_kib, most_kib - process_baseline_->memory_kib)},
              fmt::format("{} KiB", now->memory_kib));
}

void BackendCase::check_kernel_log() {
  if (!kernel_log_) return;
  const std::string text = kernel_log_->more();
  if (!text.empty())
    recorder().message(trace::Kind::log, trace::Direction::none,
                       Json{{"source", "the backend's kernel"}, {"text", text}});
  const LogFinding finding = judge_log(text);
  check(req::health_kernel_log_clean, finding.lines.empty(),
        {"no warning, BUG, oops, lockup or hung task in the log of the backend's kernel"},
        listed(finding.lines));
}

// --- arrangement ---------------------------------------------------------------------------------

FakeFrontend& BackendCase::create_device(DeviceSpec spec) {
  Device device;
  device.config.frontend = spec.frontend.frontend.value_or(own_);
  device.config.backend = backend_domain();
  device.config.dev_id = static_cast<std::uint16_t>(run().first_device + devices_.size());
  device.config.be_alloc = spec.be_alloc;
  device.config.connectors = spec.connectors;
  if (device.config.connectors.empty())
    device.config.connectors.push_back(connector_of(1024, 768, 0));
  for (std::size_t i = 0; i < device.config.connectors.size() && i < peer().connector_ids.size();
       ++i)
    device.config.connectors[i].unique_id = peer().connector_ids[i];
  if (spec.change) spec.change(device.config);
  device.paths =
      bus::device_paths(device.config.frontend, device.config.backend, device.config.dev_id);
  spec.frontend.response_limit = peer().response + spec.patience;
  spec.frontend.flip_limit = peer().flip_event + spec.patience;
  spec.frontend.leave_limit = peer().removal;
  spec.frontend.unnotified_after = std::min(spec.frontend.unnotified_after, peer().response / 2);
  tool_stack_.create_device(device.config);
  devices_.push_back(std::move(device));
  devices_.back().frontend = std::make_unique<FakeFrontend>(devices_.back().config.dev_id,
                                                            std::move(spec.frontend), recorder());
  return *devices_.back().frontend;
}

void BackendCase::start(FakeFrontend& frontend) {
  frontend.start();
  const auto connected = frontend.await_connected(soon());
  if (!connected)
    require(check_awaited(req::bus_backend_connects, connected, "both ends Connected"));
}

FakeFrontend& BackendCase::connect(DeviceSpec spec) {
  FakeFrontend& frontend = create_device(std::move(spec));
  start(frontend);
  return frontend;
}

std::string BackendCase::lacks_connectors(std::size_t count) const {
  if (count <= peer().max_connectors) return {};
  return fmt::format("{} has {} connectors, {} are needed", peer().name, peer().max_connectors,
                     count);
}

std::string BackendCase::lacks_second_device() const {
  const std::size_t real = peer().connector_ids.size();
  if (real == 0) return {};
  return fmt::format("each of {}'s connectors ({}) is one device's at a time", peer().name, real);
}

DeviceSpec BackendCase::with_connectors(std::size_t count) {
  static constexpr std::array<displif::Resolution, 4> kResolutions{
      {{1024, 768}, {800, 600}, {640, 480}, {1280, 720}}};
  DeviceSpec spec;
  for (std::size_t i = 0; i < count; ++i) {
    const displif::Resolution& resolution = kResolutions[i % kResolutions.size()];
    spec.connectors.push_back(connector_of(resolution.width, resolution.height, i));
  }
  return spec;
}

Picture BackendCase::show_picture(FakeFrontend& frontend, std::size_t connector) {
  const displif::Resolution size = frontend.connectors().at(connector);
  BufferSpec spec;
  spec.width = size.width;
  spec.height = size.height;
  Picture picture;
  picture.dbuf = make_buffer(frontend, spec);
  picture.fb = make_fb(frontend, picture.dbuf);
  picture.reply = frontend.set_config(connector, picture.fb);
  require(check_done(req::set_config_accepted, picture.reply, "the configuration"));
  return picture;
}

DbufCookie BackendCase::make_buffer(FakeFrontend& frontend, const BufferSpec& spec) {
  const BufferReply reply = frontend.create_buffer(spec);
  require(check_done(req::dbuf_create_accepted, reply,
                     fmt::format("a buffer of {}x{}", spec.width, spec.height)));
  return reply.cookie;
}

FbCookie BackendCase::make_fb(FakeFrontend& frontend, DbufCookie buffer,
                              const FramebufferSpec& spec) {
  const FramebufferReply reply = frontend.attach_fb(buffer, spec);
  require(check_done(req::fb_attach_accepted, reply, "the framebuffer"));
  return reply.cookie;
}

BackendCase::Device& BackendCase::device_of(const FakeFrontend& frontend) {
  for (Device& device : devices_)
    if (device.frontend.get() == &frontend) return device;
  throw std::logic_error("the frontend is of no device of this case");
}

bool BackendCase::remove(Device& device, bus::RemoveOrder order) {
  bool closed = true;
  if (tool_stack_.begin_removal(device.paths, order))
    closed =
        tool_stack_
            .await_state(device.paths.backend + "/state", {State::closed}, true, removal_limit())
            .reached;
  device.frontend->vanish();
  tool_stack_.destroy_device(device.paths);
  device.removed = true;
  return closed;
}

bool BackendCase::remove_device(FakeFrontend& frontend, bus::RemoveOrder order) {
  return remove(device_of(frontend), order);
}

// --- judgement -----------------------------------------------------------------------------------

bool BackendCase::check_done(const Requirement& requirement, const Reply& reply,
                             const std::string& what) {
  return recorder().check(requirement, reply.ok(), {what + ": status 0"},
                          what + ": " + reply.text(), !reply.response);
}

bool BackendCase::check_flip(const Requirement& requirement, FakeFrontend& frontend,
                             std::size_t connector, FbCookie fb, const std::string& what) {
  if (!check_done(requirement, frontend.page_flip(connector, fb), what)) return false;
  return check_awaited(requirement, frontend.await_flip(connector, event_limit()),
                       what + ": its event");
}

bool BackendCase::check_refused(const Requirement& requirement, const Reply& reply,
                                const std::string& what) {
  const bool ok = reply.refused() && is_legal_status(*reply.status());
  return recorder().check(requirement, ok, {what + ": a status from -4095 to -1"},
                          what + ": " + reply.text(), !reply.response);
}

bool BackendCase::check_answered(const Requirement& requirement, const Reply& reply,
                                 const std::string& what) {
  const bool ok = reply.response && is_legal_status(*reply.status());
  return recorder().check(requirement, ok,
                          {what + ": status 0", what + ": a status from -4095 to -1"},
                          what + ": " + reply.text(), !reply.response);
}

std::string BackendCase::use_once(FakeFrontend& frontend) {
  const auto connectors = frontend.connectors();
  if (connectors.empty()) return "there is no connector";
  const auto failed = [](const Reply& reply, const char* what) {
    return fmt::format("{}: {}", what, reply.text());
  };
  BufferSpec spec;
  spec.width = connectors[0].width;
  spec.height = connectors[0].height;
  const BufferReply buffer = frontend.create_buffer(spec);
  if (!buffer.ok()) return failed(buffer, "DBUF_CREATE");
  const FramebufferReply fb = frontend.attach_fb(buffer.cookie);
  if (!fb.ok()) return failed(fb, "FB_ATTACH");
  if (const Reply set = frontend.set_config(0, fb.cookie); !set.ok())
    return failed(set, "SET_CONFIG");
  if (const Reply flip = frontend.page_flip(0, fb.cookie); !flip.ok())
    return failed(flip, "PG_FLIP");
  if (const auto event = frontend.await_flip(0, event_limit()); !event) return event.failure();
  if (frontend.protocol() >= 2) {
    const auto edid = frontend.get_edid(0);
    if (!edid.response || !is_legal_status(*edid.status())) return failed(edid, "GET_EDID");
  }
  if (const Reply reset = frontend.reset_config(0); !reset.ok())
    return failed(reset, "SET_CONFIG of zeros");
  if (const Reply detach = frontend.detach_fb(fb.cookie); !detach.ok())
    return failed(detach, "FB_DETACH");
  if (const Reply gone = frontend.destroy_buffer(buffer.cookie); !gone.ok())
    return failed(gone, "DBUF_DESTROY");
  return {};
}

bool BackendCase::check_recovers(const Requirement& requirement, FakeFrontend& frontend) {
  static const std::string kWanted = "the seven operations work, on this connection or a new one";
  frontend.clear_faults();
  std::string tried;
  const auto works = [&](FakeFrontend& on, const char* where) {
    const std::string trouble = use_once(on);
    if (!trouble.empty()) tried += fmt::format("{}: {}; ", where, trouble);
    return trouble.empty();
  };
  if (frontend.connected() && works(frontend, "this connection"))
    return check(requirement, true, {kWanted}, "they work on this connection");
  try {
    if (frontend.reconnect(soon()) && works(frontend, "the next connection"))
      return check(requirement, true, {kWanted}, "they work on the next connection");
  } catch (const xen::Error& error) {  // the attack took the nodes away
    tried += fmt::format("the next connection: {}; ", error.what());
  }
  if (!lacks_second_device().empty()) remove(device_of(frontend), bus::RemoveOrder::polite);
  FakeFrontend& fresh = create_device();
  fresh.start();
  if (const auto connected = fresh.await_connected(soon()); !connected) {
    tried += "a new device: " + connected.failure();
  } else if (works(fresh, "a new device")) {
    return check(requirement, true, {kWanted}, "they work on a new device");
  }
  return check_timed(requirement, false, {kWanted}, tried);
}

// --- the peer from outside -----------------------------------------------------------------------

std::optional<std::uint64_t> BackendCase::mapped_pages() {
  if (!agent_) return std::nullopt;
  const agent::Args whose{{"domid", std::to_string(raw(own_))}};
  const char* verb = agent_knows("mappings") ? "mappings" : "grants";
  if (!agent_knows(verb)) return std::nullopt;
  const Json answer = agent_->try_call(verb, whose);
  return answer.value("ok", false) ? number(answer, "mapped") : std::nullopt;
}

std::optional<std::uint64_t> BackendCase::backend_ports() {
  if (!agent_ || !agent_knows("ports")) return std::nullopt;
  const Json answer = agent_->try_call("ports", {{"domid", std::to_string(raw(backend_domain()))}});
  return answer.value("ok", false) ? number(answer, "in_use") : std::nullopt;
}

std::string BackendCase::lacks_mappings() {
  return mapped_pages() ? "" : "this bed cannot tell which pages the backend maps";
}

std::string BackendCase::lacks_ports() {
  return backend_ports() ? "" : "this bed cannot tell which event channels the backend has";
}

std::optional<agent::Footprint> BackendCase::footprint() {
  if (!agent_ || !agent_knows("process")) return std::nullopt;
  // Loopback's machine knows one peer, the agent all that it has started.
  const agent::Args which = agent_knows("mappings") ? agent::Args{} : agent::Args{{"name", "peer"}};
  const Json answer = agent_->try_call("process", which);
  if (!answer.value("ok", false)) return std::nullopt;
  return agent::Footprint{number(answer, "descriptors").value_or(0),
                          number(answer, "memory_kib").value_or(0),
                          answer.value("sanitized", false)};
}

std::string BackendCase::lacks_process() {
  return footprint() ? "" : "this bed cannot look at the backend's process";
}

std::string BackendCase::lacks_screen() {
  return agent_knows("screen") ? "" : "this bed cannot see what the backend displays";
}

std::uint64_t BackendCase::settle(const std::function<std::optional<std::uint64_t>()>& count,
                                  std::uint64_t limit, Deadline deadline) {
  std::uint64_t now = count().value_or(0);
  while (now > limit && xen::Clock::now() < deadline) {
    std::this_thread::sleep_for(kLook);
    now = count().value_or(0);
  }
  return now;
}

bool BackendCase::check_mapped_at_most(const Requirement& requirement, std::uint64_t limit,
                                       const std::string& when) {
  const std::uint64_t mapped = settle([this] { return mapped_pages(); }, limit, removal_limit());
  return check_timed(
      requirement, mapped <= limit,
      {fmt::format("at most {} of the frontend's pages mapped when {}", limit, when)},
      fmt::format("{} mapped", mapped));
}

std::optional<Screen> BackendCase::screen(std::size_t connector) {
  if (!agent_ || !agent_knows("screen")) return std::nullopt;
  const Json answer = agent_->call("screen", {{"connector", std::to_string(connector)}});
  Screen screen;
  screen.width = static_cast<std::uint32_t>(number(answer, "width").value_or(0));
  screen.height = static_cast<std::uint32_t>(number(answer, "height").value_or(0));
  last_screen_ = {screen_octets(answer), screen.width, screen.height};
  const std::vector<std::uint8_t>& octets = last_screen_.octets;
  for (std::size_t i = 0; i + 4 <= octets.size(); i += 4)
    screen.pixels.push_back(static_cast<std::uint32_t>(octets[i + 2]) << 16U |
                            static_cast<std::uint32_t>(octets[i + 1]) << 8U | octets[i]);
  return screen;
}

std::vector<std::byte> BackendCase::drawing(std::uint32_t width, std::uint32_t height,
                                            std::uint32_t seed) {
  std::vector<std::byte> octets;
  octets.reserve(std::size_t{width} * height * 4);
  for (std::uint32_t y = 0; y < height; ++y) {
    for (std::uint32_t x = 0; x < width; ++x) {
      const std::uint32_t rgb = colour(x, y, seed);
      for (const unsigned shift : {0U, 8U, 16U}) octets.push_back(std::byte(rgb >> shift & 0xFFU));
      octets.push_back(std::byte{0});
    }
  }
  return octets;
}

std::string BackendCase::difference(const Screen& screen, std::uint32_t width, std::uint32_t height,
                                    std::uint32_t seed) {
  if (screen.width < width || screen.height < height ||
      screen.pixels.size() < std::size_t{screen.width} * screen.height)
    return fmt::format("a screen of {}x{}", screen.width, screen.height);
  for (std::uint32_t y = 0; y < height; ++y)
    for (std::uint32_t x = 0; x < width; ++x)
      if (const std::uint32_t seen = screen.pixels[std::size_t{y} * screen.width + x];
          seen != colour(x, y, seed))
        return fmt::format("pixel {},{} is {:#08x} and not {:#08x}", x, y, seen,
                           colour(x, y, seed));
  return {};
}

std::optional<std::string> BackendCase::read_backend_node(const FakeFrontend& frontend,
                                                          std::string_view name) {
  return tool_stack_.read(device_of(frontend).paths.backend + "/" + std::string(name));
}

std::optional<State> BackendCase::backend_state(const FakeFrontend& frontend) {
  const auto text = read_backend_node(frontend, "state");
  return text ? bus::parse_state(*text) : std::nullopt;
}

std::string BackendCase::state_text(const std::optional<State>& state) {
  return state ? std::string(bus::name(*state)) : "no state";
}

std::optional<State> BackendCase::await_any_state(FakeFrontend& frontend,
                                                  std::initializer_list<State> states,
                                                  Deadline deadline) {
  const auto seen = tool_stack_.await_state(device_of(frontend).paths.backend + "/state", states,
                                            false, deadline);
  return seen.reached ? bus::parse_state(*seen.text) : std::nullopt;
}

std::size_t BackendCase::await_responses(const FakeFrontend& frontend, std::size_t count,
                                         Deadline deadline) {
  std::size_t received = 0;
  await(
      [&] {
        received = frontend.responses().size();
        return received >= count;
      },
      deadline);
  return received;
}

bool BackendCase::await(const std::function<bool()>& done, Deadline deadline) {
  while (!done()) {
    if (xen::Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(kLook);
  }
  return true;
}

}  // namespace displif_cts::cases
