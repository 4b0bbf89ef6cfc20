// The live backend against a scripted frontend, over the Xen of test_support/small_xen.h.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <xen/errno.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>

#include "fake_backend/breakdown.h"
#include "fake_backend/fake_backend.h"
#include "fake_backend/test_support/scripted_frontend.h"
#include "fake_backend/test_support/small_xen.h"
#include "harness/displif/fourcc.h"

namespace displif_cts::fake_backend {
namespace {

using bus::State;
using displif::Operation;
using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr milliseconds kSoon{5000};   // for what must happen
constexpr milliseconds kAwhile{150};  // for what must not
constexpr std::uint32_t kWidth = 64;
constexpr std::uint32_t kHeight = 32;
constexpr std::uint32_t kSize = kWidth * kHeight * 4;

Options small_options(std::size_t connectors = 1) {
  Options options;
  options.connectors.assign(connectors, Connector{.resolution = {kWidth, kHeight}});
  return options;
}

class Live : public testing::Test {
 protected:
  Live() { small_xen::reset(); }

  void make(Options options = small_options()) {
    connectors_ = options.connectors.size();
    backend_ =
        std::make_unique<FakeBackend>(small_xen::kFrontend, 0, std::move(options), recorder_);
    backend_->create_device();
    frontend_ = std::make_unique<ScriptedFrontend>(backend_->paths().frontend);
  }
  // Through the normal flow of displif.h until both ends are Connected.
  void connect() {
    backend_->start();
    reconnect();
  }
  void reconnect() {
    ASSERT_TRUE(await_node("state", "2"));
    frontend_->publish(connectors_);
    ASSERT_TRUE(await_node("state", "4"));
    frontend_->state(State::connected);
    const auto connected = backend_->await_connected(xen::in(kSoon));
    ASSERT_TRUE(connected) << connected.failure();
  }
  bool await_node(const std::string& name, const std::string& value, milliseconds limit = kSoon) {
    return ScriptedFrontend::until<bool>(
               limit,
               [&] {
                 return small_xen::read(backend_->paths().backend + "/" + name) == value
                            ? std::optional(true)
                            : std::nullopt;
               })
        .has_value();
  }
  bool await_unmapped(milliseconds limit = kSoon) {
    return ScriptedFrontend::until<bool>(limit,
                                         [&] {
                                           return small_xen::mapped_pages() == 0 &&
                                                          small_xen::bound_ports() == 0
                                                      ? std::optional(true)
                                                      : std::nullopt;
                                         })
        .has_value();
  }
  // A buffer, a framebuffer of it, and connector 0 showing it.
  void show(std::uint64_t dbuf, std::uint64_t fb) {
    buffers_.push_back(ScriptedFrontend::allocate(kSize));
    EXPECT_EQ(frontend_->call(0, ScriptedFrontend::create(dbuf, buffers_.back(), kWidth, kHeight)),
              0);
    EXPECT_EQ(frontend_->call(0, attach(dbuf, fb)), 0);
    EXPECT_EQ(frontend_->call(0, configure(fb)), 0);
  }
  static displif::FbAttach attach(std::uint64_t dbuf, std::uint64_t fb) {
    return {.dbuf_cookie = DbufCookie{dbuf},
            .fb_cookie = FbCookie{fb},
            .width = kWidth,
            .height = kHeight,
            .pixel_format = DRM_FORMAT_XRGB8888};
  }
  static displif::SetConfig configure(std::uint64_t fb) {
    return {.fb_cookie = FbCookie{fb}, .width = kWidth, .height = kHeight, .bpp = 32};
  }
  static displif::PgFlip flip(std::uint64_t fb) { return {FbCookie{fb}}; }
  void fault(const std::function<void(BackendFaults&)>& change) { backend_->set_faults(change); }

