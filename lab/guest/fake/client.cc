#include "lab/guest/fake/client.h"

#include <cerrno>
#include <limits>
#include <thread>
#include <utility>

#include "harness/agent/line_protocol.h"
#include "harness/displif/fourcc.h"

namespace displif_cts::fake_guest {
namespace {

using displif::Resolution;
using fake_frontend::Reply;

// The ids that a kernel would give out; told apart by kind, so that a mix-up shows.
constexpr std::uint32_t kFirstConnector = 100;
constexpr std::uint32_t kFirstCrtc = 200;
// A released client has its event within the frontend's own limit, and a little more.
constexpr std::chrono::seconds kEventGrace{60};

void expect_done(const Reply& reply) {
  if (reply.error != 0) throw VerbError(reply.error, reply.text());
}

}  // namespace

Client::Client(std::shared_ptr<FakeFrontend> frontend)
    : frontend_(std::move(frontend)), connection_(frontend_->connections()) {}

Client::~Client() {
  // Each with the framebuffers that stand on it.
  for (const auto& [name, buffer] : std::exchange(buffers_, {}))
    if (frontend_->connections() == connection_) frontend_->destroy_buffer(buffer.cookie);
  frontend_->close_client();
}

void Client::expect_device() const {
  if (frontend_->connections() != connection_) throw VerbError(ENODEV, "the device has gone");
}

bool Client::has(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return buffers_.contains(name) || framebuffers_.contains(name);
}

std::vector<Client::Connector> Client::connectors() {
  const bool connected = frontend_->connected() && frontend_->connections() == connection_;
  std::vector<Connector> all;
  for (const Resolution& resolution : frontend_->connectors()) {
    const auto index = static_cast<std::uint32_t>(all.size());
    all.push_back({kFirstConnector + index, kFirstCrtc + index, connected, resolution});
  }
  return all;
}

void Client::probe(std::size_t index) {
  if (frontend_->connected()) frontend_->get_edid(index);
}

std::size_t Client::connector_of(std::uint32_t crtc) const {
  const std::size_t index = crtc - kFirstCrtc;
  if (crtc < kFirstCrtc || index >= frontend_->connectors().size())
    throw VerbError(ENOENT, "no such crtc");
  return index;
}

// --- buffers -------------------------------------------------------------------------------------

Client::Buffer Client::create_buffer(const std::string& name, std::uint32_t width,
                                     std::uint32_t height, std::uint32_t bpp) {
  expect_device();
  const std::uint64_t pitch = (std::uint64_t{width} * bpp + 7) / 8;
  const std::uint64_t size = pitch * height;
  constexpr std::uint32_t kMost = std::numeric_limits<std::uint32_t>::max();
  if (size == 0 || pitch > kMost || size > kMost) throw VerbError(EINVAL, "no such buffer size");
  const auto reply =
      frontend_->create_buffer({.width = width,
                                .height = height,
                                .bpp = bpp,
                                .backend_allocated = frontend_->backend_allocation_offered()});
  expect_done(reply);
  Own made;
  made.id = raw(reply.cookie);
  made.cookie = reply.cookie;
  made.width = width;
  made.height = height;
  made.bpp = bpp;
  made.pitch = static_cast<std::uint32_t>(pitch);
  made.size = size;
  const std::lock_guard lock(mutex_);
  buffers_[name] = made;
  return made;
}

Client::Buffer Client::buffer(const std::string& name) const { return own(name); }

Client::Own Client::own(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = buffers_.find(name);
  if (found == buffers_.end() || !found->second.handle)
    throw VerbError(ENOENT, "no buffer named " + name);
  return found->second;
}

void Client::draw(const std::string& name, std::span<const std::byte> octets, std::size_t offset) {
  const Own target = own(name);
  expect_device();
  if (!frontend_->draw(target.cookie, octets, offset))
    throw VerbError(EFAULT, "the buffer's pages cannot be touched");
}

void Client::destroy_buffer(const std::string& name) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = buffers_.find(name);
    if (found == buffers_.end() || !found->second.handle)
      throw VerbError(ENOENT, "no buffer named " + name);
    found->second.handle = false;
  }
  drop_if_unused(name);
}

// A refusal by the backend is not the client's business: DRM_IOCTL_MODE_DESTROY_DUMB cannot tell.
void Client::drop_if_unused(const std::string& name) {
  std::optional<displif::DbufCookie> cookie;
  {
    const std::lock_guard lock(mutex_);
    const auto found = buffers_.find(name);
    if (found == buffers_.end() || found->second.handle || found->second.framebuffers != 0) return;
    cookie = found->second.cookie;
    buffers_.erase(found);
  }
  if (frontend_->connections() == connection_) frontend_->destroy_buffer(*cookie);
}

// --- framebuffers --------------------------------------------------------------------------------

