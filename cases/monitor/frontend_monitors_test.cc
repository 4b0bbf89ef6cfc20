// Each monitor is silent on a good conversation and names its requirement on a bad one.
#include "cases/monitor/frontend_monitors.h"

#include <gtest/gtest.h>

#include <array>
#include <functional>
#include <map>
#include <set>

#include "harness/displif/describe.h"

namespace displif_cts::cases {
namespace {

using displif::DbufCookie;
using displif::DbufCreate;
using displif::DbufDestroy;
using displif::FbAttach;
using displif::FbCookie;
using displif::FbDetach;
using displif::GetEdid;
using displif::PgFlip;
using displif::SetConfig;
using trace::Direction;
using trace::Kind;

constexpr DbufCookie kBuffer{0x1000};
constexpr FbCookie kFramebuffer{0x2000};

// A conversation as the fake backend records it (fake_backend/fake_backend.h).
class Conversation : public testing::Test {
 protected:
  Conversation()
      : recorder_([this](const Json& record) { take(record); }, "frontend.some.case"),
        monitors_(attach_frontend_monitors(recorder_)) {
    recorder_.message(Kind::xenstore, Direction::none,
                      Json{{"connector", 0}, {"resolution", {{"width", 640}, {"height", 480}}}});
    connect();
  }

  void connect() {
    recorder_.message(Kind::state, Direction::none, Json{{"connection", 1}, {"what", "connected"}});
  }

  // A request, encoded, with `spoil` applied to its octets.
  template <class Body>
  void request(const Body& body, unsigned connector = 0,
               const std::function<void(displif::Packet&)>& spoil = {}) {
    displif::Packet packet = displif::encode_request(next_id_++, body);
    if (spoil) spoil(packet);
    recorder_.message(Kind::request, Direction::front_to_back, packet,
                      Json{{"connector", connector}, {"index", 0}, {"notified", notified_}});
    last_ = displif::decode_request(packet);
    last_connector_ = connector;
  }
  void answer(std::int32_t status = 0) {
    displif::Response response;
    response.id = last_.id;
    response.operation = last_.operation;
    response.status = status;
    recorder_.message(Kind::response, Direction::back_to_front, displif::encode_response(response),
                      Json{{"connector", last_connector_}, {"index", 0}});
  }
  template <class Body>
  void done(const Body& body, std::int32_t status = 0) {
    request(body);
    answer(status);
  }
  void index(const std::string& name, std::uint32_t value, const std::string& what = {}) {
    Json fields{{"connector", 0}, {"name", name}, {"value", value}};
    if (!what.empty()) fields["what"] = what;
    recorder_.message(Kind::index, Direction::front_to_back, fields);
  }
  void page(const std::string& what, const std::map<std::size_t, std::uint8_t>& octets) {
    std::array<std::byte, 64> head{};
    for (const auto& [at, value] : octets) head[at] = std::byte{value};
    recorder_.message(Kind::index, Direction::none, head, Json{{"connector", 0}, {"what", what}});
  }
  void no_state(Json fields) {
    recorder_.message(Kind::state, Direction::front_to_back, std::move(fields));
  }
  void state(bool frontend, unsigned value) {
    recorder_.message(Kind::state, frontend ? Direction::front_to_back : Direction::back_to_front,
                      Json{{"side", frontend ? "frontend" : "backend"}, {"state", value}});
  }

  // Requirements that failed, after the end of the case.
  std::set<std::string> failed() {
    monitors_->finish(recorder_);
    std::set<std::string> ids;
    for (const Json& check : checks_)
      if (!check.at("ok").get<bool>()) ids.insert(check.at("requirement"));
    return ids;
  }
  std::set<std::string> judged() const {
    std::set<std::string> ids;
    for (const Json& check : checks_) ids.insert(check.at("requirement"));
    return ids;
  }

  static DbufCreate create(DbufCookie cookie = kBuffer) {
    return {.dbuf_cookie = cookie, .width = 640, .height = 480, .bpp = 32};
  }
  static FbAttach attach(DbufCookie buffer = kBuffer, FbCookie cookie = kFramebuffer) {
    return {.dbuf_cookie = buffer, .fb_cookie = cookie, .width = 640, .height = 480};
  }
  static SetConfig config(FbCookie cookie = kFramebuffer) {
    return {.fb_cookie = cookie, .width = 640, .height = 480, .bpp = 32};
  }