  std::mutex records_mutex_;
  std::vector<Json> records_;
  trace::Recorder recorder_{[this](const Json& record) {
    const std::lock_guard lock(records_mutex_);
    records_.push_back(record);
  }};
  std::size_t connectors_ = 1;
  std::vector<GuestBuffer> buffers_;
  std::unique_ptr<FakeBackend> backend_;
  std::unique_ptr<ScriptedFrontend> frontend_;
};

// --- bus -----------------------------------------------------------------------------------------

TEST_F(Live, normal_flow_connects_both_ends) {
  make(small_options(4));
  EXPECT_EQ(small_xen::read(backend_->paths().backend + "/state"), "1");
  EXPECT_EQ(small_xen::read(backend_->paths().frontend + "/3/resolution"), "64x32");
  connect();
  EXPECT_EQ(small_xen::read(backend_->paths().backend + "/versions"), "1,2");
  EXPECT_EQ(small_xen::mapped_pages(), 8U);
  EXPECT_EQ(small_xen::bound_ports(), 8U);
  EXPECT_EQ(backend_->connections(), 1U);
  EXPECT_EQ(backend_->protocol(), 1U);  // the frontend named none
  ASSERT_TRUE(backend_->transport(3).has_value());
  EXPECT_EQ(backend_->transport(3)->req_ring_ref, frontend_->connector(3).ring_page.ref);
}

TEST_F(Live, the_frontends_choice_of_version_counts) {
  make();
  frontend_->version("2");
  connect();
  EXPECT_EQ(backend_->protocol(), 2U);
}

struct BadParameter {
  const char* name;
  const char* value;
};

class BadTransport : public Live, public testing::WithParamInterface<BadParameter> {};

TEST_P(BadTransport, is_no_connection_and_leaves_nothing_mapped) {
  make();
  backend_->start();
  ASSERT_TRUE(await_node("state", "2"));
  frontend_->publish(1);  // the store is quick: spoil it, then tell again
  ASSERT_TRUE(await_node("state", "4"));
  frontend_->state(State::closing);
  ASSERT_TRUE(await_node("state", "2"));
  small_xen::write(backend_->paths().frontend + "/" + GetParam().name, GetParam().value);
  frontend_->state(State::initialised);
  EXPECT_TRUE(await_unmapped());
  EXPECT_FALSE(await_node("state", "4", kAwhile));
  EXPECT_FALSE(backend_->trouble().empty());
}

INSTANTIATE_TEST_SUITE_P(
    Values, BadTransport,
    testing::Values(BadParameter{"0/req-ring-ref", "0"}, BadParameter{"0/req-ring-ref", "-1"},
                    BadParameter{"0/req-ring-ref", "4294967296"},
                    BadParameter{"0/req-ring-ref", "7"},  // grants nothing
                    BadParameter{"0/evt-ring-ref", ""}, BadParameter{"0/evt-ring-ref", "x"},
                    BadParameter{"0/req-event-channel", "9999"},
                    BadParameter{"0/evt-event-channel", "1 "}, BadParameter{"version", "3"},
                    BadParameter{"version", "two"}));

TEST_F(Live, a_frontend_that_closes_gets_its_pages_back_and_init_wait) {
  for (const State state : {State::closing, State::closed, State::initialising}) {
    SCOPED_TRACE(bus::name(state));
    small_xen::reset();
    make();
    connect();
    show(1, 11);
    frontend_->state(state);
    EXPECT_TRUE(await_node("state", "2"));
    EXPECT_TRUE(await_unmapped());
    const auto gone = backend_->await_disconnected(xen::in(kSoon));
    EXPECT_TRUE(gone) << gone.failure();
    EXPECT_TRUE(backend_->snapshot_model().buffers().empty());
    backend_.reset();
  }
}

TEST_F(Live, a_new_connection_starts_from_nothing) {
  make();
  connect();
  show(1, 11);
  EXPECT_EQ(frontend_->call(0, flip(11)), 0);
  frontend_->state(State::closing);
  ASSERT_TRUE(await_node("state", "2"));
  reconnect();
  EXPECT_EQ(backend_->connections(), 2U);
  show(1, 11);  // the same cookies
  EXPECT_EQ(frontend_->call(0, flip(11)), 0);
  const auto event = frontend_->receive_event(0);
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->id, 0);
}

TEST_F(Live, a_reconnection_too_quick_to_see_is_one) {
  make();
  connect();
  frontend_->publish(1);  // Connected -> Initialised, nothing seen in between
  const auto again = ScriptedFrontend::until<bool>(
      kSoon, [&] { return backend_->connections() == 2 ? std::optional(true) : std::nullopt; });
  EXPECT_TRUE(again);
  EXPECT_EQ(small_xen::mapped_pages(), 2U);
}

TEST_F(Live, coming_out_of_reconfiguring_is_answered_with_init_wait) {
  make();
  connect();
  frontend_->state(State::reconfiguring);
  EXPECT_TRUE(await_unmapped());
  backend_->set_state(State::init_wait);
  Cursor cursor = backend_->state_cursor();
  frontend_->state(State::initialising);
  ASSERT_TRUE(backend_->await_state(State::initialising, xen::in(kSoon), cursor));
  reconnect();
}

TEST_F(Live, vanish_takes_everything_but_the_nodes_and_start_comes_back) {
  make();
  connect();
  show(1, 11);
  backend_->vanish();
  EXPECT_EQ(small_xen::mapped_pages(), 0U);
  EXPECT_EQ(small_xen::bound_ports(), 0U);
  EXPECT_EQ(small_xen::read(backend_->paths().backend + "/state"), "4");
  EXPECT_FALSE(backend_->serving());
  frontend_->state(State::initialising);
  connect();
  EXPECT_EQ(backend_->connections(), 2U);
}

TEST_F(Live, shutdown_passes_closing_on_the_way_to_closed) {
  make();
  connect();
  show(1, 11);
  const Cursor cursor = backend_->state_cursor();
  backend_->shutdown();
  EXPECT_EQ(small_xen::mapped_pages(), 0U);
  const auto states = backend_->states();
  ASSERT_EQ(states.size(), cursor.next + 2);
  EXPECT_EQ(states[cursor.next].state, State::closing);
  EXPECT_EQ(states[cursor.next + 1].state, State::closed);
  frontend_->state(State::initialising);  // recorded, not followed
  ASSERT_TRUE(backend_->await_state(State::initialising, xen::in(kSoon)));
  EXPECT_FALSE(await_node("state", "2", kAwhile));
  connect();
}

TEST_F(Live, the_tool_stacks_closing_is_obeyed) {
  make();
  connect();
  small_xen::write(backend_->paths().backend + "/state", "5");
  EXPECT_TRUE(await_node("state", "6"));
  EXPECT_TRUE(await_unmapped());
}

TEST_F(Live, removal_leaves_no_node) {
  make();
  connect();
  std::thread driver([&] {
    ASSERT_TRUE(await_node("state", "6"));
    frontend_->state(State::closed);
  });
  EXPECT_TRUE(backend_->remove_device(xen::in(kSoon)));
  driver.join();
  EXPECT_EQ(small_xen::nodes_below("/local/domain/1"), 0U);
  EXPECT_EQ(small_xen::nodes_below("/local/domain/0/backend"), 0U);
  EXPECT_EQ(small_xen::nodes_below("/libxl"), 0U);
}

TEST_F(Live, removal_does_not_wait_for_ever) {
  make();
  connect();
  EXPECT_FALSE(backend_->remove_device(xen::in(kAwhile)));
  EXPECT_EQ(small_xen::nodes_below("/local/domain/1"), 0U);
}

TEST_F(Live, the_destructor_leaves_nothing) {
  make();
  connect();
  show(1, 11);
  backend_.reset();
  EXPECT_EQ(small_xen::mapped_pages(), 0U);
  EXPECT_EQ(small_xen::bound_ports(), 0U);
  EXPECT_EQ(small_xen::nodes_below("/local/domain/1"), 0U);
  EXPECT_EQ(small_xen::nodes_below("/local/domain/0/backend"), 0U);
}

TEST_F(Live, starting_without_a_device_says_so) {
  backend_ = std::make_unique<FakeBackend>(small_xen::kFrontend, 0, small_options(), recorder_);
  EXPECT_THROW(backend_->start(), xen::Error);
}

// --- requests ------------------------------------------------------------------------------------

TEST_F(Live, a_picture_is_shown_flipped_and_taken_away) {
  make();
  connect();
  show(1, 11);
  const auto visible = backend_->visible(0);
  ASSERT_TRUE(visible.has_value());
  EXPECT_EQ(visible->framebuffer.cookie, FbCookie{11});
  EXPECT_EQ(visible->configuration.width, kWidth);
  const auto pixels = backend_->pixels(DbufCookie{1});
  ASSERT_TRUE(pixels.has_value());
  ASSERT_EQ(pixels->size(), kSize);
  EXPECT_EQ((*pixels)[0], std::byte{0});
  EXPECT_EQ((*pixels)[xen::kPageSize], std::byte{1});

  buffers_.push_back(ScriptedFrontend::allocate(kSize));
  EXPECT_EQ(frontend_->call(0, ScriptedFrontend::create(2, buffers_.back(), kWidth, kHeight)), 0);
  EXPECT_EQ(frontend_->call(0, attach(2, 12)), 0);
  EXPECT_EQ(frontend_->call(0, flip(12)), 0);
  EXPECT_EQ(frontend_->call(0, flip(11)), 0);
  for (const std::uint16_t id : {std::uint16_t{0}, std::uint16_t{1}}) {
    const auto event = frontend_->receive_event(0);
    ASSERT_TRUE(event.has_value());
    EXPECT_EQ(event->id, id);
    EXPECT_EQ(std::get<displif::PgFlipEvent>(event->body).fb_cookie, FbCookie{id == 0 ? 12U : 11U});
  }
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  EXPECT_FALSE(backend_->visible(0).has_value());
  EXPECT_EQ(frontend_->call(0, displif::FbDetach{FbCookie{11}}), 0);
  EXPECT_EQ(frontend_->call(0, displif::DbufDestroy{DbufCookie{1}}), 0);
  EXPECT_EQ(small_xen::mapped(buffers_[0].pages[0].ref), 0U);
  EXPECT_EQ(small_xen::mapped(buffers_[1].pages[0].ref), 1U);
  EXPECT_FALSE(backend_->pixels(DbufCookie{1}).has_value());
  const auto confirmed = backend_->await_confirmed(0, xen::in(kSoon));
  EXPECT_TRUE(confirmed) << confirmed.failure();
}

TEST_F(Live, the_journal_tells_of_each_request) {
  make(small_options(2));
  connect();
  EXPECT_EQ(frontend_->call(1, displif::SetConfig{}), 0);
  const auto request = backend_->await_request({.connector = 1}, xen::in(kSoon));
  ASSERT_TRUE(request) << request.failure();
  EXPECT_EQ(request->connector, 1U);
  EXPECT_EQ(request->ring_index, 0U);
  EXPECT_EQ(request->connection, 1U);
  EXPECT_EQ(request->request.operation, XENDISPL_OP_SET_CONFIG);
  EXPECT_TRUE(request->notified);
  EXPECT_EQ(request->answer.status, 0);
  EXPECT_EQ(request->status, 0);
  EXPECT_GE(request->answered_ns, request->ns);
}

TEST_F(Live, rings_go_round_more_than_once) {
  make();
  connect();
  for (unsigned i = 0; i < 200; ++i) ASSERT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  const auto indexes = backend_->indexes(0);
  ASSERT_TRUE(indexes.has_value());
  EXPECT_EQ(indexes->req_cons, 200U);
  EXPECT_EQ(indexes->rsp_prod, 200U);
  EXPECT_EQ(indexes->req_event, 201U);
}

TEST_F(Live, a_full_ring_is_answered_in_order) {
  make();
  connect();
  for (unsigned i = 0; i < 32; ++i) frontend_->send(0, displif::SetConfig{});
  for (std::uint16_t i = 0; i < 32; ++i) {
    const auto response = frontend_->receive(0);
    ASSERT_TRUE(response.has_value());
    EXPECT_EQ(response->id, i);
  }
}

// The requests of one ring are in work together and keep entries of their own.
TEST_F(Live, a_full_ring_is_answered_in_order_when_the_journal_is_full) {
  Options options = small_options();
  options.requests_kept = fake::kJournalReused;
  make(std::move(options));
  connect();
  ScriptedFrontend::Connector& to = frontend_->connector(0);
  const auto expect_answers = [&] {
    const std::uint16_t first = to.next_id;
    for (unsigned i = 0; i < 32; ++i)
      ASSERT_TRUE(to.ring.put_request(displif::encode_request(to.next_id++, displif::SetConfig{})));
    if (to.ring.publish_requests()) small_xen::notify(to.req_port);
    for (unsigned i = 0; i < 32; ++i) {
      const auto response = frontend_->receive(0);
      ASSERT_TRUE(response.has_value());
      ASSERT_EQ(response->id, static_cast<std::uint16_t>(first + i));
    }
  };
  for (std::size_t sent = 0; sent <= 2 * fake::kJournalReused && !HasFatalFailure(); sent += 32)
    expect_answers();
}

TEST_F(Live, a_large_buffer_is_mapped_in_few_calls) {
  make();
  connect();
  constexpr std::uint32_t kLarge = 3840 * 2160 * 4;  // 8,100 pages, 8 directory pages
  const GuestBuffer buffer = ScriptedFrontend::allocate(kLarge);
  const std::size_t before = small_xen::map_calls();
  EXPECT_EQ(frontend_->call(0, ScriptedFrontend::create(1, buffer, 3840, 2160)), 0);
  EXPECT_LE(small_xen::map_calls() - before, 10U);
  EXPECT_EQ(small_xen::mapped_pages(), 8100U + 2U);  // the directory is not kept
  const auto pixels = backend_->pixels(DbufCookie{1});
  ASSERT_TRUE(pixels.has_value());
  EXPECT_EQ((*pixels)[8099 * xen::kPageSize], std::byte(8099 & 0xff));
  const auto directory = backend_->directory(DbufCookie{1});
  ASSERT_TRUE(directory.has_value());
  EXPECT_EQ(directory->refs.size(), 8100U);
  EXPECT_EQ(directory->pages.size(), 8U);
}

TEST_F(Live, buffers_are_mapped_read_only_unless_asked) {
  for (const bool writable : {false, true}) {
    small_xen::reset();
    Options options = small_options();
    options.writable_buffers = writable;
    make(options);
    connect();
    show(1, 11);
    fault([](BackendFaults& faults) { faults.buffer_written = kAlways; });
    EXPECT_EQ(frontend_->call(0, flip(11)), 0);  // a write to a read-only page would end us
    EXPECT_EQ(buffers_.back().pages[0].page[0], writable ? std::byte{0xff} : std::byte{0});
    backend_.reset();
  }
}

struct DirectoryRow {
  const char* what;
  std::function<void(GuestBuffer&)> spoil;
};

class BadDirectory : public Live, public testing::WithParamInterface<DirectoryRow> {};

void put_ref(GuestBuffer& buffer, std::size_t page, std::size_t entry, std::uint32_t ref) {
  std::memcpy(buffer.directory[page].page.data() + 4 * entry, &ref, sizeof ref);
}

TEST_P(BadDirectory, is_refused_and_nothing_stays_mapped) {
  make();
  connect();
  GuestBuffer buffer = ScriptedFrontend::allocate(1500 * 4096);  // two directory pages
  GetParam().spoil(buffer);
  EXPECT_LT(frontend_->call(0, ScriptedFrontend::create(1, buffer, 64, 64)), 0) << GetParam().what;
  EXPECT_EQ(small_xen::mapped_pages(), 2U);
  EXPECT_FALSE(backend_->trouble().empty());
  EXPECT_TRUE(backend_->snapshot_model().buffers().empty());
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
}

INSTANTIATE_TEST_SUITE_P(
    Spoilt, BadDirectory,
    testing::Values(DirectoryRow{"reference 0", [](GuestBuffer& b) { put_ref(b, 0, 5, 0); }},
                    DirectoryRow{"a reference that grants nothing",
                                 [](GuestBuffer& b) { put_ref(b, 1, 5, 0x7ffffff); }},
                    DirectoryRow{"the list ends early",
                                 [](GuestBuffer& b) { put_ref(b, 0, 0, 0); }},
                    DirectoryRow{"the list loops",
                                 [](GuestBuffer& b) { put_ref(b, 0, 0, xen::raw(b.first())); }},
                    DirectoryRow{"the next page grants nothing",
                                 [](GuestBuffer& b) { put_ref(b, 0, 0, 0x7ffffff); }},
                    DirectoryRow{"the first page grants nothing", [](GuestBuffer& b) {
                                   b.directory.front().ref = xen::GrantRef{0x7ffffff};
                                 }}));

TEST_F(Live, backend_allocation_fills_the_directory) {
  Options options = small_options();
  options.be_alloc = true;
  make(options);
  EXPECT_EQ(small_xen::read(backend_->paths().frontend + "/be-alloc"), "1");
  connect();
  GuestBuffer buffer = ScriptedFrontend::directory_only(kSize);
  auto create = ScriptedFrontend::create(1, buffer, kWidth, kHeight);
  create.flags = XENDISPL_DBUF_FLG_REQ_ALLOC;
  EXPECT_EQ(frontend_->call(0, create), 0);
  EXPECT_EQ(small_xen::granted_by_backend(), 2U);
  std::uint32_t refs[3];
  std::memcpy(refs, buffer.directory[0].page.data(), sizeof refs);
  EXPECT_EQ(refs[0], 0U);
  for (const std::uint32_t ref : {refs[1], refs[2]}) {
    const auto page = small_xen::map_of_backend(xen::GrantRef{ref});
    ASSERT_FALSE(page.empty());
    page[0] = std::byte{0x42};
  }
  const auto pixels = backend_->pixels(DbufCookie{1});
  ASSERT_TRUE(pixels.has_value());
  EXPECT_EQ((*pixels)[xen::kPageSize], std::byte{0x42});
  EXPECT_EQ(frontend_->call(0, displif::DbufDestroy{DbufCookie{1}}), 0);
  EXPECT_EQ(small_xen::granted_by_backend(), 0U);
}

TEST_F(Live, edid_is_copied_into_the_frontends_buffer) {
  Options options = small_options();
  options.connectors[0].edid.assign(256, std::byte{0x5a});
  make(options);
  frontend_->version("2");
  connect();
  GuestBuffer buffer = ScriptedFrontend::allocate(XENDISPL_EDID_MAX_SIZE);
  frontend_->send(0, displif::GetEdid{XENDISPL_EDID_MAX_SIZE, buffer.first()});
  const auto response = frontend_->receive(0);
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->status, 0);
  EXPECT_EQ(response->edid_sz, 256U);
  EXPECT_EQ(buffer.pages[0].page[255], std::byte{0x5a});
  EXPECT_EQ(buffer.pages[0].page[256], std::byte{0});
  EXPECT_EQ(small_xen::mapped_pages(), 2U);
}

