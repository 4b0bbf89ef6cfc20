#include <array>

#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::shim {
namespace {

// Linux's defaults: 64 frames of 512 entries, the first eight reserved for the tool stack.
constexpr std::uint32_t kEntries = 32768;
constexpr std::uint32_t kReserved = 8;
constexpr std::uint32_t kEnd = 0xffffffff;

std::array<Grant, kEntries> g_table;
std::array<std::uint32_t, kEntries> g_next;
std::uint32_t g_free = kReserved;
std::uint32_t g_free_count = kEntries - kReserved;
std::uint32_t g_touched = 0;  // entries below were used since the last clearing
std::uint32_t g_deferred = 0;

void put_free(std::uint32_t ref) {
  g_table[ref] = {};
  g_next[ref] = g_free;
  g_free = ref;
  ++g_free_count;
}

void clear(std::uint32_t below) {
  for (std::uint32_t ref = 0; ref < below; ++ref) {
    g_table[ref] = {};
    g_next[ref] = ref + 1 == kEntries ? kEnd : ref + 1;
  }
}

const bool g_ready = [] {
  clear(kEntries);
  return true;
}();

}  // namespace

Grant* grant(std::uint32_t ref) {
  return ref < kEntries && g_table[ref].active ? &g_table[ref] : nullptr;
}

bool any_deferred_in(const void* memory, std::size_t size) {
  if (g_deferred == 0) return false;
  const auto first = reinterpret_cast<std::uintptr_t>(memory) / PAGE_SIZE;
  const auto last = (reinterpret_cast<std::uintptr_t>(memory) + size - 1) / PAGE_SIZE;
  for (std::uint32_t ref = kReserved; ref < g_touched; ++ref) {
    const Grant& entry = g_table[ref];
    if (entry.deferred && !entry.ring && entry.frame >= first && entry.frame <= last) return true;
  }
  return false;
}

void grant_unmapped(std::uint32_t ref) {
  Grant* entry = grant(ref);
  if (entry == nullptr || !entry->mapped) return;
  entry->mapped = false;
  if (!entry->deferred) return;
  --g_deferred;
  put_free(ref);
}

void grants_begin() {
  clear(g_touched);
  g_free = kReserved;
  g_free_count = kEntries - kReserved;
  g_touched = 0;
  g_deferred = 0;
}

void grants_end() {
  for (std::uint32_t ref = kReserved; ref < g_touched; ++ref) {
    const Grant& entry = g_table[ref];
    if (!entry.active || entry.deferred) continue;
    if (entry.ring) {
      finding_unless(Known::channels_leak, "grant reference %u of a ring is never ended", ref);
    } else {
      finding("grants-left", "grant reference %u of a buffer is never ended", ref);
    }
  }
}

}  // namespace displif_cts::shim

using namespace displif_cts::shim;

int gnttab_alloc_grant_references(u16 count, grant_ref_t* head) {
  shim_point();
  if (fails(Failure::grants) && !masked(Known::buffer_freed_twice)) return -ENOSPC;
  if (count > g_free_count) return -ENOSPC;
  *head = count == 0 ? kEnd : g_free;
  std::uint32_t last = kEnd;
  for (u16 i = 0; i < count; ++i) {
    last = g_free;
    g_free = g_next[g_free];
    if (last >= g_touched) g_touched = last + 1;
  }
  if (last != kEnd) g_next[last] = kEnd;
  g_free_count -= count;
  return 0;
}

void gnttab_free_grant_references(grant_ref_t head) {
  shim_point();
  while (head != kEnd) {
    const grant_ref_t next = g_next[head];
    put_free(head);
    head = next;
  }
}

int gnttab_claim_grant_reference(grant_ref_t* head) {
  shim_point();
  const grant_ref_t ref = *head;
  if (ref == kEnd) return -ENOSPC;
  *head = g_next[ref];
  return static_cast<int>(ref);
}

void gnttab_grant_foreign_access_ref(grant_ref_t ref, domid_t /*domid*/, unsigned long frame,
                                     int /*readonly*/) {
  shim_point();
  if (ref >= kEntries) finding("grant-out-of-range", "grant reference %u is written", ref);
  g_table[ref] = {};
  g_table[ref].frame = frame;
  g_table[ref].active = true;
}

void gnttab_end_foreign_access(grant_ref_t ref, struct page* /*page*/) {
  shim_point();
  if (ref < kReserved) {
    finding_unless(Known::buffer_freed_twice,
                   "grant reference %u, which is the tool stack's, is ended", ref);
    return;
  }
  if (ref >= kEntries) finding("grant-out-of-range", "grant reference %u is ended", ref);
  Grant& entry = g_table[ref];
  if (!entry.active || entry.deferred)
    finding("grant-ended-twice", "grant reference %u is ended and is not in use", ref);
  if (entry.mapped) {
    entry.deferred = true;
    ++g_deferred;
    return;
  }
  put_free(ref);
}

int gnttab_map_refs(struct gnttab_map_grant_ref* ops, struct gnttab_map_grant_ref* /*kops*/,
                    struct page** /*pages*/, unsigned int count) {
  shim_point();
  for (unsigned int i = 0; i < count; ++i) {
    const bool good = ops[i].ref >= kBackendRefs && ops[i].ref < kBackendRefs + kBackendRefCount;
    ops[i].status = good ? GNTST_okay : GNTST_bad_gntref;
    ops[i].handle = good ? ops[i].ref : 0;
  }
  return 0;
}

int gnttab_unmap_refs(struct gnttab_unmap_grant_ref* ops, struct gnttab_unmap_grant_ref* /*kops*/,
                      struct page** /*pages*/, unsigned int count) {
  shim_point();
  int result = 0;
  for (unsigned int i = 0; i < count; ++i) {
    const bool good =
        ops[i].handle >= kBackendRefs && ops[i].handle < kBackendRefs + kBackendRefCount;
    ops[i].status = static_cast<int16_t>(good ? GNTST_okay : GNTST_bad_handle);
    if (!good) result = -EINVAL;  // the page was never the backend's
  }
  return result;
}

int xenbus_setup_ring(struct xenbus_device* /*dev*/, gfp_t /*flags*/, void** address,
                      unsigned int pages, grant_ref_t* grefs) {
  shim_point();
  *address = allocate(pages * PAGE_SIZE, __func__);
  grant_ref_t head = kEnd;
  int error =
      *address == nullptr ? -ENOMEM : gnttab_alloc_grant_references(static_cast<u16>(pages), &head);
  if (error != 0) {
    release(*address);
    *address = nullptr;
    for (unsigned int i = 0; i < pages; ++i) grefs[i] = INVALID_GRANT_REF;
    return error;
  }
  for (unsigned int i = 0; i < pages; ++i) {
    grefs[i] = static_cast<grant_ref_t>(gnttab_claim_grant_reference(&head));
    gnttab_grant_foreign_access_ref(grefs[i], 0,
                                    reinterpret_cast<std::uintptr_t>(*address) / PAGE_SIZE + i, 0);
    g_table[grefs[i]].ring = true;
  }
  return 0;
}

void xenbus_teardown_ring(void** address, unsigned int pages, grant_ref_t* grefs) {
  for (unsigned int i = 0; i < pages; ++i) {
    if (grefs[i] == INVALID_GRANT_REF) continue;
    gnttab_end_foreign_access(grefs[i], nullptr);
    grefs[i] = INVALID_GRANT_REF;
  }
  release(
      *address);  // Linux keeps the page while it is mapped; here the backend lets go of its view
  *address = nullptr;
}
