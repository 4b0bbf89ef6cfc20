// The packets of displif.h, version 2, as values. The wire's layout is the installed header's own;
// what this suite relies on is pinned below, so that a header that moves a field does not build.
//
// Three pictures in the header contradict its own structures, and this suite follows the
// structures:
// - GET_EDID's request shows buffer_sz and gref_directory in octets 4 to 11; the structure has them
// in
//   8 to 15, behind the common header's reserved octets.
// - SET_CONFIG's picture numbers the octets after bpp 40; the structure ends bpp at 36.
// - The common response picture shows octets 2 and 3 as reserved; the structure, and the picture of
//   GET_EDID's response, have the operation in octet 2.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

extern "C" {
#include <xen/io/displif.h>
}

#include "harness/xen/types.h"

namespace displif_cts::displif {

using xen::kPageSize;

// Chosen by the frontend; 0 is invalid for both (displif.h, 'Description of the protocol').
enum class DbufCookie : std::uint64_t {};
enum class FbCookie : std::uint64_t {};
std::ostream& operator<<(std::ostream& out, DbufCookie cookie);
std::ostream& operator<<(std::ostream& out, FbCookie cookie);
using xen::raw;

enum class Operation : std::uint8_t {
  dbuf_create = XENDISPL_OP_DBUF_CREATE,
  dbuf_destroy = XENDISPL_OP_DBUF_DESTROY,
  fb_attach = XENDISPL_OP_FB_ATTACH,
  fb_detach = XENDISPL_OP_FB_DETACH,
  set_config = XENDISPL_OP_SET_CONFIG,
  pg_flip = XENDISPL_OP_PG_FLIP,
  get_edid = XENDISPL_OP_GET_EDID,  // version 2 and above
};
inline constexpr std::array kOperations{
    Operation::dbuf_create, Operation::dbuf_destroy, Operation::fb_attach, Operation::fb_detach,
    Operation::set_config,  Operation::pg_flip,      Operation::get_edid};

// "DBUF_CREATE"; "0x17" for a code that the header does not define.
std::string operation_name(std::uint8_t operation);
bool is_known(std::uint8_t operation);
// Must the request come over connector 0's ring? displif.h says so of creation, destruction,
// attachment and detachment ('Requests': what is not connector specific).
bool is_connector_zero_only(std::uint8_t operation);

// Every request, response and event has 64 octets (displif.h, 'Requests', 'Responses', 'Events').
inline constexpr std::size_t kPacketSize = 64;
using Packet = std::array<std::byte, kPacketSize>;

// ---- requests

struct DbufCreate {
  DbufCookie dbuf_cookie{};
  std::uint32_t width = 0;         // pixels
  std::uint32_t height = 0;        // pixels
  std::uint32_t bpp = 0;           // bits per pixel
  std::uint32_t buffer_sz = 0;     // octets
  std::uint32_t flags = 0;         // kDbufFlags; all other bits must be 0
  xen::GrantRef gref_directory{};  // first page of the page directory
  std::uint32_t data_ofs = 0;      // octets into the buffer; version 2 and above
  bool operator==(const DbufCreate&) const = default;
};
inline constexpr std::uint32_t kDbufFlags = XENDISPL_DBUF_FLG_REQ_ALLOC;

struct DbufDestroy {
  DbufCookie dbuf_cookie{};
  bool operator==(const DbufDestroy&) const = default;
};

struct FbAttach {
  DbufCookie dbuf_cookie{};
  FbCookie fb_cookie{};
  std::uint32_t width = 0;         // pixels
  std::uint32_t height = 0;        // pixels
  std::uint32_t pixel_format = 0;  // FourCC, see fourcc.h
  bool operator==(const FbAttach&) const = default;
};

struct FbDetach {
  FbCookie fb_cookie{};
  bool operator==(const FbDetach&) const = default;
};

struct SetConfig {
  FbCookie fb_cookie{};
  std::uint32_t x = 0;       // pixels
  std::uint32_t y = 0;       // pixels
  std::uint32_t width = 0;   // pixels
  std::uint32_t height = 0;  // pixels
  std::uint32_t bpp = 0;     // bits per pixel
  bool operator==(const SetConfig&) const = default;
  // All zeros reset, anything else sets (displif.h, 'Request configuration set/reset').
  bool is_reset() const { return *this == SetConfig{}; }
};

struct PgFlip {
  FbCookie fb_cookie{};
  bool operator==(const PgFlip&) const = default;
};

struct GetEdid {
  std::uint32_t buffer_sz = 0;  // octets, at least XENDISPL_EDID_MAX_SIZE
  xen::GrantRef gref_directory{};
  bool operator==(const GetEdid&) const = default;
};

// An operation that the header does not define.
struct Unknown {
  std::uint8_t operation = 0;
  std::array<std::byte, 56> payload{};  // octets 8 to 63
  bool operator==(const Unknown&) const = default;
};

using RequestBody =
    std::variant<DbufCreate, DbufDestroy, FbAttach, FbDetach, SetConfig, PgFlip, GetEdid, Unknown>;

struct Request {
  std::uint16_t id = 0;
  std::uint8_t operation = 0;  // as on the wire
  RequestBody body;
  Packet packet{};  // as it came

