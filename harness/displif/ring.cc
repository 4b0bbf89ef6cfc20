#include "harness/displif/ring.h"

#include <bit>
#include <stdexcept>

#include "harness/displif/shared_memory.h"

namespace displif_cts::displif {
namespace {

constexpr std::size_t kReqProd = offsetof(struct xen_displif_sring, req_prod);
constexpr std::size_t kReqEvent = offsetof(struct xen_displif_sring, req_event);
constexpr std::size_t kRspProd = offsetof(struct xen_displif_sring, rsp_prod);
constexpr std::size_t kRspEvent = offsetof(struct xen_displif_sring, rsp_event);
constexpr std::size_t kPadding = 16;
constexpr std::size_t kSlots = offsetof(struct xen_displif_sring, ring);

std::uint32_t slots_in(std::span<std::byte> page) {
  if (reinterpret_cast<std::uintptr_t>(page.data()) % alignof(std::uint64_t) != 0) {
    throw std::invalid_argument("a ring's memory must be aligned to 8 octets");
  }
  if (page.size() < kSlots + kPacketSize) {
    throw std::invalid_argument("no slot of a ring fits " + std::to_string(page.size()) +
                                " octets");
  }
  return static_cast<std::uint32_t>(std::bit_floor((page.size() - kSlots) / kPacketSize));
}

// ring.h's hold-off: does the range (from, to] of new messages reach the peer's event index?
bool wants_notification(std::uint32_t from, std::uint32_t to, std::uint32_t event) {
  return to - event < to - from;
}

}  // namespace

SharedRing::SharedRing(std::span<std::byte> page) : page_(page), size_(slots_in(page)) {}

RingIndices SharedRing::indices() const {
  return {shared::load(page_, kReqProd), shared::load(page_, kReqEvent),
          shared::load(page_, kRspProd), shared::load(page_, kRspEvent)};
}

Packet SharedRing::read_slot(std::uint32_t index) const {
  Packet packet;
  shared::copy_out(page_, kSlots + kPacketSize * (index & (size_ - 1)), packet);
  return packet;
}

void SharedRing::write_slot(std::uint32_t index, const Packet& packet) {
  shared::copy_in(page_, kSlots + kPacketSize * (index & (size_ - 1)), packet);
}

void SharedRing::set_req_prod(std::uint32_t value) { shared::store(page_, kReqProd, value); }
void SharedRing::set_req_event(std::uint32_t value) { shared::store(page_, kReqEvent, value); }
void SharedRing::set_rsp_prod(std::uint32_t value) { shared::store(page_, kRspProd, value); }
void SharedRing::set_rsp_event(std::uint32_t value) { shared::store(page_, kRspEvent, value); }

void SharedRing::initialise(std::uint32_t start) {
  set_req_prod(start);
  set_rsp_prod(start);
  set_req_event(start + 1);
  set_rsp_event(start + 1);
  shared::copy_in(page_, kPadding, std::array<std::byte, 48>{});
}

std::array<std::byte, 48> SharedRing::padding() const {
  std::array<std::byte, 48> copy;
  shared::copy_out(page_, kPadding, copy);
  return copy;
}

// ---- the backend's end

BackRing::BackRing(std::span<std::byte> page, std::uint32_t start)
    : shared_(page), req_cons_(start), rsp_prod_pvt_(start), rsp_published_(start) {}

std::uint32_t BackRing::room() const {
  const std::int32_t taken = unanswered();
  if (taken <= 0) return size();
  const auto used = static_cast<std::uint32_t>(taken);
  return used < size() ? size() - used : 0;
}

Taken BackRing::take_request() {
  Taken taken;
  taken.index = req_cons_;
  taken.prod = shared_.indices().req_prod;
  const std::uint32_t pending = taken.prod - req_cons_;
  if (pending == 0) return taken;
  if (pending > room()) {
    taken.result = Take::overflow;
    return taken;
  }
  taken.packet = shared_.read_slot(req_cons_);
  taken.result = Take::packet;
  ++req_cons_;
  return taken;
}

std::uint32_t BackRing::unconsumed() const {
  const std::uint32_t pending = shared_.indices().req_prod - req_cons_;
  return pending > room() ? 0 : pending;
}

bool BackRing::overflowed() const { return shared_.indices().req_prod - req_cons_ > room(); }

void BackRing::put_response(const Packet& packet) {
  shared_.write_slot(rsp_prod_pvt_, packet);
  ++rsp_prod_pvt_;
}

bool BackRing::publish_responses() {
  shared_.set_rsp_prod(rsp_prod_pvt_);
  shared::full_barrier();
  const bool notify =
      wants_notification(rsp_published_, rsp_prod_pvt_, shared_.indices().rsp_event);
  rsp_published_ = rsp_prod_pvt_;
  return notify;
}

bool BackRing::final_check_for_requests(std::uint32_t batch) {
  if (unconsumed() > 0) return true;
  shared_.set_req_event(req_cons_ + batch);
  shared::full_barrier();
  return unconsumed() > 0;
}

void BackRing::set_private(std::uint32_t req_cons, std::uint32_t rsp_prod_pvt) {
  req_cons_ = req_cons;
  rsp_prod_pvt_ = rsp_published_ = rsp_prod_pvt;
}

// ---- the frontend's end

FrontRing::FrontRing(std::span<std::byte> page, std::uint32_t start)
    : shared_(page), req_prod_pvt_(start), rsp_cons_(start), req_published_(start) {
  shared_.initialise(start);
}

std::uint32_t FrontRing::free_requests() const {
  const auto outstanding = static_cast<std::int32_t>(req_prod_pvt_ - rsp_cons_);
  if (outstanding <= 0) return size();
  const auto used = static_cast<std::uint32_t>(outstanding);
  return used < size() ? size() - used : 0;
}

bool FrontRing::put_request(const Packet& packet) {
  if (free_requests() == 0) return false;
  shared_.write_slot(req_prod_pvt_, packet);
  ++req_prod_pvt_;
  return true;
}

bool FrontRing::publish_requests() {
  shared_.set_req_prod(req_prod_pvt_);
  shared::full_barrier();
  const bool notify =
      wants_notification(req_published_, req_prod_pvt_, shared_.indices().req_event);
  req_published_ = req_prod_pvt_;
  return notify;
}

Taken FrontRing::take_response() {
  Taken taken;
  taken.index = rsp_cons_;
  taken.prod = shared_.indices().rsp_prod;
  const std::uint32_t pending = taken.prod - rsp_cons_;
  if (pending == 0) return taken;
  if (pending > size()) {
    taken.result = Take::overflow;
    return taken;
  }
  taken.packet = shared_.read_slot(rsp_cons_);
  taken.result = Take::packet;
  taken.unsolicited = static_cast<std::int32_t>(rsp_cons_ - req_published_) >= 0;
  ++rsp_cons_;
  return taken;
}

std::uint32_t FrontRing::unconsumed() const {
  const std::uint32_t pending = shared_.indices().rsp_prod - rsp_cons_;
  return pending > size() ? 0 : pending;
}

bool FrontRing::overflowed() const { return shared_.indices().rsp_prod - rsp_cons_ > size(); }

bool FrontRing::final_check_for_responses(std::uint32_t batch) {
  if (unconsumed() > 0) return true;
  shared_.set_rsp_event(rsp_cons_ + batch);
  shared::full_barrier();
  return unconsumed() > 0;
}

void FrontRing::set_private(std::uint32_t req_prod_pvt, std::uint32_t rsp_cons) {
  req_prod_pvt_ = req_published_ = req_prod_pvt;
  rsp_cons_ = rsp_cons;
}

}  // namespace displif_cts::displif
