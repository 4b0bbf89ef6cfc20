// libxengnttab (xengnttab.h) on the loopback machine, as Xen's library and Linux's /dev/xen/gntdev
// and /dev/xen/gntalloc are together.
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "harness/loopback/client/handle.h"
#include "harness/loopback/client/kept_mappings.h"
#include "harness/loopback/client/link.h"

extern "C" {
#include <xengnttab.h>
}

namespace loopback = displif_cts::loopback;
using loopback::Call;
using loopback::kNone;
using loopback::Message;
using loopback::client::Link;
using loopback::client::Memory;

namespace {

constexpr std::size_t kPage = 4096;

// The machine's side of a handle: lives on while pages are mapped through it, as a device file
// does that mappings refer to.
struct Device {
  std::unique_ptr<Link> link;
  std::unique_ptr<Memory> memory;
  std::mutex mutex;  // of `memory`
  pid_t opener = getpid();

  ~Device() {
    if (link && opener == getpid()) link->close();
  }
};

// Pages that this process has mapped (xengnttab_map_*) or shares (xengntshr_share_*).
struct Area {
  std::shared_ptr<Device> device;
  std::uint32_t number;  // the machine's, of the mapping or the area
  std::size_t pages;
  std::vector<bool> gone;  // shared pages that are unmapped already
};

struct Areas {
  std::mutex mutex;
  std::map<const std::byte*, Area> mapped;
  // Of one that is gone in part, the address may be given out again.
  std::multimap<const std::byte*, Area> shared;
};

Areas& areas() {
  // Lives as long as the process: an exit handler may still unmap.
  static auto* const all = new Areas;
  return *all;
}

std::array<std::uint32_t, 2> notify_words(std::uint32_t offset, evtchn_port_t port,
                                          std::size_t pages) {
  // An offset beyond the pages means none (osdep_gnttab_grant_map()).
  return {offset < pages * kPage ? offset : kNone, port};
}

}  // namespace

struct xengntdev_handle final : loopback::client::Listed {
  xengntdev_handle(xentoollog_logger* logger, const char* library) : log(logger, library) {}

  // As the descriptor that /dev/null takes the place of.
  int restrict_to(std::uint32_t) override {
    device = std::make_shared<Device>();
    return 0;
  }

  loopback::client::Log log;
  std::shared_ptr<Device> device = std::make_shared<Device>();
  loopback::Fd fd;  // for xengnttab_fd(): of no use but to be a descriptor
};

