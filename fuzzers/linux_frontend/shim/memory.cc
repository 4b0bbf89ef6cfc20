#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"
#include "fuzzers/linux_frontend/shim/text.h"

namespace displif_cts::shim {

unsigned g_armed = 0;

namespace {

// kmalloc(0)'s answer, as Linux's ZERO_SIZE_PTR: not null, and not to be touched.
void* const kZeroSize = reinterpret_cast<void*>(16);
constexpr std::size_t kMostAtOnce = 4U << 20U;  // KMALLOC_MAX_SIZE
constexpr std::size_t kMostHuge = 1U << 20U;    // a table of more pages than there are
constexpr std::size_t kMostTogether = 512U << 20U;
constexpr std::size_t kMostPages = 70'000;       // of buffers: 273 MB
constexpr std::size_t kMostPagesMasked = 5'000;  // fewer than grants; four pages of a directory
constexpr std::uintptr_t kPageBase =
    0x100000000000;  // never mapped: nobody touches a buffer's pages

struct Block {
  const void* memory = nullptr;
  std::size_t size = 0;
  const char* site = nullptr;
};

constexpr std::size_t kMostBlocks = 8192;  // of one execution
std::array<Block, kMostBlocks> g_blocks;   // in the order of their allocation
std::size_t g_count = 0;
// Places in g_blocks plus one, by address; open addressing.
constexpr std::size_t kSlots = 2 * kMostBlocks;
std::array<std::uint16_t, kSlots> g_slots;
std::size_t g_live = 0;
std::size_t g_bytes = 0;
std::size_t g_pages = 0;
std::vector<void*> g_device_memory;

struct Armed {
  std::uint32_t after = 0;
  std::uint32_t count = 0;
};
std::array<Armed, static_cast<std::size_t>(Failure::count)> g_failures;

std::size_t slot_of(const void* memory) {
  const auto key = reinterpret_cast<std::uintptr_t>(memory);
  return ((key >> 4) * 0x9e3779b97f4a7c15ULL) >> (64 - 14);
}

void remember(const void* memory, std::size_t size, const char* site) {
  std::size_t at = slot_of(memory);
  while (g_slots[at] != 0) at = (at + 1) % kSlots;
  g_blocks[g_count] = {memory, size, site};
  g_slots[at] = static_cast<std::uint16_t>(++g_count);
  ++g_live;
  g_bytes += size;
}

Block* find(const void* memory) {
  for (std::size_t at = slot_of(memory); g_slots[at] != 0; at = (at + 1) % kSlots) {
    Block& block = g_blocks[g_slots[at] - 1U];
    if (block.memory == memory && block.site != nullptr) return &block;
  }
  return nullptr;
}

// Memory that was allocated just now: nothing is to be checked.
[[gnu::no_sanitize_address]] void clear_pages(void* memory, std::size_t size) {
#if defined(__x86_64__)
  std::size_t count = size / 8;
  asm volatile("rep stosq" : "+D"(memory), "+c"(count) : "a"(0) : "memory");
#else
  std::memset(memory, 0, size);
#endif
}

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  for (const std::string_view other : names) {
    if (name == other) return true;
  }
  return false;
}

void report_left(const Block& block) {
  if (one_of(block.site, {"xen_drm_front_evtchnl_create_all", "xenbus_setup_ring"})) {
    finding_unless(Known::channels_leak, "%zu octets of %s are never freed", block.size,
                   block.site);
  } else if (one_of(block.site, {"gem_create_obj", "gem_alloc_pages_array", "drm_gem_get_pages",
                                 "backend_map"})) {
    finding_unless(Known::object_leaks, "%zu octets of %s are never freed", block.size, block.site);
  } else {
    finding("memory-left", "%zu octets of %s are never freed", block.size, block.site);
  }
}

}  // namespace

void* allocate(std::size_t size, const char* site) {
  shim_point();
  const bool must = std::string_view(site) == "alloc_storage" && masked(Known::buffer_freed_twice);
  if ((!must && fails(Failure::memory)) || g_bytes + size > kMostTogether || g_count == kMostBlocks)
    return nullptr;
  if (size == 0) return kZeroSize;
  // What is a multiple of a page starts on one, as in the kernel.
  const bool whole_pages = size % PAGE_SIZE == 0;
  void* memory = whole_pages ? std::aligned_alloc(PAGE_SIZE, size) : std::calloc(1, size);
  if (memory == nullptr) return nullptr;
  if (whole_pages) clear_pages(memory, size);
  remember(memory, size, site);
  return memory;
}

