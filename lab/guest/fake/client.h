// One open file of a display device: what a DRM core keeps of it, over a fake frontend's
// operations.
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
#include "lab/guest/fake/drm_file.h"

namespace displif_cts::fake_guest {

using fake_frontend::FakeFrontend;

class Client final : public DrmFile, public std::enable_shared_from_this<Client> {
 public:
  // Takes over what Devices::open_client() gave.
  explicit Client(std::shared_ptr<FakeFrontend> frontend);
  ~Client() override;

  std::vector<Connector> connectors() override;
  // Asks the backend for the connector's EDID. One that has none, or a connection that has no such
  // request, is as good.
  void probe(std::size_t index) override;
  Buffer create_buffer(const std::string& name, std::uint32_t width, std::uint32_t height,
                       std::uint32_t bpp) override;
  void destroy_buffer(const std::string& name) override;
  Buffer buffer(const std::string& name) const override;
  void draw(const std::string& name, std::span<const std::byte> octets,
            std::size_t offset) override;
  void add_framebuffer(const std::string& name, const FramebufferSpec& spec) override;
  void remove_framebuffer(const std::string& name) override;
  void set_mode(const std::string& framebuffer, const Mode& mode) override;
  void switch_off(std::uint32_t crtc) override;
  // Returns when the request has been answered.
  void page_flip(std::uint32_t crtc, const std::string& framebuffer, bool event,
                 std::uint64_t user_data) override;
  std::optional<FlipEvent> next_event(xen::Deadline deadline) override;
  bool has(const std::string& name) const override;

 private:
  struct Own : Buffer {
    displif::DbufCookie cookie{};
    std::size_t framebuffers = 0;  // that stand on it
    bool handle = true;
  };
  struct Framebuffer {
    displif::FbCookie cookie{};
    std::string buffer;
    std::uint32_t width = 0, height = 0, bpp = 0;
  };

  void expect_device() const;  // ENODEV: the connection is another one
  std::size_t connector_of(std::uint32_t crtc) const;
  Own own(const std::string& name) const;  // ENOENT
  Framebuffer framebuffer(const std::string& name) const;
  void drop_if_unused(const std::string& buffer);

  std::shared_ptr<FakeFrontend> frontend_;
  unsigned connection_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  std::map<std::string, Own> buffers_;
  std::map<std::string, Framebuffer> framebuffers_;
  std::map<std::size_t, std::string> shown_;  // framebuffers by connector
  std::deque<FlipEvent> events_;
};

}  // namespace displif_cts::fake_guest
