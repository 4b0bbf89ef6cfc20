#include "fake_backend/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xen/errno.h>

#include <cstring>
#include <functional>
#include <limits>
#include <string>
#include <vector>

#include "harness/displif/fourcc.h"

namespace displif_cts::fake_backend {
namespace {

constexpr std::uint32_t kMax = std::numeric_limits<std::uint32_t>::max();

using displif::Request;

Request make(const displif::RequestBody& body) {
  return displif::decode_request(displif::encode_request(7, body));
}

Request undefined(std::uint8_t operation) { return make(displif::Unknown{.operation = operation}); }

struct CreateArgs {
  std::uint64_t cookie = 1;
  std::uint32_t width = 640;
  std::uint32_t height = 480;
  std::uint32_t bpp = 32;
  std::uint32_t size = 640 * 480 * 4;
  std::uint32_t flags = 0;
  std::uint32_t directory = 8;
  std::uint32_t offset = 0;
};

Request create(const CreateArgs& args = {}) {
  return make(displif::DbufCreate{.dbuf_cookie = DbufCookie{args.cookie},
                                  .width = args.width,
                                  .height = args.height,
                                  .bpp = args.bpp,
                                  .buffer_sz = args.size,
                                  .flags = args.flags,
                                  .gref_directory = xen::GrantRef{args.directory},
                                  .data_ofs = args.offset});
}

Request destroy(std::uint64_t cookie) {
  return make(displif::DbufDestroy{.dbuf_cookie = DbufCookie{cookie}});
}

Request attach(std::uint64_t dbuf, std::uint64_t fb, std::uint32_t width = 640,
               std::uint32_t height = 480, std::uint32_t format = DRM_FORMAT_XRGB8888) {
  return make(displif::FbAttach{.dbuf_cookie = DbufCookie{dbuf},
                                .fb_cookie = FbCookie{fb},
                                .width = width,
                                .height = height,
                                .pixel_format = format});
}

Request detach(std::uint64_t fb) { return make(displif::FbDetach{.fb_cookie = FbCookie{fb}}); }

Request configure(std::uint64_t fb, std::uint32_t x, std::uint32_t y, std::uint32_t width,
                  std::uint32_t height, std::uint32_t bpp) {
  return make(displif::SetConfig{
      .fb_cookie = FbCookie{fb}, .x = x, .y = y, .width = width, .height = height, .bpp = bpp});
}

Request flip(std::uint64_t fb) { return make(displif::PgFlip{.fb_cookie = FbCookie{fb}}); }

Request edid(std::uint32_t size, std::uint32_t directory = 8) {
  return make(displif::GetEdid{.buffer_sz = size, .gref_directory = xen::GrantRef{directory}});
}

ModelOptions two_connectors() {
  ModelOptions options;
  options.connectors = {{640, 480}, {320, 200}};
  options.has_edid = {true, false};
  options.be_alloc = false;
  return options;
}

// Buffers 1 and 2, framebuffers 11 (of 1) and 12 (of 2), connector 0 shows 11.
Model populated(ModelOptions options = two_connectors()) {
  Model model(std::move(options));
  for (const Request& req : {create(), create({.cookie = 2}), attach(1, 11), attach(2, 12),
                             configure(11, 0, 0, 640, 480, 32)}) {
    const Answer answer = model.decide(0, req);
    EXPECT_EQ(answer.status, 0) << answer.reason.text();
    model.apply(0, answer.effect);
  }
  return model;
}

struct Row {
  const char* what;
  std::size_t connector;
  Request req;
  int status;
};

class Decide : public testing::TestWithParam<Row> {};

TEST_P(Decide, answers_as_the_header_says) {
  const Row& row = GetParam();
  const Model model = populated();
  const Answer answer = model.decide(row.connector, row.req);
  EXPECT_EQ(answer.status, row.status) << row.what << ": " << answer.reason.text();
  EXPECT_EQ(answer.reason.empty(), row.status == 0);
  if (row.status != 0) {
    EXPECT_TRUE(std::holds_alternative<NoEffect>(answer.effect));
  }
}

INSTANTIATE_TEST_SUITE_P(
    DbufCreate, Decide,
    testing::Values(
        Row{"a new cookie", 0, create({.cookie = 3}), 0},
        Row{"the largest cookie", 0, create({.cookie = UINT64_MAX}), 0},
        Row{"cookie 0", 0, create({.cookie = 0}), -XEN_EINVAL},
        Row{"a cookie in use", 0, create({.cookie = 1}), -XEN_EEXIST},
        Row{"an undefined flag", 0, create({.cookie = 3, .flags = 2}), -XEN_EINVAL},
        Row{"every flag", 0, create({.cookie = 3, .flags = kMax}), -XEN_EINVAL},
        Row{"allocation that was not offered", 0,
            create({.cookie = 3, .flags = XENDISPL_DBUF_FLG_REQ_ALLOC}), -XEN_EINVAL},
        Row{"size 0", 0, create({.cookie = 3, .width = 0, .height = 0, .size = 0}), -XEN_EINVAL},
        Row{"an imported buffer", 0,
            create({.cookie = 3, .width = 0, .height = 0, .bpp = 0, .size = 4096}), 0},
        Row{"one octet", 0, create({.cookie = 3, .width = 1, .height = 1, .bpp = 8, .size = 1}), 0},
        Row{"one octet short", 0, create({.cookie = 3, .size = 640 * 480 * 4 - 1}), -XEN_EINVAL},
        Row{"one octet short for its offset", 0, create({.cookie = 3, .offset = 1}), -XEN_EINVAL},
        Row{"an offset that fits", 0,
            create({.cookie = 3, .size = 640 * 480 * 4 + 16, .offset = 16}), 0},
        Row{"an offset beyond the buffer", 0,
            create({.cookie = 3, .width = 0, .height = 0, .size = 4096, .offset = 4097}),
            -XEN_EINVAL},
        Row{"the largest offset", 0, create({.cookie = 3, .offset = kMax}), -XEN_EINVAL},
        Row{"a size whose product wraps", 0,
            create({.cookie = 3, .width = kMax, .height = kMax, .bpp = kMax}), -XEN_EINVAL},
        Row{"2^16 x 2^16 x 32 wraps 32 bits", 0,
            create({.cookie = 3, .width = 65536, .height = 65536, .size = 4096}), -XEN_EINVAL},
        Row{"a row of 12 bits is rounded up", 0,
            create({.cookie = 3, .width = 1, .height = 1, .bpp = 12, .size = 1}), -XEN_EINVAL},
        Row{"above the limit", 0, create({.cookie = 3, .size = (128U << 20U) + 1}), -XEN_ENOMEM},
        Row{"at the limit", 0, create({.cookie = 3, .size = 128U << 20U}), 0},
        Row{"the largest size", 0, create({.cookie = 3, .size = kMax}), -XEN_ENOMEM},
        Row{"directory 0", 0, create({.cookie = 3, .directory = 0}), -XEN_EINVAL},
        Row{"on connector 1's ring", 1, create({.cookie = 3}), -XEN_EINVAL},
        Row{"on no connector", 2, create({.cookie = 3}), -XEN_ENODEV}));

INSTANTIATE_TEST_SUITE_P(DbufDestroy, Decide,
                         testing::Values(Row{"a buffer", 0, destroy(1), 0},
                                         Row{"no buffer", 0, destroy(3), -XEN_ENOENT},
                                         Row{"cookie 0", 0, destroy(0), -XEN_ENOENT},
                                         Row{"a framebuffer's cookie", 0, destroy(11), -XEN_ENOENT},
                                         Row{"on connector 1's ring", 1, destroy(1), -XEN_EINVAL}));

INSTANTIATE_TEST_SUITE_P(
    FbAttach, Decide,
    testing::Values(Row{"a new cookie", 0, attach(1, 13), 0},
                    Row{"a dbuf's cookie is another name space", 0, attach(1, 1), 0},
                    Row{"cookie 0", 0, attach(1, 0), -XEN_EINVAL},
                    Row{"a cookie in use", 0, attach(2, 11), -XEN_EEXIST},
                    Row{"no buffer", 0, attach(3, 13), -XEN_ENOENT},
                    Row{"buffer 0", 0, attach(0, 13), -XEN_ENOENT},
                    Row{"smaller than its buffer", 0, attach(1, 13, 1, 1), 0},
                    Row{"width 0", 0, attach(1, 13, 0, 480), -XEN_EINVAL},
                    Row{"height 0", 0, attach(1, 13, 640, 0), -XEN_EINVAL},
                    Row{"one row too many", 0, attach(1, 13, 640, 481), -XEN_EINVAL},
                    Row{"a product that wraps", 0, attach(1, 13, kMax, kMax), -XEN_EINVAL},
                    Row{"two octets per pixel", 0, attach(1, 13, 640, 960, DRM_FORMAT_RGB565), 0},
                    Row{"no known format", 0, attach(1, 13, 640, 480, 0), -XEN_EINVAL},
                    Row{"on connector 1's ring", 1, attach(1, 13), -XEN_EINVAL}));

INSTANTIATE_TEST_SUITE_P(FbDetach, Decide,
                         testing::Values(Row{"a framebuffer", 0, detach(12), 0},
                                         Row{"the one on screen", 0, detach(11), 0},
                                         Row{"no framebuffer", 0, detach(13), -XEN_ENOENT},
                                         Row{"cookie 0", 0, detach(0), -XEN_ENOENT},
                                         Row{"on connector 1's ring", 1, detach(11), -XEN_EINVAL}));

INSTANTIATE_TEST_SUITE_P(
    SetConfig, Decide,
    testing::Values(
        Row{"the whole screen", 0, configure(12, 0, 0, 640, 480, 32), 0},
        Row{"a part of it", 0, configure(12, 10, 20, 630, 460, 32), 0},
        Row{"reset", 0, configure(0, 0, 0, 0, 0, 0), 0},
        Row{"reset of a connector that is off", 1, configure(0, 0, 0, 0, 0, 0), 0},
        Row{"cookie 0 alone is no reset", 0, configure(0, 0, 0, 640, 480, 32), -XEN_EINVAL},
        Row{"a cookie alone", 0, configure(12, 0, 0, 0, 0, 0), -XEN_EINVAL},
        Row{"no framebuffer", 0, configure(13, 0, 0, 640, 480, 32), -XEN_ENOENT},
        Row{"a sum beyond", 0, configure(12, 1, 1, 640, 480, 32), 0},
        Row{"one column beyond", 0, configure(12, 0, 0, 641, 480, 32), -XEN_EINVAL},
        Row{"one row beyond", 0, configure(12, 0, 0, 640, 481, 32), -XEN_EINVAL},
        Row{"x beyond", 0, configure(12, 641, 0, 1, 480, 32), -XEN_EINVAL},
        Row{"y beyond", 0, configure(12, 0, 481, 640, 1, 32), -XEN_EINVAL},
        Row{"a sum that wraps", 0, configure(12, kMax, kMax, 2, 2, 32), -XEN_EINVAL},
        Row{"another bpp than the framebuffer's", 0, configure(12, 0, 0, 640, 480, 16),
            -XEN_EINVAL},
        Row{"its own connector's resolution counts", 1, configure(12, 0, 0, 640, 480, 32),
            -XEN_EINVAL},
        Row{"the same framebuffer on two connectors", 1, configure(11, 0, 0, 320, 200, 32), 0}));

INSTANTIATE_TEST_SUITE_P(PgFlip, Decide,
                         testing::Values(Row{"another framebuffer", 0, flip(12), 0},
                                         Row{"the same", 0, flip(11), 0},
                                         Row{"no framebuffer", 0, flip(13), -XEN_ENOENT},
                                         Row{"cookie 0", 0, flip(0), -XEN_ENOENT},
                                         Row{"a connector that is off", 1, flip(11), -XEN_EINVAL}));

INSTANTIATE_TEST_SUITE_P(
    GetEdid, Decide,
    testing::Values(Row{"the least buffer", 0, edid(XENDISPL_EDID_MAX_SIZE), 0},
                    Row{"one octet short", 0, edid(XENDISPL_EDID_MAX_SIZE - 1), -XEN_EINVAL},
                    Row{"size 0", 0, edid(0), -XEN_EINVAL},
                    Row{"the largest size", 0, edid(kMax), -XEN_ENOMEM},
                    Row{"directory 0", 0, edid(XENDISPL_EDID_MAX_SIZE, 0), -XEN_EINVAL},
                    Row{"a connector without", 1, edid(XENDISPL_EDID_MAX_SIZE), -XEN_EOPNOTSUPP}));

INSTANTIATE_TEST_SUITE_P(Undefined, Decide,
                         testing::Values(Row{"code 0", 0, undefined(0), -XEN_EOPNOTSUPP},
                                         Row{"a reserved code", 0, undefined(15), -XEN_EOPNOTSUPP},
                                         Row{"the next code", 0, undefined(0x17), -XEN_EOPNOTSUPP},
                                         Row{"code 255", 0, undefined(255), -XEN_EOPNOTSUPP}));

TEST(Model, version_one_has_no_edid) {
  ModelOptions options = two_connectors();
  options.protocol = 1;
  const Model model(options);
  EXPECT_EQ(model.decide(0, edid(XENDISPL_EDID_MAX_SIZE)).status, -XEN_EOPNOTSUPP);
}

TEST(Model, backend_allocation_is_accepted_when_offered) {
  ModelOptions options = two_connectors();
  options.be_alloc = true;
  const Model model(options);
  const Answer answer = model.decide(0, create({.flags = XENDISPL_DBUF_FLG_REQ_ALLOC}));
  ASSERT_EQ(answer.status, 0) << answer.reason.text();
  EXPECT_TRUE(std::get<CreateBuffer>(answer.effect).buffer.backend_allocated);
}

TEST(Model, what_was_created_is_what_was_asked_for) {
  const Model model = populated();
  ASSERT_NE(model.buffer(DbufCookie{1}), nullptr);
  EXPECT_EQ(*model.buffer(DbufCookie{1}), (DisplayBuffer{.cookie = DbufCookie{1},
                                                         .width = 640,
                                                         .height = 480,
                                                         .bpp = 32,
                                                         .size = 640 * 480 * 4,
                                                         .directory = xen::GrantRef{8}}));
  EXPECT_EQ(model.buffer(DbufCookie{1})->pages(), 300U);
  ASSERT_NE(model.framebuffer(FbCookie{11}), nullptr);
  EXPECT_EQ(*model.framebuffer(FbCookie{11}), (Framebuffer{.cookie = FbCookie{11},
                                                           .dbuf_cookie = DbufCookie{1},
                                                           .width = 640,
                                                           .height = 480,
                                                           .pixel_format = DRM_FORMAT_XRGB8888}));
  EXPECT_EQ(model.total_size(), 2U * 640 * 480 * 4);
}

TEST(Model, pages_are_rounded_up_and_do_not_wrap) {
  EXPECT_EQ((DisplayBuffer{.size = 1}).pages(), 1U);
  EXPECT_EQ((DisplayBuffer{.size = 4096}).pages(), 1U);
  EXPECT_EQ((DisplayBuffer{.size = 4097}).pages(), 2U);
  EXPECT_EQ((DisplayBuffer{.size = kMax}).pages(), 1U << 20U);
}

TEST(Model, a_flip_shows_the_framebuffer_and_counts) {
  Model model = populated();
  EXPECT_EQ(model.connectors()[0].shown_fb, FbCookie{11});
  model.apply(0, model.decide(0, flip(12)).effect);
  EXPECT_EQ(model.connectors()[0].shown_fb, FbCookie{12});
  EXPECT_EQ(model.connectors()[0].flips, 1U);
  EXPECT_EQ(model.connectors()[1].shown_fb, FbCookie{0});
}

TEST(Model, reset_hides_and_a_flip_is_refused_afterwards) {
  Model model = populated();
  model.apply(0, model.decide(0, configure(0, 0, 0, 0, 0, 0)).effect);
  EXPECT_EQ(model.connectors()[0].shown_fb, FbCookie{0});
  EXPECT_FALSE(model.connectors()[0].configuration.has_value());
  EXPECT_EQ(model.decide(0, flip(11)).status, -XEN_EINVAL);
}

TEST(Model, a_cookie_can_be_used_again_after_its_end) {
  Model model = populated();
  model.apply(0, model.decide(0, detach(11)).effect);
  EXPECT_EQ(model.connectors()[0].shown_fb, FbCookie{0});
  EXPECT_EQ(model.decide(0, attach(2, 11)).status, 0);
  model.apply(0, model.decide(0, destroy(1)).effect);
  EXPECT_EQ(model.decide(0, create()).status, 0);
}

TEST(Model, destroying_a_buffer_takes_its_framebuffers_along) {
  Model model = populated();
  model.apply(0, model.decide(0, destroy(1)).effect);
  EXPECT_EQ(model.framebuffer(FbCookie{11}), nullptr);
  EXPECT_NE(model.framebuffer(FbCookie{12}), nullptr);
  EXPECT_EQ(model.connectors()[0].shown_fb, FbCookie{0});
  EXPECT_EQ(model.total_size(), 640U * 480 * 4);
}

TEST(Model, limits_of_number_and_total_size_hold) {
  ModelOptions options = two_connectors();
  options.max_buffers = 2;
  EXPECT_EQ(populated(options).decide(0, create({.cookie = 3})).status, -XEN_ENOMEM);
  options.max_buffers = 8;
  options.max_total_size = 2ULL * 640 * 480 * 4 + 4095;
  const CreateArgs page{.cookie = 3, .width = 1, .height = 1, .size = 4096};
  EXPECT_EQ(populated(options).decide(0, create(page)).status, -XEN_ENOMEM);
  options.max_total_size += 1;
  EXPECT_EQ(populated(options).decide(0, create(page)).status, 0);
  options.max_framebuffers = 2;
  EXPECT_EQ(populated(options).decide(0, attach(1, 13)).status, -XEN_ENOMEM);
}

TEST(Model, clear_forgets_everything_but_the_options) {
  Model model = populated();
  model.clear();
  EXPECT_TRUE(model.buffers().empty());
  EXPECT_TRUE(model.framebuffers().empty());
  EXPECT_EQ(model.total_size(), 0U);
  ASSERT_EQ(model.connectors().size(), 2U);
  EXPECT_EQ(model.connectors()[1].resolution, (displif::Resolution{320, 200}));
  EXPECT_FALSE(model.connectors()[0].configuration.has_value());
}

TEST(Model, release_effect_names_what_would_go) {
  const Model model = populated();
  EXPECT_TRUE(std::holds_alternative<DestroyBuffer>(model.release_effect(destroy(1))));
  EXPECT_TRUE(std::holds_alternative<DetachFramebuffer>(model.release_effect(detach(11))));
  EXPECT_TRUE(std::holds_alternative<NoEffect>(model.release_effect(destroy(3))));
  EXPECT_TRUE(std::holds_alternative<NoEffect>(model.release_effect(create({.cookie = 3}))));
}

struct LeftOut {
  const char* id;
  std::size_t connector;
  Request req;
};

class LeftOutCheck : public testing::TestWithParam<LeftOut> {};

// Each omission lets through exactly what the reference refuses, and applying it is harmless.
TEST_P(LeftOutCheck, is_refused_by_the_reference_and_accepted_by_the_mutant) {
  const LeftOut& row = GetParam();
  Model model = populated();
  EXPECT_NE(model.decide(row.connector, row.req).status, 0);
  const FaultInfo* fault = find_fault(row.id);
  ASSERT_NE(fault, nullptr) << row.id;
  BackendFaults faults;
  fault->apply(faults);
  const Answer answer = model.decide(row.connector, row.req, faults);
  EXPECT_EQ(answer.status, 0) << answer.reason.text();
  model.apply(row.connector, answer.effect);
}

INSTANTIATE_TEST_SUITE_P(
    Faults, LeftOutCheck,
    testing::Values(
        LeftOut{"backend.omission.accepts-duplicate-dbuf-cookie", 0, create()},
        LeftOut{"backend.omission.accepts-duplicate-fb-cookie", 0, attach(1, 11)},
        LeftOut{"backend.omission.accepts-zero-dbuf-cookie", 0, create({.cookie = 0})},
        LeftOut{"backend.omission.accepts-zero-fb-cookie", 0, attach(1, 0)},
        LeftOut{"backend.omission.accepts-unknown-dbuf-destroy", 0, destroy(3)},
        LeftOut{"backend.omission.accepts-unknown-dbuf-attach", 0, attach(3, 13)},
        LeftOut{"backend.omission.accepts-unknown-fb-detach", 0, detach(13)},
        LeftOut{"backend.omission.accepts-unknown-fb-config", 0, configure(13, 0, 0, 640, 480, 32)},
        LeftOut{"backend.omission.accepts-unknown-fb-flip", 0, flip(13)},
        LeftOut{"backend.omission.accepts-unknown-flags", 0, create({.cookie = 3, .flags = 2})},
        LeftOut{"backend.omission.accepts-short-buffer", 0, create({.cookie = 3, .size = 4096})},
        LeftOut{"backend.omission.accepts-large-framebuffer", 0, attach(1, 13, 640, 481)},
        LeftOut{"backend.omission.accepts-config-beyond-resolution", 0,
                configure(12, 0, 0, 641, 480, 32)},
        LeftOut{"backend.omission.accepts-other-ring", 1, create({.cookie = 3})},
        LeftOut{"backend.omission.accepts-undefined-operation", 0, undefined(0x17)},
        LeftOut{"backend.omission.accepts-short-edid-buffer", 0, edid(128)}));

TEST(Model, a_fault_strikes_as_often_as_it_says) {
  const Model model = populated();
  BackendFaults faults;
  faults.accepts_zero_dbuf_cookie = 2;
  EXPECT_EQ(model.decide(0, create({.cookie = 0}), faults).status, 0);
  EXPECT_EQ(model.decide(0, create({.cookie = 0}), faults).status, 0);
  EXPECT_EQ(model.decide(0, create({.cookie = 0}), faults).status, -XEN_EINVAL);
  EXPECT_EQ(model.decide(0, create({.cookie = 0}), faults).reason.text(), "dbuf_cookie is 0");
}

}  // namespace
}  // namespace displif_cts::fake_backend