void release(const void* memory) {
  if (memory == nullptr || memory == kZeroSize) return;
  if (Block* block = find(memory)) {
    if (any_deferred_in(memory, block->size)) {
      finding_unless(Known::directory_freed_while_mapped,
                     "%zu octets of %s are freed while the backend has them mapped", block->size,
                     block->site);
    }
    g_bytes -= block->size;
    --g_live;
    block->site = nullptr;
  }
  std::free(const_cast<void*>(memory));  // what is not ours: AddressSanitizer says it
}

void device_memory_free() {
  for (void* memory : g_device_memory) std::free(memory);
  g_device_memory.clear();
}

bool take_pages(struct page** pages, std::size_t count) {
  if (g_pages + count > (masked(Known::buffer_freed_twice) ? kMostPagesMasked : kMostPages))
    return false;
  for (std::size_t i = 0; i < count; ++i) {
    pages[i] = reinterpret_cast<struct page*>(kPageBase + g_pages++ * PAGE_SIZE);
  }
  return true;
}

void give_pages(struct page** /*pages*/, std::size_t /*count*/) {}  // they are only numbers

void memory_begin() {
  for (std::size_t i = 0; i < g_count; ++i) {
    std::size_t at = slot_of(g_blocks[i].memory);
    while (g_slots[at] != 0) {
      g_slots[at] = 0;
      at = (at + 1) % kSlots;
    }
  }
  g_count = 0;
  g_live = 0;
  g_bytes = 0;
  g_pages = 0;
}

void memory_end() {
  if (g_live == 0) return;
  for (std::size_t i = 0; i < g_count; ++i) {
    Block& block = g_blocks[i];
    if (block.site == nullptr) continue;
    report_left(block);
    std::free(const_cast<void*>(block.memory));
    block.site = nullptr;
  }
}

void fail_after(Failure what, std::uint32_t after, std::uint32_t count) {
  Armed& armed = g_failures[static_cast<std::size_t>(what)];
  if (armed.count != 0) --g_armed;
  armed = {after, count};
  if (armed.count != 0) ++g_armed;
}

bool fails_slowly(Failure what) {
  Armed& armed = g_failures[static_cast<std::size_t>(what)];
  if (armed.count == 0) return false;
  if (armed.after > 0) {
    --armed.after;
    return false;
  }
  if (--armed.count == 0) --g_armed;
  return true;
}

void failures_begin() {
  g_failures.fill({});
  g_armed = 0;
}

}  // namespace displif_cts::shim

using namespace displif_cts::shim;

void* shim_allocate(size_t count, size_t size, bool huge, const char* site) {
  size_t total = 0;
  if (__builtin_mul_overflow(count, size, &total)) return nullptr;
  if (total > (huge ? kMostHuge : kMostAtOnce)) return nullptr;
  return allocate(total, site);
}

void kfree(const void* memory) { release(memory); }
void kvfree(const void* memory) { release(memory); }

int xen_alloc_unpopulated_pages(unsigned int count, struct page** pages) {
  shim_point();
  if (fails(Failure::memory) || !take_pages(pages, count)) return -ENOMEM;
  return 0;
}

void xen_free_unpopulated_pages(unsigned int count, struct page** pages) {
  shim_point();
  if (count > 0 && pages == nullptr)
    finding("pages-freed-twice", "unpopulated pages without an array are freed");
  give_pages(pages, count);
}

void* devm_kzalloc(struct device* /*dev*/, size_t size, gfp_t /*flags*/) {
  shim_point();
  const bool path = size < 64 && masked(Known::reconnect_with_other_connectors);  // of a connector
  if (!path && fails(Failure::memory)) return nullptr;
  void* memory = std::calloc(1, size);
  g_device_memory.push_back(memory);
  return memory;
}

char* devm_kasprintf(struct device* dev, gfp_t flags, const char* format, ...) {
  char text[128];
  va_list arguments;
  va_start(arguments, format);
  const size_t size = print_text(text, sizeof(text), format, arguments) + 1;
  va_end(arguments);
  char* copy = static_cast<char*>(devm_kzalloc(dev, size, flags));
  if (copy != nullptr) std::memcpy(copy, text, size);
  return copy;
}

int dma_coerce_mask_and_coherent(struct device* /*dev*/, u64 /*mask*/) {
  shim_point();
  return fails(Failure::drm) ? -EIO : 0;
}

int vm_map_pages(struct vm_area_struct* vma, struct page** pages, unsigned long count) {
  shim_point();
  if (fails(Failure::drm)) return -ENOMEM;
  if ((vma->vm_end - vma->vm_start) / PAGE_SIZE > count) return -ENXIO;
  return pages == nullptr ? -EFAULT : 0;
}
