#include "cases/support/tool_stack.h"

#include <cstdlib>
#include <optional>
#include <string>

namespace displif_cts::cases {

xen::Store open_tool_stack_store() {
  const char* control = std::getenv("DISPLIF_CTS_CONTROL_STORE");
  if (control == nullptr) return xen::Store::open();
  // XENSTORED_PATH holds for the connection that is opened while it stands, and for no other.
  struct Restore {
    std::optional<std::string> own;
    ~Restore() {
      if (own) {
        setenv("XENSTORED_PATH", own->c_str(), 1);
      } else {
        unsetenv("XENSTORED_PATH");
      }
    }
  } restore;
  if (const char* own = std::getenv("XENSTORED_PATH")) restore.own = own;
  setenv("XENSTORED_PATH", control, 1);
  return xen::Store::open();
}

}  // namespace displif_cts::cases