TEST_F(Live, a_producer_beyond_the_ring_is_refused_and_harms_nobody) {
  make(small_options(2));
  connect();
  for (const std::uint32_t prod : {33U, 1000U, 0x80000000U, 0xffffffffU}) {
    frontend_->connector(0).ring.shared().set_req_prod(prod);
    small_xen::notify(frontend_->connector(0).req_port);
    EXPECT_EQ(frontend_->call(1, displif::SetConfig{}), 0);
  }
  EXPECT_EQ(backend_->requests().size(), 4U);  // connector 1's
  EXPECT_EQ(backend_->trouble().size(), 4U);
  frontend_->connector(0).ring.shared().set_req_prod(0);
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
}

TEST_F(Live, requests_without_a_notification_are_found_and_marked) {
  Options options = small_options();
  options.unnotified_after = milliseconds(50);
  make(options);
  connect();
  auto& ring = frontend_->connector(0).ring;
  const auto notified = [&](std::uint64_t times) {
    return ScriptedFrontend::until<bool>(kSoon, [&] {
      return backend_->indexes(0)->req_notifications == times ? std::optional(true) : std::nullopt;
    });
  };
  ASSERT_TRUE(notified(1));  // a channel that is bound has an event (Xen's evtchn_bind_interdomain)
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  ASSERT_TRUE(notified(2));  // which may come after the request was found
  EXPECT_EQ(ring.shared().indices().req_event, 2U);
  ASSERT_TRUE(ring.put_request(displif::encode_request(77, displif::SetConfig{})));
  EXPECT_TRUE(ring.publish_requests());  // wanted, and withheld
  const auto response = frontend_->receive(0);
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->id, 77);
  EXPECT_FALSE(backend_->requests().back().notified);
}

