#include "cases/frontend/guest_calls.h"

#include <array>
#include <stdexcept>

namespace displif_cts::cases {
namespace {

using displif::Operation;

constexpr std::string_view kBuffer = "cause-buffer";
constexpr std::string_view kFramebuffer = "cause-fb";

std::string number(std::uint64_t value) { return std::to_string(value); }

// How much of a picture stands before the call.
enum class Stage { nothing, buffer, framebuffer, displayed };

Stage stage_before(const Cause& cause) {
  switch (cause.operation) {
    case Operation::dbuf_create:
      return Stage::nothing;
    case Operation::fb_attach:
    case Operation::dbuf_destroy:
      return Stage::buffer;
    case Operation::fb_detach:
      return Stage::framebuffer;
    case Operation::set_config:
      return cause.switches_off ? Stage::displayed : Stage::framebuffer;
    default:
      return Stage::displayed;
  }
}

// What is displayed has the connector's size; everything else is small.
struct Size {
  std::uint32_t width;
  std::uint32_t height;
};
Size size_of(const Cause& cause, const GuestConnector& connector) {
  const bool displayed =
      cause.operation == Operation::set_config || cause.operation == Operation::pg_flip;
  return displayed ? Size{connector.width, connector.height} : Size{64, 64};
}

Args buffer_args(const Size& size) {
  return {{"fd", "card"},
          {"name", std::string(kBuffer)},
          {"width", number(size.width)},
          {"height", number(size.height)},
          {"bpp", "32"}};
}

Args framebuffer_args(const Size& size) {
  return {{"fd", "card"},
          {"name", std::string(kFramebuffer)},
          {"buffer", std::string(kBuffer)},
          {"width", number(size.width)},
          {"height", number(size.height)},
          {"format", "XR24"}};
}

Args mode_args(const GuestConnector& connector) {
  return {{"fd", "card"},
          {"crtc", number(connector.crtc)},
          {"fb", std::string(kFramebuffer)},
          {"connector", number(connector.id)},
          {"width", number(connector.width)},
          {"height", number(connector.height)}};
}

}  // namespace

fake_backend::Options small_connectors(std::size_t count) {
  static constexpr std::array<displif::Resolution, 4> kResolutions{
      {{240, 180}, {200, 150}, {160, 120}, {320, 240}}};
  fake_backend::Options options;
  options.connectors.clear();
  for (std::size_t i = 0; i < count; ++i)
    options.connectors.push_back({.resolution = kResolutions.at(i)});
  return options;
}

std::size_t index_of(const GuestConnector& connector, const fake_backend::Options& options) {
  for (std::size_t i = 0; i < options.connectors.size(); ++i)
    if (options.connectors[i].resolution.width == connector.width) return i;
  throw std::runtime_error("the guest has a connector of a size that was not configured");
}

std::span<const Cause> all_causes() {
  static const std::array<Cause, 7> causes{{
      {"dbuf-create", Operation::dbuf_create, true, false},
      {"fb-attach", Operation::fb_attach, true, false},
      {"set-config", Operation::set_config, false, false},
      {"pg-flip", Operation::pg_flip, false, false},
      {"config-reset", Operation::set_config, false, true},
      {"fb-detach", Operation::fb_detach, false, false},
      {"dbuf-destroy", Operation::dbuf_destroy, false, false},
  }};
  return causes;
}

void arrange(Guest& guest, const Cause& cause, const GuestConnector& connector) {
  const Stage stage = stage_before(cause);
  const Size size = size_of(cause, connector);
  if (stage >= Stage::buffer) guest.must("create-dumb", buffer_args(size));
  if (stage >= Stage::framebuffer) guest.must("add-fb", framebuffer_args(size));
  if (stage >= Stage::displayed) guest.must("set-crtc", mode_args(connector));
}

GuestCall call_of(const Cause& cause, const GuestConnector& connector) {
  switch (cause.operation) {
    case Operation::dbuf_create:
      return {"create-dumb", buffer_args(size_of(cause, connector))};
    case Operation::dbuf_destroy:
      return {"destroy-dumb", {{"fd", "card"}, {"name", std::string(kBuffer)}}};
    case Operation::fb_attach:
      return {"add-fb", framebuffer_args(size_of(cause, connector))};
    case Operation::fb_detach:
      return {"rm-fb", {{"fd", "card"}, {"name", std::string(kFramebuffer)}}};
    case Operation::set_config:
      if (cause.switches_off)
        return {"crtc-off", {{"fd", "card"}, {"crtc", number(connector.crtc)}}};
      return {"set-crtc", mode_args(connector)};
    default:
      return {"page-flip",
              {{"fd", "card"},
               {"crtc", number(connector.crtc)},
               {"fb", std::string(kFramebuffer)},
               {"event", "1"}}};
  }
}

}  // namespace displif_cts::cases
