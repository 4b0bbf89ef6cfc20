/* The part of the kernel that drm_xen_front and xen-front-pgdir-shbuf use, for user space. All of
 * Linux's header names lead here (CMakeLists.txt lists them), except the protocol's own headers,
 * which are taken from the kernel's source as they are. What is real and what is modelled:
 * README.md in the folder above. C and C++. */
#ifndef DISPLIF_CTS_SHIM_KERNEL_H
#define DISPLIF_CTS_SHIM_KERNEL_H

#include <asm-generic/errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- types, macros */

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
typedef uint8_t __u8;
typedef uint16_t __u16;
typedef uint32_t __u32;
typedef uint64_t __u64;
typedef unsigned int gfp_t;
typedef uint64_t phys_addr_t;

#define PAGE_SHIFT 12
#define PAGE_SIZE (1UL << PAGE_SHIFT)
#define XEN_PAGE_SIZE PAGE_SIZE
#define GFP_KERNEL 1U
#define GFP_NOIO 2U
#define __GFP_HIGH 4U

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define ARRAY_SIZE(a) ((int)(sizeof(a) / sizeof((a)[0])))
#define DIV_ROUND_UP(n, d) (((n) + (d)-1) / (d))
#define round_up(x, y) ((((x)-1) | ((__typeof__(x))((y)-1))) + 1)
#define container_of(ptr, type, member) ((type*)((char*)(ptr)-offsetof(type, member)))
#define __init
#define __exit
#define MODULE_DESCRIPTION(x)
#define MODULE_LICENSE(x)
#define MODULE_ALIAS(x)
#define MODULE_AUTHOR(x)
#define EXPORT_SYMBOL_GPL(x)
#define module_init(f) int (*const shim_module_init)(void) = f
#define module_exit(f) void (*const shim_module_exit)(void) = f
extern int (*const shim_module_init)(void);
extern void (*const shim_module_exit)(void);

#define MAX_ERRNO 4095
#define IS_ERR(p) ((unsigned long)(p) >= (unsigned long)-MAX_ERRNO)
#define ERR_PTR(e) ((void*)(long)(e))
#define ERR_CAST(p) ((void*)(p))
#define PTR_ERR(p) ((long)(p))

/* ---- what the shim has to say about a call: an interrupt can arrive, another task can run */
struct shim_progress {
  uint32_t turns;     /* of a loop without a call of the shim; see loops.cc */
  uint32_t calls;     /* of the shim, in one execution */
  uint32_t countdown; /* calls until the interleaving point; 0: there is none */
};
extern struct shim_progress shim_progress;
enum { SHIM_MOST_CALLS = 400000 };
void shim_point_slowly(void);
static inline void shim_point(void) {
  shim_progress.turns = 0;
  if (__builtin_expect(++shim_progress.calls > SHIM_MOST_CALLS || shim_progress.countdown != 0, 0))
    shim_point_slowly();
}
/* The same where no task can be switched: only memory that the other domain shares can change. */
void shim_barrier(void);
#define virt_rmb() shim_barrier()
#define virt_wmb() shim_barrier()
#define virt_mb() shim_barrier()

