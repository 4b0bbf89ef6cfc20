// Entries of one journal: grows without moving what is in it (copying some ten thousand entries at
// once would make the fake late for the peer), and keeps its memory when it is emptied (a fuzzer
// empties it ten thousand times a second).
#pragma once

#include <cstddef>
#include <stdexcept>
#include <utility>
#include <vector>

namespace displif_cts::fake {

// Entries of one journal; a peer that floods us must not eat our memory.
inline constexpr std::size_t kJournalLimit = 400'000;
// How many of the last ones are used again beyond that: more than the requests that all rings of a
// device with 256 connectors hold at once.
inline constexpr std::size_t kJournalReused = 10'000;

template <class Entry>
class Entries {
 public:
  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  Entry& operator[](std::size_t index) { return chunks_[index / kChunk][index % kChunk]; }
  const Entry& operator[](std::size_t index) const {
    return chunks_[index / kChunk][index % kChunk];
  }
  const Entry& at(std::size_t index) const {
    if (index >= size_) throw std::out_of_range("there is no such entry of the journal");
    return (*this)[index];
  }
  Entry& back() { return (*this)[size_ - 1]; }
  const Entry& back() const { return (*this)[size_ - 1]; }

  // A new one at the end, to be filled in.
  Entry& add() {
    if (size_ / kChunk == chunks_.size()) chunks_.emplace_back().reserve(kChunk);
    return chunks_[size_++ / kChunk].emplace_back();
  }
  // A new one at the end; where there are `limit` already, one of the last `again`, in turn,
  // emptied. So whatever is looked at at the same time has entries of its own. Returns its index.
  std::size_t add_within(std::size_t limit, std::size_t again) {
    if (size_ < limit) {
      add();
      return size_ - 1;
    }
    const std::size_t index = size_ - again + turn_;
    turn_ = (turn_ + 1) % again;
    (*this)[index] = Entry{};
    return index;
  }
  void push_back(const Entry& entry) { add() = entry; }
  void push_back(Entry&& entry) { add() = std::move(entry); }
  template <class Visit>
  void for_each(Visit&& visit) {
    for (std::vector<Entry>& chunk : chunks_) {
      for (Entry& entry : chunk) visit(entry);
    }
  }
  void clear() {
    for (std::vector<Entry>& chunk : chunks_) chunk.clear();
    size_ = turn_ = 0;
  }

 private:
  static constexpr std::size_t kChunk = 64;
  std::vector<std::vector<Entry>> chunks_;  // all full but the last that is in use
  std::size_t size_ = 0;
  std::size_t turn_ = 0;  // of those that are used again
};

template <class Entry>
std::vector<Entry> listed(const Entries<Entry>& entries) {
  std::vector<Entry> list;
  list.reserve(entries.size());
  for (std::size_t i = 0; i < entries.size(); ++i) list.push_back(entries[i]);
  return list;
}

}  // namespace displif_cts::fake
