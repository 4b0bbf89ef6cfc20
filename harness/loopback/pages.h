// A domain's memory, as far as it is shared: a sparse file of pages, which processes map.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <vector>

#include "harness/loopback/fd.h"

namespace displif_cts::loopback {

using PageIndex = std::uint32_t;  // into the file, in pages of 4096 octets

class Pages {
 public:
  explicit Pages(PageIndex count);  // throws std::system_error

  // Zeroed pages, next to each other where that is possible. Empty when there are not enough.
  std::vector<PageIndex> allocate(std::size_t count);
  // Gives pages back; their contents are gone. `pages` becomes sorted.
  void give_back(std::vector<PageIndex>& pages);
  std::size_t used() const { return used_; }

  // The whole file: for reading and writing, and for reading only (mprotect() does not widen it).
  int writable_fd() const { return writable_.get(); }
  int readable_fd() const { return readable_.get(); }

  void clear_octet(PageIndex page, std::uint32_t offset);

 private:
  void free_run(PageIndex first, PageIndex count);

  Fd writable_;
  Fd readable_;
  std::map<PageIndex, PageIndex> holes_;  // first free page -> how many
  std::size_t free_count_;
  std::size_t used_ = 0;
};

}  // namespace displif_cts::loopback