TEST_F(Live, noise_in_the_ring_is_answered_and_survived) {
  make();
  connect();
  std::mt19937 random(4711);
  auto& ring = frontend_->connector(0).ring;
  for (unsigned i = 0; i < 3000; ++i) {
    displif::Packet packet{};
    for (std::byte& octet : packet) octet = std::byte(random());
    packet[2] = std::byte(0x10 + random() % 8);
    if (random() % 2 == 0) std::fill(packet.begin() + 9, packet.begin() + 16, std::byte{0});
    ASSERT_TRUE(ring.put_request(packet));
    if (ring.publish_requests()) small_xen::notify(frontend_->connector(0).req_port);
    const auto response = frontend_->receive(0);
    ASSERT_TRUE(response.has_value());
    const displif::Request request = displif::decode_request(packet);
    EXPECT_EQ(response->id, request.id);
    EXPECT_EQ(response->operation, request.operation);
  }
  EXPECT_EQ(small_xen::mapped_pages(), 2U);
}

// --- waits ---------------------------------------------------------------------------------------

TEST_F(Live, a_failed_wait_says_what_it_was_for_and_what_was_seen) {
  make();
  connect();
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  const auto none =
      backend_->await_request(RequestFilter::op(Operation::pg_flip), xen::in(milliseconds(20)));
  ASSERT_FALSE(none);
  EXPECT_THAT(none.failure(), HasSubstr("awaited PG_FLIP for "));
  EXPECT_THAT(none.failure(),
              HasSubstr("last request 0: SET_CONFIG id 0 on connector 0, status 0"));
  EXPECT_THAT(none.failure(), HasSubstr("frontend Connected, backend Connected"));
  const auto state = backend_->await_state(State::closed, xen::in(milliseconds(20)));
  ASSERT_FALSE(state);
  EXPECT_THAT(state.failure(), HasSubstr("awaited frontend state Closed"));
}

