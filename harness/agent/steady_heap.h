// For programs that run in an emulated PV domain, where each page fault costs several switches of
// page tables.
#pragma once

#include <malloc.h>

namespace displif_cts::agent {

// What the heap has grown to is kept, and large blocks come from it: glibc would give their pages
// back and take them anew at every turn (mallopt(3)).
inline void keep_heap() {
  constexpr int kKept = 256 << 20;
  constexpr int kMapped = 16 << 20;
  mallopt(M_TRIM_THRESHOLD, kKept);
  mallopt(M_MMAP_THRESHOLD, kMapped);
}

}  // namespace displif_cts::agent
