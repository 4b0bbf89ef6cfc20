// The dma-bufs of the tests: of a guest's references, of vgem, of displif_dmabuf_peek; and looks
// into them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

struct xengntdev_handle;

namespace displif_cts::zero_copy {

// An open file. Closed by the destructor.
class File {
 public:
  explicit File(int fd = -1) : fd_(fd) {}
  File(File&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  File& operator=(File&& other) noexcept;
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { close(); }

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  void close();

 private:
  int fd_;
};

// libxengnttab's calls. Each returns what the call does, with errno.
class Gntdev {
 public:
  Gntdev();  // throws std::runtime_error
  Gntdev(const Gntdev&) = delete;
  Gntdev& operator=(const Gntdev&) = delete;
  ~Gntdev() { close(); }
  void close();

  // A dma-buf of a domain's references; none: errno says why.
  File exported(long domain, const std::vector<long>& refs) const;
  int wait_released(int fd, std::uint32_t milliseconds) const;
  // References for a domain to the pages of a dma-buf.
  std::optional<std::vector<long>> imported(long domain, int fd, std::size_t pages) const;
  int release_import(int fd) const;

 private:
  xengntdev_handle* handle_;
};

// A dma-buf that the kernel holds mapped for a device of ours.
class Held {
 public:
  static std::optional<Held> take(int fd);  // none: errno says why
  std::size_t pages() const { return pages_; }
  unsigned char peek(std::size_t offset) const;  // throws std::runtime_error
  void poke(std::size_t offset, unsigned char value) const;
  void let_go() { device_.close(); }

 private:
  Held(File device, std::size_t pages) : device_(std::move(device)), pages_(pages) {}
  File device_;
  std::size_t pages_;
};

// A dma-buf of displif_dmabuf_peek's own pages, which begins `offset` octets into the first of
// them.
File peek_export(std::size_t pages, std::uint32_t offset);

// A dma-buf of vgem's, with a view of its pages. Throws std::runtime_error.
class VgemBuffer {
 public:
  explicit VgemBuffer(std::size_t pages);
  VgemBuffer(const VgemBuffer&) = delete;
  VgemBuffer& operator=(const VgemBuffer&) = delete;
  ~VgemBuffer();
  int fd() const { return dmabuf_.get(); }
  volatile unsigned char& octet(std::size_t offset) const { return view_[offset]; }

 private:
  File card_;
  File dmabuf_;
  std::size_t size_ = 0;
  unsigned char* view_ = nullptr;
};

}  // namespace displif_cts::zero_copy
