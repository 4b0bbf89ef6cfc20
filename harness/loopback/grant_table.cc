#include "harness/loopback/grant_table.h"

namespace displif_cts::loopback {

bool GrantTable::grow() {
  if (frames() >= max_frames_) return false;
  entries_.resize(entries_.size() + kGrantsPerFrame);
  return true;
}

std::uint32_t GrantTable::grant(std::uint16_t peer, PageIndex page, bool writable) {
  std::uint32_t ref = 0;
  if (!freed_.empty()) {
    ref = freed_.back();
    freed_.pop_back();
  } else {
    if (fresh_ == entries_.size() && !grow()) return 0;
    ref = fresh_++;
  }
  entries_[ref] = {.used = true, .writable = writable, .peer = peer, .page = page};
  ++used_;
  return ref;
}

GrantEntry* GrantTable::find(std::uint32_t ref) {
  return reaches(ref) && entries_[ref].used ? &entries_[ref] : nullptr;
}

bool GrantTable::end(std::uint32_t ref) {
  entries_[ref].ended = true;
  return settle(ref);
}

bool GrantTable::settle(std::uint32_t ref) {
  GrantEntry& entry = entries_[ref];
  if (!entry.ended || entry.mapped()) return false;
  release(ref);
  return true;
}

void GrantTable::release(std::uint32_t ref) {
  entries_[ref] = {};
  freed_.push_back(ref);
  --used_;
}

}  // namespace displif_cts::loopback
