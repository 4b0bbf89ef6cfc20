// The fake frontend against the fake backend, in two domains of a loopback machine.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xen/errno.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <set>
#include <thread>

#include "fake_frontend/test_support/world.h"

namespace displif_cts::fake_frontend {
namespace {

using bus::State;
using testing::HasSubstr;

constexpr milliseconds kSoon{5000};   // for what must happen
constexpr milliseconds kAwhile{100};  // for what must not

class Live : public testing::Test {
 protected:
  void make(fake_backend::Options back = backend_options(), Options front = frontend_options(),
            loopback::DomainOptions guest = {}) {
    world_.reset();
    world_ = std::make_unique<World>(std::move(back), std::move(front), std::move(guest));
  }
  void connect() {
    backend().start();
    frontend().start();
    const auto connected = frontend().await_connected(xen::in(kSoon));
    ASSERT_TRUE(connected) << connected.failure();
    const auto there = backend().await_connected(xen::in(kSoon));
    ASSERT_TRUE(there) << there.failure();
  }
  FakeFrontend& frontend() { return *world_->frontend; }
  fake_backend::FakeBackend& backend() { return *world_->backend; }
  loopback::Host& host() { return world_->host; }
  void fault(const std::function<void(FrontendFaults&)>& change) { frontend().set_faults(change); }
  void backend_fault(const std::function<void(fake_backend::BackendFaults&)>& change) {
    backend().set_faults(change);
  }
  std::optional<std::string> node(const std::string& path) { return xen::Store::open().read(path); }