namespace {

xengntdev_handle* open_device(xentoollog_logger* logger, loopback::HandleKind kind,
                              const char* library) {
  auto handle = std::make_unique<xengntdev_handle>(logger, library);
  std::string problem;
  handle->device->link = Link::open(kind, -1, false, problem);
  if (!handle->device->link) {
    handle->log.error(problem);
    const int number = errno;
    handle.reset();
    errno = number;
    return nullptr;
  }
  handle->device->memory = std::make_unique<Memory>(*handle->device->link);
  handle->fd.reset(memfd_create("displif-loopback-device", MFD_CLOEXEC));
  return handle.release();
}

bool usable(const xengntdev_handle* handle) {
  if (handle->device->link) return true;
  errno = ENOTTY;
  return false;
}

void* fail(const xengntdev_handle* handle, const char* what) {
  handle->log.error(what);
  return nullptr;
}

void* map_pages(const Device& device, const std::vector<loopback::Run>& runs, int protection) {
  auto& writable_device = const_cast<Device&>(device);
  const std::lock_guard lock(writable_device.mutex);
  return device.memory->map(runs, protection);
}

// Where a fuzzer has mapped and unmapped these pages before, they are still there.
void* map_foreign_pages(const Device& device, const std::vector<loopback::Run>& runs,
                        int protection, std::size_t pages) {
  loopback::client::KeptMappings& kept = loopback::client::kept_mappings();
  {
    const std::lock_guard lock(areas().mutex);
    if (void* const start = kept.take(runs, protection)) return start;
  }
  void* const start = map_pages(device, runs, protection);
  const std::lock_guard lock(areas().mutex);
  if (start != nullptr) kept.note(start, pages, runs, protection);
  return start;
}

void unmap_foreign_pages(void* start, std::size_t pages) {
  {
    const std::lock_guard lock(areas().mutex);
    if (loopback::client::kept_mappings().give(start)) return;
  }
  munmap(start, pages * kPage);
}

// `domains` has one entry for each reference, or one for all.
void* map_refs(xengntdev_handle* handle, std::uint32_t count, const std::uint32_t* domains,
               bool one_domain, const std::uint32_t* refs, int protection, std::uint32_t offset,
               evtchn_port_t port) {
  if (!usable(handle)) return fail(handle, "ioctl MAP_GRANT_REF failed");
  if (count == 0 || count > loopback::kMaxWords / 2) {
    errno = EINVAL;
    return fail(handle, "ioctl MAP_GRANT_REF failed");
  }
  std::vector<std::uint32_t> words;
  words.reserve(2 * std::size_t{count});
  for (std::uint32_t i = 0; i < count; ++i) {
    words.push_back(domains[one_domain ? 0 : i]);
    words.push_back(refs[i]);
  }
  const auto notify = notify_words(offset, port, count);
  const std::shared_ptr<Device> device = handle->device;
  const Message answer = device->link->call(
      Call::map, {(protection & PROT_WRITE) != 0, notify[0], notify[1]}, std::move(words));
  if (answer.code != 0) return fail(handle, "mmap failed");
  std::size_t next = 0;
  void* const start =
      map_foreign_pages(*device, loopback::client::runs_of(answer.words, next), protection, count);
  if (start == nullptr) {
    const int number = errno;
    device->link->call(Call::unmap, {answer.args[0]});
    errno = number;
    return fail(handle, "mmap failed");
  }
  Areas& all = areas();
  const std::lock_guard lock(all.mutex);
  all.mapped.insert_or_assign(static_cast<std::byte*>(start),
                              Area{device, answer.args[0], count, {}});
  return start;
}

int unmap_refs(xengntdev_handle* handle, void* start, std::uint32_t count) {
  Area area;
  {
    Areas& all = areas();
    const std::lock_guard lock(all.mutex);
    const auto found = all.mapped.find(static_cast<std::byte*>(start));
    if (found == all.mapped.end() || found->second.pages != count) {
      errno = EINVAL;
      return -1;
    }
    area = std::move(found->second);
    all.mapped.erase(found);
  }
  unmap_foreign_pages(start, area.pages);
  area.device->link->call(Call::unmap, {area.number});
  // Through a handle that did not map it: the pages are gone, and the driver knows no such slot.
  if (area.device != handle->device) {
    errno = ENOENT;
    return -1;
  }
  return 0;
}

void* share_pages(xengntdev_handle* handle, std::uint32_t domain, int count, std::uint32_t* refs,
                  int writable, std::uint32_t offset, evtchn_port_t port) {
  if (!usable(handle)) return fail(handle, "ioctl failed");
  const auto notify = notify_words(offset, port, static_cast<std::size_t>(std::max(count, 0)));
  const std::shared_ptr<Device> device = handle->device;
  const Message answer = device->link->call(Call::share, {domain, static_cast<std::uint32_t>(count),
                                                          writable != 0, notify[0], notify[1]});
  if (answer.code != 0) return fail(handle, "ioctl failed");
  std::size_t next = 0;
  const std::vector<loopback::Run> runs = loopback::client::runs_of(answer.words, next);
  void* const start = map_pages(*device, runs, PROT_READ | PROT_WRITE);
  const auto pages = static_cast<std::size_t>(count);
  if (start == nullptr || answer.words.size() - next != pages) {
    const int number = errno;
    device->link->call(Call::unshare, {answer.args[0]});
    errno = number;
    return fail(handle, "mmap failed");
  }
  std::copy_n(answer.words.begin() + static_cast<std::ptrdiff_t>(next), pages, refs);
  Areas& all = areas();
  const std::lock_guard lock(all.mutex);
  all.shared.emplace(static_cast<std::byte*>(start),
                     Area{device, answer.args[0], pages, std::vector<bool>(pages)});
  return start;
}

// munmap() with the consequences that gntalloc gives it: access ends with the last page of what
// was shared in one call.
int unshare(void* start, std::uint32_t count) {
  if (munmap(start, count * kPage) != 0) return -1;
  const auto* const first = static_cast<std::byte*>(start);
  const auto* const end = first + count * kPage;
  std::vector<Area> finished;
  {
    Areas& all = areas();
    const std::lock_guard lock(all.mutex);
    for (auto each = all.shared.begin(); each != all.shared.end() && each->first < end;) {
      auto& [base, area] = *each;
      for (std::size_t page = 0; page < area.pages; ++page) {
        const std::byte* const place = base + page * kPage;
        if (place >= first && place < end) area.gone[page] = true;
      }
      if (std::ranges::all_of(area.gone, [](bool gone) { return gone; })) {
        finished.push_back(std::move(area));
        each = all.shared.erase(each);
      } else {
        ++each;
      }
    }
  }
  for (const Area& area : finished) area.device->link->call(Call::unshare, {area.number});
  return 0;
}

// --- grant copy ----------------------------------------------------------------------------------

using Segment = xengnttab_grant_copy_segment_t;

// gntdev_grant_copy_seg()
bool valid(const Segment& segment) {
  const bool from = (segment.flags & GNTCOPY_source_gref) != 0;
  const bool to = (segment.flags & GNTCOPY_dest_gref) != 0;
  return (from || to) && (!from || segment.source.foreign.offset + segment.len <= int{kPage}) &&
         (!to || segment.dest.foreign.offset + segment.len <= int{kPage});
}

// A pinned page of a copy.
struct Place {
  std::int16_t status;
  std::uint32_t domain;
  std::uint32_t page;
};

// Octets of one segment, either way; false with errno when the caller's memory is not there.
bool copy_out(Memory& memory, const Place& place, std::uint16_t offset, void* target,
              std::size_t size) {
  const int fd = memory.fd(place.domain, false);
  return fd >= 0 && pread(fd, target, size, static_cast<off_t>(place.page * kPage + offset)) ==
                        static_cast<ssize_t>(size);
}

bool copy_in(Memory& memory, const Place& place, std::uint16_t offset, const void* source,
             std::size_t size) {
  const int fd = memory.fd(place.domain, true);
  return fd >= 0 && pwrite(fd, source, size, static_cast<off_t>(place.page * kPage + offset)) ==
                        static_cast<ssize_t>(size);
}

// The first status that is not okay counts.
bool copy(Memory& memory, Segment& segment, const Place* from, const Place* to) {
  for (const Place* const place : {from, to}) {
    if (place != nullptr && place->status != GNTST_okay) {
      segment.status = place->status;
      return true;
    }
  }
  std::byte buffer[kPage];
  if (from == nullptr) {
    return copy_in(memory, *to, segment.dest.foreign.offset, segment.source.virt, segment.len);
  }
  if (to == nullptr) {
    return copy_out(memory, *from, segment.source.foreign.offset, segment.dest.virt, segment.len);
  }
  return copy_out(memory, *from, segment.source.foreign.offset, buffer, segment.len) &&
         copy_in(memory, *to, segment.dest.foreign.offset, buffer, segment.len);
}

int copy_grants(xengntdev_handle* handle, std::span<Segment> segments) {
  if (!usable(handle)) return -1;
  Device& device = *handle->device;
  std::vector<std::uint32_t> words;
  for (Segment& segment : segments) {
    if (!valid(segment)) {
      errno = EINVAL;
      return -1;
    }
    segment.status = GNTST_okay;
    if (segment.len == 0) continue;
    const auto add = [&](const Segment::xengnttab_copy_ptr& side, bool write) {
      words.insert(words.end(), {side.foreign.domid, side.foreign.ref, write});
    };
    if ((segment.flags & GNTCOPY_source_gref) != 0) add(segment.source, false);
    if ((segment.flags & GNTCOPY_dest_gref) != 0) add(segment.dest, true);
  }
  if (words.empty()) return 0;
  if (words.size() > loopback::kMaxWords) {
    errno = ENOMEM;
    return -1;
  }
  const Message answer = device.link->call(Call::begin_copy, {}, std::move(words));
  if (answer.code != 0) return -1;
  int error = 0;
  std::size_t next = 0;
  const auto place = [&] {
    const Place its{static_cast<std::int16_t>(answer.words[next]), answer.words[next + 1],
                    answer.words[next + 2]};
    next += 3;
    return its;
  };
  {
    const std::lock_guard lock(device.mutex);
    for (Segment& segment : segments) {
      if (segment.len == 0) continue;
      std::optional<Place> from;
      std::optional<Place> to;
      if ((segment.flags & GNTCOPY_source_gref) != 0) from = place();
      if ((segment.flags & GNTCOPY_dest_gref) != 0) to = place();
      if (!copy(*device.memory, segment, from ? &*from : nullptr, to ? &*to : nullptr)) {
        error = EFAULT;
        break;
      }
    }
  }
  device.link->call(Call::unmap, {answer.args[0]});
  if (error == 0) return 0;
  errno = error;
  return -1;
}

// As a kernel without dma-bufs of grants says for each call of the kind (CONFIG_XEN_GNTDEV_DMABUF
// is off in Debian's).
int no_dma_buf(const xengntdev_handle* handle, const char* what) {
  errno = ENOTTY;
  handle->log.error(what);
  return -1;
}

}  // namespace

