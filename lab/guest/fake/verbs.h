// The exerciser's verbs (lab/guest/PROTOCOL.md) as far as cases need them, for guests
// that have no kernel: what a port of the exerciser to another system looks like.
#pragma once

#include <string>

#include "lab/guest/fake/drm_file.h"
#include "lab/guest/verb_table.h"

namespace displif_cts::fake_guest {

// `devices` outlives the table.
// `program`: what hello says.
void add_verbs(exerciser::VerbTable& table, DrmDevices& devices, std::string program);

}  // namespace displif_cts::fake_guest