TEST_F(Live, cursors_walk_through_the_journal_once) {
  make();
  connect();
  Cursor cursor = backend_->request_cursor();
  const auto filter = RequestFilter::op(Operation::set_config);
  EXPECT_FALSE(backend_->none_until(filter, xen::in(milliseconds(20)), cursor).has_value());
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  const auto first = backend_->await_answered(filter, xen::in(kSoon), cursor);
  const auto second = backend_->await_answered(filter, xen::in(kSoon), cursor);
  ASSERT_TRUE(first && second);
  EXPECT_EQ(first->ring_index, 0U);
  EXPECT_EQ(second->ring_index, 1U);
  EXPECT_FALSE(backend_->await_answered(filter, xen::in(milliseconds(20)), cursor));
}

TEST_F(Live, everything_is_recorded_in_both_directions) {
  make();
  connect();
  show(1, 11);
  EXPECT_EQ(frontend_->call(0, flip(11)), 0);
  ASSERT_TRUE(frontend_->receive_event(0));
  backend_.reset();
  std::map<std::string, int> seen;
  for (const Json& record : records_) {
    ++seen[record.at("kind").get<std::string>() + " " + record.at("dir").get<std::string>()];
  }
  EXPECT_EQ(seen["req f2b"], 4);
  EXPECT_EQ(seen["resp b2f"], 4);
  EXPECT_EQ(seen["evt b2f"], 1);
  EXPECT_GE(seen["state f2b"], 2);
  EXPECT_GE(seen["state b2f"], 2);
  EXPECT_EQ(seen["state -"], 2);  // connected, disconnected
  EXPECT_GE(seen["xs f2b"], 5);
  EXPECT_GE(seen["index f2b"], 8);
  EXPECT_GE(seen["index b2f"], 9);
}

TEST_F(Live, snapshots_may_be_taken_while_the_guest_is_busy) {
  make();
  connect();
  show(1, 11);
  std::atomic<bool> stop = false;
  std::thread reader([&] {
    while (!stop) {
      (void)backend_->pixels(DbufCookie{1});
      (void)backend_->snapshot_model();
      (void)backend_->visible(0);
      (void)backend_->requests();
      (void)backend_->indexes(0);
    }
  });
  for (unsigned i = 0; i < 300; ++i) ASSERT_EQ(frontend_->call(0, flip(11)), 0);
  stop = true;
  reader.join();
  // A flip's event follows its response.
  Cursor last{299};
  EXPECT_TRUE(backend_->await_event(0, xen::in(kSoon), last));
  EXPECT_EQ(backend_->events().size(), 300U);
}

// --- raw access ----------------------------------------------------------------------------------

TEST_F(Live, raw_access_needs_a_connection) {
  make();
  backend_->start();
  EXPECT_THROW(backend_->send_response(0, {}), std::logic_error);
  EXPECT_THROW(backend_->publish_rsp_prod(0, 1), std::logic_error);
  EXPECT_THROW(backend_->notify_events(0), std::logic_error);
  EXPECT_FALSE(backend_->indexes(0).has_value());
  reconnect();
  EXPECT_THROW(backend_->notify_events(1), std::logic_error);
}

TEST_F(Live, raw_packets_arrive_as_they_are) {
  make();
  connect();
  backend_->send_response(0, displif::encode_response({.id = 99, .operation = 0x42, .status = 7}));
  const auto response = frontend_->receive(0);
  ASSERT_TRUE(response.has_value());
  EXPECT_EQ(response->id, 99);
  EXPECT_EQ(response->status, 7);
  backend_->send_event(0, displif::encode_event(55, displif::PgFlipEvent{FbCookie{3}}));
  const auto event = frontend_->receive_event(0);
  ASSERT_TRUE(event.has_value());
  EXPECT_EQ(event->id, 55);
  EXPECT_EQ(backend_->next_event_id(0), 0);
  backend_->send_flip_event(0, FbCookie{4});
  EXPECT_EQ(backend_->next_event_id(0), 1);
  // One response more than requests: service goes on.
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
}

TEST_F(Live, forged_indexes_reach_the_shared_pages_only) {
  make();
  connect();
  backend_->publish_rsp_prod(0, 0x1234);
  backend_->publish_evt_prod(0, 0x4321);
  EXPECT_EQ(frontend_->connector(0).ring.shared().indices().rsp_prod, 0x1234U);
  EXPECT_EQ(frontend_->connector(0).events.shared().in_prod(), 0x4321U);
  const auto indexes = backend_->indexes(0);
  ASSERT_TRUE(indexes.has_value());
  EXPECT_EQ(indexes->rsp_prod_pvt, 0U);
  const std::size_t before = small_xen::notifications(frontend_->connector(0).evt_port);
  backend_->notify_events(0);
  EXPECT_EQ(small_xen::notifications(frontend_->connector(0).evt_port), before + 1);
}

TEST_F(Live, states_can_be_written_raw) {
  make();
  connect();
  backend_->set_state_text("77");
  EXPECT_EQ(small_xen::read(backend_->paths().backend + "/state"), "77");
  EXPECT_FALSE(backend_->backend_state().has_value());
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);  // still served
  backend_->set_state(State::closed);
  frontend_->state(State::reconfiguring);
  EXPECT_TRUE(await_unmapped());
  EXPECT_TRUE(await_node("state", "6"));
  frontend_->state(State::initialising);
  EXPECT_TRUE(await_node("state", "2"));
}

// --- faults --------------------------------------------------------------------------------------