  template <class Body>
  const Body* as() const {
    return std::get_if<Body>(&body);
  }
};

std::uint8_t operation_of(const RequestBody& body);
Request decode_request(const Packet& packet);
// Reserved octets and padding are 0. The inverse of decode for such packets.
Packet encode_request(std::uint16_t id, const RequestBody& body);

// ---- responses

struct Response {
  std::uint16_t id = 0;        // of the request
  std::uint8_t operation = 0;  // of the request
  std::int32_t status = 0;     // 0, or -XEN_E... (displif.h, 'Status return codes')
  std::uint32_t edid_sz = 0;   // octets; GET_EDID only
  Packet packet{};             // as it came

  // Compares what is said, not the packet's other octets.
  bool operator==(const Response& other) const {
    return id == other.id && operation == other.operation && status == other.status &&
           edid_sz == other.edid_sz;
  }
};

Response decode_response(const Packet& packet);
// Ignores `response.packet`. edid_sz goes out for GET_EDID only.
Packet encode_response(const Response& response);
// "0", "-XEN_EINVAL", "-4711", "7".
std::string status_name(std::int32_t status);

// ---- events

struct PgFlipEvent {
  FbCookie fb_cookie{};
  bool operator==(const PgFlipEvent&) const = default;
};

struct UnknownEvent {
  std::uint8_t type = 0;
  std::array<std::byte, 56> payload{};  // octets 8 to 63
  bool operator==(const UnknownEvent&) const = default;
};

using EventBody = std::variant<PgFlipEvent, UnknownEvent>;

struct Event {
  std::uint16_t id = 0;
  std::uint8_t type = 0;  // as on the wire
  EventBody body;
  Packet packet{};  // as it came
};

Event decode_event(const Packet& packet);
Packet encode_event(std::uint16_t id, const EventBody& body);
std::string event_name(std::uint8_t type);  // "PG_FLIP" or "0x01"

// ---- reserved octets

// A range of octets within a packet.
struct ByteRange {
  std::size_t offset = 0;
  std::size_t size = 0;
  bool operator==(const ByteRange&) const = default;
};

// Octets that must be 0: "all reserved fields must be 0" (displif.h, 'Description of the
// protocol'). In order, not overlapping, not touching. `protocol_version` as negotiated: data_ofs
// and GET_EDID are version 2's, so version 1 has DBUF_CREATE's octets 40 to 43 reserved. Of an
// operation that the version does not know, only the common header is judged. Unused bits of flags
// are not octets: see kDbufFlags.
std::vector<ByteRange> reserved_bytes(std::uint8_t operation, unsigned protocol_version);
std::vector<ByteRange> reserved_response_bytes(std::uint8_t operation, unsigned protocol_version);
std::vector<ByteRange> reserved_event_bytes(std::uint8_t type);
// Offsets of the octets in `ranges` that are not 0.
std::vector<std::size_t> nonzero_bytes(const Packet& packet, std::span<const ByteRange> ranges);

// ---- raw access

template <class Raw>
Packet to_packet(const Raw& value) {
  static_assert(sizeof(Raw) == kPacketSize && std::is_trivially_copyable_v<Raw>);
  Packet packet;
  __builtin_memcpy(packet.data(), &value, kPacketSize);
  return packet;
}
// Raw is xendispl_req, xendispl_resp or xendispl_evt.
template <class Raw>
Raw from_packet(const Packet& packet) {
  static_assert(sizeof(Raw) == kPacketSize && std::is_trivially_copyable_v<Raw>);
  Raw value;
  __builtin_memcpy(&value, packet.data(), kPacketSize);
  return value;
}

// Lower-case hexadecimal, two digits an octet, no separators.
std::string to_hex(std::span<const std::byte> bytes);

// ---- the layout that this suite relies on

#define DISPLIF_CTS_AT(type, member, offset) \
  static_assert(offsetof(type, member) == (offset), #type "." #member " has moved")
#define DISPLIF_CTS_SIZE(type, size) \
  static_assert(sizeof(type) == (size), #type " has another size")

DISPLIF_CTS_SIZE(xendispl_req, 64);
DISPLIF_CTS_AT(xendispl_req, id, 0);
DISPLIF_CTS_AT(xendispl_req, operation, 2);
DISPLIF_CTS_AT(xendispl_req, reserved, 3);
DISPLIF_CTS_AT(xendispl_req, op, 8);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_create, 8);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_destroy, 8);
DISPLIF_CTS_AT(xendispl_req, op.fb_attach, 8);
DISPLIF_CTS_AT(xendispl_req, op.fb_detach, 8);
DISPLIF_CTS_AT(xendispl_req, op.set_config, 8);
DISPLIF_CTS_AT(xendispl_req, op.pg_flip, 8);
DISPLIF_CTS_AT(xendispl_req, op.get_edid, 8);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_create.dbuf_cookie, 8);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_create.width, 16);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_create.height, 20);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_create.bpp, 24);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_create.buffer_sz, 28);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_create.flags, 32);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_create.gref_directory, 36);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_create.data_ofs, 40);
DISPLIF_CTS_AT(xendispl_req, op.dbuf_destroy.dbuf_cookie, 8);
DISPLIF_CTS_AT(xendispl_req, op.fb_attach.dbuf_cookie, 8);
DISPLIF_CTS_AT(xendispl_req, op.fb_attach.fb_cookie, 16);
DISPLIF_CTS_AT(xendispl_req, op.fb_attach.width, 24);
DISPLIF_CTS_AT(xendispl_req, op.fb_attach.height, 28);
DISPLIF_CTS_AT(xendispl_req, op.fb_attach.pixel_format, 32);
DISPLIF_CTS_AT(xendispl_req, op.fb_detach.fb_cookie, 8);
DISPLIF_CTS_AT(xendispl_req, op.set_config.fb_cookie, 8);
DISPLIF_CTS_AT(xendispl_req, op.set_config.x, 16);
DISPLIF_CTS_AT(xendispl_req, op.set_config.y, 20);
DISPLIF_CTS_AT(xendispl_req, op.set_config.width, 24);
DISPLIF_CTS_AT(xendispl_req, op.set_config.height, 28);
DISPLIF_CTS_AT(xendispl_req, op.set_config.bpp, 32);
DISPLIF_CTS_AT(xendispl_req, op.pg_flip.fb_cookie, 8);
DISPLIF_CTS_AT(xendispl_req, op.get_edid.buffer_sz, 8);
DISPLIF_CTS_AT(xendispl_req, op.get_edid.gref_directory, 12);
DISPLIF_CTS_SIZE(xendispl_dbuf_create_req, 40);  // 36 used
DISPLIF_CTS_SIZE(xendispl_dbuf_destroy_req, 8);
DISPLIF_CTS_SIZE(xendispl_fb_attach_req, 32);  // 28 used
DISPLIF_CTS_SIZE(xendispl_fb_detach_req, 8);
DISPLIF_CTS_SIZE(xendispl_set_config_req, 32);  // 28 used
DISPLIF_CTS_SIZE(xendispl_page_flip_req, 8);
DISPLIF_CTS_SIZE(xendispl_get_edid_req, 8);

