// Known findings that a session keeps away from, by the names that fuzzers/linux_frontend uses
// (fuzzers/linux_frontend/shim/findings.cc says what each is, fuzzers/guest/known.yaml what a
// session does not do while it is masked).
#pragma once

#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace displif_cts::fuzz_guest {

enum class Mask : std::uint8_t {
  fb_status_below_errno,
  response_index_far,
  event_index_far,
  event_before_connected,
  event_while_disconnecting,
  close_while_waiting,
  reconnect_with_other_connectors,
  removed_while_held,
  zero_sized_buffer,
  channels_leak,
  buffer_freed_twice,
  count,
};

class Masks {
 public:
  // "all", "none", or names with commas between; names of findings that no session can avoid say
  // nothing.
  explicit Masks(std::string_view text);
  bool operator[](Mask mask) const { return set_.contains(mask); }

 private:
  std::set<Mask> set_;
};

}  // namespace displif_cts::fuzz_guest
