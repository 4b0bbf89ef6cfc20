// The list of pages that names a shared buffer's pages (displif.h, struct xendispl_page_directory):
// each directory page has the reference of the next one, 0 in the last, and up to 1023 references
// of buffer pages.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "harness/displif/wire.h"

namespace displif_cts::displif {

inline constexpr std::size_t kRefsPerDirectoryPage =
    (kPageSize - offsetof(xendispl_page_directory, gref)) / sizeof(grant_ref_t);
static_assert(kRefsPerDirectoryPage == 1023);

// References that describe a buffer of `buffer_sz` octets: displif.h's num_grefs_total.
std::uint32_t buffer_pages(std::uint32_t buffer_sz);
// Directory pages that hold `refs` references; at least one page exists (displif.h,
// gref_directory).
std::uint32_t directory_pages(std::uint32_t refs);

// The contents of one directory page; [0] is gref_dir_next_page. Entries beyond the list are 0.
using DirectoryPage = std::array<std::uint32_t, kPageSize / sizeof(std::uint32_t)>;

// The directory of `buffer`, in the pages whose references are `directory`. Throws
// std::invalid_argument unless directory.size() == directory_pages(buffer.size()).
std::vector<DirectoryPage> build_directory(std::span<const xen::GrantRef> buffer,
                                           std::span<const xen::GrantRef> directory);
// The same for backend allocation: the links only, all entries 0, for `refs` references.
std::vector<DirectoryPage> build_empty_directory(std::uint32_t refs,
                                                 std::span<const xen::GrantRef> directory);
// What the backend does then: fills the entries of the mapped pages (4096 octets each), leaves the
// links. Throws std::invalid_argument when `pages` are too few.
void fill_directory(std::span<const xen::GrantRef> buffer,
                    std::span<const std::span<std::byte>> pages);

enum class DirectoryError {
  too_large,        // more references than the caller allows; nothing was mapped
  zero_reference,   // a buffer page has reference 0, which is invalid (displif.h, 'Assumptions')
  missing_page,     // the list ends before the references that buffer_sz needs
  repeated_page,    // a page of the list links back to an earlier one, or itself
  trailing_page,    // the last page that is needed links to another
  unmappable_page,  // the callback could not map a directory page
};
std::string_view name(DirectoryError error);  // "zero-reference"

struct DirectoryProblem {
  DirectoryError error;
  std::size_t page = 0;   // index of the directory page it was found in or on the way to
  std::size_t entry = 0;  // index of the buffer page's reference, for zero_reference
  std::string text;       // one sentence
};

struct Directory {
  std::vector<xen::GrantRef> pages;  // directory pages in order, as far as they were followed
  std::vector<xen::GrantRef> refs;   // buffer pages in order; empty when only links were asked for
  std::vector<DirectoryProblem> problems;  // empty: sound

  bool ok() const { return problems.empty(); }
};

// Makes the 4096 octets of a directory page readable; nullopt when it cannot be mapped. Called once
// per page, in order; the memory must stay until walk_directory has returned. It may throw: the
// exception passes through.
using MapDirectoryPage =
    std::function<std::optional<std::span<const std::byte>>(xen::GrantRef ref)>;

enum class Entries {
  read,    // the frontend's references
  ignore,  // backend allocation: the backend is to fill them
};

// Follows the list for a buffer of `buffer_sz` octets. Bounded by what buffer_sz needs: at most
// directory_pages(buffer_pages(buffer_sz)) pages are mapped, each copied once, whatever is written
// in them. trailing_page and zero_reference do not end the walk, all other problems do. Entries
// beyond the last reference are not looked at: the header does not reserve them.
Directory walk_directory(xen::GrantRef first, std::uint32_t buffer_sz, const MapDirectoryPage& map,
                         Entries entries = Entries::read, std::uint32_t max_refs = UINT32_MAX);

}  // namespace displif_cts::displif
