#include "fake_backend/reason.h"

#include <fmt/format.h>

#include "harness/displif/fourcc.h"

namespace displif_cts::fake_backend {

Reason Reason::pixel_format(std::uint32_t fourcc) {
  Reason reason;
  reason.format_ = "pixel format {} is not supported";
  reason.numbers_[0] = fourcc;
  reason.names_format_ = true;
  return reason;
}

std::string Reason::text() const {
  if (format_.empty()) return text_;
  const auto& n = numbers_;
  const fmt::string_view format(format_.data(), format_.size());
  if (names_format_) {
    const std::string name = displif::fourcc_name(static_cast<std::uint32_t>(n[0]));
    return fmt::vformat(format, fmt::make_format_args(name));
  }
  return fmt::vformat(format, fmt::make_format_args(n[0], n[1], n[2], n[3], n[4], n[5]));
}

}  // namespace displif_cts::fake_backend
