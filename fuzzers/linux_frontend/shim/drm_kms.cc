#include <cstdlib>

#include "fuzzers/linux_frontend/shim/drm_model.h"
#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::shim {
namespace {

constexpr std::uint64_t kFlipDone = 10'000;  // ms; how long a commit waits for the one before it
constexpr unsigned long kPollEvery = 10'000;

// One commit on its way: what drm_atomic_helper_commit() carries.
struct Commit {
  struct drm_simple_display_pipe* pipe = nullptr;
  struct drm_atomic_state state {};
  struct drm_plane_state* old_plane = nullptr;
  struct drm_crtc_state* old_crtc = nullptr;
  struct drm_crtc_state* new_crtc = nullptr;
  struct shim_commit* commit = nullptr;
  struct shim_commit* before = nullptr;
  struct drm_display_mode mode {};
  bool modeset = false;
  bool references_device = false;
  int x = 0;
  int y = 0;
};

struct Wanted {
  struct drm_framebuffer* fb = nullptr;  // null: off
  struct drm_display_mode mode {};
  int x = 0;
  int y = 0;
  struct drm_file* file = nullptr;  // wants the event
  bool event = false;
  std::uint64_t user_data = 0;
  bool nonblocking = false;
};

template <class T>
T* make() {
  return static_cast<T*>(std::calloc(1, sizeof(T)));
}

void commit_tail(void* argument) {
  auto* commit = static_cast<Commit*>(argument);
  struct drm_simple_display_pipe* pipe = commit->pipe;
  if (commit->before != nullptr) {
    const std::uint64_t until = now() + kFlipDone;
    while (!(commit->before->flip_done && commit->before->hw_done) &&
           wait_for(commit->before, until)) {
    }
    put_commit(commit->before);
  }
  struct drm_plane_state* plane = commit->state.new_plane;
  if (commit->modeset && commit->old_crtc->active) pipe->funcs->disable(pipe);
  pipe->crtc.x = commit->x;
  pipe->crtc.y = commit->y;
  pipe->crtc.mode = commit->mode;
  if (commit->new_crtc->active || commit->old_crtc->active)
    pipe->funcs->update(pipe, commit->old_plane);
  if (commit->modeset && commit->new_crtc->active)
    pipe->funcs->enable(pipe, commit->new_crtc, plane);
  commit->commit->hw_done = true;
  wake(commit->commit);
  put_commit(commit->commit);
  if (commit->old_plane->fb != nullptr) put_framebuffer(commit->old_plane->fb);
  std::free(commit->old_plane);
  std::free(commit->old_crtc);
  struct drm_device* held = commit->references_device ? pipe->crtc.dev : nullptr;
  delete commit;
  if (held != nullptr) drm_dev_put(held);
}

// drm_atomic_helper_commit() for one pipe. The modeset lock is held.
int commit(struct drm_simple_display_pipe* pipe, const Wanted& wanted) {
  struct drm_crtc& crtc = pipe->crtc;
  const bool active = wanted.fb != nullptr;
  const bool same_mode =
      crtc.mode.hdisplay == wanted.mode.hdisplay && crtc.mode.vdisplay == wanted.mode.vdisplay;
  const bool modeset = crtc.state->active != active || (active && !same_mode);
  if (active && modeset && pipe->funcs->mode_valid(pipe, &wanted.mode) != MODE_OK) return -EINVAL;
  if (crtc.last != nullptr && !crtc.last->flip_done && wanted.nonblocking) return -EBUSY;

  auto* new_crtc = make<struct drm_crtc_state>();
  auto* new_plane = make<struct drm_plane_state>();
  new_crtc->crtc = &crtc;
  new_crtc->enable = new_crtc->active = active;
  new_crtc->no_vblank = true;
  new_plane->fb = wanted.fb;
  new_plane->crtc = active ? &crtc : nullptr;
  if (active) {
    const int error = pipe->funcs->check(pipe, new_plane, new_crtc);
    if (error != 0) {
      std::free(new_crtc);
      std::free(new_plane);
      return error;
    }
    ++wanted.fb->references;
  }

  auto* flying = new Commit;
  flying->commit = new shim_commit;
  flying->commit->references = 2;  // the tail's, the CRTC's
  if (active || crtc.state->active) {
    auto* event = new drm_pending_vblank_event;
    event->commit = flying->commit;
    ++flying->commit->references;
    if (wanted.event) {
      event->file = wanted.file;
      event->user_data = wanted.user_data;
      wanted.file->pending.push_back(event);
    }
    new_crtc->event = event;
  } else {
    flying->commit->flip_done = true;
  }
  flying->before = crtc.last;  // with its reference
  crtc.last = flying->commit;
  flying->pipe = pipe;
  flying->old_plane = pipe->plane.state;
  flying->old_crtc = crtc.state;
  flying->new_crtc = new_crtc;
  flying->state.new_plane = new_plane;
  flying->modeset = modeset;
  flying->mode = wanted.mode;
  flying->x = wanted.x;
  flying->y = wanted.y;
  flying->old_plane->state = &flying->state;
  pipe->plane.state = new_plane;
  crtc.state = new_crtc;
  // The state of a commit holds its device (drm_atomic_state_init).
  if (crtc.dev->references > 0) {
    ++crtc.dev->references;
    flying->references_device = true;
  }
  if (wanted.nonblocking) {
    queue_work(commit_tail, flying);
  } else {
    commit_tail(flying);
  }
  return 0;
}

struct drm_simple_display_pipe* pipe_of(struct drm_device* dev, std::size_t connector) {
  return dev->pipe_count == 0 ? nullptr
                              : dev->pipes[connector % static_cast<std::size_t>(dev->pipe_count)];
}

int probe_locked(struct drm_connector* connector) {
  return connector->funcs->fill_modes(connector, 4095, 2047);
}

void poll(struct work_struct* work) {
  auto* dev = container_of(to_delayed_work(work), struct drm_device, poll);
  if (dev->modeset.owner == nullptr) {
    mutex_lock(&dev->modeset);
    for (int i = 0; i < dev->connector_count; ++i) {
      struct drm_connector* connector = dev->connectors[i];
      if (connector->polled != 0) connector->helper->detect_ctx(connector, nullptr, false);
    }
    mutex_unlock(&dev->modeset);
  }
  if (dev->polling) schedule_delayed_work(&dev->poll, kPollEvery);
}

}  // namespace

