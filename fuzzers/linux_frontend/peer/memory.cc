// The kernel's memory: AddressSanitizer's, and real pages for buffers, each a mapping of its own.
#include <sys/mman.h>

#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <vector>

#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::shim {
namespace {

void* const kZeroSize = reinterpret_cast<void*>(16);  // as Linux's ZERO_SIZE_PTR
constexpr std::size_t kMostAtOnce = 4U << 20U;        // KMALLOC_MAX_SIZE
constexpr std::size_t kMostPages = 262'144;           // of buffers: a guest of one GiB

std::size_t g_pages = 0;
std::map<const struct device*, std::vector<void*>> g_of_devices;

}  // namespace

void* allocate(std::size_t size, const char* /*site*/) {
  if (size == 0) return kZeroSize;
  void* memory = size % PAGE_SIZE == 0 ? std::aligned_alloc(PAGE_SIZE, size) : std::malloc(size);
  if (memory != nullptr) std::memset(memory, 0, size);
  return memory;
}

void release(const void* memory) {
  if (memory != kZeroSize) std::free(const_cast<void*>(memory));
}

bool take_pages(struct page** pages, std::size_t count) {
  if (g_pages + count > kMostPages) return false;
  void* memory =
      mmap(nullptr, count * PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  g_pages += count;
  for (std::size_t i = 0; i < count; ++i)
    pages[i] = reinterpret_cast<struct page*>(static_cast<char*>(memory) + i * PAGE_SIZE);
  return true;
}

void give_pages(struct page** pages, std::size_t count) {
  if (count == 0) return;
  munmap(pages[0], count * PAGE_SIZE);
  g_pages -= count;
}

unsigned g_armed = 0;
bool fails_slowly(Failure /*what*/) { return false; }

void device_memory_free(const struct device* device) {
  for (void* memory : g_of_devices[device]) std::free(memory);
  g_of_devices.erase(device);
}

}  // namespace displif_cts::shim

using namespace displif_cts::shim;

void* shim_allocate(size_t count, size_t size, bool huge, const char* site) {
  size_t total = 0;
  if (__builtin_mul_overflow(count, size, &total)) return nullptr;
  // A guest has no more than its memory, however it is asked.
  if (total > (huge ? kMostPages * PAGE_SIZE : kMostAtOnce)) return nullptr;
  return allocate(total, site);
}

void kfree(const void* memory) { release(memory); }
void kvfree(const void* memory) { release(memory); }

int xen_alloc_unpopulated_pages(unsigned int count, struct page** pages) {
  return take_pages(pages, count) ? 0 : -ENOMEM;
}

void xen_free_unpopulated_pages(unsigned int count, struct page** pages) {
  give_pages(pages, count);
}

void* devm_kzalloc(struct device* dev, size_t size, gfp_t /*flags*/) {
  void* memory = std::calloc(1, size);
  g_of_devices[dev].push_back(memory);
  return memory;
}

char* devm_kasprintf(struct device* dev, gfp_t flags, const char* format, ...) {
  char text[256];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  const size_t size = std::strlen(text) + 1;
  char* copy = static_cast<char*>(devm_kzalloc(dev, size, flags));
  if (copy != nullptr) std::memcpy(copy, text, size);
  return copy;
}

int dma_coerce_mask_and_coherent(struct device* /*dev*/, u64 /*mask*/) { return 0; }
