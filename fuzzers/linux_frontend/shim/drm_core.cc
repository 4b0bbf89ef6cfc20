#include <array>
#include <cstdlib>

#include "fuzzers/linux_frontend/shim/drm_model.h"
#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::shim {
namespace {

constexpr std::size_t kMostDevices = kPeer ? 4096 : 64;  // of one execution
constexpr std::size_t kMostHandles = kPeer ? 4096 : 32;  // of a file

std::array<struct drm_device*, kMostDevices> g_devices{};
std::size_t g_count = 0;
std::size_t g_alive = 0;

constexpr struct drm_format_info kFormats[] = {
    {DRM_FORMAT_RGB565, 1, {2, 0, 0, 0}, 1, 1},
    {DRM_FORMAT_RGB888, 1, {3, 0, 0, 0}, 1, 1},
    {DRM_FORMAT_XRGB8888, 1, {4, 0, 0, 0}, 1, 1},
    {DRM_FORMAT_ARGB8888, 1, {4, 0, 0, 0}, 1, 1},
    {DRM_FORMAT_XRGB4444, 1, {2, 0, 0, 0}, 1, 1},
    {DRM_FORMAT_ARGB4444, 1, {2, 0, 0, 0}, 1, 1},
    {DRM_FORMAT_XRGB1555, 1, {2, 0, 0, 0}, 1, 1},
    {DRM_FORMAT_ARGB1555, 1, {2, 0, 0, 0}, 1, 1},
    {DRM_FOURCC('A', 'B', '2', '4'), 1, {4, 0, 0, 0}, 1, 1},
    {DRM_FOURCC('X', 'B', '2', '4'), 1, {4, 0, 0, 0}, 1, 1},
    {DRM_FOURCC('B', 'G', '2', '4'), 1, {3, 0, 0, 0}, 1, 1},
    {DRM_FOURCC('B', 'G', '1', '6'), 1, {2, 0, 0, 0}, 1, 1},
    {DRM_FOURCC('C', '8', ' ', ' '), 1, {1, 0, 0, 0}, 1, 1},
    {DRM_FORMAT_YUYV, 1, {2, 0, 0, 0}, 2, 1},
    {DRM_FOURCC('N', 'V', '1', '2'), 2, {1, 2, 0, 0}, 2, 2},
    {DRM_FOURCC('Y', 'U', '1', '2'), 3, {1, 1, 1, 0}, 2, 2},
};

// A driver that may fail must return an error in the range of errors.
template <class T>
void check_pointer(T* pointer, const char* what) {
  const auto value = reinterpret_cast<std::intptr_t>(pointer);
  if (value >= 0 || IS_ERR(pointer)) return;
  finding_unless(Known::fb_status_below_errno,
                 "%s returned %ld, which is neither a pointer nor an error", what,
                 static_cast<long>(value));
}

}  // namespace

struct drm_device* newest_drm_device() {
  for (std::size_t i = g_count; i > 0; --i) {
    struct drm_device* dev = g_devices[i - 1];
    if (dev != nullptr && dev->registered && !dev->unplugged) return dev;
  }
  return nullptr;
}

void drm_begin() {
  g_devices.fill(nullptr);
  g_count = 0;
  g_alive = 0;
}

void drm_end() {
  if (g_alive == 0) return;
  finding("drm-device-left", "%zu DRM devices are never released", g_alive);
}

struct drm_file* file_open() {
  shim_point();
  struct drm_device* dev = newest_drm_device();
  if (dev == nullptr) return nullptr;
  ++dev->references;
  ++dev->open_count;
  auto* file = new drm_file;
  file->dev = dev;
  return file;
}

