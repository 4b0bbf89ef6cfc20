#include "fake_backend/buffers.h"

#include <fmt/format.h>
#include <xen/errno.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <utility>

namespace displif_cts::fake_backend {
namespace {

using displif::raw;

Outcome failed(int error, std::string reason) { return {-error, std::move(reason)}; }
Outcome failed(const xen::Error& error) { return {-error.number(), error.what()}; }

// What keeps a buffer from being used. A last page that links on is a deviation, and harmless.
const displif::DirectoryProblem* blocking(const displif::Directory& directory) {
  const auto found = std::ranges::find_if(directory.problems, [](const auto& problem) {
    return problem.error != displif::DirectoryError::trailing_page;
  });
  return found == directory.problems.end() ? nullptr : &*found;
}

Outcome unusable(const displif::DirectoryProblem& problem) {
  return failed(XEN_EINVAL, fmt::format("page directory: {}", problem.text));
}

// References as the frontend finds them in its directory: [0] is the first entry after the link.
std::uint32_t* entries_of(const xen::Mapping& page) {
  return reinterpret_cast<std::uint32_t*>(page.page(0).data());
}

}  // namespace

displif::Directory Buffers::walk(xen::GrantRef first, std::uint32_t size, xen::Access access,
                                 displif::Entries entries, std::vector<xen::Mapping>& pages) const {
  const auto map = [&](xen::GrantRef ref) -> std::optional<std::span<const std::byte>> {
    auto page = grants_.try_map(frontend_, std::span(&ref, 1), access);
    if (!page) return std::nullopt;
    pages.push_back(std::move(*page));
    return pages.back().page(0);
  };
  return displif::walk_directory(first, size, std::ref(map), entries);
}

Outcome Buffers::map_guest(const DisplayBuffer& buffer, xen::Access access,
                           displif::Directory& walked) {
  std::vector<xen::Mapping> pages;
  walked =
      walk(buffer.directory, buffer.size, xen::Access::read_only, displif::Entries::read, pages);
  if (const auto* problem = blocking(walked)) return unusable(*problem);
  try {
    xen::Mapping memory = grants_.map(frontend_, walked.refs, access);
    entries_.insert_or_assign(buffer.cookie,
                              Entry{std::move(memory), buffer.size, buffer.data_offset,
                                    access == xen::Access::read_write});
  } catch (const xen::Error& error) {
    return failed(error);
  }
  return {};
}

// displif.h, XENDISPL_DBUF_FLG_REQ_ALLOC: the backend grants its pages and fills gref[] in; the
// links between directory pages are the frontend's.
Outcome Buffers::allocate(const DisplayBuffer& buffer, const AllocationFaults& faults,
                          displif::Directory& walked) {
  std::vector<xen::Mapping> pages;
  walked =
      walk(buffer.directory, buffer.size, xen::Access::read_write, displif::Entries::ignore, pages);
  if (const auto* problem = blocking(walked)) return unusable(*problem);
  try {
    xen::SharedPages memory = xen::SharedPages::share(
        frontend_, buffer.pages(),
        faults.read_only ? xen::Access::read_only : xen::Access::read_write);
    if (faults.not_cleared) std::ranges::fill(memory.bytes(), std::byte{0x5a});
    std::vector<xen::GrantRef> refs = memory.refs();
    if (faults.refs_invalid) std::ranges::fill(refs, xen::GrantRef{0x7ffffff0U});
    if (faults.refs_short) refs.pop_back();
    std::vector<std::span<std::byte>> targets;
    targets.reserve(pages.size());
    for (const xen::Mapping& page : pages) targets.push_back(page.page(0));
    if (!faults.refs_missing && !refs.empty()) displif::fill_directory(refs, targets);
    if (faults.next_page_changed) *entries_of(pages.back()) = raw(buffer.directory);
    entries_.insert_or_assign(buffer.cookie,
                              Entry{std::move(memory), buffer.size, buffer.data_offset, true});
  } catch (const xen::Error& error) {
    return failed(error);
  }
  return {};
}

Outcome Buffers::create(const DisplayBuffer& buffer, xen::Access access,
                        const AllocationFaults& faults, displif::Directory& walked) {
  entries_.erase(buffer.cookie);
  return buffer.backend_allocated ? allocate(buffer, faults, walked)
                                  : map_guest(buffer, access, walked);
}

displif::Directory Buffers::read_directory(const DisplayBuffer& buffer) const {
  std::vector<xen::Mapping> pages;
  return walk(buffer.directory, buffer.size, xen::Access::read_only, displif::Entries::read, pages);
}

void Buffers::destroy(DbufCookie cookie, bool keep) {
  const auto found = entries_.find(cookie);
  if (found == entries_.end()) return;
  if (keep) kept_.push_back(std::move(found->second.memory));
  entries_.erase(found);
}

void Buffers::clear(bool keep) {
  while (!entries_.empty()) destroy(entries_.begin()->first, keep);
}

std::optional<std::vector<std::byte>> Buffers::pixels(DbufCookie cookie) const {
  const auto found = entries_.find(cookie);
  if (found == entries_.end()) return std::nullopt;
  std::vector<std::byte> copy(found->second.size);
  if (const auto* mapping = std::get_if<xen::Mapping>(&found->second.memory)) {
    mapping->copy_out(0, copy);
  } else {
    const auto shared = std::get<xen::SharedPages>(found->second.memory).bytes();
    std::memcpy(copy.data(), shared.data(), std::min(copy.size(), shared.size()));
  }
  return copy;
}

void Buffers::scribble(DbufCookie cookie) {
  const auto found = entries_.find(cookie);
  if (found == entries_.end() || !found->second.writable) return;
  const std::uint32_t at = std::min(found->second.data_offset, found->second.size - 1);
  const auto invert = [at](std::span<std::byte> page) {
    std::byte& octet = page[at % xen::kPageSize];
    octet = ~octet;
  };
  std::visit([&](const auto& memory) { invert(memory.page(at / xen::kPageSize)); },
             found->second.memory);
}

Outcome Buffers::write_edid(const ReadEdid& read, std::span<const std::byte> edid, bool keep) {
  std::vector<xen::Mapping> pages;
  const displif::Directory walked =
      walk(read.directory, read.size, xen::Access::read_only, displif::Entries::read, pages);
  if (const auto* problem = blocking(walked)) return unusable(*problem);
  if (edid.size() > read.size) return failed(XEN_EINVAL, "the EDID is larger than its buffer");
  try {
    xen::Mapping memory = grants_.map(frontend_, walked.refs, xen::Access::read_write);
    if (!edid.empty()) memory.copy_in(0, edid);
    if (keep) kept_.push_back(std::move(memory));
  } catch (const xen::Error& error) {
    return failed(error);
  }
  return {};
}

}  // namespace displif_cts::fake_backend
