// What the caller has named: open files, buffers, framebuffers, exported buffers. One table, one
// name space.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "harness/agent/line_protocol.h"
#include "harness/agent/unique_fd.h"

namespace displif_cts::exerciser {

using agent::UniqueFd;

struct DrmEvent {
  std::uint32_t type = 0;  // DRM_EVENT_*
  std::uint64_t user_data = 0;
  std::uint32_t sequence = 0;
  std::uint32_t crtc = 0;
  std::uint64_t ns = 0;
};

// An open DRM file.
struct Card {
  UniqueFd fd;
  std::string driver;
  std::string path;
  std::mutex events_mutex;
  std::deque<DrmEvent> events;                            // read, not yet asked for
  std::map<std::uint32_t, std::uint64_t> flip_called_ns;  // the last call, by crtc
};

// The process's view of a buffer. Unmapped when the last user lets go.
struct Mapping {
  Mapping(void* begin, std::size_t octets) : address(begin), size(octets) {}
  ~Mapping() { munmap(address, size); }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  void* address;
  std::size_t size;
};

struct Buffer {
  std::shared_ptr<Card> card;
  std::uint32_t handle = 0;
  std::uint32_t width = 0;  // 0: not known, as of an imported buffer
  std::uint32_t height = 0;
  std::uint32_t bpp = 0;
  std::uint32_t pitch = 0;
  std::uint64_t size = 0;
  std::shared_ptr<Mapping> mapping;
};

struct Framebuffer {
  std::shared_ptr<Card> card;
  std::uint32_t id = 0;
};

// A dma-buf.
struct Exported {
  UniqueFd fd;
};

// Thread-safe; a method of one object may run while another thread removes it from the table.
class Objects {
 public:
  static constexpr std::size_t kMaxObjects = 4096;

  template <typename T>
  void add(const std::string& name, std::shared_ptr<T> object) {
    const std::lock_guard lock(mutex_);
    check_free(name);
    objects_.emplace(name, std::move(object));
  }
  // Before an object is made in the kernel: throws VerbError(EEXIST) when the name is taken.
  void expect_free(const std::string& name) {
    const std::lock_guard lock(mutex_);
    check_free(name);
  }
  // Throws VerbError(ENOENT).
  template <typename T>
  std::shared_ptr<T> get(const std::string& name, const char* kind) {
    const std::lock_guard lock(mutex_);
    const auto it = objects_.find(name);
    const auto* object =
        it == objects_.end() ? nullptr : std::get_if<std::shared_ptr<T>>(&it->second);
    if (object == nullptr)
      throw agent::VerbError(ENOENT, std::string("no ") + kind + " named " + name);
    return *object;
  }
  // A buffer's mapping changes under the table's lock; null: not mapped.
  void set_mapping(Buffer& buffer, std::shared_ptr<Mapping> mapping);
  std::shared_ptr<Mapping> mapping(const Buffer& buffer);
  void remove(const std::string& name);
  // All buffers and framebuffers of an open file: they go with it.
  void remove_of(const Card& card);
  // Everything. Gives the number of open files, and of those that a call under way keeps open.
  struct Cleared {
    std::size_t closed = 0;
    std::size_t deferred = 0;
  };
  Cleared clear();
  Json list();

 private:
  using Object = std::variant<std::shared_ptr<Card>, std::shared_ptr<Buffer>,
                              std::shared_ptr<Framebuffer>, std::shared_ptr<Exported>>;

  void check_free(const std::string& name) const;

  std::mutex mutex_;
  std::map<std::string, Object> objects_;
};

}  // namespace displif_cts::exerciser
