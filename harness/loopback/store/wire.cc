#include "harness/loopback/store/wire.h"

#include <cerrno>
#include <cstring>

extern "C" {
#include <xen/io/xs_wire.h>
}

namespace displif_cts::loopback::store {

static_assert(sizeof(xsd_sockmsg) == kHeaderSize);
static_assert(kPayloadMax == XENSTORE_PAYLOAD_MAX);
static_assert(kMessageTypes == XS_TYPE_COUNT);
static_assert(static_cast<int>(MessageType::directory_part) == XS_DIRECTORY_PART);
static_assert(static_cast<int>(MessageType::set_target) == XS_SET_TARGET);

Header decode_header(std::span<const char, kHeaderSize> octets) {
  xsd_sockmsg raw;
  std::memcpy(&raw, octets.data(), sizeof raw);
  return {raw.type, raw.req_id, raw.tx_id, raw.len};
}

void append_header(std::string& out, const Header& header) {
  const xsd_sockmsg raw{header.type, header.request, header.transaction, header.length};
  out.append(reinterpret_cast<const char*>(&raw), sizeof raw);
}

std::string encode(MessageType type, std::uint32_t request, std::uint32_t transaction,
                   std::string_view payload) {
  std::string out;
  out.reserve(kHeaderSize + payload.size());
  append_header(out, {static_cast<std::uint32_t>(type), request, transaction,
                      static_cast<std::uint32_t>(payload.size())});
  out += payload;
  return out;
}

std::optional<Message> take_message(std::string& octets) {
  if (octets.size() < kHeaderSize) return std::nullopt;
  Message message;
  message.header = decode_header(std::span<const char, kHeaderSize>(octets.data(), kHeaderSize));
  const std::size_t whole = kHeaderSize + message.header.length;
  if (octets.size() < whole) return std::nullopt;
  message.payload = octets.substr(kHeaderSize, message.header.length);
  octets.erase(0, whole);
  return message;
}

std::string_view error_word(int number) {
  for (const auto& error : xsd_errors)
    if (error.errnum == number) return error.errstring;
  return "EINVAL";
}

int error_number(std::string_view word) {
  for (const auto& error : xsd_errors)
    if (word == error.errstring) return error.errnum;
  return 0;
}

std::string_view type_name(std::uint32_t type) {
  static constexpr std::string_view kNames[kMessageTypes] = {"CONTROL",
                                                             "DIRECTORY",
                                                             "READ",
                                                             "GET_PERMS",
                                                             "WATCH",
                                                             "UNWATCH",
                                                             "TRANSACTION_START",
                                                             "TRANSACTION_END",
                                                             "INTRODUCE",
                                                             "RELEASE",
                                                             "GET_DOMAIN_PATH",
                                                             "WRITE",
                                                             "MKDIR",
                                                             "RM",
                                                             "SET_PERMS",
                                                             "WATCH_EVENT",
                                                             "ERROR",
                                                             "IS_DOMAIN_INTRODUCED",
                                                             "RESUME",
                                                             "SET_TARGET",
                                                             "RESTRICT",
                                                             "RESET_WATCHES",
                                                             "DIRECTORY_PART"};
  return type < kMessageTypes ? kNames[type] : "UNKNOWN";
}

}  // namespace displif_cts::loopback::store
