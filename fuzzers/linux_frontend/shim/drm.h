/* The part of DRM that drm_xen_front uses; see kernel.h. Structures have the driver's fields and,
 * after "shim:", the model's own. */
#ifndef DISPLIF_CTS_SHIM_DRM_H
#define DISPLIF_CTS_SHIM_DRM_H

#include "kernel.h"

#ifdef __cplusplus
extern "C" {
#endif

struct drm_file;
struct drm_framebuffer;
struct drm_crtc;
struct drm_atomic_state;
struct drm_minor {
  int index;
};
struct file_operations {
  int unused;
};
#define DEFINE_DRM_GEM_FOPS(name) static const struct file_operations name = {0}

/* ---- memory that is mapped, imported, exported */
struct vm_operations_struct {
  void (*open)(void*);
  void (*close)(void*);
};
void drm_gem_vm_open(void* vma);
void drm_gem_vm_close(void* vma);
typedef struct {
  unsigned long value;
} pgprot_t;
#define VM_PFNMAP 1UL
#define VM_MIXEDMAP 2UL
#define VM_DONTEXPAND 4UL
#define VM_MAP 8UL
#define PAGE_KERNEL ((pgprot_t){0})
struct vm_area_struct {
  unsigned long vm_start, vm_end;
  const struct vm_operations_struct* vm_ops;
  unsigned long vm_flags;
  unsigned long vm_pgoff;
  pgprot_t vm_page_prot;
};
static inline pgprot_t vm_get_page_prot(unsigned long flags) {
  pgprot_t result = {flags};
  return result;
}
int vm_map_pages(struct vm_area_struct* vma, struct page** pages, unsigned long count);
void* vmap(struct page** pages, unsigned int count, unsigned long flags, pgprot_t protection);
void vunmap(const void* address);
struct iosys_map {
  void* vaddr;
  bool is_iomem;
};
static inline void iosys_map_set_vaddr(struct iosys_map* map, void* vaddr) {
  map->vaddr = vaddr;
  map->is_iomem = false;
}
struct scatterlist {
  unsigned int offset, length;
};
struct sg_table {
  struct scatterlist* sgl;
  unsigned int nents, orig_nents;
};
struct dma_buf {
  size_t size;
  /* shim: */
  struct drm_gem_object* exported; /* null: of another driver */
  int references;
};
struct dma_buf_attachment {
  struct dma_buf* dmabuf;
};

/* ---- device */
enum { DRIVER_GEM = 1, DRIVER_MODESET = 2, DRIVER_ATOMIC = 4 };
struct drm_mode_create_dumb {
  u32 height, width, bpp, flags, handle, pitch;
  u64 size;
};
struct drm_mode_fb_cmd2 {
  u32 width, height, pixel_format, flags;
  u32 handles[4], pitches[4], offsets[4];
};
struct drm_device;
struct drm_driver {
  int driver_features;
  void (*release)(struct drm_device*);
  int (*prime_handle_to_fd)(void);
  int (*prime_fd_to_handle)(void);
  struct drm_gem_object* (*gem_prime_import_sg_table)(struct drm_device*,
                                                      struct dma_buf_attachment*, struct sg_table*);
  int (*gem_prime_mmap)(void);
  int (*dumb_create)(struct drm_file*, struct drm_device*, struct drm_mode_create_dumb*);
  const struct file_operations* fops;
  const char *name, *desc, *date;
  int major, minor, patchlevel;
};
int drm_gem_prime_handle_to_fd(void);
int drm_gem_prime_fd_to_handle(void);
int drm_gem_prime_mmap(void);

struct drm_mode_config_funcs {
  struct drm_framebuffer* (*fb_create)(struct drm_device*, struct drm_file*,
                                       const struct drm_mode_fb_cmd2*);
  int (*atomic_check)(void);
  int (*atomic_commit)(void);
};
int drm_atomic_helper_check(void);
int drm_atomic_helper_commit(void);
struct drm_mode_config {
  int min_width, min_height, max_width, max_height;
  const struct drm_mode_config_funcs* funcs;
};

struct drm_simple_display_pipe;
enum { SHIM_MAX_PIPES = 4 };
struct drm_device {
  const struct drm_driver* driver;
  struct device* dev;
  void* dev_private;
  struct drm_minor* primary;
  struct drm_mode_config mode_config;
  spinlock_t event_lock;
  /* shim: */
  struct drm_minor minor_memory;
  int references, id, open_count, sections, framebuffers;
  bool registered, unplugged, polling;
  struct drm_simple_display_pipe* pipes[SHIM_MAX_PIPES];
  struct drm_connector* connectors[SHIM_MAX_PIPES];
  int pipe_count, connector_count;
  struct mutex modeset;
  struct delayed_work poll;
};

struct drm_device* drm_dev_alloc(const struct drm_driver* driver, struct device* parent);
void drm_dev_put(struct drm_device* dev);
int drm_dev_register(struct drm_device* dev, unsigned long flags);
void drm_dev_unregister(struct drm_device* dev);
void drm_dev_unplug(struct drm_device* dev);
bool drm_dev_is_unplugged(struct drm_device* dev);
bool drm_dev_enter(struct drm_device* dev, int* idx);
void drm_dev_exit(int idx);
static inline bool drm_firmware_drivers_only(void) { return false; }

/* ---- GEM */
struct drm_gem_object;
struct drm_gem_object_funcs {
  void (*free)(struct drm_gem_object*);
  struct sg_table* (*get_sg_table)(struct drm_gem_object*);
  int (*vmap)(struct drm_gem_object*, struct iosys_map*);
  void (*vunmap)(struct drm_gem_object*, struct iosys_map*);
  int (*mmap)(struct drm_gem_object*, struct vm_area_struct*);
  const struct vm_operations_struct* vm_ops;
};
struct drm_gem_object {
  struct drm_device* dev;
  const struct drm_gem_object_funcs* funcs;
  size_t size;
  struct dma_buf_attachment* import_attach;
  /* shim: */
  int references, handles;
};
int drm_gem_object_init(struct drm_device* dev, struct drm_gem_object* obj, size_t size);
void drm_gem_object_release(struct drm_gem_object* obj);
void drm_gem_object_put(struct drm_gem_object* obj);
int drm_gem_handle_create(struct drm_file* file, struct drm_gem_object* obj, u32* handle);
struct page** drm_gem_get_pages(struct drm_gem_object* obj);
void drm_gem_put_pages(struct drm_gem_object* obj, struct page** pages, bool dirty, bool accessed);
void drm_prime_gem_destroy(struct drm_gem_object* obj, struct sg_table* table);
struct sg_table* drm_prime_pages_to_sg(struct drm_device* dev, struct page** pages,
                                       unsigned int count);
int drm_prime_sg_to_page_array(struct sg_table* table, struct page** pages, int most);

/* ---- framebuffers */
struct drm_format_info {
  u32 format;
  u8 num_planes;
  u8 cpp[4];
  u8 hsub, vsub;
};
struct drm_framebuffer_funcs {
  void (*destroy)(struct drm_framebuffer*);
};
struct drm_framebuffer {
  struct drm_device* dev;
  const struct drm_format_info* format;
  const struct drm_framebuffer_funcs* funcs;
  unsigned int width, height;
  struct drm_gem_object* obj[4];
  /* shim: */
  int references;
};
struct drm_framebuffer* drm_gem_fb_create_with_funcs(struct drm_device* dev, struct drm_file* file,
                                                     const struct drm_mode_fb_cmd2* command,
                                                     const struct drm_framebuffer_funcs* funcs);
void drm_gem_fb_destroy(struct drm_framebuffer* fb);
#define DRM_FOURCC(a, b, c, d) ((u32)(a) | (u32)(b) << 8 | (u32)(c) << 16 | (u32)(d) << 24)
#define DRM_FORMAT_RGB565 DRM_FOURCC('R', 'G', '1', '6')
#define DRM_FORMAT_RGB888 DRM_FOURCC('R', 'G', '2', '4')
#define DRM_FORMAT_XRGB8888 DRM_FOURCC('X', 'R', '2', '4')
#define DRM_FORMAT_ARGB8888 DRM_FOURCC('A', 'R', '2', '4')
#define DRM_FORMAT_XRGB4444 DRM_FOURCC('X', 'R', '1', '2')
#define DRM_FORMAT_ARGB4444 DRM_FOURCC('A', 'R', '1', '2')
#define DRM_FORMAT_XRGB1555 DRM_FOURCC('X', 'R', '1', '5')
#define DRM_FORMAT_ARGB1555 DRM_FOURCC('A', 'R', '1', '5')
#define DRM_FORMAT_YUYV DRM_FOURCC('Y', 'U', 'Y', 'V')

/* ---- modes, connectors */
struct drm_display_mode {
  int hdisplay, vdisplay, clock;
  unsigned int type;
};
enum { DRM_MODE_TYPE_PREFERRED = 8, DRM_MODE_TYPE_DRIVER = 64 };
enum drm_mode_status { MODE_OK = 0, MODE_ERROR = -1 };
struct videomode {
  unsigned long pixelclock;
  u32 hactive, hfront_porch, hback_porch, hsync_len;
  u32 vactive, vfront_porch, vback_porch, vsync_len;
};
struct drm_connector;
enum drm_connector_status { connector_status_connected = 1, connector_status_disconnected = 2 };
struct drm_modeset_acquire_ctx;
struct drm_connector_helper_funcs {
  int (*get_modes)(struct drm_connector*);
  int (*detect_ctx)(struct drm_connector*, struct drm_modeset_acquire_ctx*, bool force);
};
struct drm_connector_funcs {
  int (*fill_modes)(struct drm_connector*, u32 width, u32 height);
  void (*destroy)(struct drm_connector*);
  void (*reset)(struct drm_connector*);
  void* (*atomic_duplicate_state)(struct drm_connector*);
  void (*atomic_destroy_state)(struct drm_connector*, void* state);
};
enum { DRM_CONNECTOR_POLL_CONNECT = 2, DRM_CONNECTOR_POLL_DISCONNECT = 4 };
enum { DRM_MODE_CONNECTOR_VIRTUAL = 15 };
struct drm_connector {
  struct drm_device* dev;
  u8 polled;
  const struct drm_connector_funcs* funcs;
  /* shim: */
  const struct drm_connector_helper_funcs* helper;
  struct drm_display_mode* probed;
  void* state;
};
int drm_connector_init(struct drm_device* dev, struct drm_connector* connector,
                       const struct drm_connector_funcs* funcs, int type);
void drm_connector_cleanup(struct drm_connector* connector);
static inline void drm_connector_helper_add(struct drm_connector* connector,
                                            const struct drm_connector_helper_funcs* funcs) {
  connector->helper = funcs;
}
int drm_helper_probe_single_connector_modes(struct drm_connector* connector, u32 width, u32 height);
void drm_atomic_helper_connector_reset(struct drm_connector* connector);
void* drm_atomic_helper_connector_duplicate_state(struct drm_connector* connector);
void drm_atomic_helper_connector_destroy_state(struct drm_connector* connector, void* state);
struct drm_display_mode* drm_mode_create(struct drm_device* dev);
void drm_display_mode_from_videomode(const struct videomode* from, struct drm_display_mode* mode);
void drm_mode_probed_add(struct drm_connector* connector, struct drm_display_mode* mode);

/* ---- the display pipe */
struct drm_plane_state {
  struct drm_framebuffer* fb;
  struct drm_crtc* crtc;
  struct drm_atomic_state* state;
};
struct drm_plane {
  struct drm_device* dev;
  struct drm_plane_state* state;
};
struct drm_pending_vblank_event;
struct drm_crtc_state {
  struct drm_crtc* crtc;
  bool enable, active, no_vblank;
  struct drm_pending_vblank_event* event;
};
struct drm_crtc {
  struct drm_device* dev;
  int x, y;
  struct drm_crtc_state* state;
  /* shim: */
  struct shim_commit* last;
  struct drm_display_mode mode;
};
struct drm_simple_display_pipe;
struct drm_simple_display_pipe_funcs {
  enum drm_mode_status (*mode_valid)(struct drm_simple_display_pipe*,
                                     const struct drm_display_mode*);
  void (*enable)(struct drm_simple_display_pipe*, struct drm_crtc_state*, struct drm_plane_state*);
  void (*disable)(struct drm_simple_display_pipe*);
  int (*check)(struct drm_simple_display_pipe*, struct drm_plane_state*, struct drm_crtc_state*);
  void (*update)(struct drm_simple_display_pipe*, struct drm_plane_state*);
};
struct drm_simple_display_pipe {
  struct drm_crtc crtc;
  struct drm_plane plane;
  struct drm_connector* connector;
  const struct drm_simple_display_pipe_funcs* funcs;
  /* shim: */
  const u32* formats;
  int format_count;
};
struct drm_atomic_state {
  struct drm_plane_state* new_plane;
};
static inline struct drm_plane_state* drm_atomic_get_new_plane_state(struct drm_atomic_state* state,
                                                                     struct drm_plane* plane) {
  (void)plane;
  return state->new_plane;
}
int drm_simple_display_pipe_init(struct drm_device* dev, struct drm_simple_display_pipe* pipe,
                                 const struct drm_simple_display_pipe_funcs* funcs,
                                 const u32* formats, unsigned int count, const u64* modifiers,
                                 struct drm_connector* connector);
void drm_crtc_send_vblank_event(struct drm_crtc* crtc, struct drm_pending_vblank_event* event);
void drm_mode_config_init(struct drm_device* dev);
void drm_mode_config_cleanup(struct drm_device* dev);
void drm_mode_config_reset(struct drm_device* dev);
void drm_atomic_helper_shutdown(struct drm_device* dev);
void drm_kms_helper_poll_init(struct drm_device* dev);
void drm_kms_helper_poll_fini(struct drm_device* dev);

#ifdef __cplusplus
}
#endif

#endif
