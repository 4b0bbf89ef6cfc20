#include "harness/displif/wire.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>

namespace displif_cts::displif {
namespace {

using testing::ElementsAre;
using xen::GrantRef;

// Every field has a value of its own in every octet, so that a swap of fields or octets shows.
struct Sample {
  const char* name;
  RequestBody body;
  const char* hex;  // of the whole packet, id 0x0201
};

const std::string kZeros(128, '0');

std::string padded(const std::string& hex) { return hex + kZeros.substr(hex.size()); }

const std::vector<Sample>& samples() {
  static const std::vector<Sample> list{
      {"dbuf_create",
       DbufCreate{DbufCookie{0x1122334455667788}, 0x01020304, 0x05060708, 0x090a0b0c, 0x0d0e0f10,
                  0x11121314, GrantRef{0x15161718}, 0x191a1b1c},
       "0102100000000000"
       "8877665544332211"
       "0403020108070605"
       "0c0b0a09100f0e0d"
       "1413121118171615"
       "1c1b1a19"},
      {"dbuf_destroy", DbufDestroy{DbufCookie{0x1122334455667788}},
       "01021100000000008877665544332211"},
      {"fb_attach",
       FbAttach{DbufCookie{0x1122334455667788}, FbCookie{0x99aabbccddeeff00}, 0x01020304,
                0x05060708, 0x34325258},
       "0102120000000000"
       "8877665544332211"
       "00ffeeddccbbaa99"
       "0403020108070605"
       "58523234"},
      {"fb_detach", FbDetach{FbCookie{0x99aabbccddeeff00}}, "010213000000000000ffeeddccbbaa99"},
      {"set_config",
       SetConfig{FbCookie{0x99aabbccddeeff00}, 0x01020304, 0x05060708, 0x090a0b0c, 0x0d0e0f10,
                 0x11121314},
       "0102140000000000"
       "00ffeeddccbbaa99"
       "0403020108070605"
       "0c0b0a09100f0e0d"
       "14131211"},
      {"pg_flip", PgFlip{FbCookie{0x99aabbccddeeff00}}, "010215000000000000ffeeddccbbaa99"},
      {"get_edid", GetEdid{0x01020304, GrantRef{0x05060708}}, "01021600000000000403020108070605"},
  };
  return list;
}

Packet filled(std::byte value) {
  Packet packet;
  packet.fill(value);
  return packet;
}

TEST(Request, encodes_every_field_at_its_octets) {
  for (const Sample& sample : samples()) {
    EXPECT_EQ(to_hex(encode_request(0x0201, sample.body)), padded(sample.hex)) << sample.name;
  }
}

TEST(Request, round_trips) {
  for (const Sample& sample : samples()) {
    const Packet packet = encode_request(0x0201, sample.body);
    const Request request = decode_request(packet);
    EXPECT_EQ(request.id, 0x0201) << sample.name;
    EXPECT_EQ(request.operation, operation_of(sample.body)) << sample.name;
    EXPECT_EQ(request.body, sample.body) << sample.name;
    EXPECT_EQ(request.packet, packet) << sample.name;
  }
}

TEST(Request, keeps_octets_that_are_no_field) {
  Packet packet = filled(std::byte{0xee});
  packet[2] = std::byte{XENDISPL_OP_PG_FLIP};
  const Request request = decode_request(packet);
  EXPECT_EQ(request.packet, packet);
  ASSERT_NE(request.as<PgFlip>(), nullptr);
  EXPECT_EQ(request.as<PgFlip>()->fb_cookie, FbCookie{0xeeeeeeeeeeeeeeee});
  EXPECT_EQ(request.as<GetEdid>(), nullptr);
}

TEST(Request, carries_unknown_operations_whole) {
  for (unsigned operation = 0; operation < 256; ++operation) {
    if (is_known(static_cast<std::uint8_t>(operation))) continue;
    Packet packet = filled(std::byte{0xa5});
    packet[2] = static_cast<std::byte>(operation);
    for (std::size_t at = 3; at < 8; ++at) packet[at] = std::byte{0};
    const Request request = decode_request(packet);
    ASSERT_NE(request.as<Unknown>(), nullptr) << operation;
    EXPECT_EQ(encode_request(request.id, request.body), packet) << operation;
  }
}

TEST(Request, knows_the_seven_operations) {
  unsigned known = 0;
  for (unsigned operation = 0; operation < 256; ++operation) {
    known += is_known(static_cast<std::uint8_t>(operation)) ? 1 : 0;
  }
  EXPECT_EQ(known, kOperations.size());
  EXPECT_EQ(operation_name(XENDISPL_OP_SET_CONFIG), "SET_CONFIG");
  EXPECT_EQ(operation_name(0x0f), "0x0f");
  EXPECT_TRUE(is_connector_zero_only(XENDISPL_OP_FB_DETACH));
  EXPECT_FALSE(is_connector_zero_only(XENDISPL_OP_SET_CONFIG));
  EXPECT_FALSE(is_connector_zero_only(XENDISPL_OP_PG_FLIP));
  EXPECT_FALSE(is_connector_zero_only(XENDISPL_OP_GET_EDID));
}

TEST(SetConfig, resets_only_when_all_is_zero) {
  EXPECT_TRUE(SetConfig{}.is_reset());
  SetConfig almost;
  almost.bpp = 32;
  EXPECT_FALSE(almost.is_reset());
}

TEST(Response, encodes_and_decodes) {
  const Response plain{0x0201, XENDISPL_OP_FB_ATTACH, -22, 0, {}};
  const Packet packet = encode_response(plain);
  EXPECT_EQ(to_hex(packet), padded("01021200eaffffff"));
  EXPECT_EQ(decode_response(packet), plain);
  EXPECT_EQ(decode_response(packet).packet, packet);

  const Response edid{0x0201, XENDISPL_OP_GET_EDID, 0, 0x01020304, {}};
  EXPECT_EQ(to_hex(encode_response(edid)), padded("010216000000000004030201"));
  EXPECT_EQ(decode_response(encode_response(edid)), edid);
}

TEST(Response, reads_edid_size_for_that_operation_only) {
  Response response{1, XENDISPL_OP_PG_FLIP, 0, 77, {}};
  EXPECT_EQ(to_hex(encode_response(response)), padded("01001500"));
  EXPECT_EQ(decode_response(encode_response(response)).edid_sz, 0U);
}

TEST(Status, is_named) {
  EXPECT_EQ(status_name(0), "0");
  EXPECT_EQ(status_name(-22), "-XEN_EINVAL");
  EXPECT_EQ(status_name(-11), "-XEN_EAGAIN");
  EXPECT_EQ(status_name(-95), "-XEN_EOPNOTSUPP");
  EXPECT_EQ(status_name(-4711), "-4711");
  EXPECT_EQ(status_name(22), "22");
  EXPECT_EQ(status_name(INT32_MIN), "-2147483648");
}

TEST(Event, round_trips) {
  const Packet packet = encode_event(0x0201, PgFlipEvent{FbCookie{0x1122334455667788}});
  EXPECT_EQ(to_hex(packet), padded("01020000000000008877665544332211"));
  const Event event = decode_event(packet);
  EXPECT_EQ(event.id, 0x0201);
  EXPECT_EQ(event.body, EventBody(PgFlipEvent{FbCookie{0x1122334455667788}}));

  UnknownEvent unknown;
  unknown.type = 9;
  unknown.payload.fill(std::byte{0x5a});
  const Event other = decode_event(encode_event(7, unknown));
  EXPECT_EQ(other.type, 9);
  EXPECT_EQ(other.body, EventBody(unknown));
  EXPECT_EQ(event_name(0), "PG_FLIP");
  EXPECT_EQ(event_name(9), "0x09");
}

// Octets that are neither reserved nor a field must not exist: fill every field with 0xff and
// count.
std::vector<std::size_t> zero_octets(const Packet& packet) {
  std::vector<std::size_t> offsets;
  for (std::size_t at = 0; at < packet.size(); ++at) {
    if (packet[at] == std::byte{0}) offsets.push_back(at);
  }
  return offsets;
}

std::vector<std::size_t> offsets_of(const std::vector<ByteRange>& ranges) {
  return nonzero_bytes(filled(std::byte{1}), ranges);
}

TEST(ReservedBytes, of_requests_are_exactly_what_no_field_covers) {
  const std::uint32_t ones = 0xffffffff;
  const DbufCookie dbuf{UINT64_MAX};
  const FbCookie fb{UINT64_MAX};
  const RequestBody bodies[] = {
      DbufCreate{dbuf, ones, ones, ones, ones, ones, GrantRef{ones}, ones},
      DbufDestroy{dbuf},
      FbAttach{dbuf, fb, ones, ones, ones},
      FbDetach{fb},
      SetConfig{fb, ones, ones, ones, ones, ones},
      PgFlip{fb},
      GetEdid{ones, GrantRef{ones}}};
  for (const RequestBody& body : bodies) {
    const std::uint8_t operation = operation_of(body);
    EXPECT_EQ(offsets_of(reserved_bytes(operation, 2)), zero_octets(encode_request(0xffff, body)))
        << operation_name(operation);
  }
}

TEST(ReservedBytes, differ_between_the_versions) {
  EXPECT_THAT(reserved_bytes(XENDISPL_OP_DBUF_CREATE, 2),
              ElementsAre(ByteRange{3, 5}, ByteRange{44, 20}));
  EXPECT_THAT(reserved_bytes(XENDISPL_OP_DBUF_CREATE, 1),
              ElementsAre(ByteRange{3, 5}, ByteRange{40, 24}));
  EXPECT_THAT(reserved_bytes(XENDISPL_OP_GET_EDID, 2),
              ElementsAre(ByteRange{3, 5}, ByteRange{16, 48}));
  EXPECT_THAT(reserved_bytes(XENDISPL_OP_GET_EDID, 1), ElementsAre(ByteRange{3, 5}));
  EXPECT_THAT(reserved_bytes(0x42, 2), ElementsAre(ByteRange{3, 5}));
}

TEST(ReservedBytes, of_responses_and_events) {
  EXPECT_EQ(
      offsets_of(reserved_response_bytes(XENDISPL_OP_GET_EDID, 2)),
      zero_octets(encode_response({0xffff, 0xff & XENDISPL_OP_GET_EDID, -1, 0xffffffff, {}})));
  EXPECT_THAT(reserved_response_bytes(XENDISPL_OP_PG_FLIP, 2),
              ElementsAre(ByteRange{3, 1}, ByteRange{8, 56}));
  EXPECT_THAT(reserved_response_bytes(XENDISPL_OP_GET_EDID, 1),
              ElementsAre(ByteRange{3, 1}, ByteRange{8, 56}));
  EXPECT_THAT(reserved_event_bytes(XENDISPL_EVT_PG_FLIP),
              ElementsAre(ByteRange{3, 5}, ByteRange{16, 48}));
  EXPECT_THAT(reserved_event_bytes(1), ElementsAre(ByteRange{3, 5}));
}

TEST(ReservedBytes, found_when_not_zero) {
  Packet packet = encode_request(1, PgFlip{FbCookie{1}});
  const auto reserved = reserved_bytes(XENDISPL_OP_PG_FLIP, 2);
  EXPECT_THAT(nonzero_bytes(packet, reserved), ElementsAre());
  packet[3] = std::byte{1};
  packet[63] = std::byte{2};
  EXPECT_THAT(nonzero_bytes(packet, reserved), ElementsAre(3, 63));
}

TEST(Cookies, print_as_hexadecimal) {
  std::ostringstream out;
  out << DbufCookie{0xff} << ", " << FbCookie{16} << ", " << 16;
  EXPECT_EQ(out.str(), "dbuf 0xff, fb 0x10, 16");
}

}  // namespace
}  // namespace displif_cts::displif
