// Both ends of the request and response ring, ring.h's rules for a hostile peer: every index of the
// peer is read once and bounded before use, every packet is copied once and then looked at, and
// what the peer writes never moves our own indices.
//
// Indices run freely over all 32 bits; a slot is index modulo size(). Not thread-safe: one object,
// one thread. The page belongs to the caller and must outlive the object.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "harness/displif/wire.h"

namespace displif_cts::displif {

// The four shared indices at one moment.
struct RingIndices {
  std::uint32_t req_prod = 0;
  std::uint32_t req_event = 0;
  std::uint32_t rsp_prod = 0;
  std::uint32_t rsp_event = 0;
  bool operator==(const RingIndices&) const = default;
};

enum class Take {
  packet,    // `packet` holds the next one, and it counts as consumed
  empty,     // nothing new
  overflow,  // the peer's producer index is impossible; nothing is consumed
};

struct Taken {
  Take result = Take::empty;
  std::uint32_t index = 0;  // of the packet; else where the next one is expected
  std::uint32_t prod = 0;   // the peer's producer index as it was read
  Packet packet{};
  // FrontRing: this response goes beyond the published requests, so nothing can have asked for it.
  bool unsolicited = false;

  explicit operator bool() const { return result == Take::packet; }
};

// Access to the shared page that both ends have. Everything here that writes is for faults.
class SharedRing {
 public:
  // `page`: 64 octets of indices, then slots; as many as fit, rounded down to a power of two
  // (ring.h,
  // __RING_SIZE): 32 in a page. Throws std::invalid_argument when not one slot fits or the memory
  // is not aligned to 8.
  explicit SharedRing(std::span<std::byte> page);

  std::uint32_t size() const { return size_; }  // slots
  RingIndices indices() const;

  Packet read_slot(std::uint32_t index) const;  // index modulo size()
  void write_slot(std::uint32_t index, const Packet& packet);

  void set_req_prod(std::uint32_t value);
  void set_req_event(std::uint32_t value);
  void set_rsp_prod(std::uint32_t value);
  void set_rsp_event(std::uint32_t value);

  // As ring.h's SHARED_RING_INIT: producers `start`, events `start` + 1, padding 0; slots are left
  // as they are. Other values of `start` than 0 are for tests of the wrap.
  void initialise(std::uint32_t start = 0);
  // The 48 octets between the indices and the first slot: 0 unless the peer writes there.
  std::array<std::byte, 48> padding() const;

 private:
  std::span<std::byte> page_;
  std::uint32_t size_;
};

// The backend's end: takes requests, puts responses.
class BackRing {
 public:
  // Attaches to a ring that the frontend has initialised; `start` is the first index of both
  // directions (ring.h, BACK_RING_ATTACH). Does not touch the page.
  explicit BackRing(std::span<std::byte> page, std::uint32_t start = 0);

  std::uint32_t size() const { return shared_.size(); }

  // The next request. Overflow: the frontend claims more requests than the ring can hold beyond the
  // responses we produced (ring.h, RING_REQUEST_PROD_OVERFLOW), or took its index back.
  Taken take_request();
  // Requests that may be taken now; 0 on overflow.
  std::uint32_t unconsumed() const;
  bool overflowed() const;

  // Puts a response into the next slot; the peer sees it after publish. Unlike a polite backend's
  // it may be one that nobody asked for: see unanswered().
  void put_response(const Packet& packet);
  // Makes all put responses visible. True: the frontend wants a notification (rsp_event, ring.h,
  // RING_PUSH_RESPONSES_AND_CHECK_NOTIFY).
  [[nodiscard]] bool publish_responses();

  // Before sleeping: asks to be notified of the `batch`-th request from now, and looks once more.
  // True: there is work already, do not sleep (ring.h, RING_FINAL_CHECK_FOR_REQUESTS). On overflow
  // false: there is nothing that could be consumed.
  [[nodiscard]] bool final_check_for_requests(std::uint32_t batch = 1);

  std::uint32_t req_cons() const { return req_cons_; }
  std::uint32_t rsp_prod_pvt() const { return rsp_prod_pvt_; }
  // Requests taken and not answered; negative after more responses than requests.
  std::int32_t unanswered() const { return static_cast<std::int32_t>(req_cons_ - rsp_prod_pvt_); }

  // For faults: the page itself, and our own indices.
  SharedRing& shared() { return shared_; }
  const SharedRing& shared() const { return shared_; }
  void set_private(std::uint32_t req_cons, std::uint32_t rsp_prod_pvt);

 private:
  std::uint32_t room() const;  // the most requests that a sane frontend can have pending

  SharedRing shared_;
  std::uint32_t req_cons_;
  std::uint32_t rsp_prod_pvt_;
  std::uint32_t rsp_published_;  // ours: the page's copy is the peer's to change
};

// The frontend's end: puts requests, takes responses.
class FrontRing {
 public:
  // Initialises the shared page (ring.h, XEN_FRONT_RING_INIT).
  explicit FrontRing(std::span<std::byte> page, std::uint32_t start = 0);

  std::uint32_t size() const { return shared_.size(); }
  std::uint32_t free_requests() const;  // slots; 0: full

  // False: the ring is full and nothing was put.
  [[nodiscard]] bool put_request(const Packet& packet);
  // True: the backend wants a notification (req_event).
  [[nodiscard]] bool publish_requests();

  // The next response. Overflow: the backend's index is more than a ring ahead of what we consumed
  // (ring.h, RING_RESPONSE_PROD_OVERFLOW), or went back.
  Taken take_response();
  std::uint32_t unconsumed() const;  // 0 on overflow
  bool overflowed() const;
  [[nodiscard]] bool final_check_for_responses(std::uint32_t batch = 1);

  std::uint32_t req_prod_pvt() const { return req_prod_pvt_; }
  std::uint32_t rsp_cons() const { return rsp_cons_; }

  // For faults, as BackRing's.
  SharedRing& shared() { return shared_; }
  const SharedRing& shared() const { return shared_; }
  void set_private(std::uint32_t req_prod_pvt, std::uint32_t rsp_cons);

 private:
  SharedRing shared_;
  std::uint32_t req_prod_pvt_;
  std::uint32_t rsp_cons_;
  std::uint32_t req_published_;  // ours: the page's copy is the peer's to change
};

}  // namespace displif_cts::displif
