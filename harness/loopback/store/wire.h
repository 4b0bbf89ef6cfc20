// The octets of xs_wire (xen/io/xs_wire.h): one header, then `len` octets of payload.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct xsd_sockmsg;

namespace displif_cts::loopback::store {

using DomainId = std::uint32_t;

// enum xsd_sockmsg_type: the requests, the two answers that are none, and what is no longer there.
enum class MessageType : std::uint32_t {
  control = 0,
  directory = 1,
  read = 2,
  get_permissions = 3,
  watch = 4,
  unwatch = 5,
  transaction_start = 6,
  transaction_end = 7,
  introduce = 8,
  release = 9,
  get_domain_path = 10,
  write = 11,
  mkdir = 12,
  remove = 13,
  set_permissions = 14,
  watch_event = 15,
  error = 16,
  is_domain_introduced = 17,
  resume = 18,
  set_target = 19,
  restrict = 20,  // gone since Xen 4.11: answered as an unknown type
  reset_watches = 21,
  directory_part = 22,
};
inline constexpr std::uint32_t kMessageTypes = 23;  // XS_TYPE_COUNT

inline constexpr std::size_t kHeaderSize = 16;
inline constexpr std::size_t kPayloadMax = 4096;  // XENSTORE_PAYLOAD_MAX

struct Header {
  std::uint32_t type = 0;
  std::uint32_t request = 0;      // req_id, echoed
  std::uint32_t transaction = 0;  // tx_id, echoed; 0: none
  std::uint32_t length = 0;       // of the payload
};

struct Message {
  Header header;
  std::string payload;

  MessageType type() const { return static_cast<MessageType>(header.type); }
};

Header decode_header(std::span<const char, kHeaderSize> octets);
void append_header(std::string& out, const Header& header);
// Header and payload; header.length is taken from the payload.
std::string encode(MessageType type, std::uint32_t request, std::uint32_t transaction,
                   std::string_view payload);
// Takes one whole message off the front of `octets`; nullopt: it has not all come yet.
std::optional<Message> take_message(std::string& octets);

// "EINVAL" of 22, as XS_ERROR carries it. A number that xs_wire has no word for becomes EINVAL.
std::string_view error_word(int number);
// 22 of "EINVAL"; 0: unknown.
int error_number(std::string_view word);
// "READ"; "UNKNOWN" for what is none.
std::string_view type_name(std::uint32_t type);

}  // namespace displif_cts::loopback::store
