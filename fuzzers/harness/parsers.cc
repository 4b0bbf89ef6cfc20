// What a hostile peer's octets reach first: packets, rings, event pages, page directories, nodes,
// EDIDs. The first octet says which. Beside the sanitizers, what each promises is checked: packets
// survive being read and written again, nothing is taken from beyond a ring, no walk leaves its
// bounds.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "harness/bus/state.h"
#include "harness/displif/describe.h"
#include "harness/displif/edid.h"
#include "harness/displif/event_page.h"
#include "harness/displif/nodes.h"
#include "harness/displif/page_directory.h"
#include "harness/displif/ring.h"
#include "harness/displif/wire.h"

namespace {

namespace displif = displif_cts::displif;
namespace xen = displif_cts::xen;

using Page = std::array<std::byte, xen::kPageSize>;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FINDING broken-promise: %s\n", what);
  std::abort();
}

class Octets {
 public:
  explicit Octets(std::span<const std::uint8_t> octets) : rest_(octets) {}

  void fill(std::span<std::byte> memory) {
    const std::size_t size = std::min(memory.size(), rest_.size());
    std::memcpy(memory.data(), rest_.data(), size);
    rest_ = rest_.subspan(size);
  }
  std::uint32_t number() {
    std::array<std::byte, 4> octets{};
    fill(octets);
    std::uint32_t value = 0;
    std::memcpy(&value, octets.data(), sizeof(value));
    return value;
  }
  std::uint8_t octet() { return static_cast<std::uint8_t>(number()); }
  std::string_view text() const {
    return {reinterpret_cast<const char*>(rest_.data()), rest_.size()};
  }
  bool empty() const { return rest_.empty(); }

 private:
  std::span<const std::uint8_t> rest_;
};

void packets(Octets octets) {
  displif::Packet packet{};
  octets.fill(packet);
  const displif::Request request = displif::decode_request(packet);
  const displif::Request again =
      displif::decode_request(displif::encode_request(request.id, request.body));
  require(again.body == request.body && again.id == request.id,
          "a request that is written again reads the same");
  const displif::Response response = displif::decode_response(packet);
  const displif::Response back = displif::decode_response(displif::encode_response(response));
  require(back.status == response.status && back.id == response.id,
          "a response that is written again reads the same");
  const displif::Event event = displif::decode_event(packet);
  require(displif::decode_event(displif::encode_event(event.id, event.body)).body == event.body,
          "an event that is written again reads the same");
}

void ring(Octets octets) {
  alignas(8) Page page{};
  const std::uint32_t start = octets.number();
  displif::BackRing back(page, start);
  while (!octets.empty()) {
    std::array<std::byte, 80> change{};
    const std::size_t at = octets.number() % (page.size() - change.size());
    octets.fill(change);
    std::memcpy(page.data() + at, change.data(), change.size());
    std::uint32_t taken = 0;
    while (const displif::Taken request = back.take_request()) {
      require(++taken <= back.size(), "no more requests are taken than the ring has slots");
      displif::decode_request(request.packet);
    }
    require(back.unconsumed() <= back.size(), "no more requests wait than the ring has slots");
    (void)back.final_check_for_requests();
    if (back.unanswered() > 0) back.put_response({});
    (void)back.publish_responses();
  }
}

void responses(Octets octets) {
  alignas(8) Page page{};
  displif::FrontRing front(page, octets.number());
  while (!octets.empty()) {
    const std::uint8_t what = octets.octet();
    if (what % 2 == 0 && front.put_request({})) (void)front.publish_requests();
    std::array<std::byte, 80> change{};
    const std::size_t at = octets.number() % (page.size() - change.size());
    octets.fill(change);
    std::memcpy(page.data() + at, change.data(), change.size());
    std::uint32_t taken = 0;
    while (front.take_response())
      require(++taken <= front.size(), "no more responses are taken than the ring has slots");
    require(front.free_requests() <= front.size(), "no more requests fit than the ring has slots");
  }
}

void events(Octets octets) {
  alignas(8) Page page{};
  displif::EventConsumer consumer(page, octets.number());
  while (!octets.empty()) {
    std::array<std::byte, 72> change{};
    const std::size_t at = octets.number() % (page.size() - change.size());
    octets.fill(change);
    std::memcpy(page.data() + at, change.data(), change.size());
    std::uint32_t taken = 0;
    while (consumer.take())
      require(++taken <= displif::kEventSlots, "no more events are taken than the page has slots");
    consumer.confirm();
  }
}

void directory(Octets octets) {
  const std::uint32_t size = octets.number();
  const std::uint32_t most = octets.number() % 8192;
  const auto first = static_cast<xen::GrantRef>(octets.octet());
  std::array<std::array<std::uint32_t, 1024>, 4> pages{};
  for (auto& page : pages) {
    page[0] = octets.octet() % 8U;
    page[1 + octets.octet()] = octets.number();
    for (std::size_t i = 1; i < page.size(); i += 1 + octets.octet()) page[i] = octets.number();
  }
  std::size_t mapped = 0;
  const auto map = [&](xen::GrantRef ref) -> std::optional<std::span<const std::byte>> {
    ++mapped;
    if (displif::raw(ref) == 0 || displif::raw(ref) > pages.size()) return std::nullopt;
    return std::as_bytes(std::span(pages[displif::raw(ref) - 1]));
  };
  const displif::Directory walked =
      displif::walk_directory(first, size, map, displif::Entries::read, most);
  const std::uint32_t needed = displif::buffer_pages(size);
  require(mapped <= displif::directory_pages(needed),
          "no more directory pages are mapped than the size needs");
  require(walked.refs.size() <= needed, "no more references are read than the size needs");
  if (walked.ok())
    require(walked.refs.size() == needed && needed <= most, "a sound directory has all references");
}

void nodes(Octets octets) {
  const std::string_view text = octets.text();
  if (const auto resolution = displif::parse_resolution(text)) {
    require(*displif::parse_resolution(displif::print(*resolution)) == *resolution,
            "a printed resolution reads the same");
  }
  if (const auto versions = displif::parse_versions(text)) {
    require(*displif::parse_versions(displif::print_versions(*versions)) == *versions,
            "printed versions read the same");
  }
  if (const auto ref = displif::parse_ring_ref(text)) {
    require(*displif::parse_ring_ref(displif::print(*ref)) == *ref,
            "a printed reference reads the same");
  }
  (void)displif::parse_uint32(text);
  (void)displif::parse_version(text);
  (void)displif::parse_be_alloc(text);
  (void)displif::parse_unique_id(text);
  (void)displif::parse_event_channel(text);
  (void)displif::parse_connector_index(text);
  (void)displif_cts::bus::parse_state(text);
  std::vector<std::string> children;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find(' ', begin), text.size());
    children.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  (void)displif::count_connectors(children);
}

void edid(Octets octets) {
  const std::string_view text = octets.text();
  const auto given = std::as_bytes(std::span(text));
  require(displif::edid_trouble(given).empty() ? given.size() % 128 == 0 && !given.empty() : true,
          "an EDID has whole blocks");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const Octets octets(std::span(data, size).subspan(1));
  switch (data[0] % 7) {
    case 0:
      packets(octets);
      break;
    case 1:
      ring(octets);
      break;
    case 2:
      responses(octets);
      break;
    case 3:
      events(octets);
      break;
    case 4:
      directory(octets);
      break;
    case 6:
      edid(octets);
      break;
    default:
      nodes(octets);
      break;
  }
  return 0;
}
