// Both sides of the page that carries events (displif.h, 'Back to front events delivery'): the
// backend produces at in_prod, the frontend consumes and may confirm in in_cons each event, groups,
// or none. As hard against the peer as ring.h here; as there, one object, one thread.
//
// The 63 slots are index modulo 63, and 63 does not divide 2^32: where the free-running index
// wraps, index 2^32 - 1 has slot 3 and index 0 slot 0. Both sides compute alike, so only a backend
// with more than four unconfirmed events meets an occupied slot early; EventProducer knows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "harness/displif/ring.h"
#include "harness/displif/wire.h"

namespace displif_cts::displif {

inline constexpr std::uint32_t kEventSlots = XENDISPL_IN_RING_LEN;  // 63

// Access to the shared page that both sides have. What writes is for faults.
class SharedEventPage {
 public:
  // Throws std::invalid_argument when `page` is not 4096 octets, aligned to 8.
  explicit SharedEventPage(std::span<std::byte> page);

  std::uint32_t in_cons() const;
  std::uint32_t in_prod() const;
  void set_in_cons(std::uint32_t value);
  void set_in_prod(std::uint32_t value);
  Packet read_slot(std::uint32_t index) const;  // index modulo 63
  void write_slot(std::uint32_t index, const Packet& packet);
  std::array<std::byte, 56> reserved() const;  // of the page's header: must be 0
  void clear();                                // the whole page to 0

 private:
  std::span<std::byte> page_;
};

enum class WhenFull {
  refuse,     // put() returns false
  overwrite,  // legal as well: the frontend need not confirm at all
};

// The backend's side.
class EventProducer {
 public:
  // Goes on from `start`; the page is not touched. The frontend hands the page over zeroed.
  explicit EventProducer(std::span<std::byte> page, std::uint32_t start = 0);

  // Writes the packet into the next slot; visible after publish(). False: every slot is taken by an
  // event that the frontend has not confirmed.
  [[nodiscard]] bool put(const Packet& packet, WhenFull when_full = WhenFull::overwrite);
  // Makes put events visible. The page has no hold-off: notify after every publish.
  void publish();

  // Events, published or only put, that the frontend has not confirmed. nullopt: its in_cons is
  // impossible (ahead of us, or more than 2^31 behind).
  std::optional<std::uint32_t> unconfirmed() const;
  std::uint32_t in_prod_pvt() const { return in_prod_pvt_; }
  void set_private(std::uint32_t in_prod_pvt) { in_prod_pvt_ = in_prod_pvt; }

  SharedEventPage& shared() { return shared_; }
  const SharedEventPage& shared() const { return shared_; }

 private:
  SharedEventPage shared_;
  std::uint32_t in_prod_pvt_;
};

// The frontend's side.
class EventConsumer {
 public:
  // Clears the page, then starts both indices at `start`.
  explicit EventConsumer(std::span<std::byte> page, std::uint32_t start = 0);

  // The next event; does not confirm it. Overflow: in_prod is more than 63 ahead of what we took,
  // or behind it. A backend that overwrites gets ahead of a frontend that does not take in time,
  // too.
  Taken take();
  // Tells the backend that everything taken is done with.
  void confirm();

  std::uint32_t in_cons_pvt() const { return in_cons_pvt_; }
  void set_private(std::uint32_t in_cons_pvt) { in_cons_pvt_ = in_cons_pvt; }

  SharedEventPage& shared() { return shared_; }
  const SharedEventPage& shared() const { return shared_; }

 private:
  SharedEventPage shared_;
  std::uint32_t in_cons_pvt_;
};

}  // namespace displif_cts::displif