void file_close(struct drm_file* file) {
  struct drm_device* dev = file->dev;
  shim_point();
  for (struct drm_pending_vblank_event* event : file->pending) event->file = nullptr;
  file->pending.clear();
  while (!file->framebuffers.empty()) {
    struct drm_framebuffer* fb = file->framebuffers.front();
    file->framebuffers.erase(file->framebuffers.begin());
    if (fb->references > 1) {
      remove_shown(fb);
    } else {
      put_framebuffer(fb);
    }
  }
  while (!file->handles.empty()) {
    struct drm_gem_object* obj = file->handles.front();
    file->handles.erase(file->handles.begin());
    --obj->handles;
    drm_gem_object_put(obj);
  }
  --dev->open_count;
  delete file;
  drm_dev_put(dev);
}

int create_dumb(struct drm_file* file, std::uint32_t width, std::uint32_t height, std::uint32_t bpp,
                struct drm_mode_create_dumb* made) {
  shim_point();
  if (file->dev->unplugged) return -ENODEV;
  // As drm_mode_create_dumb() checks.
  if (width == 0 || height == 0 || bpp == 0 || bpp > 0xfffffff7U) return -EINVAL;
  const std::uint32_t cpp = DIV_ROUND_UP(bpp, 8U);
  if (cpp > 0xffffffffU / width) return -EINVAL;
  const std::uint32_t stride = cpp * width;
  if (height > 0xffffffffU / stride) return -EINVAL;
  if (static_cast<std::uint32_t>((height * stride + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1)) == 0)
    return -EINVAL;
  const std::uint32_t pitch = static_cast<std::uint32_t>(DIV_ROUND_UP(width * bpp, 8U));
  if (pitch * height == 0 && masked(Known::zero_sized_buffer)) return -EINVAL;
  if (file->handles.size() >= kMostHandles) return -ENOSPC;
  struct drm_mode_create_dumb arguments = {};
  arguments.width = width;
  arguments.height = height;
  arguments.bpp = bpp;
  const int result = file->dev->driver->dumb_create(file, file->dev, &arguments);
  if (made != nullptr) *made = arguments;
  return result;
}

int destroy_dumb(struct drm_file* file, std::size_t handle) {
  shim_point();
  if (file->dev->unplugged) return -ENODEV;
  if (file->handles.empty()) return -EINVAL;
  const auto at =
      file->handles.begin() + static_cast<std::ptrdiff_t>(handle % file->handles.size());
  struct drm_gem_object* obj = *at;
  file->handles.erase(at);
  --obj->handles;
  drm_gem_object_put(obj);
  return 0;
}

int add_framebuffer(struct drm_file* file, std::size_t handle, std::uint32_t width,
                    std::uint32_t height, std::uint32_t format, std::uint32_t pitch,
                    std::uint32_t offset) {
  shim_point();
  struct drm_device* dev = file->dev;
  if (dev->unplugged) return -ENODEV;
  if (file->handles.empty()) return -ENOENT;
  if (width == 0 || height == 0) return -EINVAL;
  if (width > static_cast<std::uint32_t>(dev->mode_config.max_width) ||
      height > static_cast<std::uint32_t>(dev->mode_config.max_height)) {
    return -EINVAL;
  }
  struct drm_mode_fb_cmd2 command = {};
  command.width = width;
  command.height = height;
  command.pixel_format = format;
  for (const struct drm_format_info& info : kFormats) {
    if (info.format != format) continue;
    for (int plane = 0; plane < info.num_planes; ++plane) {
      command.handles[plane] = static_cast<std::uint32_t>(handle % file->handles.size()) + 1;
      command.pitches[plane] = pitch != 0 ? pitch : width * info.cpp[plane];
      command.offsets[plane] = offset;
      if (command.pitches[plane] < width * info.cpp[plane]) return -EINVAL;
    }
    struct drm_framebuffer* fb = dev->mode_config.funcs->fb_create(dev, file, &command);
    check_pointer(fb, "fb_create");
    if (IS_ERR(fb)) return static_cast<int>(PTR_ERR(fb));
    file->framebuffers.push_back(fb);
    return 0;
  }
  return -EINVAL;
}