extern "C" {

xengnttab_handle* xengnttab_open(xentoollog_logger* logger, unsigned) {
  return open_device(logger, loopback::HandleKind::grant_mapper, "xengnttab");
}

int xengnttab_close(xengnttab_handle* handle) {
  delete handle;
  return 0;
}

int xengnttab_fd(xengnttab_handle* handle) { return handle->fd.get(); }

int xengnttab_set_max_grants(xengnttab_handle*, std::uint32_t) {
  return 0;  // Linux has no such limit any more, and Xen's library says nothing of that
}

void* xengnttab_map_grant_ref(xengnttab_handle* handle, std::uint32_t domain, std::uint32_t ref,
                              int protection) {
  return map_refs(handle, 1, &domain, true, &ref, protection, kNone, kNone);
}

void* xengnttab_map_grant_refs(xengnttab_handle* handle, std::uint32_t count,
                               std::uint32_t* domains, std::uint32_t* refs, int protection) {
  return map_refs(handle, count, domains, false, refs, protection, kNone, kNone);
}

void* xengnttab_map_domain_grant_refs(xengnttab_handle* handle, std::uint32_t count,
                                      std::uint32_t domain, std::uint32_t* refs, int protection) {
  return map_refs(handle, count, &domain, true, refs, protection, kNone, kNone);
}

void* xengnttab_map_grant_ref_notify(xengnttab_handle* handle, std::uint32_t domain,
                                     std::uint32_t ref, int protection, std::uint32_t notify_offset,
                                     evtchn_port_t notify_port) {
  return map_refs(handle, 1, &domain, true, &ref, protection, notify_offset, notify_port);
}

int xengnttab_unmap(xengnttab_handle* handle, void* start, std::uint32_t count) {
  return unmap_refs(handle, start, count);
}

int xengnttab_grant_copy(xengnttab_handle* handle, std::uint32_t count, Segment* segments) {
  const int result = copy_grants(handle, {segments, count});
  if (result != 0) handle->log.error("ioctl GRANT COPY failed");
  return result;
}

int xengnttab_dmabuf_exp_from_refs(xengnttab_handle* handle, std::uint32_t, std::uint32_t,
                                   std::uint32_t count, const std::uint32_t*, std::uint32_t*) {
  if (count == 0) {
    errno = EINVAL;
    return -1;
  }
  return no_dma_buf(handle, "ioctl DMABUF_EXP_FROM_REFS failed");
}

int xengnttab_dmabuf_exp_wait_released(xengnttab_handle* handle, std::uint32_t, std::uint32_t) {
  return no_dma_buf(handle, "ioctl DMABUF_EXP_WAIT_RELEASED failed");
}

int xengnttab_dmabuf_imp_to_refs(xengnttab_handle* handle, std::uint32_t, std::uint32_t,
                                 std::uint32_t count, std::uint32_t*) {
  if (count == 0) {
    errno = EINVAL;
    return -1;
  }
  return no_dma_buf(handle, "ioctl DMABUF_IMP_TO_REFS failed");
}

int xengnttab_dmabuf_imp_release(xengnttab_handle* handle, std::uint32_t) {
  return no_dma_buf(handle, "ioctl DMABUF_IMP_RELEASE failed");
}

xengntshr_handle* xengntshr_open(xentoollog_logger* logger, unsigned) {
  return open_device(logger, loopback::HandleKind::grant_sharer, "xengntshr");
}

int xengntshr_close(xengntshr_handle* handle) {
  delete handle;
  return 0;
}

int xengntshr_fd(xengntshr_handle* handle) { return handle->fd.get(); }

void* xengntshr_share_pages(xengntshr_handle* handle, std::uint32_t domain, int count,
                            std::uint32_t* refs, int writable) {
  return share_pages(handle, domain, count, refs, writable, kNone, kNone);
}

void* xengntshr_share_page_notify(xengntshr_handle* handle, std::uint32_t domain,
                                  std::uint32_t* ref, int writable, std::uint32_t notify_offset,
                                  evtchn_port_t notify_port) {
  return share_pages(handle, domain, 1, ref, writable, notify_offset, notify_port);
}

int xengntshr_unshare(xengntshr_handle*, void* start, std::uint32_t count) {
  return unshare(start, count);
}

}  // extern "C"
