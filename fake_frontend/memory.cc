#include "fake_frontend/memory.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

#include "harness/displif/shared_memory.h"
#include "harness/xen/chunks.h"

namespace displif_cts::fake_frontend {

using xen::GrantRef;
using xen::kPageSize;

void Memory::add_pages(Run& run, xen::DomId to, std::size_t pages, xen::Access access,
                       bool revoke) {
  if (pages == 0) return;
  xen::SharedPages shared = xen::SharedPages::share(to, pages, access);
  for (std::size_t i = 0; i < pages; ++i) {
    run.refs.push_back(shared.refs()[i]);
    if (!revoke) {
      run.pages.push_back(shared.page(i));
      continue;
    }
    run.revoked.emplace_back(kPageSize);
    run.pages.push_back(run.revoked.back());
  }
  (revoke ? run.ending : run.granted).push_back(std::move(shared));
}

Memory::Run Memory::make_run(const Domains& domains, std::size_t pages, xen::Access access,
                             Special special, std::size_t special_page) {
  Run run;
  if (special == Special::none) {
    add_pages(run, domains.backend, pages, access, false);
    return run;
  }
  add_pages(run, domains.backend, special_page, access, false);
  const bool foreign = special == Special::foreign;
  add_pages(run, foreign ? domains.stranger : domains.backend, 1, access, !foreign);
  add_pages(run, domains.backend, pages - special_page - 1, access, false);
  return run;
}

Memory Memory::allocate(const Domains& domains, std::uint32_t size, Owner owner, xen::Access access,
                        const MemoryFaults& faults) {
  Memory memory;
  memory.size_ = size;
  memory.pages_needed_ = displif::buffer_pages(size);
  if (memory.pages_needed_ == 0) throw std::invalid_argument("a buffer of no pages");
  const std::uint32_t pages = memory.pages_needed_;
  if (owner == Owner::frontend) {
    const Special special = faults.foreign   ? Special::foreign
                            : faults.revoked ? Special::revoked
                                             : Special::none;
    memory.pages_ =
        make_run(domains, pages, faults.pages_read_only ? xen::Access::read_only : access, special,
                 pages - 1);
    memory.chunks_ = memory.pages_.pages;
    memory.refs_ = memory.pages_.refs;
  }
  const Special special = faults.directory_foreign   ? Special::foreign
                          : faults.directory_revoked ? Special::revoked
                                                     : Special::none;
  memory.directory_ = make_run(
      domains, displif::directory_pages(pages),
      faults.directory_read_only ? xen::Access::read_only : xen::Access::read_write, special, 0);
  memory.directory_refs_ = memory.directory_.refs;
  if (faults.directory_long) {
    memory.surplus_ = xen::SharedPages::share(domains.backend, 1, xen::Access::read_write);
  }
  // Only now: a reference that is free is given to the next page that is shared.
  memory.pages_.ending.clear();
  memory.directory_.ending.clear();
  memory.first_ = memory.directory_refs_.front();
  if (faults.directory_zero) memory.first_ = GrantRef{0};
  if (faults.directory_invalid) memory.first_ = kNoSuchReference;
  memory.write_directory(owner == Owner::frontend ? pages : 0, faults);
  return memory;
}

// `entries`: 0 for the backend to fill in.
void Memory::write_directory(std::uint32_t entries, const MemoryFaults& faults) {
  if (faults.reversed) std::ranges::reverse(refs_);
  if (faults.duplicated && !refs_.empty()) std::ranges::fill(refs_, refs_.front());
  if (faults.invalid && !refs_.empty()) refs_.back() = kNoSuchReference;
  if (faults.zero && !refs_.empty()) refs_.front() = GrantRef{0};
  if (faults.directory_short && !refs_.empty()) refs_.back() = GrantRef{0};
  auto contents = entries == 0 ? displif::build_empty_directory(pages_needed_, directory_refs_)
                               : displif::build_directory(refs_, directory_refs_);
  if (faults.chain_short && contents.size() > 1) contents.front()[0] = 0;
  if (faults.directory_long) contents.back()[0] = xen::raw(surplus_->refs().front());
  if (faults.cyclic) {
    for (std::size_t i = 0; i < contents.size(); ++i) contents[i][0] = xen::raw(directory_refs_[i]);
  }
  for (std::size_t i = 0; i < contents.size(); ++i) {
    const auto octets = std::as_bytes(std::span(contents[i]));
    std::ranges::copy(octets, directory_.pages[i].begin());
  }
}

void Memory::map_backend_pages(const xen::Grants& grants, xen::DomId backend) {
  refs_.clear();
  for (std::uint32_t i = 0; i < pages_needed_; ++i) {
    refs_.push_back(static_cast<GrantRef>(directory_word(i / displif::kRefsPerDirectoryPage,
                                                         1 + i % displif::kRefsPerDirectoryPage)));
  }
  mapping_ = grants.map(backend, refs_, xen::Access::read_write);
  chunks_ = mapping_->chunks();
}

bool Memory::write(std::size_t offset, std::span<const std::byte> octets) {
  if (chunks_.empty() || offset > size_ || octets.size() > size_ - offset) return false;
  xen::for_each_piece(chunks_, offset, octets.size(),
                      [&](std::span<std::byte> piece, std::size_t at) {
                        std::memcpy(piece.data(), octets.data() + at, piece.size());
                      });
  return true;
}

std::optional<std::vector<std::byte>> Memory::read() const {
  if (chunks_.empty()) return std::nullopt;
  std::vector<std::byte> octets(size_);
  xen::for_each_piece(chunks_, 0, octets.size(), [&](std::span<std::byte> piece, std::size_t at) {
    std::memcpy(octets.data() + at, piece.data(), piece.size());
  });
  return octets;
}

void Memory::fill(std::byte octet) {
  for (const std::span<std::byte> chunk : chunks_) std::ranges::fill(chunk, octet);
}

std::uint32_t Memory::directory_word(std::size_t page, std::size_t entry) const {
  if (directory_.pages.empty()) throw std::logic_error("the directory has been ended");
  return displif::shared::load(directory_.pages.at(page), entry * sizeof(std::uint32_t));
}

void Memory::set_directory_word(std::size_t page, std::size_t entry, std::uint32_t value) {
  if (directory_.pages.empty()) throw std::logic_error("the directory has been ended");
  if (entry >= kPageSize / sizeof(std::uint32_t)) throw std::out_of_range("directory entry");
  displif::shared::store(directory_.pages.at(page), entry * sizeof(std::uint32_t), value);
}

void Memory::shake_directory(bool changed) {
  if (directory_.pages.empty() || changed == before_shaking_.has_value()) return;
  if (changed) before_shaking_.emplace();
  for (std::size_t i = 0; i < kShaken; ++i) {
    if (changed) (*before_shaking_)[i] = directory_word(0, i);
    set_directory_word(0, i, changed ? xen::raw(kNoSuchReference) : (*before_shaking_)[i]);
  }
  if (!changed) before_shaking_.reset();
}

void Memory::end_pages() {
  chunks_.clear();
  pages_ = {};
  mapping_.reset();
}

void Memory::end_directory() {
  directory_ = {};
  surplus_.reset();
}

}  // namespace displif_cts::fake_frontend
