// Mappings that were given up, kept for who maps the same pages again: in a fuzzer, most of the
// time that mmap() and munmap() take, and the page faults after them. In the meantime
// AddressSanitizer finds who touches them, as the missing pages would have been found.
#pragma once

#include <cstddef>
#include <vector>

#include "harness/loopback/machine.h"

namespace displif_cts::loopback::client {

// Not thread-safe. Off until keep(): then take() and give() refuse.
class KeptMappings {
 public:
  // Without AddressSanitizer nothing is kept.
  void keep();
  // Unmaps all that is kept, and keeps no more.
  void drop();

  // A mapping of these pages that nobody uses; nullptr: there is none.
  void* take(const std::vector<Run>& runs, int protection);
  // A new mapping, in use: give() may take it. `pages`: of all its runs.
  void note(void* start, std::size_t pages, const std::vector<Run>& runs, int protection);
  // False: it is the caller's to unmap.
  bool give(void* start);

 private:
  struct Kept {
    void* start;
    std::size_t pages;
    std::vector<Run> runs;
    int protection;
    bool used;
  };

  std::vector<Kept> kept_;
  std::size_t oldest_ = 0;  // where the next one goes when there are many
  bool keeps_ = false;
};

// Of this process. Behind one lock, gnttab.cc's.
KeptMappings& kept_mappings();

}  // namespace displif_cts::loopback::client
