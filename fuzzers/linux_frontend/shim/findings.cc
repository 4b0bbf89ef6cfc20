#include "fuzzers/linux_frontend/shim/findings.h"

#include <sanitizer/common_interface_defs.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace displif_cts::shim {

bool g_verbose = false;

namespace {

constexpr KnownFinding kKnown[] = {
    {Known::fb_status_below_errno,
     "a status below -4095 to FB_ATTACH or to an import's DBUF_CREATE is taken for a pointer",
     "such statuses are raised to -4095", "frontend.fb-attach.error-status-unknown-code"},
    {Known::response_index_far, "rsp_prod far ahead: as many loops in the interrupt handler",
     "rsp_prod stays within 4096 of what the frontend has consumed",
     "frontend.ring.response-producer-beyond.half-range"},
    {Known::event_index_far, "in_prod far ahead: as many loops in the interrupt handler",
     "in_prod stays within 4096 of in_cons", "frontend.event-page.producer-beyond.half-range"},
    {Known::event_before_connected,
     "a flip event between the backend's and the frontend's Connected finds no pipeline",
     "events are not notified before the frontend is Connected",
     "frontend.pg-flip.event-unknown-cookie.before-connected"},
    {Known::event_while_disconnecting,
     "a flip event while the frontend disconnects finds no device",
     "events are not notified while the frontend is Reconfiguring", ""},
    {Known::close_while_waiting, "the channels are freed under a call that waits for a response",
     "the backend closes, and the device goes, only when no call waits", ""},
    {Known::reconnect_with_other_connectors,
     "an old device is torn down by the new connection's number of connectors",
     "the number of connectors stays while a file of an old device is open", ""},
    {Known::removed_while_held,
     "a device that is removed while a client holds it leaves the client's device without its "
     "owner",
     "clients close their files, and commits end, before a device is removed", ""},
    {Known::buffer_freed_twice,
     "a buffer whose creation lacks grants or memory is freed twice, and reference 0 is ended",
     "grants do not run out, and the buffer's tables get their memory",
     "frontend.dbuf-create.out-of-grants"},
    {Known::zero_sized_buffer, "a size that overflows to 0 makes a buffer without memory",
     "clients do not ask for such sizes", ""},
    {Known::init_failure_frees_twice,
     "a failure behind the DRM device's allocation frees the driver's data twice",
     "DRM's own calls do not fail while a device connects", ""},
    {Known::channels_leak,
     "channels are not freed when their creation fails halfway, or when a device goes before "
     "Connected",
     "channels, their memory and their grants that are left are not reported, their interrupts not "
     "delivered",
     "frontend.bus.backend-closes.before-connected"},
    {Known::object_leaks,
     "buffer objects are not freed when their creation fails, nor the handles of a mapping that "
     "cannot be undone",
     "memory that these leave behind is not reported", ""},
    {Known::directory_freed_while_mapped,
     "a page directory's memory is freed while the backend has it mapped", "it is not reported",
     ""},
    {Known::state_write_fails,
     "a device whose state cannot be written connects again over what it has",
     "writing the frontend's state does not fail", ""},
    {Known::released_device_referenced,
     "releasing the DRM device takes a reference on it, whose count is zero", "it is not reported",
     "frontend.monitor.known-complaints"},
};

std::array<bool, fuzz::kKnownNames.size()> g_masked{};

void vfinding(const char* name, const char* format, va_list arguments) {
  std::fprintf(stderr, "FINDING %s: ", name);
  std::vfprintf(stderr, format, arguments);
  std::fprintf(stderr, "\n");
  __sanitizer_print_stack_trace();
  std::fflush(stderr);
  std::abort();
}

}  // namespace

std::span<const KnownFinding> known_findings() { return kKnown; }

bool masked(Known finding) { return g_masked[static_cast<std::size_t>(finding)]; }

void read_masks() {
  const char* text = std::getenv("DISPLIF_FUZZ_MASK");
  std::string_view rest = text == nullptr ? "all" : text;
  if (rest == "all" || rest == "none") {
    g_masked.fill(rest == "all");
    return;
  }
  g_masked.fill(false);
  while (!rest.empty()) {
    const std::size_t end = rest.find(',');
    const std::string_view name = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
    const auto known = fuzz::known_by(name);
    if (!known) {
      std::fprintf(stderr, "DISPLIF_FUZZ_MASK: there is no known finding '%.*s'\n",
                   static_cast<int>(name.size()), name.data());
      std::exit(2);
    }
    g_masked[static_cast<std::size_t>(*known)] = true;
  }
}

void finding(const char* name, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vfinding(name, format, arguments);
  va_end(arguments);
  std::abort();
}

void finding_unless(Known known, const char* format, ...) {
  if (masked(known)) return;
  va_list arguments;
  va_start(arguments, format);
  vfinding(fuzz::name(known).data(), format, arguments);
  va_end(arguments);
}

// See shim_log().
[[gnu::no_sanitize_address]] void say(const char* format, ...) {
  if (!g_verbose) return;
  va_list arguments;
  va_start(arguments, format);
  std::vfprintf(stderr, format, arguments);
  std::fputc('\n', stderr);
  va_end(arguments);
}

}  // namespace displif_cts::shim
