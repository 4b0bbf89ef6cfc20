#include "harness/xen/domains.h"

extern "C" {
#include <xenstore.h>
}

#include <charconv>

namespace displif_cts::xen {

DomId Domains::own() const {
  const std::optional<std::string> text = store_->read("domid");
  if (!text) throw Error("xs_read", "domid", ENOENT);
  std::uint16_t number = 0;
  const char* last = text->data() + text->size();
  const auto [end, error] = std::from_chars(text->data(), last, number);
  if (error != std::errc() || end != last) throw Error("xs_read", "domid = " + *text, EINVAL);
  return static_cast<DomId>(number);
}

bool Domains::introduced(DomId domain) const {
  return xs_is_domain_introduced(store_->handle(), raw(domain));
}

}  // namespace displif_cts::xen
