// Verbs about the guest itself: files, kernel modules, its log and its health.
#pragma once

#include "lab/guest/verb_table.h"

namespace displif_cts::exerciser {

inline constexpr std::string_view kVersion = "1";  // of the verbs, as in PROTOCOL.md

void add_system_verbs(VerbTable& table);

}  // namespace displif_cts::exerciser