TEST_F(Live, error_status_is_sent_and_has_no_effect) {
  make();
  connect();
  fault([](BackendFaults& f) {
    f.error_status = {1, Operations::only(XENDISPL_OP_DBUF_CREATE), -XEN_ENOMEM};
  });
  const GuestBuffer buffer = ScriptedFrontend::allocate(kSize);
  const auto create = ScriptedFrontend::create(1, buffer, kWidth, kHeight);
  EXPECT_EQ(frontend_->call(0, create), -XEN_ENOMEM);
  EXPECT_EQ(small_xen::mapped_pages(), 2U);
  EXPECT_EQ(frontend_->call(0, create), 0);  // struck once
  fault([](BackendFaults& f) { f.error_status = {kAlways, Operations::all(), -XEN_EIO}; });
  EXPECT_EQ(frontend_->call(0, displif::DbufDestroy{DbufCookie{1}}), -XEN_EIO);
  EXPECT_EQ(small_xen::mapped_pages(), 2U);  // given up all the same
}

TEST_F(Live, response_faults_are_visible_on_the_wire) {
  make();
  connect();
  const auto with = [&](const std::function<void(BackendFaults&)>& change) {
    backend_->clear_faults();
    fault(change);
    const std::uint16_t id = frontend_->send(0, displif::SetConfig{});
    return std::pair(id, *frontend_->receive(0));
  };
  {
    const auto [id, response] = with([](BackendFaults& f) { f.response_unknown_id = {1}; });
    EXPECT_NE(response.id, id);
  }
  {
    const auto [id, response] = with([](BackendFaults& f) { f.response_extra_unknown_id = {1}; });
    EXPECT_NE(response.id, id);
    EXPECT_EQ(frontend_->receive(0)->id, id);
  }
  {
    const auto [id, response] = with([](BackendFaults& f) { f.response_duplicate = {1}; });
    EXPECT_EQ(response.id, id);
    EXPECT_EQ(frontend_->receive(0)->id, id);
  }
  {
    const auto [id, response] = with([](BackendFaults& f) { f.response_wrong_operation = {1}; });
    EXPECT_EQ(response.id, id);
    EXPECT_NE(response.operation, XENDISPL_OP_SET_CONFIG);
  }
  {
    const auto [id, response] = with([](BackendFaults& f) {
      f.positive_status = {1, Operations::all(), 5};
    });
    EXPECT_EQ(response.status, 5);
  }
  {
    const auto [id, response] = with([](BackendFaults& f) { f.response_reserved_nonzero = {1}; });
    EXPECT_FALSE(displif::nonzero_bytes(response.packet,
                                        displif::reserved_response_bytes(XENDISPL_OP_SET_CONFIG, 2))
                     .empty());
    EXPECT_EQ(response.status, 0);
  }
  backend_->clear_faults();
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
}

TEST_F(Live, a_refusal_can_be_reported_as_success) {
  make();
  connect();
  fault([](BackendFaults& f) { f.failure_reported_as_success = {1}; });
  EXPECT_EQ(frontend_->call(0, flip(1)), 0);
  EXPECT_FALSE(frontend_->receive_event(0, kAwhile).has_value());
  EXPECT_EQ(frontend_->call(0, flip(1)), -XEN_ENOENT);
}

TEST_F(Live, never_and_late_answers) {
  make();
  connect();
  fault([](BackendFaults& f) { f.response_never = {1}; });
  frontend_->send(0, displif::SetConfig{});
  EXPECT_FALSE(frontend_->receive(0, kAwhile).has_value());
  EXPECT_FALSE(backend_->requests().back().status.has_value());
  fault([](BackendFaults& f) { f.response_late = {1, Operations::all(), milliseconds(100)}; });
  const auto start = xen::Clock::now();
  frontend_->send(0, displif::SetConfig{});
  frontend_->send(0, displif::SetConfig{});
  EXPECT_EQ(frontend_->receive(0)->id, 2);  // overtakes
  EXPECT_EQ(frontend_->receive(0)->id, 1);
  EXPECT_GE(xen::Clock::now() - start, milliseconds(100));
}

TEST_F(Live, reversed_answers) {
  make();
  connect();
  fault([](BackendFaults& f) { f.responses_reversed = kAlways; });
  auto& ring = frontend_->connector(0).ring;
  for (std::uint16_t id = 0; id < 3; ++id) {
    ASSERT_TRUE(ring.put_request(displif::encode_request(id, displif::SetConfig{})));
  }
  ASSERT_TRUE(ring.publish_requests());
  small_xen::notify(frontend_->connector(0).req_port);
  std::vector<std::uint16_t> ids;
  ids.reserve(3);
  for (int i = 0; i < 3; ++i) ids.push_back(frontend_->receive(0)->id);
  EXPECT_THAT(ids, ElementsAre(2, 1, 0));
}

TEST_F(Live, producer_faults) {
  make();
  connect();
  show(1, 11);
  fault([](BackendFaults& f) {
    f.rsp_prod_beyond = {1, 1000};
    f.event_prod_beyond = {1, 1000};
  });
  frontend_->send(0, flip(11));
  const auto event = backend_->await_event(0, xen::in(kSoon), *std::make_unique<Cursor>());
  ASSERT_TRUE(event) << event.failure();
  const auto published = ScriptedFrontend::until<bool>(kSoon, [&] {
    return frontend_->connector(0).events.shared().in_prod() == 1001 ? std::optional(true)
                                                                     : std::nullopt;
  });
  EXPECT_TRUE(published);
  EXPECT_EQ(frontend_->connector(0).ring.shared().indices().rsp_prod, 1004U);
  frontend_->connector(0).ring.set_private(4, 4);
  EXPECT_EQ(frontend_->call(0, flip(11)), 0);
  fault([](BackendFaults& f) { f.rsp_prod_backwards = 1; });
  frontend_->send(0, displif::SetConfig{});
  const auto back = ScriptedFrontend::until<bool>(kSoon, [&] {
    return frontend_->connector(0).ring.shared().indices().rsp_prod == 4 ? std::optional(true)
                                                                         : std::nullopt;
  });
  EXPECT_TRUE(back);
}

TEST_F(Live, notification_faults) {
  make();
  connect();
  const xen::Port port = frontend_->connector(0).req_port;
  const auto counted = [&] {
    const std::size_t before = small_xen::notifications(port);
    EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
    (void)backend_->requests();
    backend_->follow_frontend(true);  // a turn of the service: all of its answer is out
    return small_xen::notifications(port) - before;
  };
  EXPECT_EQ(counted(), 1U);
  fault([](BackendFaults& f) { f.response_not_notified = {1}; });
  EXPECT_EQ(counted(), 0U);
  fault([](BackendFaults& f) { f.spurious_notifications = {1, 7}; });
  EXPECT_EQ(counted(), 8U);
}

