// How what lies in the pieces of a mapping is found. Pure; used by grants.cc.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/xen/types.h"

namespace displif_cts::xen {

// Calls copy(piece, position in the whole run, octets of the piece) for every piece of
// [offset, offset + size) in chunks that follow each other. Throws std::out_of_range, before the
// first call, when the run goes beyond their end.
template <class Copy>
void for_each_piece(const std::vector<std::span<std::byte>>& chunks, std::size_t offset,
                    std::size_t size, Copy&& copy);

// The text of a kernel module's parameter as a count; `fallback` for anything but a positive
// number.
std::size_t parse_limit(std::string_view text, std::size_t fallback);

// "domain 1, gref 8" or "domain 1, 1024 grefs from 8".
std::string describe_refs(DomId domain, std::span<const GrantRef> refs);

// ---- implementation

void check_run(const std::vector<std::span<std::byte>>& chunks, std::size_t offset,
               std::size_t size);

template <class Copy>
void for_each_piece(const std::vector<std::span<std::byte>>& chunks, std::size_t offset,
                    std::size_t size, Copy&& copy) {
  check_run(chunks, offset, size);
  std::size_t done = 0;
  for (const std::span<std::byte> chunk : chunks) {
    if (done == size) return;
    if (offset >= chunk.size()) {
      offset -= chunk.size();
      continue;
    }
    const std::size_t count = std::min(chunk.size() - offset, size - done);
    copy(chunk.subspan(offset, count), done);
    done += count;
    offset = 0;
  }
}

}  // namespace displif_cts::xen
