// The memory behind display buffers: page directories walked, guest pages mapped, own pages
// granted.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <variant>
#include <vector>

#include "fake_backend/faults.h"
#include "fake_backend/model.h"
#include "harness/displif/page_directory.h"
#include "harness/xen/grants.h"

namespace displif_cts::fake_backend {

// What became of an operation on memory. `status` is what the wire says: 0 or -XEN_E...
struct Outcome {
  std::int32_t status = 0;
  std::string reason;
  bool ok() const { return status == 0; }
};

// Faults of this folder's be-alloc-* kind, decided by the caller.
struct AllocationFaults {
  bool refs_invalid = false;
  bool refs_missing = false;
  bool refs_short = false;
  bool next_page_changed = false;
  bool read_only = false;
  bool not_cleared = false;
};

// Not thread-safe. Grants outlives it.
class Buffers {
 public:
  Buffers(const xen::Grants& grants, xen::DomId frontend) : grants_(grants), frontend_(frontend) {}

  // Reads the directory and maps the frontend's pages, in one call; or, for a backend-allocated
  // buffer, grants pages of our own and fills the directory in. `walked` is what the directory
  // held, also where the outcome is a failure. A buffer of the same cookie goes.
  Outcome create(const DisplayBuffer& buffer, xen::Access access, const AllocationFaults& faults,
                 displif::Directory& walked);
  // What the buffer's directory holds now; maps nothing for longer than it takes.
  displif::Directory read_directory(const DisplayBuffer& buffer) const;
  // `keep`: the memory stays mapped until release_kept().
  void destroy(DbufCookie cookie, bool keep);
  void clear(bool keep);
  void release_kept() { kept_.clear(); }

  // A copy of the buffer's octets; nullopt when it is not mapped.
  std::optional<std::vector<std::byte>> pixels(DbufCookie cookie) const;
  // Inverts the first octet of the buffer's data, if it is mapped for writing.
  void scribble(DbufCookie cookie);

  // Puts `edid` into the frontend's EDID buffer. An empty `edid` maps it and leaves it alone.
  // `keep`: it stays mapped until release_kept().
  Outcome write_edid(const ReadEdid& read, std::span<const std::byte> edid, bool keep = false);

 private:
  using Memory = std::variant<xen::Mapping, xen::SharedPages>;
  struct Entry {
    Memory memory;
    std::uint32_t size;         // octets
    std::uint32_t data_offset;  // octets
    bool writable;
  };

  displif::Directory walk(xen::GrantRef first, std::uint32_t size, xen::Access access,
                          displif::Entries entries, std::vector<xen::Mapping>& pages) const;
  Outcome map_guest(const DisplayBuffer& buffer, xen::Access access, displif::Directory& walked);
  Outcome allocate(const DisplayBuffer& buffer, const AllocationFaults& faults,
                   displif::Directory& walked);

  const xen::Grants& grants_;
  xen::DomId frontend_;
  std::map<DbufCookie, Entry> entries_;
  std::vector<Memory> kept_;
};

}  // namespace displif_cts::fake_backend
