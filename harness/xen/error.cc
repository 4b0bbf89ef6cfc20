#include "harness/xen/error.h"

#include <cstring>
#include <system_error>

namespace displif_cts::xen {
namespace {

std::string message(std::string_view call, std::string_view object, int number) {
  std::string text(call);
  text += '(';
  text += object;
  text += "): ";
  text += errno_name(number);
  text += " (";
  text += std::generic_category().message(number);
  text += ')';
  return text;
}

}  // namespace

std::string errno_name(int number) {
  if (number == 0) return "no errno";
  if (const char* name = strerrorname_np(number)) return name;
  return "errno " + std::to_string(number);
}

Error::Error(std::string_view call, std::string_view object, int number)
    : std::runtime_error(message(call, object, number)),
      call_(call),
      object_(object),
      number_(number) {}

}  // namespace displif_cts::xen
