#include "harness/displif/describe.h"

#include <gtest/gtest.h>

namespace displif_cts::displif {
namespace {

using xen::GrantRef;

Json describe_body(const RequestBody& body) {
  return describe(decode_request(encode_request(3, body)));
}

TEST(Describe, requests_by_their_fields) {
  EXPECT_EQ(
      describe_body(
          DbufCreate{DbufCookie{0xffffffffffffffff}, 640, 480, 32, 1228800, 1, GrantRef{8}, 64})
          .dump(),
      R"({"op":"DBUF_CREATE","id":3,"dbuf_cookie":"0xffffffffffffffff","width":640,)"
      R"("height":480,"bpp":32,"buffer_sz":1228800,"flags":1,"gref_directory":8,"data_ofs":64})");
  EXPECT_EQ(describe_body(DbufDestroy{DbufCookie{1}}).dump(),
            R"({"op":"DBUF_DESTROY","id":3,"dbuf_cookie":"0x1"})");
  EXPECT_EQ(
      describe_body(FbAttach{DbufCookie{1}, FbCookie{2}, 3, 4, 0x34325258}).dump(),
      R"({"op":"FB_ATTACH","id":3,"dbuf_cookie":"0x1","fb_cookie":"0x2","width":3,"height":4,)"
      R"("pixel_format":"XR24"})");
  EXPECT_EQ(describe_body(FbDetach{FbCookie{0}}).dump(),
            R"({"op":"FB_DETACH","id":3,"fb_cookie":"0x0"})");
  EXPECT_EQ(
      describe_body(SetConfig{FbCookie{2}, 1, 2, 3, 4, 32}).dump(),
      R"({"op":"SET_CONFIG","id":3,"fb_cookie":"0x2","x":1,"y":2,"width":3,"height":4,"bpp":32})");
  EXPECT_EQ(describe_body(PgFlip{FbCookie{2}}).dump(),
            R"({"op":"PG_FLIP","id":3,"fb_cookie":"0x2"})");
  EXPECT_EQ(describe_body(GetEdid{32768, GrantRef{9}}).dump(),
            R"({"op":"GET_EDID","id":3,"buffer_sz":32768,"gref_directory":9})");
}

TEST(Describe, unknown_operations_by_their_payload) {
  Unknown unknown;
  unknown.operation = 0x42;
  unknown.payload[0] = std::byte{0xab};
  const Json json = describe_body(unknown);
  EXPECT_EQ(json["op"], "0x42");
  EXPECT_EQ(json["payload"].get<std::string>().substr(0, 4), "ab00");
}

TEST(Describe, names_reserved_octets_that_are_set) {
  Packet packet = encode_request(3, PgFlip{FbCookie{2}});
  packet[7] = packet[40] = std::byte{1};
  EXPECT_EQ(describe(decode_request(packet))["reserved_nonzero"].dump(), "[7,40]");
}

TEST(Describe, judges_reserved_octets_by_version) {
  const Request request =
      decode_request(encode_request(3, DbufCreate{DbufCookie{1}, 1, 1, 32, 4, 0, GrantRef{8}, 1}));
  EXPECT_FALSE(describe(request, 2).contains("reserved_nonzero"));
  EXPECT_EQ(describe(request, 1)["reserved_nonzero"].dump(), "[40]");
}

TEST(Describe, responses_and_events) {
  EXPECT_EQ(describe(decode_response(encode_response({3, XENDISPL_OP_PG_FLIP, -22, 0, {}}))).dump(),
            R"({"op":"PG_FLIP","id":3,"status":-22,"error":"-XEN_EINVAL"})");
  EXPECT_EQ(
      describe(decode_response(encode_response({3, XENDISPL_OP_GET_EDID, 0, 128, {}}))).dump(),
      R"({"op":"GET_EDID","id":3,"status":0,"edid_sz":128})");
  EXPECT_EQ(describe(decode_event(encode_event(4, PgFlipEvent{FbCookie{2}}))).dump(),
            R"({"event":"PG_FLIP","id":4,"fb_cookie":"0x2"})");
  EXPECT_EQ(describe(decode_event(encode_event(4, UnknownEvent{7, {}})))["event"], "0x07");
  EXPECT_EQ(describe(RingIndices{1, 2, 3, 4}).dump(),
            R"({"req_prod":1,"req_event":2,"rsp_prod":3,"rsp_event":4})");
}

}  // namespace
}  // namespace displif_cts::displif
