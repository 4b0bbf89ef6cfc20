#include "fuzzers/backend/guest_memory.h"

#include <algorithm>
#include <cstring>
#include <optional>

namespace displif_cts::fuzz_backend {

using displif::raw;

GuestMemory::GuestMemory(xen::DomId backend)
    : directories_(
          xen::SharedPages::share(backend, kDirectories + kFurther, xen::Access::read_write)),
      pages_(xen::SharedPages::share(backend, kPages, xen::Access::read_write)),
      read_only_(xen::SharedPages::share(backend, 1, xen::Access::read_only)) {
  grant(directories_, true);
  grant(pages_, true);
  grant(read_only_, false);
  for (std::size_t i = 1; i < polite_.size(); ++i) polite_[i] = raw(page(i - 1));
  changed_.fill(true);
  std::memcpy(read_only_.bytes().data(), polite_.data(), sizeof(polite_));
  reset();
}

void GuestMemory::grant(const xen::SharedPages& pages, bool writable) {
  for (std::size_t i = 0; i < pages.refs().size(); ++i) {
    const std::uint32_t ref = raw(pages.refs()[i]);
    if (granted_.size() <= ref) granted_.resize(ref + 1);
    granted_[ref] = {pages.page(i).data(), writable};
  }
}

std::uint32_t* GuestMemory::words(std::size_t directory_page) const {
  return reinterpret_cast<std::uint32_t*>(directories_.page(directory_page).data());
}

xen::GrantRef GuestMemory::directory(std::uint64_t cookie, std::uint32_t size) {
  const std::uint32_t needed = displif::directory_pages(displif::buffer_pages(size));
  const std::size_t own = cookie % kDirectories;
  if (needed > 1 && !changed_[own]) {
    words(own)[0] = raw(directories_.refs()[kDirectories]);
    changed_[own] = true;
  }
  if (needed > 2 && !changed_[kDirectories]) {
    words(kDirectories)[0] = raw(directories_.refs()[kDirectories + 1]);
    changed_[kDirectories] = true;
  }
  return first(cookie);
}

void GuestMemory::write_entry(std::uint64_t cookie, std::uint32_t entry, std::uint32_t value) {
  const std::size_t own = cookie % kDirectories;
  words(own)[1 + entry % displif::kRefsPerDirectoryPage] = value;
  changed_[own] = true;
}

void GuestMemory::link(std::uint64_t cookie, std::uint32_t value) {
  const std::size_t own = cookie % kDirectories;
  words(own)[0] = value;
  changed_[own] = true;
}

void GuestMemory::reset() {
  for (std::size_t i = 0; i < changed_.size(); ++i) {
    if (changed_[i]) std::memcpy(words(i), polite_.data(), sizeof(polite_));
  }
  changed_.fill(false);
}

const GuestMemory::Granted* GuestMemory::granted(xen::GrantRef ref) const {
  const std::uint32_t at = raw(ref);
  return at < granted_.size() && granted_[at].memory != nullptr ? &granted_[at] : nullptr;
}

displif::Directory GuestMemory::walk(xen::GrantRef first, std::uint32_t size, bool allocate) const {
  const auto map = [&](xen::GrantRef ref) -> std::optional<std::span<const std::byte>> {
    const Granted* page = granted(ref);
    if (page == nullptr || (allocate && !page->writable)) return std::nullopt;
    return std::span(page->memory, displif::kPageSize);
  };
  return displif::walk_directory(first, size, map,
                                 allocate ? displif::Entries::ignore : displif::Entries::read);
}

// Nobody has written into it, and one page is all that it needs: nearly every directory.
bool GuestMemory::polite(xen::GrantRef first, std::uint32_t size) const {
  if (displif::buffer_pages(size) > displif::kRefsPerDirectoryPage) return false;
  const auto& refs = directories_.refs();
  const auto own = std::find(refs.begin(), refs.begin() + kDirectories, first);
  return own != refs.begin() + kDirectories &&
         !changed_[static_cast<std::size_t>(own - refs.begin())];
}

// Of a directory of one page, which is looked at where it lies: a walk tells more, and takes
// longer.
bool GuestMemory::all_granted(xen::GrantRef first, std::uint32_t pages, bool writable) const {
  const Granted* directory = granted(first);
  if (directory == nullptr) return false;
  const auto* entries = reinterpret_cast<const std::uint32_t*>(directory->memory) + 1;
  return std::all_of(entries, entries + pages, [&](std::uint32_t ref) {
    const Granted* page = granted(xen::GrantRef{ref});
    return page != nullptr && (page->writable || !writable);
  });
}

bool GuestMemory::sound(xen::GrantRef first, std::uint32_t size, bool allocate) const {
  if (polite(first, size)) return true;
  const std::uint32_t pages = displif::buffer_pages(size);
  if (pages <= displif::kRefsPerDirectoryPage && !allocate) return all_granted(first, pages, false);
  const displif::Directory walked = walk(first, size, allocate);
  const auto harmless = [](const displif::DirectoryProblem& problem) {
    return problem.error == displif::DirectoryError::trailing_page;
  };
  return std::ranges::all_of(walked.problems, harmless) &&
         std::ranges::all_of(walked.refs,
                             [&](xen::GrantRef ref) { return granted(ref) != nullptr; });
}

bool GuestMemory::writable(xen::GrantRef first, std::uint32_t size) const {
  if (polite(first, size)) return true;
  const std::uint32_t pages = displif::buffer_pages(size);
  if (pages <= displif::kRefsPerDirectoryPage) return all_granted(first, pages, true);
  const displif::Directory walked = walk(first, size, false);
  return std::ranges::all_of(walked.refs, [&](xen::GrantRef ref) {
    const Granted* page = granted(ref);
    return page != nullptr && page->writable;
  });
}

}  // namespace displif_cts::fuzz_backend
