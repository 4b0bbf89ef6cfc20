#include "fuzzers/linux_frontend/peer/guest.h"

#include <algorithm>
#include <cstring>

#include "fuzzers/linux_frontend/peer/bus.h"
#include "fuzzers/linux_frontend/peer/kernel.h"
#include "fuzzers/linux_frontend/shim/drm_model.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::linux_guest {
namespace {

using fake_guest::FlipEvent;
using fake_guest::VerbError;

// The ids that a kernel would give out; told apart by kind, so that a mix-up shows.
constexpr std::uint32_t kFirstConnector = 100;
constexpr std::uint32_t kFirstCrtc = 200;
constexpr std::size_t kNone = static_cast<std::size_t>(-1);

struct page** g_mapped_pages = nullptr;  // what the driver has just mapped into a program
unsigned long g_mapped_count = 0;

void make(const char* call, const std::function<int()>& work) {
  const int result = in_kernel(work);
  if (result < 0) throw VerbError(-result, std::string(call) + ": " + std::strerror(-result));
}

}  // namespace

LinuxFile::LinuxFile(drm_file* file) : file_(file) {
  file_->owner = this;
  file_->on_event = on_event;
}

LinuxFile::~LinuxFile() {
  in_kernel([this] {
    file_->on_event = nullptr;
    shim::file_close(file_);
    return 0;
  });
}

void LinuxFile::on_event(void* owner, const shim_flip_event& event) {
  auto& self = *static_cast<LinuxFile*>(owner);
  const std::lock_guard lock(self.mutex_);
  const auto crtc = kFirstCrtc + static_cast<std::uint32_t>(event.connector);
  self.events_.push_back({event.user_data, crtc, agent::monotonic_ns() - self.flipped_[crtc]});
  self.changed_.notify_all();
}

std::size_t LinuxFile::handle_of(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = buffers_.find(name);
  if (found == buffers_.end()) return kNone;
  const auto at = std::ranges::find(file_->handles, found->second.object);
  return at == file_->handles.end() ? kNone : static_cast<std::size_t>(at - file_->handles.begin());
}

std::size_t LinuxFile::framebuffer_of(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = framebuffers_.find(name);
  if (found == framebuffers_.end()) return kNone;
  const auto at = std::ranges::find(file_->framebuffers, found->second);
  return at == file_->framebuffers.end()
             ? kNone
             : static_cast<std::size_t>(at - file_->framebuffers.begin());
}

std::size_t LinuxFile::connector_of(std::uint32_t crtc) const {
  const std::size_t index = crtc - kFirstCrtc;
  return crtc >= kFirstCrtc && index < static_cast<std::size_t>(file_->dev->pipe_count) ? index
                                                                                        : kNone;
}

std::vector<LinuxFile::Connector> LinuxFile::connectors() {
  std::vector<Connector> all;
  make("connectors", [&] {
    for (int i = 0; i < file_->dev->pipe_count; ++i) {
      const auto index = static_cast<std::uint32_t>(i);
      if (const int error = shim::probe_connector(file_, index)) return error;
      const struct drm_display_mode* mode = file_->dev->pipes[i]->connector->probed;
      Connector each{
          .id = kFirstConnector + index, .crtc = kFirstCrtc + index, .connected = mode != nullptr};
      if (mode != nullptr)
        each.mode = {static_cast<std::uint32_t>(mode->hdisplay),
                     static_cast<std::uint32_t>(mode->vdisplay)};
      all.push_back(each);
    }
    return 0;
  });
  return all;
}

// --- buffers

LinuxFile::Buffer LinuxFile::create_buffer(const std::string& name, std::uint32_t width,
                                           std::uint32_t height, std::uint32_t bpp) {
  Buffer result;
  make("create-dumb", [&] {
    struct drm_mode_create_dumb made = {};
    const int error = shim::create_dumb(file_, width, height, bpp, &made);
    if (error != 0) return error;
    result = {.id = made.handle,
              .width = width,
              .height = height,
              .bpp = bpp,
              .pitch = made.pitch,
              .size = made.size};
    const std::lock_guard lock(mutex_);
    buffers_[name] = {result, file_->handles.back()};
    return 0;
  });
  return result;
}

void LinuxFile::destroy_buffer(const std::string& name) {
  (void)buffer(name);
  make("destroy-dumb", [&] {
    const std::size_t at = handle_of(name);
    if (at == kNone) return -EINVAL;
    {
      const std::lock_guard lock(mutex_);
      buffers_.erase(name);
    }
    return shim::destroy_dumb(file_, at);
  });
}

