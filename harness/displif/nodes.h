// XenStore's nodes of displif.h: names, and values parsed strictly and printed.
//
// "All data in XenStore is stored as strings. Nodes specifying numeric values are encoded in
// decimal" (displif.h, 'Feature and Parameter Negotiation'). Strict means: decimal digits only, no
// sign, no blanks, nothing behind, in range, no leading zero. (Leading zeros are this suite's
// reading of a properly formed decimal; a parse error names them apart.)
#pragma once

#include <cstdint>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "harness/displif/wire.h"
#include "harness/xen/types.h"

namespace displif_cts::displif {

namespace node {
inline constexpr std::string_view kDevice = XENDISPL_DRIVER_NAME;          // "vdispl"
inline constexpr std::string_view kVersions = XENDISPL_FIELD_BE_VERSIONS;  // backend's
inline constexpr std::string_view kVersion = XENDISPL_FIELD_FE_VERSION;    // frontend's choice
inline constexpr std::string_view kBeAlloc = XENDISPL_FIELD_BE_ALLOC;
// Below "<conn-idx>/":
inline constexpr std::string_view kUniqueId = XENDISPL_FIELD_UNIQUE_ID;
inline constexpr std::string_view kResolution = XENDISPL_FIELD_RESOLUTION;
inline constexpr std::string_view kReqRingRef = XENDISPL_FIELD_REQ_RING_REF;
inline constexpr std::string_view kReqEventChannel = XENDISPL_FIELD_REQ_CHANNEL;
inline constexpr std::string_view kEvtRingRef = XENDISPL_FIELD_EVT_RING_REF;
inline constexpr std::string_view kEvtEventChannel = XENDISPL_FIELD_EVT_CHANNEL;
// "3/resolution"
std::string of_connector(unsigned connector, std::string_view name);
}  // namespace node

// A value, or the reason why the text has none.
template <class T>
class Parsed {
 public:
  Parsed(T value) : result_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit
  static Parsed failure(std::string error) { return Parsed(Failure{}, std::move(error)); }

  bool ok() const { return result_.index() == 0; }
  explicit operator bool() const { return ok(); }
  const T& value() const {  // throws std::runtime_error(error())
    if (!ok()) throw std::runtime_error(error());
    return std::get<0>(result_);
  }
  const T& operator*() const { return value(); }
  const T* operator->() const { return &value(); }
  const std::string& error() const { return std::get<1>(result_); }  // only when !ok()

 private:
  struct Failure {};
  Parsed(Failure, std::string error) : result_(std::in_place_index<1>, std::move(error)) {}

  std::variant<T, std::string> result_;
};

// Pixels of a connector's visible area.
struct Resolution {
  std::uint32_t width = 0;
  std::uint32_t height = 0;
  bool operator==(const Resolution&) const = default;
};

Parsed<std::uint32_t> parse_uint32(std::string_view text);
Parsed<Resolution> parse_resolution(std::string_view text);           // "1920x1080"; 0 is refused
Parsed<std::vector<unsigned>> parse_versions(std::string_view text);  // "1,2", at least one
Parsed<unsigned> parse_version(std::string_view text);                // "2"; 0 is refused
// Only "1" turns backend allocation on; "0" and a missing node leave it off. Other text is an error
// here, to be taken as off: "if value is not "1" or omitted frontend must allocate buffers itself".
Parsed<bool> parse_be_alloc(std::string_view text);
Parsed<std::string> parse_unique_id(std::string_view text);     // any text but the empty one
Parsed<xen::GrantRef> parse_ring_ref(std::string_view text);    // 0 is invalid
Parsed<xen::Port> parse_event_channel(std::string_view text);   // 0 is never a usable port
Parsed<unsigned> parse_connector_index(std::string_view text);  // uint8_t

std::string print(const Resolution& resolution);
std::string print_versions(const std::vector<unsigned>& versions);
std::string print_be_alloc(bool enabled);
std::string print(xen::GrantRef ref);
std::string print(xen::Port port);

// The four transport nodes of one connector.
struct ConnectorTransport {
  xen::GrantRef req_ring_ref{};
  xen::Port req_event_channel{};
  xen::GrantRef evt_ring_ref{};
  xen::Port evt_event_channel{};
  bool operator==(const ConnectorTransport&) const = default;
};

// Reads the nodes with `read(name)` -> std::optional<std::string>, name without the connector's
// directory. An error names the node: "req-ring-ref: missing".
template <class Read>
Parsed<ConnectorTransport> read_transport(Read&& read);

// Connectors among a device directory's children. They must count from 0 without a gap (displif.h,
// conn-idx: zero based contiguous); names that are no number are other nodes.
Parsed<unsigned> count_connectors(const std::vector<std::string>& children);

// ---- implementation

template <class Read>
Parsed<ConnectorTransport> read_transport(Read&& read) {
  ConnectorTransport transport;
  std::string problem;
  const auto take = [&](std::string_view name, auto parse, auto& target) {
    if (!problem.empty()) return;
    const auto text = read(std::string(name));
    if (!text) {
      problem = std::string(name) + ": missing";
    } else if (const auto parsed = parse(*text); parsed.ok()) {
      target = parsed.value();
    } else {
      problem = std::string(name) + ": " + parsed.error();
    }
  };
  take(node::kReqRingRef, parse_ring_ref, transport.req_ring_ref);
  take(node::kReqEventChannel, parse_event_channel, transport.req_event_channel);
  take(node::kEvtRingRef, parse_ring_ref, transport.evt_ring_ref);
  take(node::kEvtEventChannel, parse_event_channel, transport.evt_event_channel);
  if (!problem.empty()) return Parsed<ConnectorTransport>::failure(problem);
  return transport;
}

}  // namespace displif_cts::displif
