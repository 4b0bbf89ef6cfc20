#include "lab/zero_copy/buffers.h"

#include <drm.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

#include "lab/kernel/dmabuf/peek/displif_dmabuf_peek.h"

extern "C" {
#include <xengnttab.h>
}

namespace displif_cts::zero_copy {
namespace {

constexpr std::size_t kPage = 4096;
constexpr int kMostCards = 8;

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what + ": " + std::strerror(errno));
}

File open_peek() {
  File device(open(DISPLIF_PEEK_DEVICE, O_RDWR | O_CLOEXEC));
  if (!device) fail(std::string("open ") + DISPLIF_PEEK_DEVICE);
  return device;
}

File open_vgem() {
  for (int i = 0; i < kMostCards; ++i) {
    File card(open(("/dev/dri/card" + std::to_string(i)).c_str(), O_RDWR | O_CLOEXEC));
    std::array<char, 16> name{};
    drm_version version{};
    version.name = name.data();
    version.name_len = name.size() - 1;
    if (card && ioctl(card.get(), DRM_IOCTL_VERSION, &version) == 0 &&
        std::string_view(name.data()) == "vgem") {
      return card;
    }
  }
  throw std::runtime_error("no card of the driver vgem");
}

void copy(int device, std::size_t offset, unsigned char& octet, bool write) {
  displif_peek_copy op{};
  op.offset = offset;
  op.size = 1;
  op.user = reinterpret_cast<std::uintptr_t>(&octet);
  op.write = write ? 1 : 0;
  if (ioctl(device, DISPLIF_PEEK_COPY, &op) != 0) fail("DISPLIF_PEEK_COPY");
}

}  // namespace

File& File::operator=(File&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

void File::close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Gntdev::Gntdev() : handle_(xengnttab_open(nullptr, 0)) {
  if (handle_ == nullptr) fail("xengnttab_open");
}

void Gntdev::close() {
  if (handle_ != nullptr) xengnttab_close(std::exchange(handle_, nullptr));
}

File Gntdev::exported(long domain, const std::vector<long>& refs) const {
  const std::vector<std::uint32_t> list(refs.begin(), refs.end());
  std::uint32_t fd = 0;
  const int result =
      xengnttab_dmabuf_exp_from_refs(handle_, static_cast<std::uint32_t>(domain), 0,
                                     static_cast<std::uint32_t>(list.size()), list.data(), &fd);
  return File(result == 0 ? static_cast<int>(fd) : -1);
}

int Gntdev::wait_released(int fd, std::uint32_t milliseconds) const {
  return xengnttab_dmabuf_exp_wait_released(handle_, static_cast<std::uint32_t>(fd), milliseconds);
}

std::optional<std::vector<long>> Gntdev::imported(long domain, int fd, std::size_t pages) const {
  std::vector<std::uint32_t> refs(pages);
  if (xengnttab_dmabuf_imp_to_refs(handle_, static_cast<std::uint32_t>(domain),
                                   static_cast<std::uint32_t>(fd),
                                   static_cast<std::uint32_t>(pages), refs.data()) != 0) {
    return std::nullopt;
  }
  return std::vector<long>(refs.begin(), refs.end());
}

int Gntdev::release_import(int fd) const {
  return xengnttab_dmabuf_imp_release(handle_, static_cast<std::uint32_t>(fd));
}

std::optional<Held> Held::take(int fd) {
  File device = open_peek();
  displif_peek_import op{};
  op.fd = fd;
  if (ioctl(device.get(), DISPLIF_PEEK_IMPORT, &op) != 0) return std::nullopt;
  return Held(std::move(device), op.pages);
}

unsigned char Held::peek(std::size_t offset) const {
  unsigned char octet = 0;
  copy(device_.get(), offset, octet, false);
  return octet;
}

void Held::poke(std::size_t offset, unsigned char value) const {
  copy(device_.get(), offset, value, true);
}

File peek_export(std::size_t pages, std::uint32_t offset) {
  const File device = open_peek();
  displif_peek_export op{};
  op.pages = static_cast<std::uint32_t>(pages);
  op.offset = offset;
  if (ioctl(device.get(), DISPLIF_PEEK_EXPORT, &op) != 0) fail("DISPLIF_PEEK_EXPORT");
  return File(op.fd);
}

VgemBuffer::VgemBuffer(std::size_t pages) : card_(open_vgem()), size_(pages * kPage) {
  drm_mode_create_dumb create{};
  create.width = 1024;  // 4 octets each: a page
  create.height = static_cast<std::uint32_t>(pages);
  create.bpp = 32;
  if (ioctl(card_.get(), DRM_IOCTL_MODE_CREATE_DUMB, &create) != 0) fail("MODE_CREATE_DUMB");
  drm_prime_handle prime{};
  prime.handle = create.handle;
  prime.flags = O_RDWR | O_CLOEXEC;
  if (ioctl(card_.get(), DRM_IOCTL_PRIME_HANDLE_TO_FD, &prime) != 0) fail("PRIME_HANDLE_TO_FD");
  dmabuf_ = File(prime.fd);
  void* const view = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, dmabuf_.get(), 0);
  if (view == MAP_FAILED) fail("mmap of a dma-buf of vgem's");
  view_ = static_cast<unsigned char*>(view);
}

VgemBuffer::~VgemBuffer() {
  if (view_ != nullptr) munmap(view_, size_);
}

}  // namespace displif_cts::zero_copy
