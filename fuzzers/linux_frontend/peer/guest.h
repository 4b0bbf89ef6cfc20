// The guest's programs: open files of the driver's DRM devices, as the exerciser's verbs use them.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lab/guest/fake/drm_file.h"

struct drm_file;
struct drm_gem_object;
struct drm_framebuffer;
struct shim_flip_event;

namespace displif_cts::linux_guest {

class LinuxFile final : public fake_guest::DrmFile {
 public:
  explicit LinuxFile(drm_file* file);  // takes it over
  ~LinuxFile() override;

  std::vector<Connector> connectors() override;
  Buffer create_buffer(const std::string& name, std::uint32_t width, std::uint32_t height,
                       std::uint32_t bpp) override;
  void destroy_buffer(const std::string& name) override;
  Buffer buffer(const std::string& name) const override;
  void draw(const std::string& name, std::span<const std::byte> octets,
            std::size_t offset) override;
  void add_framebuffer(const std::string& name, const FramebufferSpec& spec) override;
  void remove_framebuffer(const std::string& name) override;
  void set_mode(const std::string& framebuffer, const Mode& mode) override;
  void switch_off(std::uint32_t crtc) override;
  void page_flip(std::uint32_t crtc, const std::string& framebuffer, bool event,
                 std::uint64_t user_data) override;
  std::optional<fake_guest::FlipEvent> next_event(xen::Deadline deadline) override;
  bool has(const std::string& name) const override;

 private:
  struct Own {
    Buffer buffer;
    drm_gem_object* object = nullptr;
  };

  static void on_event(void* owner, const shim_flip_event& event);
  // On the kernel's thread. -1: no such object any more.
  std::size_t handle_of(const std::string& name) const;
  std::size_t framebuffer_of(const std::string& name) const;
  std::size_t connector_of(std::uint32_t crtc) const;

  drm_file* file_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::map<std::string, Own> buffers_;
  std::map<std::string, drm_framebuffer*> framebuffers_;
  std::map<std::uint32_t, std::uint64_t> flipped_;  // when, by crtc
  std::deque<fake_guest::FlipEvent> events_;
};

class LinuxDevices final : public fake_guest::DrmDevices {
 public:
  std::shared_ptr<fake_guest::DrmFile> open() override;
  bool has(std::uint16_t id) override;
  std::string_view driver() const override { return "xendrm-du"; }
};

}  // namespace displif_cts::linux_guest
