#include "harness/displif/wire.h"

#include <algorithm>
#include <cstring>
#include <ostream>
#include <utility>

namespace displif_cts::displif {
namespace {

std::string hex_byte(std::uint8_t value) {
  const std::byte octet{value};
  return "0x" + to_hex(std::span(&octet, 1));
}

std::ostream& print_cookie(std::ostream& out, const char* name, std::uint64_t cookie) {
  const auto flags = out.flags();
  out << name << " 0x" << std::hex << cookie;
  out.flags(flags);
  return out;
}

// xen/errno.h is made to be included with a macro of one's own.
constexpr std::pair<int, std::string_view> kXenErrors[] = {
#define XEN_ERRNO(name, value) {value, "XEN_" #name},
#include <xen/errno.h>
};

std::array<std::byte, 56> payload_of(const Packet& packet) {
  std::array<std::byte, 56> payload;
  std::memcpy(payload.data(), packet.data() + 8, payload.size());
  return payload;
}

void set_payload(Packet& packet, const std::array<std::byte, 56>& payload) {
  std::memcpy(packet.data() + 8, payload.data(), payload.size());
}

template <class... F>
struct Overloaded : F... {
  using F::operator()...;
};
template <class... F>
Overloaded(F...) -> Overloaded<F...>;

// Octets from `used` to the packet's end, behind the reserved ones of the common header.
std::vector<ByteRange> header_and_tail(ByteRange header, std::size_t used) {
  if (header.offset + header.size == used) return {{header.offset, kPacketSize - header.offset}};
  return {header, {used, kPacketSize - used}};
}

}  // namespace

std::ostream& operator<<(std::ostream& out, DbufCookie cookie) {
  return print_cookie(out, "dbuf", raw(cookie));
}
std::ostream& operator<<(std::ostream& out, FbCookie cookie) {
  return print_cookie(out, "fb", raw(cookie));
}

std::string operation_name(std::uint8_t operation) {
  switch (operation) {
    case XENDISPL_OP_DBUF_CREATE:
      return "DBUF_CREATE";
    case XENDISPL_OP_DBUF_DESTROY:
      return "DBUF_DESTROY";
    case XENDISPL_OP_FB_ATTACH:
      return "FB_ATTACH";
    case XENDISPL_OP_FB_DETACH:
      return "FB_DETACH";
    case XENDISPL_OP_SET_CONFIG:
      return "SET_CONFIG";
    case XENDISPL_OP_PG_FLIP:
      return "PG_FLIP";
    case XENDISPL_OP_GET_EDID:
      return "GET_EDID";
    default:
      return hex_byte(operation);
  }
}

bool is_known(std::uint8_t operation) {
  return std::find(kOperations.begin(), kOperations.end(), static_cast<Operation>(operation)) !=
         kOperations.end();
}

bool is_connector_zero_only(std::uint8_t operation) {
  switch (operation) {
    case XENDISPL_OP_DBUF_CREATE:
    case XENDISPL_OP_DBUF_DESTROY:
    case XENDISPL_OP_FB_ATTACH:
    case XENDISPL_OP_FB_DETACH:
      return true;
    default:
      return false;
  }
}

std::uint8_t operation_of(const RequestBody& body) {
  return std::visit(
      Overloaded{[](const DbufCreate&) -> std::uint8_t { return XENDISPL_OP_DBUF_CREATE; },
                 [](const DbufDestroy&) -> std::uint8_t { return XENDISPL_OP_DBUF_DESTROY; },
                 [](const FbAttach&) -> std::uint8_t { return XENDISPL_OP_FB_ATTACH; },
                 [](const FbDetach&) -> std::uint8_t { return XENDISPL_OP_FB_DETACH; },
                 [](const SetConfig&) -> std::uint8_t { return XENDISPL_OP_SET_CONFIG; },
                 [](const PgFlip&) -> std::uint8_t { return XENDISPL_OP_PG_FLIP; },
                 [](const GetEdid&) -> std::uint8_t { return XENDISPL_OP_GET_EDID; },
                 [](const Unknown& unknown) { return unknown.operation; }},
      body);
}

Request decode_request(const Packet& packet) {
  const auto wire = from_packet<xendispl_req>(packet);
  Request request;
  request.id = wire.id;
  request.operation = wire.operation;
  request.packet = packet;
  switch (wire.operation) {
    case XENDISPL_OP_DBUF_CREATE: {
      const auto& op = wire.op.dbuf_create;
      request.body = DbufCreate{static_cast<DbufCookie>(op.dbuf_cookie),
                                op.width,
                                op.height,
                                op.bpp,
                                op.buffer_sz,
                                op.flags,
                                static_cast<xen::GrantRef>(op.gref_directory),
                                op.data_ofs};
      break;
    }
    case XENDISPL_OP_DBUF_DESTROY:
      request.body = DbufDestroy{static_cast<DbufCookie>(wire.op.dbuf_destroy.dbuf_cookie)};
      break;
    case XENDISPL_OP_FB_ATTACH: {
      const auto& op = wire.op.fb_attach;
      request.body =
          FbAttach{static_cast<DbufCookie>(op.dbuf_cookie), static_cast<FbCookie>(op.fb_cookie),
                   op.width, op.height, op.pixel_format};
      break;
    }
    case XENDISPL_OP_FB_DETACH:
      request.body = FbDetach{static_cast<FbCookie>(wire.op.fb_detach.fb_cookie)};
      break;
    case XENDISPL_OP_SET_CONFIG: {
      const auto& op = wire.op.set_config;
      request.body =
          SetConfig{static_cast<FbCookie>(op.fb_cookie), op.x, op.y, op.width, op.height, op.bpp};
      break;
    }
    case XENDISPL_OP_PG_FLIP:
      request.body = PgFlip{static_cast<FbCookie>(wire.op.pg_flip.fb_cookie)};
      break;
    case XENDISPL_OP_GET_EDID:
      request.body = GetEdid{wire.op.get_edid.buffer_sz,
                             static_cast<xen::GrantRef>(wire.op.get_edid.gref_directory)};
      break;
    default:
      request.body = Unknown{wire.operation, payload_of(packet)};
  }
  return request;
}

Packet encode_request(std::uint16_t id, const RequestBody& body) {
  if (const auto* unknown = std::get_if<Unknown>(&body)) {
    xendispl_req header{};
    header.id = id;
    header.operation = unknown->operation;
    Packet packet = to_packet(header);
    set_payload(packet, unknown->payload);
    return packet;
  }
  // Zeroed as octets: an initialiser need not clear padding.
  xendispl_req wire;
  std::memset(static_cast<void*>(&wire), 0, sizeof(wire));
  wire.id = id;
  wire.operation = operation_of(body);
  std::visit(
      Overloaded{[&](const DbufCreate& from) {
                   auto& op = wire.op.dbuf_create;
                   op.dbuf_cookie = raw(from.dbuf_cookie);
                   op.width = from.width;
                   op.height = from.height;
                   op.bpp = from.bpp;
                   op.buffer_sz = from.buffer_sz;
                   op.flags = from.flags;
                   op.gref_directory = raw(from.gref_directory);
                   op.data_ofs = from.data_ofs;
                 },
                 [&](const DbufDestroy& from) {
                   wire.op.dbuf_destroy.dbuf_cookie = raw(from.dbuf_cookie);
                 },
                 [&](const FbAttach& from) {
                   auto& op = wire.op.fb_attach;
                   op.dbuf_cookie = raw(from.dbuf_cookie);
                   op.fb_cookie = raw(from.fb_cookie);
                   op.width = from.width;
                   op.height = from.height;
                   op.pixel_format = from.pixel_format;
                 },
                 [&](const FbDetach& from) { wire.op.fb_detach.fb_cookie = raw(from.fb_cookie); },
                 [&](const SetConfig& from) {
                   auto& op = wire.op.set_config;
                   op.fb_cookie = raw(from.fb_cookie);
                   op.x = from.x;
                   op.y = from.y;
                   op.width = from.width;
                   op.height = from.height;
                   op.bpp = from.bpp;
                 },
                 [&](const PgFlip& from) { wire.op.pg_flip.fb_cookie = raw(from.fb_cookie); },
                 [&](const GetEdid& from) {
                   wire.op.get_edid.buffer_sz = from.buffer_sz;
                   wire.op.get_edid.gref_directory = raw(from.gref_directory);
                 },
                 [](const Unknown&) {}},
      body);
  return to_packet(wire);
}

Response decode_response(const Packet& packet) {
  const auto wire = from_packet<xendispl_resp>(packet);
  Response response;
  response.id = wire.id;
  response.operation = wire.operation;
  response.status = wire.status;
  if (wire.operation == XENDISPL_OP_GET_EDID) response.edid_sz = wire.op.get_edid.edid_sz;
  response.packet = packet;
  return response;
}

Packet encode_response(const Response& response) {
  xendispl_resp wire;
  std::memset(static_cast<void*>(&wire), 0, sizeof(wire));
  wire.id = response.id;
  wire.operation = response.operation;
  wire.status = response.status;
  if (response.operation == XENDISPL_OP_GET_EDID) wire.op.get_edid.edid_sz = response.edid_sz;
  return to_packet(wire);
}

std::string status_name(std::int32_t status) {
  if (status < 0) {
    for (const auto& [value, text] : kXenErrors) {
      if (-static_cast<std::int64_t>(value) == status) return "-" + std::string(text);
    }
  }
  return std::to_string(status);
}

Event decode_event(const Packet& packet) {
  const auto wire = from_packet<xendispl_evt>(packet);
  Event event;
  event.id = wire.id;
  event.type = wire.type;
  event.packet = packet;
  if (wire.type == XENDISPL_EVT_PG_FLIP) {
    event.body = PgFlipEvent{static_cast<FbCookie>(wire.op.pg_flip.fb_cookie)};
  } else {
    event.body = UnknownEvent{wire.type, payload_of(packet)};
  }
  return event;
}

Packet encode_event(std::uint16_t id, const EventBody& body) {
  xendispl_evt wire;
  std::memset(static_cast<void*>(&wire), 0, sizeof(wire));
  wire.id = id;
  if (const auto* flip = std::get_if<PgFlipEvent>(&body)) {
    wire.type = XENDISPL_EVT_PG_FLIP;
    wire.op.pg_flip.fb_cookie = raw(flip->fb_cookie);
    return to_packet(wire);
  }
  const auto& unknown = std::get<UnknownEvent>(body);
  wire.type = unknown.type;
  Packet packet = to_packet(wire);
  set_payload(packet, unknown.payload);
  return packet;
}

std::string event_name(std::uint8_t type) {
  return type == XENDISPL_EVT_PG_FLIP ? "PG_FLIP" : hex_byte(type);
}

std::vector<ByteRange> reserved_bytes(std::uint8_t operation, unsigned protocol_version) {
  constexpr ByteRange header{3, 5};
  switch (operation) {
    case XENDISPL_OP_DBUF_CREATE:
      return header_and_tail(header, protocol_version >= 2 ? 44 : 40);
    case XENDISPL_OP_DBUF_DESTROY:
    case XENDISPL_OP_FB_DETACH:
    case XENDISPL_OP_PG_FLIP:
      return header_and_tail(header, 16);
    case XENDISPL_OP_FB_ATTACH:
    case XENDISPL_OP_SET_CONFIG:
      return header_and_tail(header, 36);
    case XENDISPL_OP_GET_EDID:
      if (protocol_version >= 2) return header_and_tail(header, 16);
      return {header};
    default:
      return {header};
  }
}

std::vector<ByteRange> reserved_response_bytes(std::uint8_t operation, unsigned protocol_version) {
  constexpr ByteRange header{3, 1};
  if (operation == XENDISPL_OP_GET_EDID && protocol_version >= 2)
    return header_and_tail(header, 12);
  return header_and_tail(header, 8);
}

std::vector<ByteRange> reserved_event_bytes(std::uint8_t type) {
  constexpr ByteRange header{3, 5};
  if (type == XENDISPL_EVT_PG_FLIP) return header_and_tail(header, 16);
  return {header};
}

std::vector<std::size_t> nonzero_bytes(const Packet& packet, std::span<const ByteRange> ranges) {
  std::vector<std::size_t> offsets;
  for (const ByteRange& range : ranges) {
    for (std::size_t at = range.offset; at < range.offset + range.size && at < packet.size();
         ++at) {
      if (packet[at] != std::byte{0}) offsets.push_back(at);
    }
  }
  return offsets;
}

std::string to_hex(std::span<const std::byte> bytes) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const std::byte value : bytes) {
    text += digits[std::to_integer<unsigned>(value) >> 4U];
    text += digits[std::to_integer<unsigned>(value) & 0xfU];
  }
  return text;
}

}  // namespace displif_cts::displif
