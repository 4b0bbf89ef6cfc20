// What XenStore knows of domains. Nothing of libxenctrl.
#pragma once

#include "harness/xen/store.h"
#include "harness/xen/types.h"

namespace displif_cts::xen {

class Domains {
 public:
  explicit Domains(Store& store) : store_(&store) {}

  // Of the domain that this process runs in (XenStore's relative node "domid"). Throws Error with
  // ENOENT where the tool stack has not written it, EINVAL where it is no domain id.
  DomId own() const;

  // Whether XenStore has been told of the domain and not yet of its end. A domain that has shut
  // down or crashed but is not destroyed is still introduced.
  bool introduced(DomId domain) const;

 private:
  Store* store_;
};

}  // namespace displif_cts::xen
