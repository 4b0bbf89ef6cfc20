#include "harness/displif/event_page.h"

#include <stdexcept>

#include "harness/displif/shared_memory.h"

namespace displif_cts::displif {
namespace {

constexpr std::size_t kInCons = offsetof(xendispl_event_page, in_cons);
constexpr std::size_t kInProd = offsetof(xendispl_event_page, in_prod);
constexpr std::size_t kReserved = offsetof(xendispl_event_page, reserved);

std::size_t slot_offset(std::uint32_t index) {
  return XENDISPL_IN_RING_OFFS + kPacketSize * (index % kEventSlots);
}

}  // namespace

SharedEventPage::SharedEventPage(std::span<std::byte> page) : page_(page) {
  if (page.size() != XENDISPL_EVENT_PAGE_SIZE ||
      reinterpret_cast<std::uintptr_t>(page.data()) % alignof(std::uint64_t) != 0) {
    throw std::invalid_argument("an event page has 4096 octets, aligned to 8");
  }
}

std::uint32_t SharedEventPage::in_cons() const { return shared::load(page_, kInCons); }
std::uint32_t SharedEventPage::in_prod() const { return shared::load(page_, kInProd); }
void SharedEventPage::set_in_cons(std::uint32_t value) { shared::store(page_, kInCons, value); }
void SharedEventPage::set_in_prod(std::uint32_t value) { shared::store(page_, kInProd, value); }

Packet SharedEventPage::read_slot(std::uint32_t index) const {
  Packet packet;
  shared::copy_out(page_, slot_offset(index), packet);
  return packet;
}

void SharedEventPage::write_slot(std::uint32_t index, const Packet& packet) {
  shared::copy_in(page_, slot_offset(index), packet);
}

std::array<std::byte, 56> SharedEventPage::reserved() const {
  std::array<std::byte, 56> copy;
  shared::copy_out(page_, kReserved, copy);
  return copy;
}

void SharedEventPage::clear() {
  for (std::size_t at = 0; at < page_.size(); at += kPacketSize) {
    shared::copy_in(page_, at, Packet{});
  }
}

EventProducer::EventProducer(std::span<std::byte> page, std::uint32_t start)
    : shared_(page), in_prod_pvt_(start) {}

std::optional<std::uint32_t> EventProducer::unconfirmed() const {
  const std::uint32_t behind = in_prod_pvt_ - shared_.in_cons();
  if (behind > (1U << 31U)) return std::nullopt;
  return behind;
}

bool EventProducer::put(const Packet& packet, WhenFull when_full) {
  if (when_full == WhenFull::refuse) {
    const std::optional<std::uint32_t> waiting = unconfirmed();
    if (!waiting || *waiting >= kEventSlots) return false;
    // Across the wrap two of the waiting indices can have one slot.
    for (std::uint32_t back = 1; back <= *waiting; ++back) {
      if ((in_prod_pvt_ - back) % kEventSlots == in_prod_pvt_ % kEventSlots) return false;
    }
  }
  shared_.write_slot(in_prod_pvt_, packet);
  ++in_prod_pvt_;
  return true;
}

void EventProducer::publish() { shared_.set_in_prod(in_prod_pvt_); }

EventConsumer::EventConsumer(std::span<std::byte> page, std::uint32_t start)
    : shared_(page), in_cons_pvt_(start) {
  shared_.clear();
  shared_.set_in_cons(start);
  shared_.set_in_prod(start);
}

Taken EventConsumer::take() {
  Taken taken;
  taken.index = in_cons_pvt_;
  taken.prod = shared_.in_prod();
  const std::uint32_t pending = taken.prod - in_cons_pvt_;
  if (pending == 0) return taken;
  if (pending > kEventSlots) {
    taken.result = Take::overflow;
    return taken;
  }
  taken.packet = shared_.read_slot(in_cons_pvt_);
  taken.result = Take::packet;
  ++in_cons_pvt_;
  return taken;
}

void EventConsumer::confirm() { shared_.set_in_cons(in_cons_pvt_); }

}  // namespace displif_cts::displif