DISPLIF_CTS_SIZE(xendispl_resp, 64);
DISPLIF_CTS_AT(xendispl_resp, id, 0);
DISPLIF_CTS_AT(xendispl_resp, operation, 2);
DISPLIF_CTS_AT(xendispl_resp, reserved, 3);
DISPLIF_CTS_AT(xendispl_resp, status, 4);
DISPLIF_CTS_AT(xendispl_resp, op, 8);
DISPLIF_CTS_AT(xendispl_resp, op.get_edid.edid_sz, 8);
DISPLIF_CTS_SIZE(xendispl_get_edid_resp, 4);

DISPLIF_CTS_SIZE(xendispl_evt, 64);
DISPLIF_CTS_AT(xendispl_evt, id, 0);
DISPLIF_CTS_AT(xendispl_evt, type, 2);
DISPLIF_CTS_AT(xendispl_evt, reserved, 3);
DISPLIF_CTS_AT(xendispl_evt, op, 8);
DISPLIF_CTS_AT(xendispl_evt, op.pg_flip.fb_cookie, 8);
DISPLIF_CTS_SIZE(xendispl_pg_flip_evt, 8);

DISPLIF_CTS_SIZE(xendispl_event_page, 64);
DISPLIF_CTS_AT(xendispl_event_page, in_cons, 0);
DISPLIF_CTS_AT(xendispl_event_page, in_prod, 4);
DISPLIF_CTS_AT(xendispl_event_page, reserved, 8);
static_assert(XENDISPL_EVENT_PAGE_SIZE == kPageSize && XENDISPL_IN_RING_OFFS == 64 &&
              XENDISPL_IN_RING_LEN == 63);

