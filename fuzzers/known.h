// The known findings of Linux's frontend by name, for both targets that attack it: shim/findings.cc
// (in user space) and guest/known.yaml (in the real guest) say of each what is avoided while it is
// masked.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace displif_cts::fuzz {

enum class Known : std::uint8_t {
  fb_status_below_errno,
  response_index_far,
  event_index_far,
  event_before_connected,
  event_while_disconnecting,
  close_while_waiting,
  reconnect_with_other_connectors,
  removed_while_held,
  buffer_freed_twice,
  zero_sized_buffer,
  init_failure_frees_twice,
  channels_leak,
  object_leaks,
  directory_freed_while_mapped,
  released_device_referenced,
  import_with_backend_allocation,
  state_write_fails,
};

inline constexpr std::array<std::string_view, 17> kKnownNames{
    "fb-status-below-errno",
    "response-index-far",
    "event-index-far",
    "event-before-connected",
    "event-while-disconnecting",
    "close-while-waiting",
    "reconnect-with-other-connectors",
    "removed-while-held",
    "buffer-freed-twice",
    "zero-sized-buffer",
    "init-failure-frees-twice",
    "channels-leak",
    "object-leaks",
    "directory-freed-while-mapped",
    "released-device-referenced",
    "import-with-backend-allocation",
    "state-write-fails",
};
static_assert(kKnownNames.size() == static_cast<std::size_t>(Known::state_write_fails) + 1);

constexpr std::string_view name(Known known) {
  return kKnownNames[static_cast<std::size_t>(known)];
}

constexpr std::optional<Known> known_by(std::string_view name) {
  for (std::size_t i = 0; i < kKnownNames.size(); ++i) {
    if (kKnownNames[i] == name) return static_cast<Known>(i);
  }
  return std::nullopt;
}

}  // namespace displif_cts::fuzz
