#include "fuzzers/backend/named_values.h"

#include <drm_fourcc.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "fuzzers/input/action.h"
#include "harness/displif/nodes.h"

namespace displif_cts::fuzz_backend {

std::uint32_t named_size(std::uint32_t named, std::uint32_t width, std::uint32_t height,
                         std::uint32_t depth) {
  if (named == 1) return 0;
  if (named != 0) return named;
  constexpr std::uint64_t most = std::numeric_limits<std::uint32_t>::max();
  const std::uint64_t row = std::min((static_cast<std::uint64_t>(width) * depth + 7) / 8, most);
  return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(row * height, 1, most));
}

std::uint32_t named_format(std::uint32_t depth) {
  if (depth > 64) return depth;
  switch (depth) {
    case 16:
      return DRM_FORMAT_RGB565;
    case 24:
      return DRM_FORMAT_RGB888;
    case 15:
      return DRM_FORMAT_XRGB1555;
    default:
      return DRM_FORMAT_XRGB8888;
  }
}

std::string named_node(std::uint64_t node, std::size_t connector) {
  const auto of = [&](std::string_view name) { return fmt::format("{}/{}", connector, name); };
  switch (static_cast<fuzz::NodeName>(node % fuzz::kNodeNames)) {
    case fuzz::NodeName::req_ring_ref:
      return of(displif::node::kReqRingRef);
    case fuzz::NodeName::req_event_channel:
      return of(displif::node::kReqEventChannel);
    case fuzz::NodeName::evt_ring_ref:
      return of(displif::node::kEvtRingRef);
    case fuzz::NodeName::evt_event_channel:
      return of(displif::node::kEvtEventChannel);
    case fuzz::NodeName::version:
      return std::string(displif::node::kVersion);
    case fuzz::NodeName::frontend_state:
      return "state";
    default:
      return of("other");
  }
}

}  // namespace displif_cts::fuzz_backend