  std::unique_ptr<World> world_;
};

std::vector<std::byte> pattern(std::size_t size, unsigned seed) {
  std::vector<std::byte> octets(size);
  for (std::size_t i = 0; i < size; ++i) octets[i] = std::byte(i * 31 + seed + i / 4096);
  return octets;
}

// --- bus -----------------------------------------------------------------------------------------

TEST_F(Live, normal_flow_connects_both_ends) {
  make(backend_options(4));
  connect();
  EXPECT_TRUE(frontend().connected());
  EXPECT_EQ(frontend().protocol(), 2U);
  EXPECT_EQ(backend().protocol(), 2U);
  EXPECT_EQ(frontend().backend_versions(), "1,2");
  EXPECT_FALSE(frontend().backend_allocation_offered());
  ASSERT_EQ(frontend().connectors().size(), 4U);
  EXPECT_EQ(frontend().connectors()[3], (displif::Resolution{kWidth, kHeight}));
  ASSERT_TRUE(frontend().transport(3).has_value());
  EXPECT_EQ(frontend().transport(3), backend().transport(3));
  EXPECT_EQ(host().grant_usage(kFrontend).pages, 8U);
  EXPECT_EQ(host().mappings_of(kFrontend).size(), 8U);
  const auto states = frontend().states();
  std::vector<std::string> own;
  for (const StateChange& change : states) {
    if (change.side == bus::Side::frontend) own.push_back(change.text);
  }
  EXPECT_THAT(own, testing::ElementsAre("3", "4"));  // the tool stack wrote 1
}

TEST_F(Live, starting_without_a_device_says_so) {
  make();
  FakeFrontend other(7, frontend_options(), world_->frontend_records.recorder);
  EXPECT_THROW(other.start(), xen::Error);
  EXPECT_FALSE(other.serving());
  EXPECT_EQ(other.create_buffer({}).error, ENODEV);
}

TEST_F(Live, the_highest_common_version_is_chosen) {
  struct Row {
    std::vector<unsigned> offered, known;
    unsigned chosen;
  };
  for (const Row& row : {Row{{1}, {1, 2}, 1}, Row{{1, 2}, {1}, 1}, Row{{2, 1, 9}, {1, 2}, 2}}) {
    auto back = backend_options();
    back.versions = row.offered;
    auto front = frontend_options();
    front.versions = row.known;
    make(back, front);
    connect();
    EXPECT_EQ(frontend().protocol(), row.chosen);
    EXPECT_EQ(backend().protocol(), row.chosen);
    EXPECT_EQ(node(frontend().paths().frontend + "/version"), std::to_string(row.chosen));
  }
}

TEST_F(Live, no_common_version_is_no_connection_and_no_end) {
  auto back = backend_options();
  back.versions = {8, 9};
  make(back);
  backend().start();
  frontend().start();
  EXPECT_FALSE(frontend().await_connected(xen::in(kAwhile)));
  ASSERT_FALSE(frontend().trouble().empty());
  EXPECT_THAT(frontend().trouble().back(), HasSubstr("8,9"));
  EXPECT_EQ(host().grant_usage(kFrontend).pages, 0U);
  EXPECT_EQ(frontend().frontend_state(), State::initialising);
}

TEST_F(Live, the_frontend_waits_for_init_wait) {
  make();
  frontend().start();
  EXPECT_FALSE(frontend().await_connected(xen::in(kAwhile)));
  EXPECT_EQ(frontend().frontend_state(), State::initialising);
  backend().start();
  EXPECT_TRUE(frontend().await_connected(xen::in(kSoon)));
}

TEST_F(Live, leaving_is_orderly_and_leaves_nothing) {
  make(backend_options(2));
  connect();
  ASSERT_TRUE(frontend().show(0).ok());
  EXPECT_TRUE(frontend().leave());
  EXPECT_EQ(node(frontend().paths().frontend + "/state"), "6");
  EXPECT_EQ(host().grant_usage(kFrontend).used, 0U);
  EXPECT_FALSE(frontend().connected());
  EXPECT_EQ(frontend().create_buffer({}).error, ENODEV);
  const auto states = backend().states();
  std::vector<std::string> seen;
  for (const auto& change : states) {
    if (change.side == bus::Side::frontend) seen.push_back(change.text);
  }
  EXPECT_THAT(seen, testing::Contains("5"));
}

TEST_F(Live, vanishing_leaves_nodes_and_nothing_else) {
  make();
  connect();
  ASSERT_TRUE(frontend().show(0).ok());
  frontend().vanish();
  EXPECT_EQ(node(frontend().paths().frontend + "/state"), "4");
  EXPECT_FALSE(frontend().serving());
  // What the backend still maps stays until it lets go; nothing else does.
  backend().vanish();
  EXPECT_EQ(host().grant_usage(kFrontend).used, 0U);
}

TEST_F(Live, reconnecting_starts_from_nothing) {
  make();
  connect();
  const Picture first = frontend().show(0);
  ASSERT_TRUE(first.ok()) << first.reply.text();
  const auto again = frontend().reconnect(xen::in(kSoon));
  ASSERT_TRUE(again) << again.failure();
  EXPECT_EQ(frontend().connections(), 2U);
  EXPECT_EQ(frontend().destroy_buffer(first.dbuf).error, ENOENT);  // it was the old connection's
  EXPECT_TRUE(frontend().show(0, {.width = 0, .height = 0, .cookie = first.dbuf}).ok());
}

TEST_F(Live, a_frontend_that_vanished_comes_back) {
  make();
  connect();
  frontend().vanish();
  frontend().start();
  ASSERT_TRUE(frontend().await_connected(xen::in(kSoon)));
  EXPECT_TRUE(eventually([&] { return backend().connections() == 2; }));
  EXPECT_TRUE(frontend().show(0).ok());
}

TEST_F(Live, a_backend_that_closes_is_followed_and_its_return_too) {
  make();
  connect();
  ASSERT_TRUE(frontend().show(0).ok());
  backend().shutdown();
  const auto gone = frontend().await_disconnected(xen::in(kSoon));
  ASSERT_TRUE(gone) << gone.failure();
  EXPECT_TRUE(eventually([&] { return frontend().frontend_state() == State::initialising; }));
  EXPECT_EQ(host().grant_usage(kFrontend).used, 0U);
  const Reply refused = frontend().reset_config(0);
  EXPECT_EQ(refused.error, ENODEV);
  EXPECT_FALSE(refused.request.has_value());
  backend().start();
  ASSERT_TRUE(frontend().await_connected(xen::in(kSoon)));
  EXPECT_TRUE(frontend().show(0).ok());
}

TEST_F(Live, a_frontend_may_end_closed_instead) {
  auto front = frontend_options();
  front.backend_gone = Options::BackendGone::close;
  make(backend_options(), front);
  connect();
  backend().shutdown();
  EXPECT_TRUE(eventually([&] { return frontend().frontend_state() == State::closed; }));
}

TEST_F(Live, with_a_client_the_frontend_reconfigures_until_it_has_left) {
  make();
  EXPECT_FALSE(frontend().open_client());
  connect();
  EXPECT_TRUE(frontend().open_client());
  EXPECT_EQ(frontend().clients(), 1U);
  backend().shutdown();
  ASSERT_TRUE(eventually([&] { return frontend().frontend_state() == State::reconfiguring; }));
  EXPECT_FALSE(frontend().open_client());
  backend().start();
  EXPECT_FALSE(frontend().await_connected(xen::in(kAwhile)));
  frontend().close_client();
  EXPECT_TRUE(frontend().await_connected(xen::in(kSoon)));
  EXPECT_TRUE(frontend().open_client());
}

TEST_F(Live, the_tool_stacks_removal_is_followed_without_debris) {
  make();
  connect();
  EXPECT_TRUE(backend().remove_device(xen::in(kSoon)));
  EXPECT_TRUE(frontend().await_disconnected(xen::in(kSoon)));
  EXPECT_FALSE(node(frontend().paths().frontend + "/state").has_value());
  EXPECT_EQ(host().grant_usage(kFrontend).used, 0U);
}

TEST_F(Live, the_destructor_leaves_nothing) {
  make();
  connect();
  ASSERT_TRUE(frontend().show(0).ok());
  world_->backend->vanish();
  world_->frontend.reset();
  EXPECT_EQ(host().grant_usage(kFrontend).used, 0U);
  for (const auto& port : host().ports(kFrontend)) EXPECT_EQ(port.handle, 0U);
}

// --- operations ----------------------------------------------------------------------------------

TEST_F(Live, a_picture_is_shown_flipped_and_taken_away) {
  make();
  connect();
  const BufferReply front = frontend().create_buffer({.width = kWidth, .height = kHeight});
  ASSERT_TRUE(front.ok()) << front.text();
  const auto drawn = pattern(kSize, 1);
  EXPECT_TRUE(frontend().draw(front.cookie, drawn));
  EXPECT_EQ(backend().pixels(front.cookie), drawn);
  EXPECT_EQ(frontend().contents(front.cookie), drawn);
  const FramebufferReply fb = frontend().attach_fb(front.cookie);
  ASSERT_TRUE(fb.ok()) << fb.text();
  const Reply config = frontend().set_config(0, fb.cookie);
  ASSERT_TRUE(config.ok()) << config.text();
  auto visible = backend().visible(0);
  ASSERT_TRUE(visible.has_value());
  EXPECT_EQ(visible->framebuffer.cookie, fb.cookie);
  EXPECT_EQ(visible->configuration.width, kWidth);
  EXPECT_EQ(visible->configuration.bpp, 32U);

  const BufferReply back = frontend().create_buffer({.width = kWidth, .height = kHeight});
  const FramebufferReply fb2 = frontend().attach_fb(back.cookie);
  ASSERT_TRUE(back.ok() && fb2.ok());
  for (const FbCookie next : {fb2.cookie, fb.cookie}) {
    const Reply flip = frontend().page_flip(0, next);
    ASSERT_TRUE(flip.ok()) << flip.text();
    const auto event = frontend().await_flip(0, xen::in(kSoon));
    ASSERT_TRUE(event) << event.failure();
    EXPECT_EQ(std::get<displif::PgFlipEvent>(event->event.body).fb_cookie, next);
    EXPECT_TRUE(event->notified);
    EXPECT_EQ(backend().visible(0)->framebuffer.cookie, next);
  }
  EXPECT_FALSE(frontend().flip_pending(0));
  EXPECT_TRUE(backend().await_confirmed(0, xen::in(kSoon)));
  EXPECT_TRUE(frontend().reset_config(0).ok());
  EXPECT_FALSE(backend().visible(0).has_value());
  EXPECT_TRUE(frontend().detach_fb(fb.cookie).ok());
  EXPECT_TRUE(frontend().destroy_buffer(front.cookie).ok());
  EXPECT_TRUE(frontend().destroy_buffer(back.cookie).ok());  // detaches its framebuffer first
  EXPECT_TRUE(backend().snapshot_model().framebuffers().empty());
  EXPECT_EQ(host().grant_usage(kFrontend).pages, 2U);  // ring and event page
  EXPECT_TRUE(frontend().trouble().empty()) << frontend().trouble().back();
  EXPECT_TRUE(backend().trouble().empty()) << backend().trouble().back();
}

TEST_F(Live, destroying_and_detaching_what_is_shown_resets_it_first) {
  make(backend_options(2));
  connect();
  const Picture picture = frontend().show(1);
  ASSERT_TRUE(picture.ok());
  const std::size_t before = backend().requests().size();
  EXPECT_TRUE(frontend().destroy_buffer(picture.dbuf).ok());
  std::vector<std::pair<std::size_t, unsigned>> seen;
  for (const auto& request : backend().requests()) {
    if (request.number >= before) seen.emplace_back(request.connector, request.request.operation);
  }
  using Seen = std::pair<std::size_t, unsigned>;
  EXPECT_THAT(seen,
              testing::ElementsAre(Seen{1, XENDISPL_OP_SET_CONFIG}, Seen{0, XENDISPL_OP_FB_DETACH},
                                   Seen{0, XENDISPL_OP_DBUF_DESTROY}));
}

TEST_F(Live, a_backend_allocated_buffer_is_mapped_and_drawn_into) {
  auto back = backend_options();
  back.be_alloc = true;
  make(back);
  connect();
  EXPECT_TRUE(frontend().backend_allocation_offered());
  const BufferReply buffer =
      frontend().create_buffer({.width = kWidth, .height = kHeight, .backend_allocated = true});
  ASSERT_TRUE(buffer.ok()) << buffer.text();
  ASSERT_EQ(buffer.error, 0) << buffer.failure;
  EXPECT_EQ(frontend().references(buffer.cookie)->size(), 2U);
  const auto drawn = pattern(kSize, 2);
  ASSERT_TRUE(frontend().draw(buffer.cookie, drawn));
  EXPECT_EQ(backend().pixels(buffer.cookie), drawn);
  EXPECT_EQ(host().mappings_of(kBackend).size(), 2U);
  EXPECT_TRUE(frontend().destroy_buffer(buffer.cookie).ok());
  EXPECT_TRUE(host().mappings_of(kBackend).empty());
}

TEST_F(Live, backend_allocation_that_is_not_offered_is_not_asked_for) {
  make();
  connect();
  const BufferReply buffer = frontend().create_buffer({.backend_allocated = true});
  EXPECT_EQ(buffer.error, EOPNOTSUPP);
  EXPECT_FALSE(buffer.request.has_value());
  EXPECT_TRUE(backend().requests().empty());
}

TEST_F(Live, a_large_buffer_needs_several_directory_pages) {
  loopback::DomainOptions guest;
  guest.shared_pages = 9000;
  make(backend_options(), frontend_options(), guest);
  connect();
  const BufferReply buffer = frontend().create_buffer({.width = 3840, .height = 2160});
  ASSERT_TRUE(buffer.ok()) << buffer.text();
  const auto directory = backend().directory(buffer.cookie);
  ASSERT_TRUE(directory.has_value());
  EXPECT_TRUE(directory->ok());
  EXPECT_EQ(directory->pages.size(), 8U);
  EXPECT_EQ(directory->refs, frontend().references(buffer.cookie));
  const auto drawn = pattern(5000, 3);
  ASSERT_TRUE(frontend().draw(buffer.cookie, drawn, 8098 * xen::kPageSize + 100));
  const auto pixels = backend().pixels(buffer.cookie);
  EXPECT_TRUE(
      std::equal(drawn.begin(), drawn.end(),
                 pixels->begin() + 8098 * static_cast<std::ptrdiff_t>(xen::kPageSize) + 100));
  EXPECT_FALSE(frontend().draw(buffer.cookie, drawn, 8099 * xen::kPageSize));  // does not fit
}

TEST_F(Live, a_buffer_beyond_the_limits_is_refused_to_the_client_only) {
  make();
  connect();
  const BufferReply none = frontend().create_buffer({.width = 4096, .height = 4096});
  EXPECT_FALSE(none.request.has_value());
  EXPECT_EQ(none.error, ENOSPC) << none.failure;
  EXPECT_TRUE(frontend().show(0).ok());
}

TEST_F(Live, edid_comes_in_whole) {
  make(backend_options(2));
  connect();
  const EdidReply edid = frontend().get_edid(0);
  ASSERT_TRUE(edid.ok()) << edid.text();
  EXPECT_EQ(edid.edid, std::vector<std::byte>(256, std::byte{0x5a}));
  ASSERT_EQ(edid.buffer.size(), static_cast<std::size_t>(XENDISPL_EDID_MAX_SIZE));
  EXPECT_EQ(edid.buffer[256], std::byte{0xee});
  EXPECT_EQ(frontend().get_edid(1).status(), -XEN_EOPNOTSUPP);
  EXPECT_EQ(frontend().get_edid(2).error, ENODEV);
  EXPECT_EQ(host().grant_usage(kFrontend).pages, 4U);
}

TEST_F(Live, version_1_has_no_edid_request) {
  auto front = frontend_options();
  front.versions = {1};
  make(backend_options(), front);
  connect();
  const EdidReply edid = frontend().get_edid(0);
  EXPECT_EQ(edid.error, EOPNOTSUPP);
  EXPECT_TRUE(backend().requests().empty());
}

TEST_F(Live, what_the_backend_refuses_is_told_and_leaves_nothing) {
  make();
  connect();
  backend_fault([](fake_backend::BackendFaults& faults) {
    faults.error_status = {1, fake_backend::Operations::only(XENDISPL_OP_DBUF_CREATE), -XEN_ENOMEM};
  });
  const BufferReply refused = frontend().create_buffer({});
  EXPECT_TRUE(refused.refused());
  EXPECT_EQ(refused.status(), -XEN_ENOMEM);
  EXPECT_EQ(refused.error, ENOMEM);
  EXPECT_EQ(frontend().attach_fb(refused.cookie).error, ENOENT);
  EXPECT_EQ(host().grant_usage(kFrontend).pages, 2U);
  backend_fault([](fake_backend::BackendFaults& faults) {
    faults.positive_status = {1, fake_backend::Operations::all(), 7};
  });
  const BufferReply odd = frontend().create_buffer({});
  EXPECT_EQ(odd.status(), 7);
  EXPECT_EQ(odd.error, EPROTO);
}

TEST_F(Live, a_silent_backend_costs_the_limit_and_its_late_answer_is_for_nobody) {
  auto front = frontend_options();
  front.response_limit = milliseconds(200);
  make(backend_options(), front);
  connect();
  backend_fault([](fake_backend::BackendFaults& faults) {
    faults.response_late = {1, fake_backend::Operations::all(), milliseconds(800)};
  });
  const Reply silent = frontend().reset_config(0);
  EXPECT_EQ(silent.error, ETIMEDOUT);
  EXPECT_THAT(silent.failure, HasSubstr("no response within"));
  ASSERT_TRUE(eventually([&] { return frontend().responses().size() == 1; }));
  EXPECT_FALSE(frontend().responses()[0].request.has_value());  // late, and for nobody
  EXPECT_TRUE(frontend().reset_config(0).ok());
}

TEST_F(Live, a_call_ends_when_the_backend_closes) {
  make();
  connect();
  backend_fault([](fake_backend::BackendFaults& faults) {
    faults.response_never = {fake_backend::kAlways, fake_backend::Operations::all()};
  });
  Reply reply;
  std::thread caller([&] { reply = frontend().reset_config(0); });
  EXPECT_TRUE(backend().await_request({}, xen::in(kSoon)));
  backend().shutdown();
  caller.join();
  EXPECT_EQ(reply.error, ENODEV);
  EXPECT_THAT(reply.failure, HasSubstr("the backend is in"));
}

TEST_F(Live, responses_in_any_order_find_their_requests) {
  make();
  connect();
  backend_fault([](fake_backend::BackendFaults& faults) {
    faults.responses_reversed = fake_backend::kAlways;
  });
  const displif::SetConfig unknown{.fb_cookie = FbCookie{99}, .width = 1, .height = 1, .bpp = 32};
  const auto numbers = frontend().submit(
      0, std::vector<displif::RequestBody>{displif::SetConfig{}, unknown, displif::SetConfig{}});
  ASSERT_EQ(numbers.size(), 3U);
  EXPECT_EQ(frontend().await_reply(numbers[0], xen::in(kSoon)).status(), 0);
  EXPECT_EQ(frontend().await_reply(numbers[1], xen::in(kSoon)).status(), -XEN_ENOENT);
  EXPECT_EQ(frontend().await_reply(numbers[2], xen::in(kSoon)).status(), 0);
  EXPECT_EQ(frontend().await_reply(4711, xen::in(kAwhile)).error, ENOENT);
}

TEST_F(Live, rings_and_event_pages_go_round_many_times) {
  make();
  connect();
  const Picture picture = frontend().show(0);
  ASSERT_TRUE(picture.ok());
  for (unsigned i = 0; i < 200; ++i) {
    ASSERT_TRUE(frontend().page_flip(0, picture.fb).ok());
    const auto event = frontend().await_flip(0, xen::in(kSoon));
    ASSERT_TRUE(event) << event.failure();
    EXPECT_EQ(event->event.id, i);
  }
  const auto indexes = frontend().indexes(0);
  ASSERT_TRUE(indexes.has_value());
  EXPECT_EQ(indexes->req_prod, 203U);
  EXPECT_EQ(indexes->in_cons, 200U);
  EXPECT_TRUE(frontend().trouble().empty());
}

TEST_F(Live, a_full_ring_of_requests_is_answered) {
  make();
  connect();
  const std::vector<displif::RequestBody> bodies(32, displif::SetConfig{});
  const auto numbers = frontend().submit(0, bodies);
  ASSERT_EQ(numbers.size(), 32U);
  for (const std::size_t number : numbers) {
    EXPECT_TRUE(frontend().await_reply(number, xen::in(kSoon)).ok());
  }
  EXPECT_TRUE(
      frontend().submit(0, std::vector<displif::RequestBody>(33, displif::SetConfig{})).empty());
}

TEST_F(Live, flips_need_a_configured_connector_and_come_one_by_one) {
  make();
  connect();
  const BufferReply buffer = frontend().create_buffer({.width = kWidth, .height = kHeight});
  const FramebufferReply fb = frontend().attach_fb(buffer.cookie);
  EXPECT_EQ(frontend().page_flip(0, fb.cookie).error, EINVAL);
  EXPECT_FALSE(frontend().await_flip(0, xen::in(kSoon)));
  ASSERT_TRUE(frontend().set_config(0, fb.cookie).ok());
  backend_fault([](fake_backend::BackendFaults& faults) {
    faults.flip_event_late = {1, milliseconds(100)};
  });
  EXPECT_TRUE(frontend().page_flip(0, fb.cookie).ok());
  EXPECT_TRUE(frontend().flip_pending(0));
  EXPECT_EQ(frontend().page_flip(0, fb.cookie).error, EBUSY);
  EXPECT_TRUE(frontend().await_flip(0, xen::in(kSoon)));
}

TEST_F(Live, a_flip_without_event_is_released) {
  auto front = frontend_options();
  front.flip_limit = milliseconds(50);
  make(backend_options(), front);
  connect();
  const Picture picture = frontend().show(0);
  ASSERT_TRUE(picture.ok());
  backend_fault([](fake_backend::BackendFaults& faults) { faults.flip_event_never = 1; });
  ASSERT_TRUE(frontend().page_flip(0, picture.fb).ok());
  const auto lost = frontend().await_flip(0, xen::in(kSoon));
  EXPECT_FALSE(lost);
  EXPECT_THAT(lost.failure(), HasSubstr("released without event"));
  ASSERT_TRUE(frontend().page_flip(0, picture.fb).ok());
  EXPECT_TRUE(frontend().await_flip(0, xen::in(kSoon)));
}

TEST_F(Live, events_for_nothing_complete_nothing) {
  make();
  connect();
  const Picture picture = frontend().show(0);
  ASSERT_TRUE(picture.ok());
  backend_fault([](fake_backend::BackendFaults& faults) { faults.flip_event_unknown_cookie = 1; });
  ASSERT_TRUE(frontend().page_flip(0, picture.fb).ok());
  Cursor cursor;
  EXPECT_TRUE(frontend().await_event({.connector = 0}, xen::in(kSoon), cursor));
  EXPECT_TRUE(frontend().flip_pending(0));
  backend().send_flip_event(0, picture.fb);
  EXPECT_TRUE(frontend().await_flip(0, xen::in(kSoon)));
}

// --- a hostile backend ---------------------------------------------------------------------------

TEST_F(Live, each_fault_of_the_backend_is_survived) {
  for (const auto& info : fake_backend::all_faults()) {
    // A breakdown is its process's (fake_backend/breakdown.h), and this one is the test's.
    if (info.id.find(".breaks-down-") != std::string_view::npos) continue;
    SCOPED_TRACE(info.id);
    auto back = backend_options(2);
    back.be_alloc = true;
    auto front = frontend_options();
    // Short, since some faults never answer; and what the backend owes afterwards must come within
    // it under a sanitizer on a busy machine.
    front.response_limit = front.flip_limit = milliseconds(400);
    front.unnotified_after = milliseconds(20);
    make(back, front);
    backend_fault([&](fake_backend::BackendFaults& faults) {
      info.apply(faults);
      faults.response_late.delay = faults.flip_event_late.delay = milliseconds(500);
    });
    backend().start();
    frontend().start();
    (void)frontend().await_connected(xen::in(kAwhile));
    const Picture picture = frontend().show(0);
    (void)frontend().create_buffer({.backend_allocated = true});
    (void)frontend().page_flip(0, picture.fb);
    (void)frontend().await_flip(0, xen::in(milliseconds(600)));
    (void)frontend().get_edid(0);
    (void)frontend().destroy_buffer(picture.dbuf);
    backend().clear_faults();
    backend().vanish();
    backend().start();
    const auto connected = frontend().reconnect(xen::in(kSoon));
    ASSERT_TRUE(connected) << connected.failure();
    const Picture again = frontend().show(1);
    EXPECT_TRUE(again.ok()) << again.reply.text();
    ASSERT_TRUE(frontend().page_flip(1, again.fb).ok());
    EXPECT_TRUE(frontend().await_flip(1, xen::in(kSoon)));
  }
}

TEST_F(Live, a_slot_without_a_response_completes_nothing) {
  auto front = frontend_options();
  front.response_limit = milliseconds(100);
  make(backend_options(), front);
  connect();
  backend_fault([](fake_backend::BackendFaults& faults) {
    faults.response_never = {1, fake_backend::Operations::all()};
    faults.rsp_prod_beyond = {0, 0};
  });
  const auto numbers =
      frontend().submit(0, std::vector<displif::RequestBody>{displif::FbDetach{FbCookie{77}}});
  ASSERT_TRUE(backend().await_request({}, xen::in(kSoon)));
  backend().publish_rsp_prod(0, 1);
  backend().notify_requests(0);
  const Reply reply = frontend().await_reply(numbers.at(0), xen::in(kAwhile));
  EXPECT_EQ(reply.error, ETIMEDOUT);
  ASSERT_FALSE(frontend().trouble().empty());
  EXPECT_THAT(frontend().trouble().front(), HasSubstr("holds no response"));
}

TEST_F(Live, producers_beyond_their_rings_are_refused) {
  make();
  connect();
  for (const std::uint32_t value : {40U, 1000U, 0x80000000U, 0xffffffffU}) {
    backend().publish_rsp_prod(0, value);
    backend().notify_requests(0);
    backend().publish_evt_prod(0, value == 40 ? 64 : value);
    backend().notify_events(0);
  }
  EXPECT_TRUE(eventually([&] { return frontend().trouble().size() >= 2; }));
  backend().publish_rsp_prod(0, 0);
  backend().publish_evt_prod(0, 0);
  const Picture picture = frontend().show(0);
  ASSERT_TRUE(picture.ok()) << picture.reply.text();
  ASSERT_TRUE(frontend().page_flip(0, picture.fb).ok());
  EXPECT_TRUE(frontend().await_flip(0, xen::in(kSoon)));
}

TEST_F(Live, more_events_than_slots_keep_the_newest) {
  make();
  connect();
  const Picture picture = frontend().show(0);
  ASSERT_TRUE(picture.ok());
  frontend().take_messages(false);
  for (unsigned i = 0; i < 150; ++i) backend().send_flip_event(0, FbCookie{1000 + i});
  frontend().take_messages(true);
  ASSERT_TRUE(eventually([&] { return frontend().events().size() == 63; }));
  EXPECT_EQ(frontend().events().front().event.id, 87);
  EXPECT_EQ(frontend().events().back().event.id, 149);
  ASSERT_TRUE(frontend().page_flip(0, picture.fb).ok());
  EXPECT_TRUE(frontend().await_flip(0, xen::in(kSoon)));
}

TEST_F(Live, unannounced_responses_and_events_are_found_and_marked) {
  auto front = frontend_options();
  front.unnotified_after = milliseconds(30);
  make(backend_options(), front);
  connect();
  const Picture picture = frontend().show(0);
  ASSERT_TRUE(picture.ok());
  backend_fault([](fake_backend::BackendFaults& faults) {
    faults.response_not_notified = {fake_backend::kAlways, fake_backend::Operations::all()};
    faults.event_not_notified = fake_backend::kAlways;
  });
  const Reply flip = frontend().page_flip(0, picture.fb);
  ASSERT_TRUE(flip.ok()) << flip.text();
  const auto event = frontend().await_flip(0, xen::in(kSoon));
  ASSERT_TRUE(event) << event.failure();
  EXPECT_FALSE(event->notified);
  EXPECT_FALSE(frontend().requests()[*flip.request].answer_notified);
}

// --- raw access ----------------------------------------------------------------------------------

TEST_F(Live, raw_requests_go_as_they_are) {
  make();
  connect();
  displif::Packet packet{};
  for (std::size_t i = 0; i < packet.size(); ++i) packet[i] = std::byte(i + 1);
  packet[2] = std::byte{0xff};
  const Reply reply = frontend().send(0, packet);
  EXPECT_EQ(reply.status(), -XEN_EOPNOTSUPP) << reply.text();
  EXPECT_EQ(reply.response->id, 0x0201);
  EXPECT_EQ(backend().requests().back().request.packet, packet);
  EXPECT_EQ(frontend().send(5, packet).error, ENODEV);
}

TEST_F(Live, shared_pages_serve_raw_requests) {
  make();
  connect();
  const auto shared = frontend().share_pages(kSize);
  ASSERT_EQ(shared.pages.size(), 2U);
  displif::DbufCreate create{.dbuf_cookie = DbufCookie{9},
                             .width = kWidth,
                             .height = kHeight,
                             .bpp = 32,
                             .buffer_sz = kSize,
                             .gref_directory = shared.directory.front()};
  EXPECT_TRUE(frontend().send(0, create).ok());
  const auto drawn = pattern(kSize, 4);
  EXPECT_TRUE(frontend().draw_shared(shared.handle, drawn));
  EXPECT_EQ(backend().pixels(DbufCookie{9}), drawn);
  EXPECT_EQ(frontend().contents_shared(shared.handle), drawn);
  EXPECT_TRUE(frontend().send(0, displif::DbufDestroy{DbufCookie{9}}).ok());
  EXPECT_EQ(frontend().read_directory(shared.handle, 0, 1), xen::raw(shared.pages[0]));
  frontend().write_directory(shared.handle, 0, 1, 0);
  EXPECT_LT(frontend().send(0, create).status().value_or(0), 0);
  frontend().end_pages(shared.handle);
  frontend().end_directory(shared.handle);
  EXPECT_EQ(host().grant_usage(kFrontend).pages, 2U);
  EXPECT_FALSE(frontend().draw_shared(shared.handle, drawn));
  EXPECT_THROW(frontend().read_directory(shared.handle, 0, 1), std::logic_error);
  EXPECT_THROW(frontend().end_pages(4711), std::out_of_range);
}

TEST_F(Live, forged_indexes_reach_the_shared_pages_only) {
  make();
  connect();
  frontend().publish_req_prod(0, 500);
  frontend().publish_in_cons(0, 600);
  const auto indexes = backend().indexes(0);
  ASSERT_TRUE(indexes.has_value());
  EXPECT_EQ(indexes->req_prod, 500U);
  EXPECT_EQ(indexes->in_cons, 600U);
  EXPECT_EQ(frontend().indexes(0)->req_prod_pvt, 0U);
  frontend().notify_requests(0);
  EXPECT_TRUE(eventually([&] { return !backend().trouble().empty(); }));
  EXPECT_TRUE(frontend().reset_config(0).ok());  // the true index again
}

TEST_F(Live, raw_access_needs_a_transport) {
  make();
  backend().start();
  EXPECT_THROW(frontend().publish_req_prod(0, 1), std::logic_error);
  EXPECT_THROW(frontend().notify_events(0), std::logic_error);
  EXPECT_FALSE(frontend().indexes(0).has_value());
  connect();
  EXPECT_THROW(frontend().notify_events(1), std::logic_error);
  frontend().end_ring_page(0);
  EXPECT_THROW(frontend().publish_req_prod(0, 1), std::logic_error);
  EXPECT_EQ(frontend().reset_config(0).error, ENODEV);
}

TEST_F(Live, pages_and_channels_can_be_taken_away_under_the_backend) {
  make(backend_options(2));
  connect();
  frontend().end_ring_page(0);
  frontend().end_event_page(0);
  frontend().close_channels(0);
  EXPECT_TRUE(frontend().reset_config(1).ok());
  const auto again = frontend().reconnect(xen::in(kSoon));
  ASSERT_TRUE(again) << again.failure();
  EXPECT_TRUE(frontend().show(0).ok());
}

TEST_F(Live, states_and_nodes_can_be_written_raw) {
  make();
  connect();
  frontend().set_state_text("77");
  EXPECT_EQ(node(frontend().paths().frontend + "/state"), "77");
  frontend().set_state(State::closing);
  EXPECT_TRUE(backend().await_state(State::closing, xen::in(kSoon)));
  frontend().write_node("0/req-ring-ref", "word");
  EXPECT_EQ(node(frontend().paths().frontend + "/0/req-ring-ref"), "word");
  frontend().remove_node("0/req-ring-ref");
  EXPECT_FALSE(node(frontend().paths().frontend + "/0/req-ring-ref").has_value());
}

// --- journal -------------------------------------------------------------------------------------

TEST_F(Live, a_failed_wait_says_what_it_was_for_and_what_was_seen) {
  make();
  connect();
  ASSERT_TRUE(frontend().reset_config(0).ok());
  const auto none = frontend().await_state(State::closed, xen::in(milliseconds(20)));
  ASSERT_FALSE(none);
  EXPECT_THAT(none.failure(), HasSubstr("awaited backend state Closed for "));
  EXPECT_THAT(none.failure(),
              HasSubstr("last request 0: SET_CONFIG id 0 on connector 0, status 0"));
  EXPECT_THAT(none.failure(), HasSubstr("backend Connected, frontend Connected"));
  Cursor cursor;
  EXPECT_FALSE(frontend().none_until({}, xen::in(milliseconds(20)), cursor).has_value());
  EXPECT_FALSE(frontend().no_unsolicited_until(xen::in(milliseconds(20)), cursor).has_value());
}

TEST_F(Live, everything_is_recorded_in_both_directions) {
  make();
  connect();
  const Picture picture = frontend().show(0);
  ASSERT_TRUE(frontend().page_flip(0, picture.fb).ok());
  ASSERT_TRUE(frontend().await_flip(0, xen::in(kSoon)));
  frontend().leave();
  std::map<std::string, int> seen;
  for (const Json& record : world_->frontend_records.all()) {
    ++seen[record.at("kind").get<std::string>() + " " + record.at("dir").get<std::string>()];
  }
  EXPECT_EQ(seen["req f2b"], 4);
  EXPECT_EQ(seen["resp b2f"], 4);
  EXPECT_EQ(seen["evt b2f"], 1);
  EXPECT_EQ(seen["state f2b"], 4);  // Initialised, Connected, Closing, Closed
  EXPECT_GE(seen["state b2f"], 2);
  EXPECT_EQ(seen["state -"], 2);  // connected, disconnected
  EXPECT_GE(seen["xs f2b"], 5);
  EXPECT_GE(seen["xs b2f"], 3);
  EXPECT_GE(seen["index f2b"], 8);
  EXPECT_GE(seen["index b2f"], 8);
}

TEST_F(Live, many_callers_at_once) {
  make(backend_options(2));
  connect();
  std::vector<std::thread> callers;
  std::atomic<unsigned> done = 0;
  for (unsigned caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&, caller] {
      for (unsigned i = 0; i < 30; ++i) {
        const BufferReply buffer = frontend().create_buffer({});
        const FramebufferReply fb = frontend().attach_fb(buffer.cookie);
        if (!buffer.ok() || !fb.ok()) continue;
        if (frontend().set_config(caller % 2, fb.cookie).ok()) ++done;
        (void)frontend().indexes(caller % 2);
        if (frontend().destroy_buffer(buffer.cookie).ok()) ++done;
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(done, 240U);
  EXPECT_TRUE(backend().snapshot_model().buffers().empty());
}

}  // namespace
}  // namespace displif_cts::fake_frontend
