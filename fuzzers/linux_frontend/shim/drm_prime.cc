#include <array>
#include <cstdlib>
#include <vector>

#include "fuzzers/linux_frontend/shim/drm_model.h"
#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::shim {
namespace {

constexpr std::size_t kMostExported = 8;

std::vector<struct dma_buf*> g_exported;  // as file descriptors that programs pass to each other

struct sg_table* make_table(std::uint32_t offset) {
  auto* table = static_cast<struct sg_table*>(std::calloc(1, sizeof(struct sg_table)));
  table->sgl = static_cast<struct scatterlist*>(std::calloc(1, sizeof(struct scatterlist)));
  table->sgl->offset = offset;
  table->nents = table->orig_nents = 1;
  return table;
}

void free_table(struct sg_table* table) {
  std::free(table->sgl);
  std::free(table);
}

void put_buffer(struct dma_buf* buffer) {
  if (--buffer->references > 0) return;
  if (buffer->exported != nullptr) {
    struct drm_device* dev = buffer->exported->dev;
    drm_gem_object_put(buffer->exported);
    drm_dev_put(dev);
  }
  delete buffer;
}

// What DRM does for a buffer that is not the device's own.
int import(struct drm_file* file, struct dma_buf* buffer, std::uint32_t offset) {
  auto* attachment = new dma_buf_attachment{buffer};
  ++buffer->references;
  struct sg_table* table = make_table(offset);
  struct drm_gem_object* obj =
      file->dev->driver->gem_prime_import_sg_table(file->dev, attachment, table);
  const auto value = reinterpret_cast<std::intptr_t>(obj);
  if (value < 0 && !IS_ERR(obj)) {
    finding_unless(Known::fb_status_below_errno, "gem_prime_import_sg_table returned %ld",
                   static_cast<long>(value));
  }
  if (IS_ERR(obj)) {
    free_table(table);
    delete attachment;
    put_buffer(buffer);
    return static_cast<int>(PTR_ERR(obj));
  }
  obj->import_attach = attachment;
  u32 handle = 0;
  const int error = drm_gem_handle_create(file, obj, &handle);
  drm_gem_object_put(obj);
  return error;
}

}  // namespace

int export_buffer(struct drm_file* file, std::size_t handle) {
  shim_point();
  if (file->dev->unplugged) return -ENODEV;
  if (file->handles.empty() || g_exported.size() >= kMostExported) return -ENOENT;
  struct drm_gem_object* obj = file->handles[handle % file->handles.size()];
  if (obj->import_attach != nullptr) return -EINVAL;
  ++obj->references;
  ++obj->dev->references;
  g_exported.push_back(new dma_buf{obj->size, obj, 1});
  return 0;
}

int import_own(struct drm_file* file, std::size_t exported) {
  shim_point();
  if (file->dev->unplugged) return -ENODEV;
  if (g_exported.empty()) return -EBADF;
  struct dma_buf* buffer = g_exported[exported % g_exported.size()];
  ++buffer->references;
  int result = 0;
  if (buffer->exported->dev == file->dev) {
    u32 handle = 0;
    result = drm_gem_handle_create(file, buffer->exported, &handle);
  } else {
    result = import(file, buffer, 0);
  }
  put_buffer(buffer);
  return result;
}

int import_foreign(struct drm_file* file, std::size_t size, std::uint32_t offset) {
  shim_point();
  if (file->dev->unplugged) return -ENODEV;
  if (size == 0 || size % PAGE_SIZE != 0) return -EINVAL;
  auto* buffer = new dma_buf{size, nullptr, 1};
  const int result = import(file, buffer, offset);
  put_buffer(buffer);
  return result;
}

int map_exported(std::size_t exported, bool by_cpu) {
  shim_point();
  if (g_exported.empty()) return -EBADF;
  struct dma_buf* buffer = g_exported[exported % g_exported.size()];
  ++buffer->references;
  struct drm_gem_object* obj = buffer->exported;
  int result = 0;
  if (by_cpu) {
    struct iosys_map map = {};
    result = obj->funcs->vmap(obj, &map);
    if (result == 0) obj->funcs->vunmap(obj, &map);
  } else {
    struct sg_table* table = obj->funcs->get_sg_table(obj);
    if (IS_ERR(table)) {
      result = static_cast<int>(PTR_ERR(table));
    } else {
      free_table(table);
    }
  }
  put_buffer(buffer);
  return result;
}

int drop_exported(std::size_t exported) {
  shim_point();
  if (g_exported.empty()) return -EBADF;
  const auto at = g_exported.begin() + static_cast<std::ptrdiff_t>(exported % g_exported.size());
  struct dma_buf* buffer = *at;
  g_exported.erase(at);
  put_buffer(buffer);
  return 0;
}

void drop_all_exported() {
  while (!g_exported.empty()) drop_exported(0);
}

bool any_exported() { return !g_exported.empty(); }

}  // namespace displif_cts::shim

using namespace displif_cts::shim;

void drm_prime_gem_destroy(struct drm_gem_object* obj, struct sg_table* table) {
  shim_point();
  struct dma_buf_attachment* attachment = obj->import_attach;
  if (table != nullptr) free_table(table);
  struct dma_buf* buffer = attachment->dmabuf;
  delete attachment;
  put_buffer(buffer);
}

struct sg_table* drm_prime_pages_to_sg(struct drm_device* /*dev*/, struct page** /*pages*/,
                                       unsigned int /*count*/) {
  shim_point();
  if (fails(Failure::memory)) return static_cast<struct sg_table*>(ERR_PTR(-ENOMEM));
  return make_table(0);
}

int drm_prime_sg_to_page_array(struct sg_table* /*table*/, struct page** pages, int most) {
  shim_point();
  if (fails(Failure::drm)) return -1;
  return take_pages(pages, static_cast<std::size_t>(most)) ? 0 : -1;
}

void* vmap(struct page** pages, unsigned int count, unsigned long /*flags*/,
           pgprot_t /*protection*/) {
  shim_point();
  return fails(Failure::memory) || count == 0 ? nullptr : static_cast<void*>(pages[0]);
}
void vunmap(const void* /*address*/) { shim_point(); }

int drm_gem_prime_handle_to_fd(void) { return 0; }
int drm_gem_prime_fd_to_handle(void) { return 0; }
int drm_gem_prime_mmap(void) { return 0; }
