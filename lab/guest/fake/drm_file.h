// Open files of a guest's display devices, as the exerciser's verbs use them, whatever is behind
// them: a fake frontend (client.h), or a real driver without its kernel
// (fuzzers/linux_frontend/peer).
//
// Every function throws VerbError with the errno that a DRM call would give. Those of one file may
// be called from several threads at once. The last owner closes it: all that it has made goes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/agent/line_protocol.h"
#include "harness/displif/nodes.h"
#include "harness/xen/types.h"

namespace displif_cts::fake_guest {

using agent::VerbError;

struct FlipEvent {
  std::uint64_t user_data = 0;
  std::uint32_t crtc = 0;
  std::uint64_t after_ns = 0;  // since the call
};

class DrmFile {
 public:
  DrmFile() = default;
  virtual ~DrmFile() = default;
  DrmFile(const DrmFile&) = delete;
  DrmFile& operator=(const DrmFile&) = delete;

  struct Connector {
    std::uint32_t id = 0;
    std::uint32_t crtc = 0;
    bool connected = false;
    displif::Resolution mode{};
  };
  virtual std::vector<Connector> connectors() = 0;
  // Looks again at a connector, where connectors() does not.
  virtual void probe(std::size_t /*index*/) {}

  struct Buffer {
    std::uint64_t id = 0;                          // what the driver knows it by
    std::uint32_t width = 0, height = 0, bpp = 0;  // pixels, pixels, bits
    std::uint32_t pitch = 0;                       // octets a row
    std::uint64_t size = 0;                        // octets
  };
  virtual Buffer create_buffer(const std::string& name, std::uint32_t width, std::uint32_t height,
                               std::uint32_t bpp) = 0;
  // The buffer itself goes with its last framebuffer.
  virtual void destroy_buffer(const std::string& name) = 0;
  virtual Buffer buffer(const std::string& name) const = 0;  // ENOENT
  virtual void draw(const std::string& name, std::span<const std::byte> octets,
                    std::size_t offset) = 0;

  struct FramebufferSpec {
    std::string buffer;
    std::optional<std::uint32_t> width{}, height{}, pitch{};  // none: the buffer's
    std::uint32_t format = 0;                                 // FourCC
    std::uint32_t offset = 0;                                 // octets
  };
  virtual void add_framebuffer(const std::string& name, const FramebufferSpec& spec) = 0;
  virtual void remove_framebuffer(const std::string& name) = 0;

  struct Mode {
    std::uint32_t crtc = 0, connector = 0;
    std::uint32_t x = 0, y = 0, width = 0, height = 0;  // pixels
  };
  virtual void set_mode(const std::string& framebuffer, const Mode& mode) = 0;
  virtual void switch_off(std::uint32_t crtc) = 0;

  // The event, if asked for, comes to next_event().
  virtual void page_flip(std::uint32_t crtc, const std::string& framebuffer, bool event,
                         std::uint64_t user_data) = 0;
  virtual std::optional<FlipEvent> next_event(xen::Deadline deadline) = 0;

  virtual bool has(const std::string& name) const = 0;  // a buffer's or a framebuffer's
};

class DrmDevices {
 public:
  DrmDevices() = default;
  virtual ~DrmDevices() = default;
  DrmDevices(const DrmDevices&) = delete;
  DrmDevices& operator=(const DrmDevices&) = delete;

  // A file of the first device that takes a client now; null: there is none.
  virtual std::shared_ptr<DrmFile> open() = 0;
  // Whether device/vdispl/<id> has a driver.
  virtual bool has(std::uint16_t id) = 0;
  virtual std::string_view driver() const = 0;
};

}  // namespace displif_cts::fake_guest