void put_commit(struct shim_commit* commit) {
  if (--commit->references == 0) delete commit;
}

void free_states(struct drm_simple_display_pipe* pipe) {
  if (pipe->plane.state != nullptr && pipe->plane.state->fb != nullptr)
    put_framebuffer(pipe->plane.state->fb);
  std::free(pipe->plane.state);
  std::free(pipe->crtc.state);
  if (pipe->crtc.last != nullptr) put_commit(pipe->crtc.last);
  pipe->plane.state = nullptr;
  pipe->crtc.state = nullptr;
  pipe->crtc.last = nullptr;
}

int set_crtc(struct drm_file* file, std::size_t connector, std::size_t framebuffer, Mode mode,
             int x, int y) {
  shim_point();
  struct drm_device* dev = file->dev;
  if (dev->unplugged) return -ENODEV;
  struct drm_simple_display_pipe* pipe = pipe_of(dev, connector);
  if (pipe == nullptr || file->framebuffers.empty()) return -ENOENT;
  mutex_lock(&dev->modeset);
  // The file's own list may have changed while the lock was waited for.
  if (file->framebuffers.empty()) {
    mutex_unlock(&dev->modeset);
    return -ENOENT;
  }
  Wanted wanted;
  wanted.fb = file->framebuffers[framebuffer % file->framebuffers.size()];
  ++wanted.fb->references;
  if (mode.width == 0) {
    probe_locked(pipe->connector);
    if (pipe->connector->probed != nullptr) wanted.mode = *pipe->connector->probed;
  } else {
    wanted.mode.hdisplay = mode.width;
    wanted.mode.vdisplay = mode.height;
  }
  wanted.x = x;
  wanted.y = y;
  int result = -EINVAL;
  const std::int64_t right = static_cast<std::int64_t>(wanted.mode.hdisplay) + x;
  const std::int64_t bottom = static_cast<std::int64_t>(wanted.mode.vdisplay) + y;
  bool format = false;
  for (int i = 0; i < pipe->format_count; ++i)
    format = format || pipe->formats[i] == wanted.fb->format->format;
  if (wanted.mode.hdisplay <= 0 || wanted.mode.vdisplay <= 0 || !format) {
    result = -EINVAL;
  } else if (right > wanted.fb->width || bottom > wanted.fb->height) {
    result = -ENOSPC;
  } else {
    result = commit(pipe, wanted);
  }
  mutex_unlock(&dev->modeset);
  put_framebuffer(wanted.fb);
  return result;
}

