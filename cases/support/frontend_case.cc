#include "cases/support/frontend_case.h"

#include <drm_fourcc.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <thread>

#include "cases/support/screen.h"
#include "harness/xen/domains.h"
#include "harness/xen/store.h"
#include "lab/guest/pattern.h"

namespace displif_cts::cases {

bool is_pattern(std::span<const std::byte> pixels, std::uint64_t seed) {
  const std::span octets(reinterpret_cast<const std::uint8_t*>(pixels.data()), pixels.size());
  return pattern::first_difference(seed, 0, octets) == octets.size();
}

FrontendCase::FrontendCase() : client_(run().agent_socket), guest(client_, recorder()) {}

FrontendCase::~FrontendCase() = default;

// Programs of the guest let go first, as they do before an orderly unplug; then each device is
// unplugged. What stays behind after that is the peer's leak, and health's to find.
void FrontendCase::TearDown() {
  try {
    if (guest_answers()) guest.call("close-all", {}, peer().response + seconds(20));
  } catch (const std::exception& error) {
    recorder().log(fmt::format("clean-up: {}", error.what()));
  }
  for (auto& device : devices_) {
    device->clear_faults();
    device->unplug([&] { await_gone(device->paths()); });
  }
  devices_.clear();
}

// Until the peer has let go of the device, as far as it can tell.
void FrontendCase::await_gone(const bus::DevicePaths& paths) {
  if (guest.lost()) return;
  try {
    guest.call("await-no-device",
               {{"path", paths.frontend.substr(paths.frontend.find("device/"))},
                {"timeout_ms", std::to_string(peer().removal.count())}},
               peer().removal + seconds(5));
  } catch (const std::exception& error) {
    recorder().log(fmt::format("clean-up: {}", error.what()));
  }
}

fake_backend::Options FrontendCase::small_screen() {
  fake_backend::Options options;
  options.connectors.at(0).resolution = {320, 240};
  return options;
}

FakeBackend& FrontendCase::create_device(fake_backend::Options options) {
  const auto id = static_cast<std::uint16_t>(run().first_device + devices_.size());
  devices_.push_back(
      std::make_unique<FakeBackend>(guest_domain(), id, std::move(options), recorder()));
  devices_.back()->create_device();
  return *devices_.back();
}

FakeBackend& FrontendCase::connect(fake_backend::Options options) {
  FakeBackend& backend = create_device(std::move(options));
  backend.start();
  const auto connected = backend.await_connected(soon());
  if (!connected)
    require(check_awaited(req::bus_connected_after_backend, connected, "state Connected"));
  return backend;
}

fake_backend::Options FrontendCase::with_connectors(std::size_t count) {
  static constexpr std::array<displif::Resolution, 4> kResolutions{
      {{1024, 768}, {800, 600}, {640, 480}, {1280, 720}}};
  fake_backend::Options options;
  options.connectors.clear();
  for (std::size_t i = 0; i < count; ++i) {
    fake_backend::Connector connector;
    connector.resolution = kResolutions[i % kResolutions.size()];
    options.connectors.push_back(connector);
  }
  return options;
}

FrontendCase::Picture FrontendCase::show_picture(const GuestConnector& connector,
                                                 const std::string& name, const std::string& fd) {
  Picture picture;
  picture.connector = connector;
  picture.seed = std::hash<std::string>{}(name) ^ run().seed;
  picture.fb = name + "-fb";
  picture.buffer = guest.create_dumb(name + "-buffer", connector.width, connector.height, 32, fd);
  guest.fill(picture.buffer, picture.seed);
  guest.add_fb(picture.fb, picture.buffer, "XR24", fd);
  const Result set = guest.set_crtc(connector, picture.fb, connector.width, connector.height, fd);
  require(check(guest.judged_as(), set.ok, {"`set-crtc` succeeds"}, set.text()));
  return picture;
}

ReceivedRequest FrontendCase::expect_request(const Requirement& requirement, FakeBackend& backend,
                                             displif::Operation operation, Cursor& cursor) {
  const auto filter = RequestFilter::op(operation);
  const auto found = backend.await_request(filter, soon(), cursor);
  if (!found) require(check_awaited(requirement, found, "a request " + filter.text()));
  return *found;
}

FakeBackend::RingIndexes FrontendCase::expect_indexes(const Requirement& requirement,
                                                      FakeBackend& backend) {
  const auto found = backend.indexes(0);
  if (!found) require(check(requirement, false, {"connected"}, "the frontend is not connected"));
  return *found;
}

std::uint64_t FrontendCase::guest_grants() {
  return client_.call("grants").at("in_use").get<std::uint64_t>();
}

std::uint64_t FrontendCase::guest_ports() {
  return client_.call("ports").at("in_use").get<std::uint64_t>();
}

std::optional<std::uint64_t> FrontendCase::own_pages_mapped() {
  xen::Store store = xen::Store::open();
  const auto own = std::to_string(raw(xen::Domains(store).own()));
  const Json answer = client_.try_call("grants", {{"domid", own}});
  if (!answer.value("ok", false)) return std::nullopt;
  return answer.at("mapped").get<std::uint64_t>();
}

std::string FrontendCase::lacks_own_pages() {
  return own_pages_mapped() ? "" : "this bed cannot tell which of our pages the guest maps";
}

std::uint64_t FrontendCase::settle(const std::function<std::uint64_t()>& count, std::uint64_t limit,
                                   Deadline deadline) {
  std::uint64_t now = count();
  while (now > limit && xen::Clock::now() < deadline) {
    std::this_thread::sleep_for(milliseconds(50));
    now = count();
  }
  return now;
}

std::string FrontendCase::lacks_pause() {
  const Json hello = client_.call("hello");
  const Json capabilities = hello.value("capabilities", Json::object());
  return capabilities.value("pause", false) ? "" : "this bed cannot pause the guest";
}

std::string FrontendCase::lacks_verb(const std::string& verb) {
  const Json hello = client_.call("guest.hello");
  const Json verbs = hello.value("verbs", Json::array());
  const bool known = std::find(verbs.begin(), verbs.end(), verb) != verbs.end();
  return known ? "" : "the guest's exerciser has no verb " + verb;
}

void FrontendCase::while_paused(const std::function<void()>& meanwhile) {
  struct Paused {
    agent::Client& client;
    explicit Paused(agent::Client& with) : client(with) { client.call("pause"); }
    ~Paused() { client.try_call("unpause"); }
  } const paused(client_);
  recorder().log("the guest is paused");
  meanwhile();
  std::this_thread::sleep_for(quiet());
  recorder().log("the guest goes on");
}

Json FrontendCase::tool_stack(const std::string& command) {
  recorder().log("domain 0: " + command);
  Json answer = client_.call("sh", {{"command", command}, {"timeout_ms", "30000"}});
  recorder().log(fmt::format("domain 0: status {}: {}", answer.value("status", -1),
                             answer.value("output", std::string())));
  return answer;
}

bool FrontendCase::guest_answers(milliseconds limit) {
  try {
    return guest.call("hello", {}, limit).ok;
  } catch (const GuestSilent&) {
    return false;
  }
}

std::optional<bus::State> FrontendCase::await_any_state(FakeBackend& backend,
                                                        std::initializer_list<bus::State> states,
                                                        Deadline deadline) {
  for (;;) {
    const auto now = backend.frontend_state();
    if (now && std::find(states.begin(), states.end(), *now) != states.end()) return now;
    if (xen::Clock::now() >= deadline) return std::nullopt;
    std::this_thread::sleep_for(milliseconds(20));
  }
}

void FrontendCase::check_usable(const Requirement& requirement, FakeBackend& backend) {
  const std::string fd = "usable-card";
  const Result opened = guest.call("open", {{"name", fd}, {"timeout_ms", "5000"}});
  if (!check(requirement, opened.ok, {"the device can be opened"}, opened.text())) return;
  const auto connectors = guest.connectors(fd);
  if (!check(requirement, !connectors.empty() && connectors[0].connected,
             {"connector 0 reads connected"}, "it does not"))
    return;
  const Requirement& before = guest.judge_as(requirement);
  const Picture picture = show_picture(connectors[0], "usable", fd);
  guest.judge_as(before);
  const auto shown = backend.visible(0);
  const auto pixels = shown ? backend.pixels(shown->buffer.cookie) : std::nullopt;
  check(requirement, pixels && is_pattern(*pixels, picture.seed),
        {"the guest's next picture is shown"},
        !shown ? "nothing is shown" : "something else is shown");
  const Result flip = guest.page_flip(picture.connector, picture.fb, fd);
  check(requirement, flip.ok, {"the next page flip is taken"}, flip.text());
  const FlipEvent event = guest.wait_event(peer().flip_event + seconds(2), fd);
  check(requirement, event.arrived, {"the next page flip completes"}, "no event");
  guest.close(fd);
}

void FrontendCase::screenshot(FakeBackend& backend, std::size_t connector, std::uint64_t seed,
                              const std::string& name) {
  const auto shown = backend.visible(connector);
  if (!shown || shown->framebuffer.pixel_format != DRM_FORMAT_XRGB8888) return;
  const auto pixels = backend.pixels(shown->buffer.cookie);
  if (!pixels) return;
  const auto keep = [&](const std::string& file, std::span<const std::byte> picture) {
    const auto png = png_of_xrgb8888(picture, shown->framebuffer.width, shown->framebuffer.height,
                                     shown->buffer.width * 4);
    if (!png.empty()) recorder().artifact(file, "image/png", png);
  };
  keep(name + ".png", *pixels);
  if (is_pattern(*pixels, seed)) return;
  std::vector<std::byte> expected(pixels->size());
  pattern::octets(seed, 0, {reinterpret_cast<std::uint8_t*>(expected.data()), expected.size()});
  keep(name + ".expected.png", expected);
}

}  // namespace displif_cts::cases
