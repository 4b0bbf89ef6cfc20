// Waiting on what a fake has seen and done, and looking through it.
//
// A journal has a `mutex`, a condition `changed`, the text `ended` (why its fake cannot go on;
// empty while it can) and last_seen(), one line, called with the mutex held.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/fake/awaited.h"
#include "harness/fake/entries.h"
#include "harness/xen/types.h"

namespace displif_cts::fake {

// Waits until `probe(journal)` gives something. `keep_waiting`: a fake that has ended is no reason
// to stop. nullopt at the deadline.
template <class Journal, class Probe>
auto wait_for(Journal& journal, xen::Deadline deadline, bool keep_waiting, Probe&& probe)
    -> decltype(probe(journal)) {
  std::unique_lock lock(journal.mutex);
  for (;;) {
    if (auto found = probe(journal)) return found;
    if (!journal.ended.empty() && !keep_waiting) return std::nullopt;
    if (journal.changed.wait_until(lock, deadline) == std::cv_status::timeout) {
      return probe(journal);
    }
  }
}

// As wait_for(); `what` is what a failure says was awaited.
template <class T, class Journal, class Probe>
Awaited<T> await(Journal& journal, xen::Deadline deadline, const std::string& what, Probe&& probe) {
  const auto start = xen::Clock::now();
  if (auto found = wait_for(journal, deadline, false, probe)) return std::move(*found);
  const auto waited =
      std::chrono::duration_cast<std::chrono::milliseconds>(xen::Clock::now() - start);
  const std::lock_guard lock(journal.mutex);
  return Awaited<T>::failed(fmt::format("awaited {} for {} ms; seen last: {}", what, waited.count(),
                                        journal.last_seen()));
}

// The first entry from the cursor on that `accepts`; moves the cursor behind it.
template <class Entry, class Accepts>
std::optional<Entry> find_from(const Entries<Entry>& entries, Cursor& cursor, Accepts&& accepts) {
  for (std::size_t i = cursor.next; i < entries.size(); ++i) {
    if (!accepts(entries[i])) continue;
    cursor.next = i + 1;
    return entries[i];
  }
  return std::nullopt;
}

}  // namespace displif_cts::fake
