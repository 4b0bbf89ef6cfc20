// DRM's core as the guest's programs see it: files, handles, framebuffers, commits. The calls below
// are the ioctls; each runs on a task and returns what the ioctl would (0 or -errno).
#pragma once

#include <cstdint>
#include <vector>

#include "fuzzers/linux_frontend/shim/kernel.h"

struct shim_commit {
  int references = 0;
  bool flip_done = false;
  bool hw_done = false;
};

struct drm_pending_vblank_event {
  struct drm_file* file = nullptr;  // null: nobody waits for it
  struct shim_commit* commit = nullptr;
  std::uint64_t user_data = 0;
};

struct shim_flip_event {
  std::uint64_t user_data = 0;
  std::size_t connector = 0;
};

struct drm_file {
  struct drm_device* dev = nullptr;
  std::vector<struct drm_gem_object*> handles;
  std::vector<struct drm_framebuffer*> framebuffers;
  std::vector<struct drm_pending_vblank_event*> pending;
  std::uint32_t events = 0;  // delivered
  void (*on_event)(void* owner, const struct shim_flip_event& event) = nullptr;
  void* owner = nullptr;
};

namespace displif_cts::shim {

// Null when there is no device.
struct drm_file* file_open();
void file_close(struct drm_file* file);

int create_dumb(struct drm_file* file, std::uint32_t width, std::uint32_t height, std::uint32_t bpp,
                struct drm_mode_create_dumb* made = nullptr);
int destroy_dumb(struct drm_file* file, std::size_t handle);
int add_framebuffer(struct drm_file* file, std::size_t handle, std::uint32_t width,
                    std::uint32_t height, std::uint32_t format, std::uint32_t pitch = 0,
                    std::uint32_t offset = 0);
int remove_framebuffer(struct drm_file* file, std::size_t framebuffer);
struct Mode {
  int width = 0;  // 0: the connector's own
  int height = 0;
};
int set_crtc(struct drm_file* file, std::size_t connector, std::size_t framebuffer, Mode mode,
             int x, int y);
int crtc_off(struct drm_file* file, std::size_t connector);
int page_flip(struct drm_file* file, std::size_t connector, std::size_t framebuffer, bool event,
              std::uint64_t user_data = 0);
int probe_connector(struct drm_file* file, std::size_t connector);
int map_dumb(struct drm_file* file, std::size_t handle, bool whole);

int export_buffer(struct drm_file* file, std::size_t handle);
int import_own(struct drm_file* file, std::size_t exported);
int import_foreign(struct drm_file* file, std::size_t size, std::uint32_t offset);
int map_exported(std::size_t exported, bool by_cpu);
int drop_exported(std::size_t exported);
void drop_all_exported();
bool any_exported();

// ---- between the parts of the model
void put_framebuffer(struct drm_framebuffer* fb);
// Switches off what shows `fb`, then lets go of a reference. The modeset lock is not held.
void remove_shown(struct drm_framebuffer* fb);
void put_commit(struct shim_commit* commit);
void free_states(struct drm_simple_display_pipe* pipe);

}  // namespace displif_cts::shim