int crtc_off(struct drm_file* file, std::size_t connector) {
  shim_point();
  struct drm_device* dev = file->dev;
  if (dev->unplugged) return -ENODEV;
  struct drm_simple_display_pipe* pipe = pipe_of(dev, connector);
  if (pipe == nullptr) return -ENOENT;
  mutex_lock(&dev->modeset);
  const int result = commit(pipe, Wanted{});
  mutex_unlock(&dev->modeset);
  return result;
}

int page_flip(struct drm_file* file, std::size_t connector, std::size_t framebuffer, bool event,
              std::uint64_t user_data) {
  shim_point();
  struct drm_device* dev = file->dev;
  if (dev->unplugged) return -ENODEV;
  struct drm_simple_display_pipe* pipe = pipe_of(dev, connector);
  if (pipe == nullptr || file->framebuffers.empty()) return -ENOENT;
  mutex_lock(&dev->modeset);
  int result = -EBUSY;
  if (pipe->plane.state->fb != nullptr && !file->framebuffers.empty()) {
    Wanted wanted;
    wanted.fb = file->framebuffers[framebuffer % file->framebuffers.size()];
    wanted.mode = pipe->crtc.mode;
    wanted.x = pipe->crtc.x;
    wanted.y = pipe->crtc.y;
    wanted.file = file;
    wanted.event = event;
    wanted.user_data = user_data;
    wanted.nonblocking = true;
    const bool fits =
        static_cast<std::int64_t>(wanted.mode.hdisplay) + wanted.x <= wanted.fb->width &&
        static_cast<std::int64_t>(wanted.mode.vdisplay) + wanted.y <= wanted.fb->height;
    const bool same = wanted.fb->format == pipe->plane.state->fb->format;
    result = !fits ? -ENOSPC : !same ? -EINVAL : commit(pipe, wanted);
  }
  mutex_unlock(&dev->modeset);
  return result;
}

int probe_connector(struct drm_file* file, std::size_t connector) {
  shim_point();
  struct drm_device* dev = file->dev;
  if (dev->unplugged) return -ENODEV;
  struct drm_simple_display_pipe* pipe = pipe_of(dev, connector);
  if (pipe == nullptr) return -ENOENT;
  mutex_lock(&dev->modeset);
  probe_locked(pipe->connector);
  mutex_unlock(&dev->modeset);
  return 0;
}

void remove_shown(struct drm_framebuffer* fb) {
  struct drm_device* dev = fb->dev;
  mutex_lock(&dev->modeset);
  for (int i = 0; i < dev->pipe_count; ++i) {
    if (dev->pipes[i]->plane.state != nullptr && dev->pipes[i]->plane.state->fb == fb)
      commit(dev->pipes[i], Wanted{});
  }
  mutex_unlock(&dev->modeset);
  put_framebuffer(fb);
}

}  // namespace displif_cts::shim

using namespace displif_cts::shim;

int drm_atomic_helper_check(void) { return 0; }
int drm_atomic_helper_commit(void) { return 0; }

void drm_mode_config_init(struct drm_device* dev) {
  shim_point();
  mutex_init(&dev->modeset);
}

int drm_connector_init(struct drm_device* dev, struct drm_connector* connector,
                       const struct drm_connector_funcs* funcs, int /*type*/) {
  shim_point();
  if (fails(Failure::drm) && !masked(Known::init_failure_frees_twice)) return -ENOMEM;
  connector->dev = dev;
  connector->funcs = funcs;
  dev->connectors[dev->connector_count++] = connector;
  return 0;
}

void drm_connector_cleanup(struct drm_connector* connector) {
  std::free(connector->probed);
  connector->funcs->atomic_destroy_state(connector, connector->state);
  connector->probed = nullptr;
  connector->state = nullptr;
}

int drm_simple_display_pipe_init(struct drm_device* dev, struct drm_simple_display_pipe* pipe,
                                 const struct drm_simple_display_pipe_funcs* funcs,
                                 const u32* formats, unsigned int count, const u64* /*modifiers*/,
                                 struct drm_connector* connector) {
  shim_point();
  if (fails(Failure::drm) && !masked(Known::init_failure_frees_twice)) return -ENOMEM;
  pipe->funcs = funcs;
  pipe->formats = formats;
  pipe->format_count = static_cast<int>(count);
  pipe->connector = connector;
  pipe->crtc.dev = dev;
  pipe->plane.dev = dev;
  dev->pipes[dev->pipe_count++] = pipe;
  return 0;
}

