#include "harness/loopback/client/kept_mappings.h"

#include <sys/mman.h>

#include <algorithm>

// AddressSanitizer's (sanitizer/asan_interface.h), where the program has it.
extern "C" {
[[gnu::weak]] void __asan_poison_memory_region(const volatile void* start, std::size_t size);
[[gnu::weak]] void __asan_unpoison_memory_region(const volatile void* start, std::size_t size);
}

namespace displif_cts::loopback::client {
namespace {

constexpr std::size_t kOctets = 4096;   // of a page
constexpr std::size_t kMost = 64;       // mappings
constexpr std::size_t kMostPages = 96;  // of one: to poison more takes longer than to map them

bool same(const std::vector<Run>& one, const std::vector<Run>& other) {
  return std::ranges::equal(one, other, [](const Run& a, const Run& b) {
    return a.domain == b.domain && a.first == b.first && a.count == b.count;
  });
}

}  // namespace

void KeptMappings::keep() { keeps_ = __asan_poison_memory_region != nullptr; }

void KeptMappings::drop() {
  for (const Kept& each : kept_) {
    if (each.used) continue;
    __asan_unpoison_memory_region(each.start, each.pages * kOctets);
    munmap(each.start, each.pages * kOctets);
  }
  kept_.clear();
  keeps_ = false;
}

void* KeptMappings::take(const std::vector<Run>& runs, int protection) {
  for (Kept& each : kept_) {
    if (each.used || each.protection != protection || !same(each.runs, runs)) continue;
    each.used = true;
    __asan_unpoison_memory_region(each.start, each.pages * kOctets);
    return each.start;
  }
  return nullptr;
}

void KeptMappings::note(void* start, std::size_t pages, const std::vector<Run>& runs,
                        int protection) {
  if (!keeps_ || pages > kMostPages) return;
  Kept mapping{start, pages, runs, protection, true};
  if (kept_.size() < kMost) {
    kept_.push_back(std::move(mapping));
    return;
  }
  Kept& place = kept_[oldest_++ % kMost];
  if (place.used) return;
  __asan_unpoison_memory_region(place.start, place.pages * kOctets);
  munmap(place.start, place.pages * kOctets);
  place = std::move(mapping);
}

bool KeptMappings::give(void* start) {
  const auto found = std::ranges::find_if(
      kept_, [&](const Kept& each) { return each.start == start && each.used; });
  if (found == kept_.end()) return false;
  found->used = false;
  __asan_poison_memory_region(start, found->pages * kOctets);
  return true;
}

KeptMappings& kept_mappings() {
  // Lives as long as the process: an exit handler may still unmap.
  static auto* const all = new KeptMappings;
  return *all;
}

}  // namespace displif_cts::loopback::client