void Client::add_framebuffer(const std::string& name, const FramebufferSpec& spec) {
  const Own on = own(spec.buffer);
  expect_device();
  if (spec.pitch.value_or(on.pitch) != on.pitch || spec.offset != 0)
    throw VerbError(EINVAL, "displif.h has no pitch and no offset of a framebuffer");
  Framebuffer made{.buffer = spec.buffer,
                   .width = spec.width.value_or(on.width),
                   .height = spec.height.value_or(on.height)};
  const auto octets = displif::bytes_per_pixel(spec.format);
  const auto bits = displif::bits_per_pixel(spec.format);
  if (!octets || !bits) throw VerbError(EINVAL, "no such pixel format");
  if (made.width == 0 || made.height == 0 || std::uint64_t{made.width} * *octets > on.pitch ||
      std::uint64_t{made.height} * on.pitch > on.size)
    throw VerbError(EINVAL, "the framebuffer does not fit into the buffer");
  made.bpp = *bits;
  const auto reply = frontend_->attach_fb(
      on.cookie, {.width = made.width, .height = made.height, .format = spec.format});
  expect_done(reply);
  made.cookie = reply.cookie;
  const std::lock_guard lock(mutex_);
  framebuffers_[name] = made;
  ++buffers_[spec.buffer].framebuffers;
}

Client::Framebuffer Client::framebuffer(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = framebuffers_.find(name);
  if (found == framebuffers_.end()) throw VerbError(ENOENT, "no framebuffer named " + name);
  return found->second;
}

// DRM_IOCTL_MODE_RMFB cannot tell of a refusal either.
void Client::remove_framebuffer(const std::string& name) {
  const Framebuffer removed = framebuffer(name);
  {
    const std::lock_guard lock(mutex_);
    framebuffers_.erase(name);
    std::erase_if(shown_, [&](const auto& entry) { return entry.second == name; });
    --buffers_[removed.buffer].framebuffers;
  }
  if (frontend_->connections() == connection_) frontend_->detach_fb(removed.cookie);
  drop_if_unused(removed.buffer);
}

// --- configuration and flips ---------------------------------------------------------------------

void Client::set_mode(const std::string& name, const Mode& mode) {
  const Framebuffer shown = framebuffer(name);
  expect_device();
  const std::size_t index = connector_of(mode.crtc);
  const Resolution offered = frontend_->connectors().at(index);
  if (mode.connector != kFirstConnector + index || mode.width != offered.width ||
      mode.height != offered.height)
    throw VerbError(EINVAL, "the connector has no such mode");
  if (std::uint64_t{mode.x} + mode.width > shown.width ||
      std::uint64_t{mode.y} + mode.height > shown.height)
    throw VerbError(ENOSPC, "the framebuffer does not cover the mode");
  expect_done(mode.x == 0 && mode.y == 0 ? frontend_->set_config(index, shown.cookie)
                                         : frontend_->set_config(index, {.fb_cookie = shown.cookie,
                                                                         .x = mode.x,
                                                                         .y = mode.y,
                                                                         .width = mode.width,
                                                                         .height = mode.height,
                                                                         .bpp = shown.bpp}));
  const std::lock_guard lock(mutex_);
  shown_[index] = name;
}

void Client::switch_off(std::uint32_t crtc) {
  expect_device();
  const std::size_t index = connector_of(crtc);
  {
    const std::lock_guard lock(mutex_);
    if (shown_.erase(index) == 0) return;  // it is off
  }
  expect_done(frontend_->reset_config(index));
}

void Client::page_flip(std::uint32_t crtc, const std::string& name, bool event,
                       std::uint64_t user_data) {
  const Framebuffer next = framebuffer(name);
  expect_device();
  const std::size_t index = connector_of(crtc);
  const std::uint64_t called = agent::monotonic_ns();
  expect_done(frontend_->page_flip(index, next.cookie));
  {
    const std::lock_guard lock(mutex_);
    shown_[index] = name;
  }
  if (!event) return;
  // Whoever flips need not wait; the event may also never come.
  std::thread([self = shared_from_this(), index, crtc, user_data, called] {
    const bool completed =
        static_cast<bool>(self->frontend_->await_flip(index, xen::in(kEventGrace)));
    if (!completed && self->frontend_->flip_pending(index)) return;
    const std::lock_guard lock(self->mutex_);
    self->events_.push_back({user_data, crtc, agent::monotonic_ns() - called});
    self->changed_.notify_all();
  }).detach();
}

std::optional<FlipEvent> Client::next_event(xen::Deadline deadline) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_until(lock, deadline, [this] { return !events_.empty(); }))
    return std::nullopt;
  const FlipEvent first = events_.front();
  events_.pop_front();
  return first;
}

}  // namespace displif_cts::fake_guest