void drm_mode_config_reset(struct drm_device* dev) {
  shim_point();
  for (int i = 0; i < dev->pipe_count; ++i) {
    free_states(dev->pipes[i]);
    dev->pipes[i]->crtc.state = make<struct drm_crtc_state>();
    dev->pipes[i]->crtc.state->crtc = &dev->pipes[i]->crtc;
    dev->pipes[i]->plane.state = make<struct drm_plane_state>();
    dev->connectors[i]->funcs->reset(dev->connectors[i]);
  }
}

void drm_mode_config_cleanup(struct drm_device* dev) {
  shim_point();
  for (int i = 0; i < dev->connector_count; ++i)
    dev->connectors[i]->funcs->destroy(dev->connectors[i]);
  for (int i = 0; i < dev->pipe_count; ++i) free_states(dev->pipes[i]);
  dev->connector_count = 0;
  dev->pipe_count = 0;
  if (dev->framebuffers != 0) finding("warning", "WARN_ON(!list_empty(&dev->mode_config.fb_list))");
}

void drm_atomic_helper_shutdown(struct drm_device* dev) {
  shim_point();
  if (dev->references == 0) {
    finding_unless(Known::released_device_referenced,
                   "refcount_t: a reference is taken on a DRM device that is being released");
  }
  mutex_lock(&dev->modeset);
  for (int i = 0; i < dev->pipe_count; ++i) {
    if (dev->pipes[i]->crtc.state != nullptr) commit(dev->pipes[i], Wanted{});
  }
  mutex_unlock(&dev->modeset);
}

void drm_kms_helper_poll_init(struct drm_device* dev) {
  INIT_DELAYED_WORK(&dev->poll, poll);
  dev->polling = true;
  schedule_delayed_work(&dev->poll, kPollEvery);
}

void drm_kms_helper_poll_fini(struct drm_device* dev) {
  if (!dev->polling) return;
  dev->polling = false;
  cancel_delayed_work_sync(&dev->poll);
}

int drm_helper_probe_single_connector_modes(struct drm_connector* connector, u32 /*width*/,
                                            u32 /*height*/) {
  shim_point();
  std::free(connector->probed);
  connector->probed = nullptr;
  if (connector->helper->detect_ctx(connector, nullptr, true) != connector_status_connected)
    return 0;
  const int count = connector->helper->get_modes(connector);
  for (int i = 0; i < connector->dev->pipe_count && connector->probed != nullptr; ++i) {
    struct drm_simple_display_pipe* pipe = connector->dev->pipes[i];
    if (pipe->connector == connector &&
        pipe->funcs->mode_valid(pipe, connector->probed) != MODE_OK) {
      std::free(connector->probed);
      connector->probed = nullptr;
    }
  }
  return count;
}

void drm_atomic_helper_connector_reset(struct drm_connector* connector) {
  std::free(connector->state);
  connector->state = std::calloc(1, 64);
}
void* drm_atomic_helper_connector_duplicate_state(struct drm_connector* /*connector*/) {
  return nullptr;
}
void drm_atomic_helper_connector_destroy_state(struct drm_connector* /*connector*/, void* state) {
  std::free(state);
}

struct drm_display_mode* drm_mode_create(struct drm_device* /*dev*/) {
  shim_point();
  return fails(Failure::memory) ? nullptr : make<struct drm_display_mode>();
}

void drm_display_mode_from_videomode(const struct videomode* from, struct drm_display_mode* mode) {
  mode->hdisplay = static_cast<int>(from->hactive);
  mode->vdisplay = static_cast<int>(from->vactive);
  mode->clock = static_cast<int>(from->pixelclock / 1000);
}

void drm_mode_probed_add(struct drm_connector* connector, struct drm_display_mode* mode) {
  std::free(connector->probed);
  connector->probed = mode;
}

void drm_crtc_send_vblank_event(struct drm_crtc* crtc, struct drm_pending_vblank_event* event) {
  if (crtc->dev->event_lock.held == 0)
    finding("lock-not-held", "an event is sent without dev->event_lock");
  event->commit->flip_done = true;
  wake(event->commit);
  put_commit(event->commit);
  if (event->file != nullptr) {
    ++event->file->events;
    if (event->file->on_event != nullptr) {
      std::size_t connector = 0;
      while (&crtc->dev->pipes[connector]->crtc != crtc) ++connector;
      event->file->on_event(event->file->owner, {event->user_data, connector});
    }
    std::erase(event->file->pending, event);
  }
  delete event;
}
