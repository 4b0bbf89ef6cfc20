#include "harness/xen/grants.h"

extern "C" {
#include <xengnttab.h>
}

#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "harness/xen/chunks.h"

namespace displif_cts::xen {
namespace {

// The kernel's default for xen_gntdev's parameter `limit`.
constexpr std::size_t kDefaultLimit = 65536;

std::size_t kernel_limit() {
  std::ifstream file("/sys/module/xen_gntdev/parameters/limit");
  const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return parse_limit(text, kDefaultLimit);
}

// What the C interface takes for "none".
std::uint32_t offset_of(const std::optional<UnmapNotify>& notify) {
  return notify && notify->offset ? *notify->offset : std::numeric_limits<std::uint32_t>::max();
}
evtchn_port_t port_of(const std::optional<UnmapNotify>& notify) {
  return notify && notify->port ? raw(*notify->port) : std::numeric_limits<evtchn_port_t>::max();
}

void check_notify(const std::optional<UnmapNotify>& notify, std::size_t pages) {
  if (!notify) return;
  if (pages != 1) throw std::invalid_argument("notify on unmap works on single pages only");
  if (notify->offset && *notify->offset >= kPageSize) {
    throw std::invalid_argument("notify on unmap: offset beyond the page");
  }
}

void* map_call(xengntdev_handle* handle, DomId domain, std::span<const GrantRef> refs,
               int protection, const std::optional<UnmapNotify>& notify) {
  if (notify) {
    return xengnttab_map_grant_ref_notify(handle, raw(domain), raw(refs.front()), protection,
                                          offset_of(notify), port_of(notify));
  }
  thread_local std::vector<std::uint32_t> numbers;
  numbers.clear();
  for (const GrantRef ref : refs) numbers.push_back(raw(ref));
  return xengnttab_map_domain_grant_refs(handle, static_cast<std::uint32_t>(numbers.size()),
                                         raw(domain), numbers.data(), protection);
}

std::span<std::byte> page_of(std::span<std::byte> memory, std::size_t index) {
  if (index >= memory.size() / kPageSize) {
    throw std::out_of_range("page " + std::to_string(index) + " of " +
                            std::to_string(memory.size() / kPageSize));
  }
  return memory.subspan(index * kPageSize, kPageSize);
}

}  // namespace

Mapping::Mapping(Mapping&& other) noexcept
    : handle_(std::move(other.handle_)),
      chunks_(std::exchange(other.chunks_, {})),
      chunk_pages_(other.chunk_pages_),
      pages_(std::exchange(other.pages_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  Mapping incoming(std::move(other));
  std::swap(handle_, incoming.handle_);
  std::swap(chunks_, incoming.chunks_);
  std::swap(chunk_pages_, incoming.chunk_pages_);
  std::swap(pages_, incoming.pages_);
  return *this;  // what was mapped here goes with `incoming`
}

Mapping::~Mapping() {
  try {
    unmap();
  } catch (const Error&) {  // nothing can be done about it here; unmap() says it
  }
}

void Mapping::unmap() {
  int number = 0;
  for (const std::span<std::byte> chunk : std::exchange(chunks_, {})) {
    const auto count = static_cast<std::uint32_t>(chunk.size() / kPageSize);
    if (xengnttab_unmap(handle_.get(), chunk.data(), count) != 0) number = errno;
  }
  const std::size_t pages = std::exchange(pages_, 0);
  handle_.reset();
  if (number != 0) throw Error("xengnttab_unmap", std::to_string(pages) + " pages", number);
}

std::span<std::byte> Mapping::page(std::size_t index) const {
  if (index >= pages_) {
    throw std::out_of_range("page " + std::to_string(index) + " of " + std::to_string(pages_));
  }
  return page_of(chunks_[index / chunk_pages_], index % chunk_pages_);
}

std::span<std::byte> Mapping::bytes() const {
  if (!contiguous()) throw std::logic_error("a mapping in several pieces has no single span");
  return chunks_.front();
}

void Mapping::copy_out(std::size_t offset, std::span<std::byte> target) const {
  for_each_piece(chunks_, offset, target.size(), [&](std::span<std::byte> piece, std::size_t at) {
    std::memcpy(target.data() + at, piece.data(), piece.size());
  });
}

void Mapping::copy_in(std::size_t offset, std::span<const std::byte> source) const {
  for_each_piece(chunks_, offset, source.size(), [&](std::span<std::byte> piece, std::size_t at) {
    std::memcpy(piece.data(), source.data() + at, piece.size());
  });
}

Grants Grants::open(std::size_t pages_per_call) {
  xengntdev_handle* handle = xengnttab_open(nullptr, 0);
  if (handle == nullptr) throw Error("xengnttab_open", "grants", errno);
  if (pages_per_call == 0) pages_per_call = kernel_limit();
  return Grants(
      std::shared_ptr<xengntdev_handle>(handle, [](xengntdev_handle* h) { xengnttab_close(h); }),
      pages_per_call);
}

std::optional<Mapping> Grants::try_map(DomId domain, std::span<const GrantRef> refs, Access access,
                                       const std::optional<UnmapNotify>& notify) const {
  if (refs.empty()) throw std::invalid_argument("a mapping of no pages");
  check_notify(notify, refs.size());
  const int protection = access == Access::read_only ? PROT_READ : PROT_READ | PROT_WRITE;
  Mapping mapping;
  mapping.handle_ = handle_;
  mapping.chunk_pages_ = pages_per_call_;
  std::size_t done = 0;
  while (done < refs.size()) {
    const std::size_t count = std::min(refs.size() - done, pages_per_call_);
    const auto part = refs.subspan(done, count);
    void* memory = map_call(handle_.get(), domain, part, protection, notify);
    if (memory == nullptr) {
      const int number = errno;
      mapping.unmap();
      errno = number;
      return std::nullopt;
    }
    mapping.chunks_.emplace_back(static_cast<std::byte*>(memory), count * kPageSize);
    done += count;
    mapping.pages_ = done;
  }
  return mapping;
}

Mapping Grants::map(DomId domain, std::span<const GrantRef> refs, Access access,
                    const std::optional<UnmapNotify>& notify) const {
  auto mapping = try_map(domain, refs, access, notify);
  if (mapping) return std::move(*mapping);
  const int number = errno;
  throw Error(notify ? "xengnttab_map_grant_ref_notify" : "xengnttab_map_domain_grant_refs",
              describe_refs(domain, refs), number);
}

Mapping Grants::map(DomId domain, GrantRef ref, Access access,
                    const std::optional<UnmapNotify>& notify) const {
  return map(domain, std::span(&ref, 1), access, notify);
}

SharedPages SharedPages::share(DomId domain, std::size_t pages, Access access,
                               const std::optional<UnmapNotify>& notify) {
  if (pages == 0 || pages > static_cast<std::size_t>(std::numeric_limits<int>::max()) / kPageSize) {
    throw std::invalid_argument("sharing " + std::to_string(pages) + " pages");
  }
  check_notify(notify, pages);
  xengntshr_handle* handle = xengntshr_open(nullptr, 0);
  if (handle == nullptr) throw Error("xengntshr_open", "grants", errno);
  SharedPages shared;
  shared.handle_ =
      std::shared_ptr<xengntdev_handle>(handle, [](xengntdev_handle* h) { xengntshr_close(h); });
  std::vector<std::uint32_t> refs(pages);
  const int writable = access == Access::read_write ? 1 : 0;
  void* memory = notify ? xengntshr_share_page_notify(handle, raw(domain), refs.data(), writable,
                                                      offset_of(notify), port_of(notify))
                        : xengntshr_share_pages(handle, raw(domain), static_cast<int>(pages),
                                                refs.data(), writable);
  if (memory == nullptr) {
    const int number = errno;
    throw Error(notify ? "xengntshr_share_page_notify" : "xengntshr_share_pages",
                std::to_string(pages) + " pages for domain " + std::to_string(raw(domain)), number);
  }
  shared.memory_ = {static_cast<std::byte*>(memory), pages * kPageSize};
  for (const std::uint32_t ref : refs) shared.refs_.push_back(static_cast<GrantRef>(ref));
  return shared;
}

SharedPages::SharedPages(SharedPages&& other) noexcept
    : handle_(std::move(other.handle_)),
      memory_(std::exchange(other.memory_, {})),
      refs_(std::exchange(other.refs_, {})) {}

SharedPages& SharedPages::operator=(SharedPages&& other) noexcept {
  SharedPages incoming(std::move(other));
  std::swap(handle_, incoming.handle_);
  std::swap(memory_, incoming.memory_);
  std::swap(refs_, incoming.refs_);
  return *this;  // what was shared here goes with `incoming`
}

SharedPages::~SharedPages() { reset(); }

void SharedPages::reset() noexcept {
  if (handle_ && !memory_.empty()) {
    xengntshr_unshare(handle_.get(), memory_.data(),
                      static_cast<std::uint32_t>(memory_.size() / kPageSize));
  }
  memory_ = {};
  handle_.reset();
}

std::span<std::byte> SharedPages::page(std::size_t index) const { return page_of(memory_, index); }

}  // namespace displif_cts::xen
