// What the model refuses although the polite reference would accept it: omissions of a duty to
// serve.
#include <fmt/format.h>
#include <xen/errno.h>

#include <algorithm>
#include <atomic>

#include "fake_backend/model.h"

namespace displif_cts::fake_backend {
namespace wrong_refusals {
namespace {

constexpr std::uint64_t kLow = 0xffffffffU;
constexpr unsigned kBuffersOfAll = 200;

template <class Cookie, class Objects>
bool same_low_half(const Objects& objects, Cookie cookie) {
  return std::ranges::any_of(objects, [cookie](const auto& entry) {
    return entry.first != cookie && (raw(entry.first) & kLow) == (raw(cookie) & kLow);
  });
}

}  // namespace
}  // namespace wrong_refusals

std::optional<Answer> Model::refuse_wrongly(std::size_t connector, const displif::Request& request,
                                            BackendFaults& faults) const {
  const auto fault = [](std::string_view name) {
    return Answer{-XEN_EBUSY, fmt::format("fault {}", name), {}};
  };
  const ConnectorState& state = connectors_[connector];
  if (const auto* create = request.as<displif::DbufCreate>()) {
    const bool large = std::uint64_t{create->width} * create->height >
                       std::uint64_t{state.resolution.width} * state.resolution.height;
    if (large && strike(faults.refuses_large_buffer)) return fault("refuses-large-buffer");
    if (faults.buffers_counted_together != 0) {
      static std::atomic<unsigned> asked{0};
      if (++asked > wrong_refusals::kBuffersOfAll) return fault("buffers-counted-together");
    }
    if (!buffers_.empty() && strike(faults.refuses_second_buffer))
      return fault("refuses-second-buffer");
    if (spent_dbufs_.contains(create->dbuf_cookie) && strike(faults.dbuf_cookie_spent))
      return fault("dbuf-cookie-spent");
    if (wrong_refusals::same_low_half(buffers_, create->dbuf_cookie) &&
        strike(faults.cookies_truncated))
      return fault("cookies-truncated");
  } else if (request.as<displif::DbufDestroy>() != nullptr) {
    if (strike(faults.refuses_destroy)) return fault("refuses-destroy");
  } else if (const auto* attach = request.as<displif::FbAttach>()) {
    const bool small =
        attach->width < state.resolution.width || attach->height < state.resolution.height;
    if (small && strike(faults.refuses_small_framebuffer))
      return fault("refuses-small-framebuffer");
    if (spent_fbs_.contains(attach->fb_cookie) && strike(faults.fb_cookie_spent))
      return fault("fb-cookie-spent");
  } else if (request.as<displif::FbDetach>() != nullptr) {
    if (strike(faults.refuses_detach)) return fault("refuses-detach");
  } else if (const auto* config = request.as<displif::SetConfig>()) {
    if (config->is_reset() && strike(faults.refuses_reset)) return fault("refuses-reset");
    if (!config->is_reset() && state.configuration && strike(faults.refuses_second_config))
      return fault("refuses-second-config");
  } else if (request.as<displif::PgFlip>() != nullptr) {
    if (state.flips != 0 && strike(faults.refuses_second_flip)) return fault("refuses-second-flip");
    if (!spent_dbufs_.empty() && strike(faults.others_end_with_buffer))
      return fault("others-end-with-buffer");
    if (!spent_fbs_.empty() && strike(faults.others_end_with_framebuffer))
      return fault("others-end-with-framebuffer");
  }
  return std::nullopt;
}

}  // namespace displif_cts::fake_backend
