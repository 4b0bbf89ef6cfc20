// The exerciser's verbs (lab/guest/PROTOCOL.md) as far as cases need them, with the fake frontend
// in the driver's place: what a port of the exerciser to another system looks like.
#pragma once

#include "lab/guest/fake/devices.h"
#include "lab/guest/verb_table.h"

namespace displif_cts::fake_guest {

// `devices` outlives the table.
void add_verbs(exerciser::VerbTable& table, Devices& devices);

}  // namespace displif_cts::fake_guest