TEST_F(Live, a_threshold_that_never_moves) {
  Options options = small_options();
  options.unnotified_after = milliseconds(20);
  make(options);
  fault([](BackendFaults& f) { f.req_event_not_updated = kAlways; });
  connect();
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  frontend_->send(0, displif::SetConfig{});  // nobody asked to be told
  EXPECT_FALSE(frontend_->receive(0, kAwhile).has_value());
}

TEST_F(Live, flip_event_faults) {
  make(small_options(2));
  connect();
  show(1, 11);
  std::uint16_t next = 0;
  const auto with = [&](const std::function<void(BackendFaults&)>& change) {
    backend_->clear_faults();
    fault(change);
    EXPECT_EQ(frontend_->call(0, flip(11)), 0);
  };
  const auto expect = [&](std::uint16_t id, std::size_t connector = 0) {
    const auto event = frontend_->receive_event(connector);
    ASSERT_TRUE(event.has_value());
    EXPECT_EQ(event->id, id);
  };
  with([](BackendFaults& f) { f.flip_event_never = 1; });
  EXPECT_FALSE(frontend_->receive_event(0, kAwhile).has_value());
  with([](BackendFaults& f) { f.flip_event_duplicate = 1; });
  expect(next++);
  expect(next++);
  with([](BackendFaults& f) { f.event_id_gap = 1; });
  expect(static_cast<std::uint16_t>(next + 1));
  next = static_cast<std::uint16_t>(next + 2);
  with([](BackendFaults& f) { f.flip_event_late = {1, milliseconds(80)}; });
  EXPECT_FALSE(frontend_->receive_event(0, milliseconds(20)).has_value());
  expect(next++);
  with([](BackendFaults& f) { f.flip_event_other_connector = 1; });
  expect(0, 1);
  with([](BackendFaults& f) { f.event_unknown_type = {1, 1}; });
  const auto unknown = frontend_->receive_event(0);
  ASSERT_TRUE(unknown.has_value());
  EXPECT_NE(unknown->type, XENDISPL_EVT_PG_FLIP);
  EXPECT_EQ(unknown->id, next++);
  expect(next++);
  with([](BackendFaults& f) { f.flip_event_unknown_cookie = 1; });
  const auto wrong = frontend_->receive_event(0);
  ASSERT_TRUE(wrong.has_value());
  EXPECT_NE(std::get<displif::PgFlipEvent>(wrong->body).fb_cookie, FbCookie{11});
  ++next;
  with([](BackendFaults& f) { f.event_reserved_nonzero = 1; });
  const auto dirty = frontend_->receive_event(0);
  ASSERT_TRUE(dirty.has_value());
  EXPECT_FALSE(
      displif::nonzero_bytes(dirty->packet, displif::reserved_event_bytes(dirty->type)).empty());
  ++next;
  backend_->clear_faults();
  fault([](BackendFaults& f) { f.flip_event_on_error = 1; });
  EXPECT_EQ(frontend_->call(0, flip(99)), -XEN_ENOENT);
  expect(next++);
  with([](BackendFaults& f) { f.event_flood = {1, 130}; });
  const auto flooded = ScriptedFrontend::until<bool>(kSoon, [&] {
    return backend_->next_event_id(0) == next + 131 ? std::optional(true) : std::nullopt;
  });
  EXPECT_TRUE(flooded);
}

TEST_F(Live, an_event_may_go_before_its_response) {
  make();
  connect();
  show(1, 11);
  fault([](BackendFaults& f) { f.flip_event_before_response = 1; });
  EXPECT_EQ(frontend_->call(0, flip(11)), 0);
  EXPECT_LT(backend_->events().back().ns, backend_->responses().back().ns);
  EXPECT_EQ(frontend_->call(0, flip(11)), 0);
  ASSERT_TRUE(frontend_->receive_event(0));
  ASSERT_TRUE(frontend_->receive_event(0));
  EXPECT_GT(backend_->events().back().ns, backend_->responses().back().ns);
}

TEST_F(Live, mappings_can_be_kept) {
  make();
  connect();
  show(1, 11);
  fault([](BackendFaults& f) { f.mapping_kept_after_destroy = 1; });
  EXPECT_EQ(frontend_->call(0, displif::DbufDestroy{DbufCookie{1}}), 0);
  EXPECT_EQ(small_xen::mapped(buffers_[0].pages[0].ref), 1U);
  fault([](BackendFaults& f) { f.mapping_kept_after_close = 1; });
  frontend_->state(State::closing);
  ASSERT_TRUE(await_node("state", "2"));
  EXPECT_EQ(small_xen::mapped_pages(), 4U);
  reconnect();
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  frontend_->state(State::closing);
  ASSERT_TRUE(await_node("state", "2"));
  backend_.reset();
  EXPECT_EQ(small_xen::mapped_pages(), 0U);
  EXPECT_EQ(small_xen::bound_ports(), 0U);
}

TEST_F(Live, allocation_faults) {
  Options options = small_options();
  options.be_alloc = true;
  make(options);
  connect();
  std::uint64_t cookie = 1;
  const auto refs_with = [&](const std::function<void(BackendFaults&)>& change) {
    backend_->clear_faults();
    fault(change);
    GuestBuffer buffer = ScriptedFrontend::directory_only(kSize);
    auto create = ScriptedFrontend::create(cookie++, buffer, kWidth, kHeight);
    create.flags = XENDISPL_DBUF_FLG_REQ_ALLOC;
    EXPECT_EQ(frontend_->call(0, create), 0);
    std::vector<std::uint32_t> refs(3);
    std::memcpy(refs.data(), buffer.directory[0].page.data(), 12);
    return refs;
  };
  const auto grants = [](std::uint32_t ref) {
    return !small_xen::map_of_backend(xen::GrantRef{ref}).empty();
  };
  const auto polite = refs_with([](BackendFaults&) {});
  EXPECT_TRUE(polite[0] == 0 && grants(polite[1]) && grants(polite[2]));
  const auto invalid = refs_with([](BackendFaults& f) { f.be_alloc_refs_invalid = 1; });
  EXPECT_TRUE(invalid[1] != 0 && !grants(invalid[1]) && !grants(invalid[2]));
  EXPECT_THAT(refs_with([](BackendFaults& f) { f.be_alloc_refs_missing = 1; }),
              ElementsAre(0, 0, 0));
  const auto shortened = refs_with([](BackendFaults& f) { f.be_alloc_refs_short = 1; });
  EXPECT_TRUE(grants(shortened[1]) && shortened[2] == 0);
  EXPECT_NE(refs_with([](BackendFaults& f) { f.be_alloc_next_page_changed = 1; })[0], 0U);
}

