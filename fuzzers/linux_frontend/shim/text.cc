#include "fuzzers/linux_frontend/shim/text.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace displif_cts::shim {
namespace {

bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }

const char* past_spaces(const char* text) {
  while (is_space(*text)) ++text;
  return text;
}

// Cuts what does not fit.
struct Out {
  char* at;
  char* end;  // where the terminating zero may be at the latest

  void put(char c) {
    if (at < end) *at++ = c;
  }
  void put_number(std::uint32_t value) {
    char digits[10];
    int count = 0;
    do {
      digits[count++] = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value != 0);
    while (count > 0) put(digits[--count]);
  }
};

bool print_quickly(Out& out, const char* format, std::va_list arguments) {
  for (; *format != '\0'; ++format) {
    if (*format != '%') {
      out.put(*format);
      continue;
    }
    switch (*++format) {
      case 'd': {
        const int value = va_arg(arguments, int);
        if (value < 0) out.put('-');
        const auto octets = static_cast<std::uint32_t>(value);
        out.put_number(value < 0 ? 0 - octets : octets);
        break;
      }
      case 'u':
        out.put_number(va_arg(arguments, std::uint32_t));
        break;
      case 's':
        for (const char* text = va_arg(arguments, const char*); *text != '\0'; ++text)
          out.put(*text);
        break;
      case '%':
        out.put('%');
        break;
      default:
        return false;
    }
  }
  return true;
}

// The number at `text`, which is moved behind it. False: there is none.
bool scan_number(const char*& text, bool is_signed, std::uint64_t& value) {
  const bool minus = is_signed && *text == '-';
  const char* at = minus ? text + 1 : text;
  if (!is_digit(*at)) return false;
  value = 0;
  for (; is_digit(*at); ++at) value = value * 10 + static_cast<std::uint64_t>(*at - '0');
  if (minus) value = 0 - value;
  text = at;
  return true;
}

bool quick_to_scan(const char* format) {
  for (; *format != '\0'; ++format) {
    if (*format == '%' && *++format != 'd' && *format != 'u') return false;
  }
  return true;
}

}  // namespace

std::size_t print_text(char* out, std::size_t size, const char* format, std::va_list arguments) {
  std::va_list again;
  va_copy(again, arguments);
  Out quick{out, out + size - 1};
  if (print_quickly(quick, format, arguments)) {
    *quick.at = '\0';
    va_end(again);
    return static_cast<std::size_t>(quick.at - out);
  }
  const int length = std::vsnprintf(out, size, format, again);
  va_end(again);
  return std::min(static_cast<std::size_t>(std::max(length, 0)), size - 1);
}

int scan_text(const char* text, const char* format, std::va_list arguments) {
  if (!quick_to_scan(format)) return std::vsscanf(text, format, arguments);
  int found = 0;
  for (; *format != '\0'; ++format) {
    if (is_space(*format)) {
      text = past_spaces(text);
    } else if (*format != '%') {
      if (*text++ != *format) break;
    } else {
      const bool is_signed = *++format == 'd';
      std::uint64_t value = 0;
      text = past_spaces(text);
      if (!scan_number(text, is_signed, value)) break;
      *va_arg(arguments, std::uint32_t*) = static_cast<std::uint32_t>(value);
      ++found;
    }
  }
  return found;
}

}  // namespace displif_cts::shim
