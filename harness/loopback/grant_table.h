// A domain's grant table, as Linux uses it: references are given out by the kernel, entries that
// end while another domain maps them stay until it lets go.
#pragma once

#include <cstdint>
#include <vector>

#include "harness/loopback/pages.h"

namespace displif_cts::loopback {

// Entries of version 1 in a frame of 4096 octets (xen/grant_table.h, struct grant_entry_v1).
inline constexpr std::uint32_t kGrantsPerFrame = 512;
// Linux never gives out the first ones (include/xen/interface/grant_table.h,
// GNTTAB_NR_RESERVED_ENTRIES).
inline constexpr std::uint32_t kReservedGrants = 8;
// A pin counter of Xen's has 8 bits (xen/common/grant_table.c, GNTPIN_hstw_mask).
inline constexpr std::uint32_t kMapsPerGrant = 255;

struct GrantEntry {
  bool used = false;
  bool ended = false;  // its owner has ended access, but it is still mapped
  bool writable = false;
  std::uint16_t peer = 0;  // the domain that may map it
  PageIndex page = 0;
  std::uint32_t readers = 0;  // mappings, read-only and writable
  std::uint32_t writers = 0;

  bool mapped() const { return readers + writers != 0; }
};

class GrantTable {
 public:
  explicit GrantTable(std::uint32_t max_frames) : max_frames_(max_frames) { grow(); }

  // The new entry's reference; 0 when the table is full.
  std::uint32_t grant(std::uint16_t peer, PageIndex page, bool writable);
  // nullptr: beyond the table, reserved, or unused.
  GrantEntry* find(std::uint32_t ref);
  // Whether the table reaches so far (Xen's difference between a bad reference and a bad entry).
  bool reaches(std::uint32_t ref) const { return ref < entries_.size(); }
  // Ends access. True: the entry is free again, and its page is the caller's to free.
  bool end(std::uint32_t ref);
  // After an unmap. True: as end(), for an entry that was ended before.
  bool settle(std::uint32_t ref);

  std::uint32_t frames() const {
    return static_cast<std::uint32_t>(entries_.size()) / kGrantsPerFrame;
  }
  std::uint32_t max_frames() const { return max_frames_; }
  std::uint32_t used() const { return used_; }
  const std::vector<GrantEntry>& entries() const { return entries_; }

 private:
  bool grow();
  void release(std::uint32_t ref);

  std::uint32_t max_frames_;
  std::vector<GrantEntry> entries_;
  std::vector<std::uint32_t> freed_;  // the last one freed is the first one given out
  std::uint32_t fresh_ = kReservedGrants;
  std::uint32_t used_ = 0;
};

}  // namespace displif_cts::loopback
