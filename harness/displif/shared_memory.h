// Reads and writes of memory that a peer changes at the same time. Every access is one machine
// access that the compiler can neither split, repeat nor leave out.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "harness/displif/wire.h"

namespace displif_cts::displif::shared {

inline std::atomic_ref<std::uint32_t> word(std::span<std::byte> page, std::size_t offset) {
  return std::atomic_ref<std::uint32_t>(
      *reinterpret_cast<std::uint32_t*>(page.subspan(offset, sizeof(std::uint32_t)).data()));
}

// Producer indices: what was written before the store is visible to who loads the new value.
inline std::uint32_t load(std::span<std::byte> page, std::size_t offset) {
  return word(page, offset).load(std::memory_order_acquire);
}
inline void store(std::span<std::byte> page, std::size_t offset, std::uint32_t value) {
  word(page, offset).store(value, std::memory_order_release);
}
// ring.h's xen_mb(): between our store of an index and our look at the peer's.
inline void full_barrier() {
#ifdef __SANITIZE_THREAD__
  // ThreadSanitizer knows no fences, and GCC says so; a locked operation is one on every machine
  // that has the sanitizer.
  static std::atomic<int> fence{0};
  fence.fetch_add(0, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

// Copies once, word by word. `offset` and the size are multiples of 4.
template <std::size_t Size>
void copy_out(std::span<std::byte> page, std::size_t offset, std::array<std::byte, Size>& target) {
  static_assert(Size % sizeof(std::uint32_t) == 0);
  for (std::size_t at = 0; at < Size; at += sizeof(std::uint32_t)) {
    const std::uint32_t value = word(page, offset + at).load(std::memory_order_relaxed);
    std::memcpy(target.data() + at, &value, sizeof(value));
  }
}
template <std::size_t Size>
void copy_in(std::span<std::byte> page, std::size_t offset,
             const std::array<std::byte, Size>& source) {
  static_assert(Size % sizeof(std::uint32_t) == 0);
  for (std::size_t at = 0; at < Size; at += sizeof(std::uint32_t)) {
    std::uint32_t value = 0;
    std::memcpy(&value, source.data() + at, sizeof(value));
    word(page, offset + at).store(value, std::memory_order_relaxed);
  }
}

}  // namespace displif_cts::displif::shared
