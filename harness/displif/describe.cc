#include "harness/displif/describe.h"

#include "harness/displif/fourcc.h"

namespace displif_cts::displif {
namespace {

std::string hex(std::uint64_t value) {
  constexpr std::string_view digits = "0123456789abcdef";
  std::string text;
  do {
    text.insert(text.begin(), digits[value & 0xfU]);
    value >>= 4U;
  } while (value != 0);
  return "0x" + text;
}

template <class Cookie>
std::string cookie_text(Cookie cookie) {
  return hex(raw(cookie));
}

void add_reserved(Json& json, const Packet& packet, std::span<const ByteRange> ranges) {
  const std::vector<std::size_t> offsets = nonzero_bytes(packet, ranges);
  if (!offsets.empty()) json["reserved_nonzero"] = offsets;
}

struct AddFields {
  Json& json;

  void operator()(const DbufCreate& op) const {
    json["dbuf_cookie"] = cookie_text(op.dbuf_cookie);
    json["width"] = op.width;
    json["height"] = op.height;
    json["bpp"] = op.bpp;
    json["buffer_sz"] = op.buffer_sz;
    json["flags"] = op.flags;
    json["gref_directory"] = raw(op.gref_directory);
    json["data_ofs"] = op.data_ofs;
  }
  void operator()(const DbufDestroy& op) const {
    json["dbuf_cookie"] = cookie_text(op.dbuf_cookie);
  }
  void operator()(const FbAttach& op) const {
    json["dbuf_cookie"] = cookie_text(op.dbuf_cookie);
    json["fb_cookie"] = cookie_text(op.fb_cookie);
    json["width"] = op.width;
    json["height"] = op.height;
    json["pixel_format"] = fourcc_name(op.pixel_format);
  }
  void operator()(const FbDetach& op) const { json["fb_cookie"] = cookie_text(op.fb_cookie); }
  void operator()(const SetConfig& op) const {
    json["fb_cookie"] = cookie_text(op.fb_cookie);
    json["x"] = op.x;
    json["y"] = op.y;
    json["width"] = op.width;
    json["height"] = op.height;
    json["bpp"] = op.bpp;
  }
  void operator()(const PgFlip& op) const { json["fb_cookie"] = cookie_text(op.fb_cookie); }
  void operator()(const GetEdid& op) const {
    json["buffer_sz"] = op.buffer_sz;
    json["gref_directory"] = raw(op.gref_directory);
  }
  void operator()(const Unknown& op) const { json["payload"] = to_hex(op.payload); }
};

}  // namespace

Json describe(const Request& request, unsigned protocol_version) {
  Json json{{"op", operation_name(request.operation)}, {"id", request.id}};
  std::visit(AddFields{json}, request.body);
  add_reserved(json, request.packet, reserved_bytes(request.operation, protocol_version));
  return json;
}

Json describe(const Response& response, unsigned protocol_version) {
  Json json{
      {"op", operation_name(response.operation)}, {"id", response.id}, {"status", response.status}};
  if (response.status != 0) json["error"] = status_name(response.status);
  if (response.operation == XENDISPL_OP_GET_EDID) json["edid_sz"] = response.edid_sz;
  add_reserved(json, response.packet,
               reserved_response_bytes(response.operation, protocol_version));
  return json;
}

Json describe(const Event& event) {
  Json json{{"event", event_name(event.type)}, {"id", event.id}};
  if (const auto* flip = std::get_if<PgFlipEvent>(&event.body)) {
    json["fb_cookie"] = cookie_text(flip->fb_cookie);
  } else {
    json["payload"] = to_hex(std::get<UnknownEvent>(event.body).payload);
  }
  add_reserved(json, event.packet, reserved_event_bytes(event.type));
  return json;
}

Json describe(const RingIndices& indices) {
  return {{"req_prod", indices.req_prod},
          {"req_event", indices.req_event},
          {"rsp_prod", indices.rsp_prod},
          {"rsp_event", indices.rsp_event}};
}

}  // namespace displif_cts::displif
