// One open file of a display device: what a DRM core keeps of it, over a fake frontend's
// operations.
//
// Every function throws VerbError with the errno that a DRM call would give. Those of one client
// may be called from several threads at once.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "fake_frontend/fake_frontend.h"
#include "harness/agent/line_protocol.h"

namespace displif_cts::fake_guest {

using agent::VerbError;
using fake_frontend::FakeFrontend;

struct FlipEvent {
  std::uint64_t user_data = 0;
  std::uint32_t crtc = 0;
  std::uint64_t after_ns = 0;  // since the call
};

class Client : public std::enable_shared_from_this<Client> {
 public:
  // Takes over what Devices::open_client() gave.
  explicit Client(std::shared_ptr<FakeFrontend> frontend);
  ~Client();  // as the last close of the file: all that it has made goes
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  struct Connector {
    std::uint32_t id = 0;
    std::uint32_t crtc = 0;
    bool connected = false;
    displif::Resolution mode{};
  };
  std::vector<Connector> connectors() const;
  // Asks the backend for the EDID of connector `index`. One that has none, or a connection that has
  // no such request, is as good.
  void probe(std::size_t index) const;

  struct Buffer {
    displif::DbufCookie cookie{};
    std::uint32_t width = 0, height = 0, bpp = 0;  // pixels, pixels, bits
    std::uint32_t pitch = 0;                       // octets a row
    std::uint64_t size = 0;                        // octets
    std::size_t framebuffers = 0;                  // that stand on it
    bool handle = true;
  };
  Buffer create_buffer(const std::string& name, std::uint32_t width, std::uint32_t height,
                       std::uint32_t bpp);
  // The buffer itself goes with its last framebuffer.
  void destroy_buffer(const std::string& name);
  Buffer buffer(const std::string& name) const;  // ENOENT
  void draw(const std::string& name, std::span<const std::byte> octets, std::size_t offset);

  struct FramebufferSpec {
    std::string buffer;
    std::optional<std::uint32_t> width{}, height{};
    std::uint32_t format = 0;  // FourCC
  };
  void add_framebuffer(const std::string& name, const FramebufferSpec& spec);
  void remove_framebuffer(const std::string& name);

  struct Mode {
    std::uint32_t crtc = 0, connector = 0;
    std::uint32_t x = 0, y = 0, width = 0, height = 0;  // pixels
  };
  void set_mode(const std::string& framebuffer, const Mode& mode);
  void switch_off(std::uint32_t crtc);

  // Returns when the request has been answered; the event, if asked for, comes to next_event().
  void page_flip(std::uint32_t crtc, const std::string& framebuffer, bool event,
                 std::uint64_t user_data);
  std::optional<FlipEvent> next_event(xen::Deadline deadline);

  bool has(const std::string& name) const;  // a buffer's or a framebuffer's

 private:
  struct Framebuffer {
    displif::FbCookie cookie{};
    std::string buffer;
    std::uint32_t width = 0, height = 0, bpp = 0;
  };

  void expect_device() const;  // ENODEV: the connection is another one
  std::size_t connector_of(std::uint32_t crtc) const;
  Framebuffer framebuffer(const std::string& name) const;
  void drop_if_unused(const std::string& buffer);

  std::shared_ptr<FakeFrontend> frontend_;
  unsigned connection_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::map<std::string, Buffer> buffers_;
  std::map<std::string, Framebuffer> framebuffers_;
  std::map<std::size_t, std::string> shown_;  // framebuffers by connector
  std::deque<FlipEvent> events_;
};

}  // namespace displif_cts::fake_guest
