// Grants over libxengnttab: mapping other domains' pages, sharing own ones.
//
// Open after fork(): a handle must not be used in a child (xengnttab.h). Different handles may be
// used from different threads; one handle from one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "harness/xen/error.h"
#include "harness/xen/types.h"

struct xengntdev_handle;

namespace displif_cts::xen {

enum class Access { read_only, read_write };

// What the kernel does when the page goes, also when the process dies: sets the octet at `offset`
// to 0, notifies `port`, or both (xengnttab.h). Works on single pages only.
struct UnmapNotify {
  std::optional<std::uint32_t> offset;  // octets into the page
  std::optional<Port> port;             // of this domain
};

// Pages of another domain in this process. The destructor unmaps. Keeps the handle open as long as
// it lives. The other domain can change the contents at any time: copy once, then check, then use.
class Mapping {
 public:
  Mapping(Mapping&& other) noexcept;  // leaves `other` without pages
  Mapping& operator=(Mapping&& other) noexcept;
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  std::size_t pages() const { return pages_; }
  std::span<std::byte> page(std::size_t index) const;  // 4096 octets; throws std::out_of_range

  // More pages than the kernel maps in one call lie in several pieces.
  bool contiguous() const { return chunks_.size() == 1; }
  std::span<std::byte> bytes() const;  // all pages; throws std::logic_error when not contiguous()
  const std::vector<std::span<std::byte>>& chunks() const { return chunks_; }

  // Copies `target.size()` octets from `offset` on, across pieces. Throws std::out_of_range.
  void copy_out(std::size_t offset, std::span<std::byte> target) const;
  // The other way; faults with SIGSEGV on a read-only mapping.
  void copy_in(std::size_t offset, std::span<const std::byte> source) const;

  // Unmaps now; throws Error, which the destructor swallows.
  void unmap();

 private:
  friend class Grants;
  Mapping() = default;

  std::shared_ptr<xengntdev_handle> handle_;
  std::vector<std::span<std::byte>> chunks_;
  std::size_t chunk_pages_ = 0;  // pages of every piece but the last
  std::size_t pages_ = 0;
};

class Grants {
 public:
  // `pages_per_call`: 0 takes the limit of the kernel's gntdev (module parameter `limit`; 65,536
  // pages where it is not readable).
  static Grants open(std::size_t pages_per_call = 0);

  // Maps `refs` (at least one) of `domain`, in that order. All or nothing: on an error no page
  // stays mapped, and the Error names the reference or the range. Notify with more than one
  // reference: std::invalid_argument.
  [[nodiscard]] Mapping map(DomId domain, std::span<const GrantRef> refs, Access access,
                            const std::optional<UnmapNotify>& notify = std::nullopt) const;
  [[nodiscard]] Mapping map(DomId domain, GrantRef ref, Access access,
                            const std::optional<UnmapNotify>& notify = std::nullopt) const;

  // The same, where failing is no news: nullopt with errno.
  [[nodiscard]] std::optional<Mapping> try_map(
      DomId domain, std::span<const GrantRef> refs, Access access,
      const std::optional<UnmapNotify>& notify = std::nullopt) const;

  std::size_t pages_per_call() const { return pages_per_call_; }
  xengntdev_handle* handle() const { return handle_.get(); }

 private:
  Grants(std::shared_ptr<xengntdev_handle> handle, std::size_t pages_per_call)
      : handle_(std::move(handle)), pages_per_call_(pages_per_call) {}

  std::shared_ptr<xengntdev_handle> handle_;
  std::size_t pages_per_call_;
};

// Fresh zeroed pages of our own that another domain may map. The destructor ends the grants; the
// kernel frees a page that the other domain still maps when it lets go.
class SharedPages {
 public:
  // Throws Error("xengntshr_share_pages", ...); ENOSPC at the limit of the kernel's gntalloc
  // (module parameter `limit`, 1,024 pages by default). `notify`: one page only.
  [[nodiscard]] static SharedPages share(DomId domain, std::size_t pages, Access access,
                                         const std::optional<UnmapNotify>& notify = std::nullopt);

  SharedPages(SharedPages&& other) noexcept;  // leaves `other` without pages
  SharedPages& operator=(SharedPages&& other) noexcept;
  SharedPages(const SharedPages&) = delete;
  SharedPages& operator=(const SharedPages&) = delete;
  ~SharedPages();

  const std::vector<GrantRef>& refs() const { return refs_; }  // one per page
  std::span<std::byte> bytes() const { return memory_; }
  std::span<std::byte> page(std::size_t index) const;  // 4096 octets; throws std::out_of_range

 private:
  SharedPages() = default;
  void reset() noexcept;

  std::shared_ptr<xengntdev_handle> handle_;
  std::span<std::byte> memory_;
  std::vector<GrantRef> refs_;
};

}  // namespace displif_cts::xen