TEST_F(Live, effects_can_be_left_out) {
  make();
  connect();
  fault([](BackendFaults& f) { f.config_not_applied = 1; });
  show(1, 11);
  EXPECT_FALSE(backend_->visible(0).has_value());
  EXPECT_EQ(frontend_->call(0, configure(11)), 0);
  EXPECT_TRUE(backend_->visible(0).has_value());
  fault([](BackendFaults& f) { f.reset_not_applied = 1; });
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  EXPECT_TRUE(backend_->visible(0).has_value());
  fault([](BackendFaults& f) { f.flip_not_applied = 1; });
  EXPECT_EQ(frontend_->call(0, attach(1, 12)), 0);
  EXPECT_EQ(frontend_->call(0, flip(12)), 0);
  EXPECT_EQ(backend_->visible(0)->framebuffer.cookie, FbCookie{11});
}

TEST_F(Live, others_can_be_hidden_with_a_framebuffer) {
  make();
  connect();
  show(1, 11);
  for (const std::uint32_t times : {0U, 1U}) {
    fault([times](BackendFaults& f) { f.others_hidden = times; });
    EXPECT_EQ(frontend_->call(0, attach(1, 12)), 0);
    EXPECT_EQ(frontend_->call(0, displif::FbDetach{FbCookie{12}}), 0);
    EXPECT_EQ(backend_->visible(0).has_value(), times == 0);
  }
}

TEST_F(Live, a_trusted_index_is_served) {
  make();
  connect();
  fault([](BackendFaults& f) { f.ring_index_trusted = 1; });
  frontend_->connector(0).ring.shared().set_req_prod(1000);
  small_xen::notify(frontend_->connector(0).req_port);
  Cursor cursor;
  cursor.next = 31;
  const auto last = backend_->await_answered({}, xen::in(kSoon), cursor);
  EXPECT_TRUE(last) << last.failure();
}

struct VersionsRow {
  const char* id;
  std::optional<std::string> value;
};

class Versions : public Live, public testing::WithParamInterface<VersionsRow> {};

TEST_P(Versions, node_is_as_the_fault_says) {
  make();
  fault(find_fault(GetParam().id)->apply);
  backend_->start();
  EXPECT_EQ(small_xen::read(backend_->paths().backend + "/versions"), GetParam().value);
}

INSTANTIATE_TEST_SUITE_P(
    Faults, Versions,
    testing::Values(VersionsRow{"backend.omission.versions-missing", std::nullopt},
                    VersionsRow{"backend.deviation.versions-malformed", "two;"},
                    VersionsRow{"backend.stress.versions-unknown", "4711,4712"}));

TEST_F(Live, bus_faults) {
  make();
  fault([](BackendFaults& f) { f.connects_early = 1; });
  backend_->start();
  EXPECT_EQ(small_xen::read(backend_->paths().backend + "/state"), "4");
  backend_->vanish();
  backend_->clear_faults();
  fault([](BackendFaults& f) { f.never_connects = 1; });
  backend_->start();
  frontend_->publish(1);
  ASSERT_TRUE(backend_->await_state(State::initialised, xen::in(kSoon)));
  EXPECT_FALSE(await_node("state", "4", kAwhile));
  frontend_->state(State::initialising);
  ASSERT_TRUE(backend_->await_state(State::initialising, xen::in(kSoon)));
  reconnect();
  fault([](BackendFaults& f) { f.ignores_closing = kAlways; });
  frontend_->state(State::closing);
  ASSERT_TRUE(backend_->await_state(State::closing, xen::in(kSoon)));
  EXPECT_FALSE(await_node("state", "2", kAwhile));
  EXPECT_TRUE(backend_->connected());
  backend_->clear_faults();
  fault([](BackendFaults& f) { f.no_recovery = 1; });
  frontend_->state(State::closed);
  EXPECT_TRUE(await_node("state", "6"));
}

TEST_F(Live, an_unexpected_state_comes_after_so_many_answers) {
  make();
  connect();
  fault([](BackendFaults& f) { f.unexpected_state = {1, 3, 5}; });
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  EXPECT_TRUE(await_node("state", "4", kAwhile));
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);
  EXPECT_TRUE(await_node("state", "5"));
  EXPECT_EQ(frontend_->call(0, displif::SetConfig{}), 0);  // keeps serving
}

// Every named fault in turn, under a frontend that goes through all operations: the fake survives
// its own faults and leaves nothing behind.
TEST_F(Live, no_fault_breaks_the_fake_itself) {
  for (const FaultInfo& info : all_faults()) {
    SCOPED_TRACE(info.id);
    small_xen::reset();
    Options options = small_options(2);
    options.connectors[0].edid.assign(128, std::byte{1});
    options.unnotified_after = milliseconds(5);
    make(options);
    frontend_->version("2");
    fault(info.apply);
    backend_->start();
    frontend_->publish(2);
    if (!backend_->await_connected(xen::in(milliseconds(30)))) frontend_->state(State::connected);
    const GuestBuffer buffer = ScriptedFrontend::allocate(kSize);
    const GuestBuffer edid = ScriptedFrontend::allocate(XENDISPL_EDID_MAX_SIZE);
    const std::vector<displif::RequestBody> script{
        ScriptedFrontend::create(1, buffer, kWidth, kHeight),
        attach(1, 11),
        configure(11),
        flip(11),
        displif::GetEdid{XENDISPL_EDID_MAX_SIZE, edid.first()},
        displif::SetConfig{},
        displif::FbDetach{FbCookie{11}},
        displif::DbufDestroy{DbufCookie{1}},
        displif::Unknown{.operation = 0x20}};
    for (const auto& body : script) {
      frontend_->send(0, body);
      (void)frontend_->receive(0, milliseconds(5));
    }
    frontend_->state(State::closing);
    (void)await_node("state", "2", milliseconds(20));
    // This one makes the ring's indexes impossible, and complains of them.
    if (info.id != "backend.deviation.req-prod-written") {
      EXPECT_TRUE(backend_->trouble().empty()) << backend_->trouble().front();
    }
    backend_.reset();
    Breakdown::mend();
    EXPECT_EQ(small_xen::mapped_pages(), 0U);
    EXPECT_EQ(small_xen::bound_ports(), 0U);
    EXPECT_EQ(small_xen::nodes_below("/local/domain/1"), 0U);
  }
}

}  // namespace
}  // namespace displif_cts::fake_backend