  using Failed = std::set<std::string>;
  bool notified_ = true;
  std::vector<Json> checks_;

 private:
  void take(const Json& record) {
    if (record.value("t", "") == "check") checks_.push_back(record);
  }

  trace::Recorder recorder_;
  std::unique_ptr<runner::Monitors> monitors_;
  std::uint16_t next_id_ = 0;
  displif::Request last_;
  unsigned last_connector_ = 0;
};

TEST_F(Conversation, GoodOneFailsNothing) {
  state(false, 2);
  state(true, 3);
  page("ring", {{4, 1}, {12, 1}});
  page("event-page", {});
  state(false, 4);
  state(true, 4);
  done(create());
  done(attach());
  done(config());
  done(PgFlip{kFramebuffer});
  index("req_prod", 4);
  index("in_prod", 1);
  index("in_cons", 1);
  done(SetConfig{});
  done(FbDetach{kFramebuffer});
  done(DbufDestroy{kBuffer});
  done(create());  // a cookie may be used again
  EXPECT_EQ(failed(), Failed{});
  EXPECT_GE(judged().size(), 20U);
}

TEST_F(Conversation, ChecksAreTheMonitorsOwnAndNameTheCase) {
  done(create());
  failed();
  ASSERT_FALSE(checks_.empty());
  for (const Json& check : checks_) {
    EXPECT_TRUE(check.at("case").get<std::string>().starts_with("frontend.monitor."));
    EXPECT_EQ(check.at("during"), "frontend.some.case");
  }
}

TEST_F(Conversation, NothingSeenIsNotJudged) {
  EXPECT_EQ(failed(), Failed{});
  EXPECT_TRUE(checks_.empty());
}

TEST_F(Conversation, ReservedOctets) {
  done(create());
  request(DbufDestroy{kBuffer}, 0, [](displif::Packet& packet) { packet[4] = std::byte{0xea}; });
  EXPECT_EQ(failed(), Failed{"packet.reserved-zero"});
}

TEST_F(Conversation, ReservedOctetsBehindTheFields) {
  request(create(), 0, [](displif::Packet& packet) { packet[63] = std::byte{1}; });
  EXPECT_EQ(failed(), Failed{"packet.reserved-zero"});
}

TEST_F(Conversation, UnknownOperation) {
  displif::Unknown unknown;
  unknown.operation = 0x0f;
  request(unknown);
  EXPECT_EQ(failed(), Failed{"packet.operation-known"});
}

TEST_F(Conversation, OperationOfANewerVersion) {
  request(GetEdid{XENDISPL_EDID_MAX_SIZE, xen::GrantRef{9}});
  EXPECT_EQ(failed(), Failed{"packet.operation-in-version"});
}

TEST_F(Conversation, EdidBufferTooSmallAndWithoutDirectory) {
  request(GetEdid{XENDISPL_EDID_MAX_SIZE - 1, xen::GrantRef{}});
  EXPECT_EQ(failed(),
            (Failed{"packet.operation-in-version", "get-edid.buffer-size", "get-edid.directory"}));
}

TEST_F(Conversation, BufferRequestOnAnotherRing) {
  request(create(), 1);
  EXPECT_EQ(failed(), Failed{"ring.control-requests-on-connector-0"});
}

TEST_F(Conversation, UnannouncedRequest) {
  notified_ = false;
  request(create());
  EXPECT_EQ(failed(), Failed{"ring.notifies"});
}

TEST_F(Conversation, SameIdTwice) {
  request(create());
  request(create(DbufCookie{0x1001}), 0, [](displif::Packet& packet) { packet[0] = std::byte{0}; });
  EXPECT_EQ(failed(), Failed{"ring.ids-distinguish-outstanding"});
}

TEST_F(Conversation, CookieZero) {
  request(create(DbufCookie{0}));
  EXPECT_EQ(failed(), Failed{"packet.dbuf-cookie-valid"});
}

TEST_F(Conversation, ConfigurationWithoutCookie) {
  done(create());
  done(attach());
  request(config(FbCookie{0}));
  EXPECT_EQ(failed(), (Failed{"packet.fb-cookie-valid"}));
}

TEST_F(Conversation, CookieAfterAnUnansweredCreation) {
  request(create());
  request(create());
  EXPECT_EQ(failed(), Failed{});
}

TEST_F(Conversation, CookieOfALivingBuffer) {
  done(create());
  request(create());
  EXPECT_EQ(failed(), Failed{"dbuf-create.cookie-unique"});
}

TEST_F(Conversation, CookieOfALivingFramebuffer) {
  done(create());
  done(attach());
  request(attach());
  EXPECT_EQ(failed(), Failed{"fb-attach.cookie-unique"});
}

TEST_F(Conversation, RefusedBufferIsNotDestroyed) {
  done(create(), -12);
  request(DbufDestroy{kBuffer});
  EXPECT_EQ(failed(), Failed{"dbuf-destroy.only-existing"});
}

TEST_F(Conversation, UnansweredBufferMayBeDestroyed) {
  request(create());
  request(DbufDestroy{kBuffer});
  EXPECT_EQ(failed(), Failed{});
}

TEST_F(Conversation, DestroyedBeforeDetached) {
  done(create());
  done(attach());
  request(DbufDestroy{kBuffer});
  EXPECT_EQ(failed(), Failed{"dbuf-destroy.after-detach"});
}

TEST_F(Conversation, AttachedToNothing) {
  request(attach());
  EXPECT_EQ(failed(), Failed{"fb-attach.dbuf-cookie"});
}

TEST_F(Conversation, DetachedTwice) {
  done(create());
  done(attach());
  done(FbDetach{kFramebuffer});
  request(FbDetach{kFramebuffer});
  EXPECT_EQ(failed(), Failed{"fb-detach.only-attached"});
}

TEST_F(Conversation, RefusedDetachmentMayBeRepeated) {
  done(create());
  done(attach());
  done(FbDetach{kFramebuffer}, -5);
  request(FbDetach{kFramebuffer});
  EXPECT_EQ(failed(), Failed{});
}

TEST_F(Conversation, ConfiguredWithAStranger) {
  request(config());
  EXPECT_EQ(failed(), Failed{"set-config.cookie"});
}

TEST_F(Conversation, FlippedBeforeConfigured) {
  done(create());
  done(attach());
  request(PgFlip{kFramebuffer});
  EXPECT_EQ(failed(), Failed{"order.flip-when-configured"});
}

TEST_F(Conversation, FlippedAfterRefusedConfiguration) {
  done(create());
  done(attach());
  done(config(), -22);
  request(PgFlip{kFramebuffer});
  EXPECT_EQ(failed(), Failed{"order.flip-when-configured"});
}

TEST_F(Conversation, FlippedToAStranger) {
  done(create());
  done(attach());
  done(config());
  request(PgFlip{FbCookie{0x2001}});
  EXPECT_EQ(failed(), Failed{"pg-flip.cookie"});
}

TEST_F(Conversation, DisplayedFramebufferDetached) {
  done(create());
  done(attach());
  done(config());
  request(FbDetach{kFramebuffer});
  EXPECT_EQ(failed(), Failed{"order.displayed-framebuffer-kept"});
}

TEST_F(Conversation, ConfigurationBeyondResolution) {
  done(create());
  done(attach());
  SetConfig wide = config();
  wide.width = 641;
  request(wide);
  EXPECT_EQ(failed(), Failed{"set-config.within-resolution"});
}

TEST_F(Conversation, ObjectsEndWithTheConnection) {
  done(create());
  done(attach());
  connect();
  done(create());
  done(attach());
  EXPECT_EQ(failed(), Failed{});
}

TEST_F(Conversation, ASlotThatWasNeverWrittenIsAnnounced) {
  request(displif::DbufCreate{}, 0, [](displif::Packet& packet) { packet = {}; });
  EXPECT_TRUE(failed().contains("ring.producer-advances"));
}

TEST_F(Conversation, AFramebufferInDoubtIsNotLeftOnItsBuffer) {
  done(displif::DbufCreate{.dbuf_cookie = displif::DbufCookie{1}});
  done(displif::FbAttach{.dbuf_cookie = displif::DbufCookie{1}, .fb_cookie = displif::FbCookie{2}},
       1);
  done(displif::DbufDestroy{.dbuf_cookie = displif::DbufCookie{1}});
  EXPECT_FALSE(failed().contains("dbuf-destroy.after-detach"));
}

TEST_F(Conversation, ProducerGoesBack) {
  index("req_prod", 4);
  index("rsp_prod", 4);
  index("req_prod", 3);
  EXPECT_EQ(failed(), Failed{"ring.producer-advances"});
}

TEST_F(Conversation, ProducerOverfillsTheRing) {
  index("req_prod", 32);
  index("req_prod", 33, "refused");
  EXPECT_EQ(failed(), Failed{"ring.never-overfull"});
}

TEST_F(Conversation, ProducerMayFollowABackendThatRanAhead) {
  index("req_prod", 1);
  index("rsp_prod", 34);
  index("req_prod", 2);
  EXPECT_EQ(failed(), Failed{});
}

TEST_F(Conversation, ConfirmedMoreThanThereWas) {
  index("in_prod", 2);
  index("in_cons", 2);
  index("in_cons", 3);
  EXPECT_EQ(failed(), Failed{"event-page.consumer-behind-producer"});
}

TEST_F(Conversation, RingHandedOverUsed) {
  page("ring", {{0, 1}, {4, 1}, {12, 1}});
  EXPECT_EQ(failed(), Failed{"ring.initial-indexes"});
}

TEST_F(Conversation, RingHandedOverWithDirtyPadding) {
  page("ring", {{4, 1}, {12, 1}, {40, 7}});
  EXPECT_EQ(failed(), Failed{"ring.initial-indexes"});
}

TEST_F(Conversation, EventPageHandedOverUsed) {
  page("event-page", {{4, 1}});
  EXPECT_EQ(failed(), Failed{"event-page.initial-indexes"});
}

TEST_F(Conversation, EventPageWithDirtyHeader) {
  page("event-page", {{8, 1}});
  EXPECT_EQ(failed(), Failed{"event-page.header-reserved-zero"});
}

TEST_F(Conversation, InitialisedBeforeTheBackend) {
  state(false, 1);
  state(true, 3);
  EXPECT_EQ(failed(), Failed{"bus.states-in-order"});
}

TEST_F(Conversation, ConnectedBeforeTheBackend) {
  state(false, 2);
  state(true, 3);
  state(true, 4);
  EXPECT_EQ(failed(), Failed{"bus.states-in-order"});
}

TEST_F(Conversation, StateOfTheBackendOnly) {
  state(false, 2);
  state(true, 2);
  EXPECT_EQ(failed(), Failed{"bus.states-in-order"});
}

TEST_F(Conversation, InitialisedInMidService) {
  state(false, 2);
  state(true, 3);
  state(false, 4);
  state(true, 4);
  state(true, 3);
  EXPECT_EQ(failed(), Failed{"bus.states-in-order"});
}

TEST_F(Conversation, ReconfiguringWithoutOccasion) {
  state(false, 2);
  state(true, 3);
  state(false, 4);
  state(true, 4);
  state(true, 7);
  EXPECT_EQ(failed(), Failed{"bus.states-in-order"});
}

TEST_F(Conversation, AnEmptyStateIsNone) {
  no_state(Json{{"side", "frontend"}, {"text", ""}, {"empty", true}});
  EXPECT_EQ(failed(), (Failed{"bus.frontend-state-defined", "bus.states-in-order"}));
}

TEST_F(Conversation, AMissingStateIsARemovedDevice) {
  no_state(Json{{"side", "frontend"}, {"text", ""}});
  EXPECT_EQ(failed(), Failed{});
}

TEST_F(Conversation, RecoveryIsLegal) {
  for (const auto& [frontend, value] : {std::pair{false, 2U},
                                        {true, 3U},
                                        {false, 4U},
                                        {true, 4U},
                                        {false, 6U},
                                        {true, 7U},
                                        {true, 1U},
                                        {false, 2U},
                                        {true, 3U},
                                        {false, 4U},
                                        {true, 4U},
                                        {true, 5U},
                                        {true, 6U}})
    state(frontend, value);
  EXPECT_EQ(failed(), Failed{});
}

}  // namespace
}  // namespace displif_cts::cases