// Newer headers declare the last member of these two without a dimension: rely on offsets only.
DISPLIF_CTS_AT(xendispl_page_directory, gref_dir_next_page, 0);
DISPLIF_CTS_AT(xendispl_page_directory, gref, 4);
static_assert(sizeof(grant_ref_t) == 4);
DISPLIF_CTS_SIZE(union xen_displif_sring_entry, 64);
DISPLIF_CTS_AT(struct xen_displif_sring, req_prod, 0);
DISPLIF_CTS_AT(struct xen_displif_sring, req_event, 4);
DISPLIF_CTS_AT(struct xen_displif_sring, rsp_prod, 8);
DISPLIF_CTS_AT(struct xen_displif_sring, rsp_event, 12);
DISPLIF_CTS_AT(struct xen_displif_sring, ring, 64);

static_assert(XENDISPL_OP_DBUF_CREATE == 0x10 && XENDISPL_OP_DBUF_DESTROY == 0x11 &&
              XENDISPL_OP_FB_ATTACH == 0x12 && XENDISPL_OP_FB_DETACH == 0x13 &&
              XENDISPL_OP_SET_CONFIG == 0x14 && XENDISPL_OP_PG_FLIP == 0x15 &&
              XENDISPL_OP_GET_EDID == 0x16 && XENDISPL_EVT_PG_FLIP == 0x00);
static_assert(XENDISPL_DBUF_FLG_REQ_ALLOC == 1 && XENDISPL_EDID_MAX_SIZE == 32768);

#undef DISPLIF_CTS_AT
#undef DISPLIF_CTS_SIZE

}  // namespace displif_cts::displif