void shim_log(const char* format, ...) __attribute__((format(printf, 1, 2)));
void shim_warn(const char* file, int line, const char* condition);
#define DRM_ERROR(...) shim_log(__VA_ARGS__)
#define DRM_INFO(...) shim_log(__VA_ARGS__)
#define DRM_DEBUG(...) ((void)0)
#define dev_err(dev, ...) ((void)(dev), shim_log(__VA_ARGS__))
#define WARN_ON(c)                                         \
  __extension__({                                          \
    const int shim_condition = !!(c);                      \
    if (shim_condition) shim_warn(__FILE__, __LINE__, #c); \
    shim_condition;                                        \
  })

/* ---- lists */
struct list_head {
  struct list_head *next, *prev;
};
static inline void INIT_LIST_HEAD(struct list_head* list) { list->next = list->prev = list; }
static inline void list_add(struct list_head* entry, struct list_head* head) {
  head->next->prev = entry;
  entry->next = head->next;
  entry->prev = head;
  head->next = entry;
}
static inline void __list_del_entry(struct list_head* entry) {
  entry->next->prev = entry->prev;
  entry->prev->next = entry->next;
}
static inline void list_del(struct list_head* entry) {
  __list_del_entry(entry);
  entry->next = (struct list_head*)0x100; /* LIST_POISON */
  entry->prev = (struct list_head*)0x122;
}
#define list_for_each_entry_safe(pos, n, head, member)              \
  for (pos = container_of((head)->next, __typeof__(*pos), member),  \
      n = container_of(pos->member.next, __typeof__(*pos), member); \
       &pos->member != (head); pos = n, n = container_of(n->member.next, __typeof__(*n), member))

/* ---- memory */
struct page; /* the address of its memory: page frame number << 12 */
void* shim_allocate(size_t count, size_t size, bool huge, const char* site);
#define kzalloc(size, flags) shim_allocate(1, size, false, __func__)
#define kcalloc(count, size, flags) shim_allocate(count, size, false, __func__)
#define kvmalloc_array(count, size, flags) shim_allocate(count, size, true, __func__)
void kfree(const void* memory);
void kvfree(const void* memory);
#define virt_to_page(address) ((struct page*)((uintptr_t)(address) & ~(PAGE_SIZE - 1)))
#define page_to_xen_pfn(page) ((uintptr_t)(page) >> PAGE_SHIFT)
#define pfn_to_kaddr(pfn) ((void*)((uintptr_t)(pfn) << PAGE_SHIFT))
#define xen_page_to_gfn(page) ((unsigned long)((uintptr_t)(page) >> PAGE_SHIFT))
int xen_alloc_unpopulated_pages(unsigned int count, struct page** pages);
void xen_free_unpopulated_pages(unsigned int count, struct page** pages);

/* ---- devices */
struct device {
  void* driver_data;
};
static inline void* dev_get_drvdata(const struct device* dev) { return dev->driver_data; }
static inline void dev_set_drvdata(struct device* dev, void* data) { dev->driver_data = data; }
void* devm_kzalloc(struct device* dev, size_t size, gfp_t flags);
char* devm_kasprintf(struct device* dev, gfp_t flags, const char* format, ...)
    __attribute__((format(printf, 3, 4)));
#define DMA_BIT_MASK(n) (~0ULL)
int dma_coerce_mask_and_coherent(struct device* dev, u64 mask);

/* ---- time, locks, work */
#define msecs_to_jiffies(ms) ((unsigned long)(ms))
void msleep(unsigned int ms);
void mdelay(unsigned long ms);
#define HZ 1000
unsigned long shim_jiffies(void); /* busy waiting moves them on, too */
#define jiffies shim_jiffies()
#define time_before(a, b) ((long)((a) - (b)) < 0)
void cpu_relax(void);

typedef struct {
  int held;
} spinlock_t;
void spin_lock_init(spinlock_t* lock);
void shim_spin_lock(spinlock_t* lock);
void shim_spin_unlock(spinlock_t* lock);
#define spin_lock_irqsave(lock, flags) ((flags) = 0, shim_spin_lock(lock))
#define spin_unlock_irqrestore(lock, flags) ((void)(flags), shim_spin_unlock(lock))

struct mutex {
  const void* owner;
};
void mutex_init(struct mutex* mutex);
void mutex_lock(struct mutex* mutex);
void mutex_unlock(struct mutex* mutex);

struct completion {
  unsigned int done;
};
void init_completion(struct completion* completion);
void reinit_completion(struct completion* completion);
long wait_for_completion_timeout(struct completion* completion, unsigned long timeout);
void complete(struct completion* completion);
void complete_all(struct completion* completion);

struct work_struct {
  void (*func)(struct work_struct*);
};
struct delayed_work {
  struct work_struct work;
};
#define INIT_DELAYED_WORK(dw, f) ((dw)->work.func = (f))
#define to_delayed_work(w) container_of(w, struct delayed_work, work)
bool schedule_delayed_work(struct delayed_work* work, unsigned long delay);
bool cancel_delayed_work(struct delayed_work* work);
bool cancel_delayed_work_sync(struct delayed_work* work);

/* ---- interrupts */
typedef enum { IRQ_NONE, IRQ_HANDLED } irqreturn_t;
typedef irqreturn_t (*irq_handler_t)(int irq, void* data);
int bind_evtchn_to_irqhandler(unsigned int port, irq_handler_t handler, unsigned long flags,
                              const char* name, void* data);
void unbind_from_irqhandler(unsigned int irq, void* data);
void notify_remote_via_irq(int irq);

/* ---- Xen */
static inline bool xen_domain(void) { return true; }
static inline bool xen_has_pv_devices(void) { return true; }

#include <xen/interface/grant_table.h>

#define INVALID_GRANT_REF ((grant_ref_t)-1)
#define INVALID_GRANT_HANDLE ((grant_handle_t)-1)
int gnttab_alloc_grant_references(u16 count, grant_ref_t* head);
void gnttab_free_grant_references(grant_ref_t head);
int gnttab_claim_grant_reference(grant_ref_t* head);
void gnttab_grant_foreign_access_ref(grant_ref_t ref, domid_t domid, unsigned long frame,
                                     int readonly);
void gnttab_end_foreign_access(grant_ref_t ref, struct page* page);
int gnttab_map_refs(struct gnttab_map_grant_ref* ops, struct gnttab_map_grant_ref* kops,
                    struct page** pages, unsigned int count);
int gnttab_unmap_refs(struct gnttab_unmap_grant_ref* ops, struct gnttab_unmap_grant_ref* kops,
                      struct page** pages, unsigned int count);
static inline void gnttab_set_map_op(struct gnttab_map_grant_ref* op, phys_addr_t address,
                                     uint32_t flags, grant_ref_t ref, domid_t domid) {
  op->host_addr = address;
  op->flags = flags;
  op->ref = ref;
  op->dom = domid;
  op->status = 1; /* not asked yet */
}
static inline void gnttab_set_unmap_op(struct gnttab_unmap_grant_ref* op, phys_addr_t address,
                                       uint32_t flags, grant_handle_t handle) {
  (void)flags;
  op->host_addr = address;
  op->dev_bus_addr = 0;
  op->handle = handle;
  op->status = 1;
}

/* io/xenbus.h's values. */
enum xenbus_state {
  XenbusStateUnknown = 0,
  XenbusStateInitialising = 1,
  XenbusStateInitWait = 2,
  XenbusStateInitialised = 3,
  XenbusStateConnected = 4,
  XenbusStateClosing = 5,
  XenbusStateClosed = 6,
  XenbusStateReconfiguring = 7,
  XenbusStateReconfigured = 8,
};
struct xenbus_transaction {
  u32 id;
};
#define XBT_NIL ((struct xenbus_transaction){0})
struct xenbus_device {
  const char* devicetype;
  const char* nodename;
  const char* otherend;
  int otherend_id;
  struct device dev;
  enum xenbus_state state;
};
struct xenbus_device_id {
  char devicetype[32];
};
struct xenbus_driver {
  const struct xenbus_device_id* ids;
  bool allow_rebind;
  bool not_essential;
  int (*probe)(struct xenbus_device* dev, const struct xenbus_device_id* id);
  void (*otherend_changed)(struct xenbus_device* dev, enum xenbus_state backend_state);
  void (*remove)(struct xenbus_device* dev);
};
int xenbus_register_frontend(struct xenbus_driver* driver);
void xenbus_unregister_driver(struct xenbus_driver* driver);
const char* xenbus_strstate(enum xenbus_state state);
int xenbus_switch_state(struct xenbus_device* dev, enum xenbus_state state);
int xenbus_frontend_closed(struct xenbus_device* dev);
int xenbus_scanf(struct xenbus_transaction t, const char* dir, const char* node, const char* format,
                 ...) __attribute__((format(scanf, 4, 5)));
int xenbus_printf(struct xenbus_transaction t, const char* dir, const char* node,
                  const char* format, ...) __attribute__((format(printf, 4, 5)));
unsigned int xenbus_read_unsigned(const char* dir, const char* node, unsigned int fallback);
int xenbus_transaction_start(struct xenbus_transaction* t);
int xenbus_transaction_end(struct xenbus_transaction t, int abort);
void xenbus_dev_error(struct xenbus_device* dev, int error, const char* format, ...);
void xenbus_dev_fatal(struct xenbus_device* dev, int error, const char* format, ...);
int xenbus_setup_ring(struct xenbus_device* dev, gfp_t flags, void** address, unsigned int pages,
                      grant_ref_t* grefs);
void xenbus_teardown_ring(void** address, unsigned int pages, grant_ref_t* grefs);
int xenbus_alloc_evtchn(struct xenbus_device* dev, unsigned int* port);
int xenbus_free_evtchn(struct xenbus_device* dev, unsigned int port);

#ifdef __cplusplus
}
#endif

#include "drm.h"

#endif
