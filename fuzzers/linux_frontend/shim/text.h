// What the driver reads from XenStore and writes there, without the C library: its functions take a
// fifth of an execution under sanitizers.
#pragma once

#include <cstdarg>
#include <cstddef>

namespace displif_cts::shim {

// As the kernel's vsnprintf. Returns the text's length, cut to `size` - 1.
std::size_t print_text(char* out, std::size_t size, const char* format, std::va_list arguments);
// As the kernel's vsscanf (lib/vsprintf.c), which takes no sign before a number but '-', and whose
// numbers wrap.
int scan_text(const char* text, const char* format, std::va_list arguments);

}  // namespace displif_cts::shim
