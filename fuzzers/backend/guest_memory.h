// The memory that the attacking frontend has granted: page directories, the pages that they name,
// and references that must not work. Directories are polite until an action writes into them, and
// polite again after reset().
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "harness/displif/page_directory.h"
#include "harness/displif/wire.h"
#include "harness/xen/grants.h"

namespace displif_cts::fuzz_backend {

class GuestMemory {
 public:
  static constexpr std::size_t kDirectories =
      4;  // first pages of directories, one for each cookie modulo this
  static constexpr std::size_t kFurther = 2;  // pages that follow one: 3,069 references in all
  static constexpr std::size_t kPages = 64;   // that directories name, again and again

  // In the calling thread's domain. Throws xen::Error.
  explicit GuestMemory(xen::DomId backend);

  // The first directory page for a buffer of this cookie; its list has as many pages as `size`
  // octets need.
  xen::GrantRef directory(std::uint64_t cookie, std::uint32_t size);
  // By what an action names: the directory's own page, and the others.
  void write_entry(std::uint64_t cookie, std::uint32_t entry, std::uint32_t value);
  void link(std::uint64_t cookie, std::uint32_t value);
  // The backend has written into a list, which may lead from any page to any other.
  void filled() { changed_.fill(true); }
  // Of a directory of one page: nobody has written into it, so that it lists the buffer's own
  // pages.
  bool polite(xen::GrantRef first, std::uint32_t size) const;
  void reset();

  xen::GrantRef page(std::size_t index) const { return pages_.refs()[index % kPages]; }
  xen::GrantRef read_only() const {
    return read_only_.refs().front();
  }  // a directory that cannot be written
  xen::GrantRef ungranted() const { return xen::GrantRef{20'000}; }  // in the table, and not in use
  xen::GrantRef first(std::uint64_t cookie) const {
    return directories_.refs()[cookie % kDirectories];
  }

  // Can a buffer of `size` octets be had by this directory, as it stands now? `allocate`: the
  // backend is to fill it.
  bool sound(xen::GrantRef first, std::uint32_t size, bool allocate) const;
  // May the backend write into every page of such a buffer?
  bool writable(xen::GrantRef first, std::uint32_t size) const;

 private:
  struct Granted {
    const std::byte* memory = nullptr;
    bool writable = false;
  };
  const Granted* granted(xen::GrantRef ref) const;
  bool all_granted(xen::GrantRef first, std::uint32_t pages, bool writable) const;
  displif::Directory walk(xen::GrantRef first, std::uint32_t size, bool allocate) const;
  std::uint32_t* words(std::size_t directory_page) const;
  void grant(const xen::SharedPages& pages, bool writable);

  xen::SharedPages directories_;
  xen::SharedPages pages_;
  xen::SharedPages read_only_;
  std::vector<Granted> granted_;  // by reference
  displif::DirectoryPage polite_{};
  std::array<bool, kDirectories + kFurther> changed_{};
};

}  // namespace displif_cts::fuzz_backend