int remove_framebuffer(struct drm_file* file, std::size_t framebuffer) {
  shim_point();
  if (file->dev->unplugged) return -ENODEV;
  if (file->framebuffers.empty()) return -ENOENT;
  const auto at = file->framebuffers.begin() +
                  static_cast<std::ptrdiff_t>(framebuffer % file->framebuffers.size());
  struct drm_framebuffer* fb = *at;
  file->framebuffers.erase(at);
  if (fb->references > 1) {
    remove_shown(fb);
  } else {
    put_framebuffer(fb);
  }
  return 0;
}

void put_framebuffer(struct drm_framebuffer* fb) {
  if (fb->references <= 0) finding("reference-underflow", "a framebuffer is put once too often");
  if (--fb->references == 0) fb->funcs->destroy(fb);
}

int map_dumb(struct drm_file* file, std::size_t handle, bool whole) {
  shim_point();
  if (file->dev->unplugged) return -ENODEV;
  if (file->handles.empty()) return -EINVAL;
  struct drm_gem_object* obj = file->handles[handle % file->handles.size()];
  if (obj->import_attach != nullptr) return -EINVAL;  // drm_gem_dumb_map_offset()
  struct vm_area_struct area = {};
  area.vm_end = whole ? (obj->size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1) : PAGE_SIZE;
  area.vm_flags = VM_PFNMAP;
  return obj->funcs->mmap(obj, &area);
}

}  // namespace displif_cts::shim

using namespace displif_cts::shim;

struct drm_device* drm_dev_alloc(const struct drm_driver* driver, struct device* parent) {
  shim_point();
  if (fails(Failure::drm) || g_count == kMostDevices)
    return static_cast<struct drm_device*>(ERR_PTR(-ENOMEM));
  auto* dev = static_cast<struct drm_device*>(std::calloc(1, sizeof(struct drm_device)));
  dev->driver = driver;
  dev->dev = parent;
  dev->references = 1;
  dev->id = static_cast<int>(g_count);
  dev->primary = &dev->minor_memory;
  g_devices[g_count++] = dev;
  ++g_alive;
  return dev;
}

void drm_dev_put(struct drm_device* dev) {
  shim_point();
  if (dev->references <= 0) finding("reference-underflow", "a DRM device is put once too often");
  if (--dev->references > 0) return;
  dev->driver->release(dev);
  g_devices[static_cast<std::size_t>(dev->id)] = nullptr;
  --g_alive;
  std::free(dev);
}

int drm_dev_register(struct drm_device* dev, unsigned long /*flags*/) {
  shim_point();
  if (fails(Failure::drm) && !masked(Known::init_failure_frees_twice)) return -ENOMEM;
  dev->registered = true;
  shim_point();
  return 0;
}

void drm_dev_unregister(struct drm_device* dev) {
  shim_point();
  dev->registered = false;
}

void drm_dev_unplug(struct drm_device* dev) {
  shim_point();
  dev->unplugged = true;
  while (dev->sections > 0) wait_for(&dev->sections, kNever);
  drm_dev_unregister(dev);
}

bool drm_dev_is_unplugged(struct drm_device* dev) { return dev->unplugged; }

bool drm_dev_enter(struct drm_device* dev, int* idx) {
  shim_point();
  if (dev->unplugged) return false;
  ++dev->sections;
  *idx = dev->id;
  return true;
}

void drm_dev_exit(int idx) {
  struct drm_device* dev = g_devices[static_cast<std::size_t>(idx)];
  if (dev == nullptr || dev->sections <= 0)
    finding("exit-without-enter", "drm_dev_exit(%d) without drm_dev_enter", idx);
  if (--dev->sections == 0) wake(&dev->sections);
  shim_point();
}

int drm_gem_object_init(struct drm_device* dev, struct drm_gem_object* obj, size_t size) {
  shim_point();
  if (fails(Failure::drm)) return -ENOMEM;
  if (size % PAGE_SIZE != 0)
    finding("warning", "a GEM object of %zu octets, no whole pages", size);  // BUG_ON
  obj->dev = dev;
  obj->size = size;
  obj->references = 1;
  return 0;
}

