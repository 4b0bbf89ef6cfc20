// Grants of a real machine. libxengntshr gives pages of its own; what the driver grants is memory
// that it has. So the page that was shared is mapped once more, over the driver's, with what that
// held: from then on the two are one.
#include <sys/mman.h>

extern "C" {
#include <xengnttab.h>
}

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <system_error>
#include <vector>

#include "fuzzers/linux_frontend/peer/kernel.h"
#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::linux_guest {
namespace {

constexpr std::uint32_t kEnd = 0xffffffff;
constexpr std::uint32_t kBackend = 0;

struct Reference {
  std::byte* shared = nullptr;  // libxengntshr's page
  std::byte* memory = nullptr;  // the driver's; null: not granted
  std::uint32_t next = kEnd;    // in the list that the driver allocates from
};

struct Foreign {  // mapped by the driver
  std::shared_ptr<std::byte> mapping;
  std::size_t at = 0;  // its page
};

xengntshr_handle* g_sharer = nullptr;
xengnttab_handle* g_mapper = nullptr;
std::map<std::uint32_t, Reference> g_references;
std::map<std::uint32_t, Foreign> g_foreign;  // by handle
std::uint32_t g_next_handle = 1;

// The page at `from`, which is shared, also at `to`.
bool map_again(std::byte* from, std::byte* to) {
  // Size 0: the old mapping stays (mremap(2)).
  return mremap(from, 0, PAGE_SIZE, MREMAP_MAYMOVE | MREMAP_FIXED, to) == to;
}

// Private memory is there again, with what the shared page holds.
void part(std::byte* memory) {
  std::vector<std::byte> contents(memory, memory + PAGE_SIZE);
  mmap(memory, PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  std::memcpy(memory, contents.data(), contents.size());
}

void drop(std::uint32_t ref) {
  const auto found = g_references.find(ref);
  if (found->second.memory != nullptr) part(found->second.memory);
  xengntshr_unshare(g_sharer, found->second.shared, 1);
  g_references.erase(found);
}

}  // namespace

void grants_open() {
  g_sharer = xengntshr_open(nullptr, 0);
  g_mapper = xengnttab_open(nullptr, 0);
  if (g_sharer == nullptr || g_mapper == nullptr)
    throw std::system_error(errno, std::generic_category(), "the grant devices cannot be opened");
}

}  // namespace displif_cts::linux_guest

using namespace displif_cts::linux_guest;
using displif_cts::shim::finding;

int gnttab_alloc_grant_references(u16 count, grant_ref_t* head) {
  *head = kEnd;
  if (count == 0) return 0;
  std::vector<std::uint32_t> refs(count);
  auto* shared =
      static_cast<std::byte*>(xengntshr_share_pages(g_sharer, kBackend, count, refs.data(), 1));
  if (shared == nullptr) return -ENOSPC;
  for (std::size_t i = count; i > 0; --i) {
    g_references[refs[i - 1]] = {shared + (i - 1) * PAGE_SIZE, nullptr, *head};
    *head = refs[i - 1];
  }
  return 0;
}

void gnttab_free_grant_references(grant_ref_t head) {
  while (head != kEnd) {
    const grant_ref_t next = g_references.at(head).next;
    drop(head);
    head = next;
  }
}

int gnttab_claim_grant_reference(grant_ref_t* head) {
  const grant_ref_t ref = *head;
  if (ref == kEnd) return -ENOSPC;
  *head = g_references.at(ref).next;
  return static_cast<int>(ref);
}

void gnttab_grant_foreign_access_ref(grant_ref_t ref, domid_t /*domid*/, unsigned long frame,
                                     int /*readonly*/) {
  const auto found = g_references.find(ref);
  if (found == g_references.end())
    finding("grant-out-of-range", "grant reference %u is written", ref);
  auto* memory = reinterpret_cast<std::byte*>(frame * PAGE_SIZE);
  std::memcpy(found->second.shared, memory, PAGE_SIZE);
  if (!map_again(found->second.shared, memory))
    finding("no-mapping", "a page cannot be mapped again: errno %d", errno);
  found->second.memory = memory;
}

void gnttab_end_foreign_access(grant_ref_t ref, struct page* /*page*/) {
  const auto found = g_references.find(ref);
  if (found == g_references.end() || found->second.memory == nullptr)
    finding("grant-ended-twice", "grant reference %u is ended and is not in use", ref);
  drop(ref);
}

int gnttab_map_refs(struct gnttab_map_grant_ref* ops, struct gnttab_map_grant_ref* /*kops*/,
                    struct page** /*pages*/, unsigned int count) {
  for (unsigned int i = 0; i < count; ++i) {
    void* page = xengnttab_map_grant_ref(g_mapper, ops[i].dom, ops[i].ref, PROT_READ | PROT_WRITE);
    ops[i].status = GNTST_bad_gntref;
    if (page == nullptr) continue;
    const std::shared_ptr<std::byte> mapping(
        static_cast<std::byte*>(page), [](std::byte* each) { xengnttab_unmap(g_mapper, each, 1); });
    if (!map_again(mapping.get(), reinterpret_cast<std::byte*>(ops[i].host_addr))) continue;
    ops[i].handle = g_next_handle++;
    ops[i].status = GNTST_okay;
    g_foreign[ops[i].handle] = {mapping, 0};
  }
  return 0;
}

int gnttab_unmap_refs(struct gnttab_unmap_grant_ref* ops, struct gnttab_unmap_grant_ref* /*kops*/,
                      struct page** /*pages*/, unsigned int count) {
  int result = 0;
  for (unsigned int i = 0; i < count; ++i) {
    const bool known = g_foreign.erase(ops[i].handle) != 0;
    ops[i].status = known ? GNTST_okay : GNTST_bad_handle;
    if (known) {
      mmap(reinterpret_cast<void*>(ops[i].host_addr), PAGE_SIZE, PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    } else {
      result = -EINVAL;
    }
  }
  return result;
}

int xenbus_setup_ring(struct xenbus_device* /*dev*/, gfp_t /*flags*/, void** address,
                      unsigned int pages, grant_ref_t* grefs) {
  *address = displif_cts::shim::allocate(pages * PAGE_SIZE, __func__);
  grant_ref_t head = kEnd;
  if (const int error = gnttab_alloc_grant_references(static_cast<u16>(pages), &head)) {
    displif_cts::shim::release(*address);
    *address = nullptr;
    for (unsigned int i = 0; i < pages; ++i) grefs[i] = INVALID_GRANT_REF;
    return error;
  }
  for (unsigned int i = 0; i < pages; ++i) {
    grefs[i] = static_cast<grant_ref_t>(gnttab_claim_grant_reference(&head));
    gnttab_grant_foreign_access_ref(grefs[i], 0,
                                    reinterpret_cast<std::uintptr_t>(*address) / PAGE_SIZE + i, 0);
  }
  return 0;
}

void xenbus_teardown_ring(void** address, unsigned int pages, grant_ref_t* grefs) {
  for (unsigned int i = 0; i < pages; ++i) {
    if (grefs[i] == INVALID_GRANT_REF) continue;
    gnttab_end_foreign_access(grefs[i], nullptr);
    grefs[i] = INVALID_GRANT_REF;
  }
  displif_cts::shim::release(*address);
  *address = nullptr;
}
