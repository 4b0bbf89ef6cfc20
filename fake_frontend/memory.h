// The memory behind buffers: pages granted to the backend, page directories, and what a backend has
// granted in turn.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "harness/displif/page_directory.h"
#include "harness/xen/grants.h"

namespace displif_cts::fake_frontend {

// What faults ask of a buffer's pages and directory; see faults.h.
struct MemoryFaults {
  bool directory_short = false;
  bool chain_short = false;
  bool directory_long = false;
  bool cyclic = false;
  bool duplicated = false;
  bool reversed = false;
  bool foreign = false;
  bool revoked = false;
  bool invalid = false;
  bool zero = false;
  bool pages_read_only = false;
  bool directory_zero = false;
  bool directory_invalid = false;
  bool directory_foreign = false;
  bool directory_revoked = false;
  bool directory_read_only = false;
};

// A reference that no grant table is large enough to have.
inline constexpr xen::GrantRef kNoSuchReference{0x00fffff0};

enum class Owner { frontend, backend };

// Not thread-safe. The destructor ends all grants and mappings.
class Memory {
 public:
  struct Domains {
    xen::DomId backend;
    xen::DomId stranger;  // whom faults grant to
  };

  // Zeroed pages for `size` octets, and the directory that lists them; of the backend's buffer only
  // the directory's links. Throws xen::Error where the limits of the domain do not allow it.
  static Memory allocate(const Domains& domains, std::uint32_t size, Owner owner,
                         xen::Access access, const MemoryFaults& faults);

  xen::GrantRef first() const { return first_; }  // for gref_directory
  const std::vector<xen::GrantRef>& references() const { return refs_; }
  const std::vector<xen::GrantRef>& directory() const { return directory_refs_; }

  // Reads the references that the backend has put into the directory, and maps them. Throws
  // xen::Error; references() are the backend's all the same.
  void map_backend_pages(const xen::Grants& grants, xen::DomId backend);

  // False: `octets` do not lie within the buffer, or it is not there (any more).
  bool write(std::size_t offset, std::span<const std::byte> octets);
  std::optional<std::vector<std::byte>> read() const;
  void fill(std::byte octet);

  // One word of a directory page; 0 is the link to the next. Throws std::out_of_range;
  // std::logic_error when the directory's grants have been ended.
  std::uint32_t directory_word(std::size_t page, std::size_t entry) const;
  void set_directory_word(std::size_t page, std::size_t entry, std::uint32_t value);
  // The first page's link and first entries: changed, or as they were before.
  void shake_directory(bool changed);

  void end_pages();
  void end_directory();

 private:
  // A run of pages that reads as one, where a fault has made one of them special: granted to
  // somebody else, or no longer granted at all.
  struct Run {
    std::vector<xen::SharedPages> granted;
    std::vector<xen::SharedPages> ending;         // revoked as soon as all is shared
    std::vector<std::vector<std::byte>> revoked;  // memory that stands in
    std::vector<std::span<std::byte>> pages;      // one each
    std::vector<xen::GrantRef> refs;              // one each
  };
  enum class Special { none, foreign, revoked };
  static Run make_run(const Domains& domains, std::size_t pages, xen::Access access,
                      Special special, std::size_t special_page);
  static void add_pages(Run& run, xen::DomId to, std::size_t pages, xen::Access access,
                        bool revoke);
  void write_directory(std::uint32_t entries, const MemoryFaults& faults);

  Run pages_;
  Run directory_;
  std::optional<xen::SharedPages> surplus_;   // fault directory-long
  std::optional<xen::Mapping> mapping_;       // of the backend's pages
  std::vector<std::span<std::byte>> chunks_;  // the buffer in order, empty when it is not there
  std::uint32_t size_ = 0;                    // octets
  std::uint32_t pages_needed_ = 0;
  xen::GrantRef first_{};
  std::vector<xen::GrantRef> refs_;
  std::vector<xen::GrantRef> directory_refs_;
  static constexpr std::size_t kShaken = 4;  // words
  std::optional<std::array<std::uint32_t, kShaken>> before_shaking_;
};

}  // namespace displif_cts::fake_frontend
