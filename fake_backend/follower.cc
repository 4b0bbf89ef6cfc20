#include "fake_backend/follower.h"

#include <fmt/format.h>

#include <set>

#include "harness/bus/nodes.h"
#include "harness/displif/nodes.h"
#include "harness/xen/domains.h"

namespace displif_cts::fake_backend {
namespace {

constexpr unsigned kMaxConnectors = 256;  // conn-idx is a uint8_t (displif.h, 'Addressing')

std::optional<std::uint16_t> id_of(const std::string& name) {
  const auto number = displif::parse_uint32(name);
  if (!number.ok() || *number > 0xffffU) return std::nullopt;
  return static_cast<std::uint16_t>(*number);
}

}  // namespace

Follower::Follower(Options options, std::function<void(BackendFaults&)> change,
                   trace::Recorder& recorder)
    : options_(std::move(options)),
      change_(std::move(change)),
      recorder_(recorder),
      store_(xen::Store::open()) {
  const xen::DomId own = options_.backend ? *options_.backend : xen::Domains(store_).own();
  options_.backend = own;
  directory_ = store_.domain_path(own) + "/backend/" + std::string(displif::node::kDevice);
  watch_ = store_.watch(directory_);
}

Follower::~Follower() = default;

void Follower::step(xen::Deadline deadline) {
  if (store_.next_event(deadline)) look();
}

Follower::Screen Follower::screen(std::size_t connector) {
  constexpr std::size_t kOctetsPerPixel = 4;
  const std::lock_guard lock(mutex_);
  for (const auto& [key, backend] : served_) {
    const auto shown = backend->visible(connector);
    if (!shown) continue;
    const auto pixels = backend->pixels(shown->buffer.cookie);
    if (!pixels) continue;
    Screen screen{.width = shown->framebuffer.width, .height = shown->framebuffer.height};
    const std::size_t row = screen.width * kOctetsPerPixel;
    const std::size_t stride = shown->buffer.width * kOctetsPerPixel;
    for (std::size_t y = 0; y < screen.height && y * stride + row <= pixels->size(); ++y) {
      const auto from = pixels->begin() + static_cast<std::ptrdiff_t>(y * stride);
      screen.pixels.insert(screen.pixels.end(), from, from + static_cast<std::ptrdiff_t>(row));
    }
    return screen;
  }
  return {};
}

void Follower::look() {
  std::set<Key> there;
  for (const std::string& frontend :
       store_.directory(directory_).value_or(std::vector<std::string>{})) {
    const auto devices = store_.directory(directory_ + "/" + frontend);
    for (const std::string& device : devices.value_or(std::vector<std::string>{})) {
      const auto domain = id_of(frontend);
      const auto id = id_of(device);
      if (domain && id) there.insert({*domain, *id});
    }
  }
  const std::lock_guard lock(mutex_);
  std::erase_if(served_, [&](const auto& entry) { return !there.contains(entry.first); });
  for (const Key& key : there)
    if (!served_.contains(key)) serve(key);
}

void Follower::serve(Key key) {
  const auto [domain, device] = key;
  const auto paths = bus::device_paths(xen::DomId{domain}, *options_.backend, device);
  try {
    auto options = options_of(paths);
    if (!options) return;  // its nodes are not all there yet: the next event tells
    auto backend =
        std::make_unique<FakeBackend>(xen::DomId{domain}, device, std::move(*options), recorder_);
    if (change_) backend->set_faults(change_);
    backend->start();
    served_.emplace(key, std::move(backend));
  } catch (const std::exception& error) {
    recorder_.log(fmt::format("{}: not served: {}", paths.backend, error.what()));
  }
}

std::optional<Options> Follower::options_of(const bus::DevicePaths& paths) {
  if (!store_.read(paths.backend + "/state")) return std::nullopt;
  Options options = options_;
  const std::vector<std::byte> edid =
      options_.connectors.empty() ? std::vector<std::byte>{} : options_.connectors.front().edid;
  options.connectors.clear();
  for (unsigned index = 0; index < kMaxConnectors; ++index) {
    const auto text = store_.read(paths.frontend + "/" +
                                  displif::node::of_connector(index, displif::node::kResolution));
    const auto resolution = text ? displif::parse_resolution(*text) : displif::parse_resolution("");
    if (!resolution.ok()) break;
    Connector connector;
    connector.resolution = *resolution;
    connector.edid = edid;
    const auto unique_id = store_.read(
        paths.frontend + "/" + displif::node::of_connector(index, displif::node::kUniqueId));
    connector.unique_id = unique_id.value_or("");
    options.connectors.push_back(std::move(connector));
  }
  if (options.connectors.empty()) return std::nullopt;
  options.be_alloc =
      store_.read(paths.frontend + "/" + std::string(displif::node::kBeAlloc)) == "1";
  return options;
}

}  // namespace displif_cts::fake_backend
