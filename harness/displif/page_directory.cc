#include "harness/displif/page_directory.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <unordered_set>

namespace displif_cts::displif {
namespace {

constexpr std::uint32_t kPage = kPageSize;
constexpr std::uint32_t kPerPage = kRefsPerDirectoryPage;

std::uint32_t divide_up(std::uint32_t value, std::uint32_t by) {
  return value / by + (value % by != 0 ? 1 : 0);
}

void check_directory_size(std::size_t refs, std::size_t directory) {
  const std::size_t needed = std::max<std::size_t>(1, (refs + kPerPage - 1) / kPerPage);
  if (directory != needed) {
    throw std::invalid_argument(std::to_string(refs) + " references need " +
                                std::to_string(needed) + " directory pages, not " +
                                std::to_string(directory));
  }
}

// Every word is read once, though the peer may write at the same time; only those that are needed.
void copy_page(std::span<const std::byte> memory, std::size_t words, DirectoryPage& page) {
  const auto* from = reinterpret_cast<const volatile std::uint32_t*>(memory.data());
  for (std::size_t i = 0; i < words; ++i) page[i] = from[i];
}

std::string ref_text(xen::GrantRef ref) { return "gref " + std::to_string(raw(ref)); }

class Walk {
 public:
  Walk(std::uint32_t refs, const MapDirectoryPage& map, Entries entries)
      : refs_left_(refs), needed_(directory_pages(refs)), map_(map), entries_(entries) {}

  Directory run(xen::GrantRef first) {
    xen::GrantRef next = first;
    DirectoryPage page;
    for (std::size_t index = 0; index < needed_; ++index) {
      if (!fetch(next, index, page)) return std::move(result_);
      take_entries(page, index);
      next = static_cast<xen::GrantRef>(page[0]);
    }
    if (next != xen::GrantRef{0}) {
      problem(DirectoryError::trailing_page, needed_ - 1,
              "the last of " + std::to_string(needed_) + " directory pages links to " +
                  ref_text(next) + " instead of 0");
    }
    if (zero_refs_ > 0) {
      problem(DirectoryError::zero_reference, first_zero_ / kPerPage,
              "reference 0 for page " + std::to_string(first_zero_) + " of the buffer, " +
                  std::to_string(zero_refs_) + " such in all",
              first_zero_);
    }
    return std::move(result_);
  }

 private:
  void problem(DirectoryError error, std::size_t page, std::string text, std::size_t entry = 0) {
    result_.problems.push_back({error, page, entry, std::move(text)});
  }

  std::string which(std::size_t index) const {
    return "directory page " + std::to_string(index) + " of " + std::to_string(needed_);
  }

  bool fetch(xen::GrantRef ref, std::size_t index, DirectoryPage& page) {
    if (ref == xen::GrantRef{0}) {
      problem(DirectoryError::missing_page, index,
              which(index) + " is missing: the link to it is 0");
      return false;
    }
    if (needed_ > 1 && !seen_.insert(raw(ref)).second) {
      problem(DirectoryError::repeated_page, index,
              which(index) + " is " + ref_text(ref) + ", which the list has had before");
      return false;
    }
    const auto memory = map_(ref);
    if (!memory || memory->size() < kPage) {
      problem(DirectoryError::unmappable_page, index,
              which(index) + ", " + ref_text(ref) + ", cannot be mapped");
      return false;
    }
    result_.pages.push_back(ref);
    copy_page(*memory, 1 + (entries_ == Entries::read ? entries_here() : 0), page);
    return true;
  }

  std::size_t entries_here() const { return std::min(refs_left_, kPerPage); }

  void take_entries(const DirectoryPage& page, std::size_t index) {
    const std::size_t count = std::min<std::size_t>(refs_left_, kPerPage);
    refs_left_ -= static_cast<std::uint32_t>(count);
    if (entries_ == Entries::ignore) return;
    result_.refs.reserve(result_.refs.size() + count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint32_t ref = page[1 + i];
      if (ref == 0 && zero_refs_++ == 0) first_zero_ = index * kPerPage + i;
      result_.refs.push_back(static_cast<xen::GrantRef>(ref));
    }
  }

  std::uint32_t refs_left_;
  std::size_t needed_;
  const MapDirectoryPage& map_;
  Entries entries_;
  std::unordered_set<std::uint32_t> seen_;
  std::size_t zero_refs_ = 0;
  std::size_t first_zero_ = 0;
  Directory result_;
};

}  // namespace

std::uint32_t buffer_pages(std::uint32_t buffer_sz) { return divide_up(buffer_sz, kPage); }

std::uint32_t directory_pages(std::uint32_t refs) {
  return std::max(1U, divide_up(refs, kPerPage));
}

std::vector<DirectoryPage> build_empty_directory(std::uint32_t refs,
                                                 std::span<const xen::GrantRef> directory) {
  check_directory_size(refs, directory.size());
  std::vector<DirectoryPage> pages(directory.size(), DirectoryPage{});
  for (std::size_t i = 0; i + 1 < pages.size(); ++i) pages[i][0] = raw(directory[i + 1]);
  return pages;
}

std::vector<DirectoryPage> build_directory(std::span<const xen::GrantRef> buffer,
                                           std::span<const xen::GrantRef> directory) {
  check_directory_size(buffer.size(), directory.size());
  auto pages = build_empty_directory(static_cast<std::uint32_t>(buffer.size()), directory);
  for (std::size_t i = 0; i < buffer.size(); ++i) {
    pages[i / kPerPage][1 + i % kPerPage] = raw(buffer[i]);
  }
  return pages;
}

void fill_directory(std::span<const xen::GrantRef> buffer,
                    std::span<const std::span<std::byte>> pages) {
  if (pages.size() * kPerPage < buffer.size()) {
    throw std::invalid_argument(std::to_string(pages.size()) + " directory pages cannot hold " +
                                std::to_string(buffer.size()) + " references");
  }
  for (std::size_t i = 0; i < buffer.size(); ++i) {
    const std::uint32_t ref = raw(buffer[i]);
    const std::span<std::byte> entry =
        pages[i / kPerPage].subspan((1 + i % kPerPage) * sizeof(ref), sizeof(ref));
    std::memcpy(entry.data(), &ref, sizeof(ref));
  }
}

std::string_view name(DirectoryError error) {
  switch (error) {
    case DirectoryError::too_large:
      return "too-large";
    case DirectoryError::zero_reference:
      return "zero-reference";
    case DirectoryError::missing_page:
      return "missing-page";
    case DirectoryError::repeated_page:
      return "repeated-page";
    case DirectoryError::trailing_page:
      return "trailing-page";
    case DirectoryError::unmappable_page:
      return "unmappable-page";
  }
  return "?";
}

Directory walk_directory(xen::GrantRef first, std::uint32_t buffer_sz, const MapDirectoryPage& map,
                         Entries entries, std::uint32_t max_refs) {
  const std::uint32_t refs = buffer_pages(buffer_sz);
  if (refs > max_refs) {
    Directory refused;
    refused.problems.push_back({DirectoryError::too_large, 0, 0,
                                std::to_string(buffer_sz) + " octets need " + std::to_string(refs) +
                                    " references, the limit is " + std::to_string(max_refs)});
    return refused;
  }
  return Walk(refs, map, entries).run(first);
}

}  // namespace displif_cts::displif
