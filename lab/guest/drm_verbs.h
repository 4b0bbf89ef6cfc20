// DRM/KMS calls as verbs, by ioctl: what is judged is the kernel's answer, not a library's.
#pragma once

#include "lab/guest/verb_table.h"

namespace displif_cts::exerciser {

// Also installs the handler that turns SIGBUS in `fill` and `read` into an error of the verb: a
// mapping's pages may be gone, or may never have been there.
void add_drm_verbs(VerbTable& table);

}  // namespace displif_cts::exerciser
