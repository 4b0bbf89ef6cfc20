// Why a request was refused, in words that are only put together where somebody reads them: a
// refusal costs a frontend nothing, and a fuzzer makes a hundred thousand of them a second.
#pragma once

#include <fmt/core.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace displif_cts::fake_backend {

class Reason {
 public:
  Reason() = default;
  Reason(std::string text) : text_(std::move(text)) {}
  Reason(const char* text) : text_(text) {}
  template <typename... Numbers>
  Reason(fmt::format_string<Numbers...> format, const Numbers&... numbers)
      : format_(fmt::string_view(format).data(), fmt::string_view(format).size()),
        numbers_{static_cast<std::uint64_t>(numbers)...} {
    static_assert(sizeof...(numbers) <= kNumbers);
  }
  static Reason pixel_format(std::uint32_t fourcc);

  bool empty() const { return format_.empty() && text_.empty(); }
  std::string text() const;

 private:
  static constexpr std::size_t kNumbers = 6;
  std::string_view format_;  // a literal's
  std::array<std::uint64_t, kNumbers> numbers_{};
  bool names_format_ = false;  // the first number is a pixel format
  std::string text_;
};

}  // namespace displif_cts::fake_backend