void drm_gem_object_release(struct drm_gem_object* obj) {
  if (obj->handles != 0)
    finding("handle-left", "a GEM object goes while it has %d handles", obj->handles);
  shim_point();
}

void drm_gem_object_put(struct drm_gem_object* obj) {
  if (obj->references <= 0) finding("reference-underflow", "a GEM object is put once too often");
  if (--obj->references == 0) obj->funcs->free(obj);
}

int drm_gem_handle_create(struct drm_file* file, struct drm_gem_object* obj, u32* handle) {
  shim_point();
  if (fails(Failure::drm)) return -ENOMEM;
  ++obj->references;
  ++obj->handles;
  file->handles.push_back(obj);
  *handle = static_cast<u32>(file->handles.size());
  return 0;
}

struct page** drm_gem_get_pages(struct drm_gem_object* obj) {
  const std::size_t count = obj->size / PAGE_SIZE;
  auto** pages =
      static_cast<struct page**>(shim_allocate(count, sizeof(struct page*), true, __func__));
  if (pages == nullptr) return static_cast<struct page**>(ERR_PTR(-ENOMEM));
  if (count > 0 && !take_pages(pages, count)) {
    kvfree(pages);
    return static_cast<struct page**>(ERR_PTR(-ENOMEM));
  }
  return pages;
}

void drm_gem_put_pages(struct drm_gem_object* obj, struct page** pages, bool /*dirty*/,
                       bool /*accessed*/) {
  shim_point();
  if (pages != nullptr) give_pages(pages, obj->size / PAGE_SIZE);
  kvfree(pages);
}

struct drm_framebuffer* drm_gem_fb_create_with_funcs(struct drm_device* dev, struct drm_file* file,
                                                     const struct drm_mode_fb_cmd2* command,
                                                     const struct drm_framebuffer_funcs* funcs) {
  shim_point();
  auto* fb = static_cast<struct drm_framebuffer*>(
      shim_allocate(1, sizeof(struct drm_framebuffer), false, __func__));
  if (fb == nullptr) return static_cast<struct drm_framebuffer*>(ERR_PTR(-ENOMEM));
  for (const struct drm_format_info& info : kFormats) {
    if (info.format == command->pixel_format) fb->format = &info;
  }
  bool fits = true;
  for (int plane = 0; plane < fb->format->num_planes && fits; ++plane) {
    struct drm_gem_object* obj = file->handles[command->handles[plane] - 1];
    const std::uint32_t width = plane == 0 ? command->width : command->width / fb->format->hsub;
    const std::uint32_t height = plane == 0 ? command->height : command->height / fb->format->vsub;
    const std::uint64_t least = static_cast<std::uint64_t>(height - 1) * command->pitches[plane] +
                                static_cast<std::uint64_t>(width) * fb->format->cpp[plane] +
                                command->offsets[plane];
    fits = height != 0 && obj->size >= least;
    if (!fits) break;
    ++obj->references;
    fb->obj[plane] = obj;
  }
  if (!fits) {
    for (struct drm_gem_object* obj : fb->obj) {
      if (obj != nullptr) drm_gem_object_put(obj);
    }
    kfree(fb);
    return static_cast<struct drm_framebuffer*>(ERR_PTR(-EINVAL));
  }
  fb->dev = dev;
  fb->funcs = funcs;
  fb->width = command->width;
  fb->height = command->height;
  fb->references = 1;
  ++dev->framebuffers;
  return fb;
}

void drm_gem_fb_destroy(struct drm_framebuffer* fb) {
  shim_point();
  for (struct drm_gem_object* obj : fb->obj) {
    if (obj != nullptr) drm_gem_object_put(obj);
  }
  --fb->dev->framebuffers;
  kfree(fb);
}

void drm_gem_vm_open(void* /*vma*/) {}
void drm_gem_vm_close(void* /*vma*/) {}
