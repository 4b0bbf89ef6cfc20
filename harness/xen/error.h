// The one exception of this folder: which call failed, on what, and with which errno.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

namespace displif_cts::xen {

// "EACCES"; "errno 4711" for a number without a name.
std::string errno_name(int number);

// what() reads "xs_write(/local/domain/1/x): EACCES (Permission denied)".
class Error : public std::runtime_error {
 public:
  // `number` is an errno value, positive.
  Error(std::string_view call, std::string_view object, int number);

  const std::string& call() const { return call_; }      // the C function
  const std::string& object() const { return object_; }  // the node, reference or port it was for
  int number() const { return number_; }                 // errno

 private:
  std::string call_;
  std::string object_;
  int number_;
};

}  // namespace displif_cts::xen
