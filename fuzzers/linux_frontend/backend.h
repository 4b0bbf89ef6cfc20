// The backend that attacks: what it shares with the frontend (rings, event pages, directories), as
// far as the frontend has published it, and what a polite one would answer.
#pragma once

#include <cstdint>

#include "fuzzers/input/action.h"

namespace displif_cts::linux_frontend {

inline constexpr std::size_t kConnectors = 4;

void backend_begin();
// The frontend's state node may have changed: forget or learn the rings.
void look_at_frontend();

void respond(const fuzz::Action& action);
void send_event(const fuzz::Action& action);
void set_index(const fuzz::Action& action);
void poke(const fuzz::Action& action);
void fill_directory(const fuzz::Action& action);
void hold(const fuzz::Action& action);
void release_all();

// Answers one request politely, if there is one (and sends a flip's event if `events`). False:
// none.
bool serve(bool events);

// Do these change shared memory, and nothing else?
bool only_memory(const fuzz::Action& action);

}  // namespace displif_cts::linux_frontend
