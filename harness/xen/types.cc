#include "harness/xen/types.h"

#include <ostream>

namespace displif_cts::xen {

std::ostream& operator<<(std::ostream& out, DomId domain) {
  return out << "domain " << raw(domain);
}
std::ostream& operator<<(std::ostream& out, GrantRef ref) { return out << "gref " << raw(ref); }
std::ostream& operator<<(std::ostream& out, Port port) { return out << "port " << raw(port); }

}  // namespace displif_cts::xen