LinuxFile::Buffer LinuxFile::buffer(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  const auto found = buffers_.find(name);
  if (found == buffers_.end()) throw VerbError(ENOENT, "no buffer named " + name);
  return found->second.buffer;
}

void LinuxFile::draw(const std::string& name, std::span<const std::byte> octets,
                     std::size_t offset) {
  (void)buffer(name);
  make("fill", [&] {
    const std::size_t at = handle_of(name);
    if (at == kNone) return -ENOENT;
    g_mapped_pages = nullptr;
    if (const int error = shim::map_dumb(file_, at, true)) return error;
    if (g_mapped_pages == nullptr || g_mapped_count * PAGE_SIZE < offset + octets.size())
      return -EFAULT;
    // Pages of one buffer lie next to each other (memory.cc).
    std::memcpy(reinterpret_cast<std::byte*>(g_mapped_pages[0]) + offset, octets.data(),
                octets.size());
    return 0;
  });
}

// --- framebuffers

void LinuxFile::add_framebuffer(const std::string& name, const FramebufferSpec& spec) {
  const Buffer on = buffer(spec.buffer);
  make("add-fb", [&] {
    const std::size_t at = handle_of(spec.buffer);
    if (at == kNone) return -ENOENT;
    const int error = shim::add_framebuffer(file_, at, spec.width.value_or(on.width),
                                            spec.height.value_or(on.height), spec.format,
                                            spec.pitch.value_or(on.pitch), spec.offset);
    if (error != 0) return error;
    const std::lock_guard lock(mutex_);
    framebuffers_[name] = file_->framebuffers.back();
    return 0;
  });
}

void LinuxFile::remove_framebuffer(const std::string& name) {
  make("rm-fb", [&] {
    const std::size_t at = framebuffer_of(name);
    if (at == kNone) return -ENOENT;
    {
      const std::lock_guard lock(mutex_);
      framebuffers_.erase(name);
    }
    return shim::remove_framebuffer(file_, at);
  });
}

// --- configuration and flips

void LinuxFile::set_mode(const std::string& framebuffer, const Mode& mode) {
  make("set-crtc", [&] {
    const std::size_t at = framebuffer_of(framebuffer), connector = connector_of(mode.crtc);
    if (at == kNone || connector == kNone || mode.connector != kFirstConnector + connector)
      return -ENOENT;
    if (mode.width == 0 || mode.height == 0) return -EINVAL;
    return shim::set_crtc(file_, connector, at,
                          {static_cast<int>(mode.width), static_cast<int>(mode.height)},
                          static_cast<int>(mode.x), static_cast<int>(mode.y));
  });
}

void LinuxFile::switch_off(std::uint32_t crtc) {
  make("crtc-off", [&] {
    const std::size_t connector = connector_of(crtc);
    return connector == kNone ? -ENOENT : shim::crtc_off(file_, connector);
  });
}

void LinuxFile::page_flip(std::uint32_t crtc, const std::string& framebuffer, bool event,
                          std::uint64_t user_data) {
  make("page-flip", [&] {
    const std::size_t at = framebuffer_of(framebuffer), connector = connector_of(crtc);
    if (at == kNone || connector == kNone) return -ENOENT;
    {
      const std::lock_guard lock(mutex_);
      flipped_[crtc] = agent::monotonic_ns();
    }
    return shim::page_flip(file_, connector, at, event, user_data);
  });
}

std::optional<FlipEvent> LinuxFile::next_event(xen::Deadline deadline) {
  std::unique_lock lock(mutex_);
  if (!changed_.wait_until(lock, deadline, [this] { return !events_.empty(); }))
    return std::nullopt;
  const FlipEvent first = events_.front();
  events_.pop_front();
  return first;
}

bool LinuxFile::has(const std::string& name) const {
  const std::lock_guard lock(mutex_);
  return buffers_.contains(name) || framebuffers_.contains(name);
}

// --- devices

std::shared_ptr<fake_guest::DrmFile> LinuxDevices::open() {
  drm_file* file = nullptr;
  in_kernel([&] {
    file = shim::file_open();
    return 0;
  });
  return file == nullptr ? nullptr : std::make_shared<LinuxFile>(file);
}

bool LinuxDevices::has(std::uint16_t id) {
  return in_kernel([id] { return has_device("device/vdispl/" + std::to_string(id)) ? 1 : 0; }) != 0;
}

}  // namespace displif_cts::linux_guest

int vm_map_pages(struct vm_area_struct* vma, struct page** pages, unsigned long count) {
  if ((vma->vm_end - vma->vm_start) / PAGE_SIZE > count) return -ENXIO;
  displif_cts::linux_guest::g_mapped_pages = pages;
  displif_cts::linux_guest::g_mapped_count = count;
  return 0;
}
