// Each fault of the registry shows: the same play, once polite and once with the fault, is seen
// differently by the other side, by the machine, or by the frontend's client.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <future>
#include <set>
#include <string_view>

#include "fake_frontend/test_support/world.h"
#include "harness/displif/event_page.h"

namespace displif_cts::fake_frontend {
namespace {

using fake_backend::BackendFaults;
using fake_backend::kAlways;
using BackOperations = fake_backend::Operations;

constexpr milliseconds kSoon{2000};
constexpr milliseconds kPatience{120};  // for what may never come

// How the play is set.
struct Setting {
  std::size_t connectors = 2;
  std::vector<unsigned> versions{1, 2};
  std::uint32_t guest_pages = 1024;
  std::function<void(BackendFaults&)> backend = {};  // what the backend does meanwhile
  // Done when the picture stands; what it returns is part of what is seen.
  std::function<std::string(World&)> attack = {};
  bool never_initwait = false;  // the backend starts late
  bool large = false;           // a buffer of several directory pages
  bool client = false;          // a client holds the device
  bool outlast = false;         // measure how long calls last
  bool overshoot = false;       // one buffer beyond the domain's limits
  bool many_requests = false;   // several laps of the ring
  bool slow_backend = false;    // it looks at requests 10 ms late
  bool be_alloc = false;        // a buffer that the backend allocates
};

void refuse(BackendFaults& faults, std::uint8_t operation) {
  faults.error_status = {kAlways, BackOperations::only(operation), -22};
}

// Until the frontend has looked at an index that stands only until the backend publishes its own.
std::string seen(World& world, const std::string& index, std::uint32_t value) {
  const std::string record = fmt::format("\"name\":\"{}\",\"value\":{}", index, value);
  const auto limit = xen::in(kSoon);
  while (!world.frontend_records.logged(record) && xen::Clock::now() < limit)
    std::this_thread::sleep_for(milliseconds(1));
  return world.frontend_records.logged(record) ? "seen" : "not seen";
}

Setting setting_of(std::string_view id) {
  Setting s;
  const auto is = [&](std::string_view name) { return id.ends_with("." + std::string(name)); };
  const auto refusing = [&](std::uint8_t operation) {
    s.backend = [operation](BackendFaults& faults) { refuse(faults, operation); };
  };
  if (is("initialises-early") || is("connects-early")) s.never_initwait = true;
  if (is("directory-changing")) s.slow_backend = true;
  if (is("edid-in-version-1")) s.versions = {1};
  if (is("directory-chain-short")) s.large = true;
  if (is("out-of-grants-fatal")) s.overshoot = true;
  if (is("backend-pages-kept")) s.be_alloc = true;
  if (is("slot-not-cleared")) refusing(XENDISPL_OP_PG_FLIP);  // a status is left in the slot
  if (is("slot-not-cleared") || is("event-slots-miscounted") || is("id-constant") ||
      is("ids-scattered") || is("events-confirmed-in-groups")) {
    s.many_requests = true;
  }
  if (is("used-device-waits") || is("failure-ignored-while-used") ||
      is("new-clients-while-reconfiguring")) {
    s.client = true;
  }
  if (is("create-error-hidden")) refusing(XENDISPL_OP_DBUF_CREATE);
  if (is("attach-error-hidden")) refusing(XENDISPL_OP_FB_ATTACH);
  if (is("config-error-hidden")) refusing(XENDISPL_OP_SET_CONFIG);
  if (is("config-error-final") || is("reset-error-fatal")) {
    s.backend = [](BackendFaults& faults) {
      faults.error_status = {2, BackOperations::only(XENDISPL_OP_SET_CONFIG), -22};
    };
  }
  if (is("flip-error-hidden")) refusing(XENDISPL_OP_PG_FLIP);
  if (is("flip-error-final")) {
    s.backend = [](BackendFaults& faults) {
      faults.error_status = {1, BackOperations::only(XENDISPL_OP_PG_FLIP), -22};
    };
  }
  if (is("destroy-error-fatal")) refusing(XENDISPL_OP_DBUF_DESTROY);
  if (is("detach-error-fatal")) refusing(XENDISPL_OP_FB_DETACH);
  if (is("attach-unknown-error-fatal")) {
    s.backend = [](BackendFaults& faults) {
      faults.error_status = {1, BackOperations::only(XENDISPL_OP_FB_ATTACH), -5000};
    };
  }
  if (is("response-unmatched") || is("unknown-response-fatal")) {
    s.backend = [](BackendFaults& faults) {
      faults.response_unknown_id = {1, BackOperations::only(XENDISPL_OP_GET_EDID)};
    };
  }
  if (is("waits-for-ever") || is("outstanding-request-kept")) {
    s.outlast = true;
  }
  if (is("late-response-taken")) {
    s.backend = [](BackendFaults& faults) {
      faults.response_late = {1, BackOperations::only(XENDISPL_OP_GET_EDID), milliseconds(180)};
      faults.response_never = {1, BackOperations::only(XENDISPL_OP_PG_FLIP)};
    };
  }
  if (is("rsp-prod-trusted")) {
    s.attack = [](World& world) {
      world.backend->publish_rsp_prod(0, 5000);
      world.backend->notify_requests(0);
      return seen(world, "rsp_prod", 5000);
    };
  }
  if (is("restart-missed")) {
    s.attack = [](World& world) {
      xen::Store::open().write(world.backend->paths().backend + "/state", "2");
      return std::string(world.frontend->await_disconnected(xen::in(kPatience)) ? "disconnected"
                                                                                : "connected");
    };
  }
  if (is("store-flood-fatal")) {
    s.attack = [](World& world) {
      const xen::Store store = xen::Store::open();
      for (int n = 0; n < 300; ++n)
        store.write(world.backend->paths().backend + "/state", "4");  // as it is
      return std::string();
    };
  }
  if (is("untouched-slot-taken")) {
    s.backend = [](BackendFaults& faults) {
      faults.response_never = {1, BackOperations::only(XENDISPL_OP_PG_FLIP)};
    };
    s.attack = [](World& world) {
      const auto before = world.frontend->indexes(0);
      const auto numbers = world.frontend->submit(
          0, std::vector<displif::RequestBody>{displif::PgFlip{FbCookie{2}}});
      (void)world.backend->await_request(
          fake_backend::RequestFilter::op(displif::Operation::pg_flip), xen::in(kSoon));
      world.backend->publish_rsp_prod(0, before->rsp_prod + 1);
      world.backend->notify_requests(0);
      return world.frontend->await_reply(numbers.at(0), xen::in(kPatience)).response
                 ? std::string("completed")
                 : std::string("unanswered");
    };
  }
  if (is("in-prod-trusted")) {
    s.attack = [](World& world) {
      world.backend->publish_evt_prod(0, 5000);
      world.backend->notify_events(0);
      return seen(world, "in_prod", 5000);
    };
  }
  if (is("full-page-left")) {
    s.backend = [](BackendFaults& faults) {
      faults.event_unknown_type = {1, displif::kEventSlots - 1};
    };
  }
  if (is("flip-event-ignored") || is("lost-event-final")) s.outlast = true;
  if (is("flip-completed-by-response") || is("lost-event-final")) {
    s.backend = [](BackendFaults& faults) { faults.flip_event_never = kAlways; };
  }
  if (is("flip-cookie-ignored") || is("unknown-event-fatal")) {
    s.backend = [](BackendFaults& faults) { faults.flip_event_unknown_cookie = 1; };
  }
  return s;
}

// What is seen of a play, as lines that do not depend on timing.
class Play {
 public:
  explicit Play(std::string_view id, const FaultInfo* fault) : s_(setting_of(id)), fault_(fault) {
    // Where all goes well nothing is waited out, so that a busy machine changes nothing.
    const bool well =
        fault == nullptr && !s_.backend && !s_.attack && !s_.outlast && !s_.never_initwait;
    patience_ = well ? kSoon : kPatience;
  }

  std::vector<std::string> perform() {
    auto back = backend_options(s_.connectors);
    back.versions = s_.versions;
    back.unnotified_after = milliseconds(20);
    back.be_alloc = s_.be_alloc;
    auto front = frontend_options();
    front.response_limit = patience_;
    front.flip_limit = patience_;
    front.leave_limit = milliseconds(200);
    front.unnotified_after = milliseconds(20);
    loopback::DomainOptions guest;
    guest.shared_pages = s_.large ? 4096 : s_.guest_pages;
    world_ = std::make_unique<World>(std::move(back), std::move(front), std::move(guest));
    if (fault_ != nullptr) {
      world_->frontend->set_faults([&](FrontendFaults& faults) {
        fault_->apply(faults);
        faults.initialised_late.delay = faults.connected_late.delay = milliseconds(600);
        if (faults.request_late.times != 0) faults.request_late = {1, milliseconds(200)};
      });
    }
    connect();
    draw_pictures();
    if (s_.attack) line("attack: {}", s_.attack(*world_));
    use();
    finish();
    describe_wire();
    struck_ = world_->frontend_records.logged("frontend: fault ");
    world_.reset();  // there is one machine at a time
    return std::move(lines_);
  }

  bool struck() const { return struck_; }

 private:
  FakeFrontend& front() { return *world_->frontend; }
  fake_backend::FakeBackend& back() { return *world_->backend; }
  template <class... Parts>
  void line(fmt::format_string<Parts...> format, Parts&&... parts) {
    lines_.push_back(fmt::format(format, std::forward<Parts>(parts)...));
  }
  void told(const char* what, const Reply& reply) {
    line("{}: error {}, {}", what, reply.error,
         reply.response ? displif::status_name(reply.response->status) : "no response");
  }

  void connect() {
    if (s_.never_initwait) {
      front().start();
      (void)front().await_connected(xen::in(patience_));
      line("before InitWait: {}", own_state());
      world_->backend->set_faults([](BackendFaults& faults) { faults.never_connects = 1; });
    }
    if (s_.backend) back().set_faults(s_.backend);
    xen::Store store = xen::Store::open();
    const xen::Watch watch = store.watch(back().paths().frontend);
    back().start();
    if (!s_.never_initwait) front().start();
    const auto connected = front().await_connected(xen::in(milliseconds(400)));
    line("connected in time: {}", static_cast<bool>(connected));
    if (!connected) (void)front().await_connected(xen::in(milliseconds(400)));
    (void)back().await_connected(xen::in(patience_));
    line("state {}, backend {}", own_state(), back().connected());
    // XenStore tells of the writes in their order.
    while (const auto event = store.next_event(xen::in(milliseconds(10)))) {
      if (event->path.ends_with("-ref") || event->path.ends_with("-channel")) {
        line("written {}", event->path);
      }
    }
    const auto of_client = front().connectors();
    for (const auto& size : of_client) line("visible {}x{}", size.width, size.height);
    record_nodes();
    if (s_.client) line("client: {}", front().open_client());
  }

  std::string own_state() {
    const auto state = front().frontend_state();
    return state ? std::string(bus::name(*state)) : "none";
  }

  void record_nodes() {
    xen::Store store = xen::Store::open();
    for (const char* name :
         {"state", "version", "0/req-ring-ref", "0/req-event-channel", "0/evt-ring-ref",
          "0/evt-event-channel", "1/req-ring-ref", "1/evt-ring-ref", "2/req-ring-ref"}) {
      line("node {} = {}", name,
           store.read(world_->frontend->paths().frontend + "/" + name).value_or("(missing)"));
    }
  }

  // Two pictures on connector 0, one on connector 1.
  void draw_pictures() {
    const BufferSpec exact{.width = kWidth, .height = kHeight};
    for (unsigned n = 0; n < 2; ++n) {
      const auto start = xen::Clock::now();
      std::future<void> hold;
      if (s_.slow_backend) {
        std::promise<void> held;
        hold = std::async(std::launch::async, [&] {
          back().set_faults([&](BackendFaults&) {
            held.set_value();
            std::this_thread::sleep_for(milliseconds(10));
          });
        });
        held.get_future().wait();
        const BufferReply slow = front().create_buffer(exact);
        hold.get();
        told("create slowly", slow);
      }
      const BufferReply buffer = front().create_buffer(exact);
      line("held back: {}", xen::Clock::now() - start > milliseconds(150));
      told("create", buffer);
      buffers_.push_back(buffer.cookie);
      const FramebufferReply fb = front().attach_fb(buffer.cookie);
      told("attach", fb);
      fbs_.push_back(fb.cookie);
    }
    told("config", front().set_config(0, fbs_[0]));
    const auto shown = back().visible(0);
    line("shows {:#x}", shown ? displif::raw(shown->framebuffer.cookie) : 0);
    (void)front().draw(buffers_[1], std::vector<std::byte>(kSize, std::byte{7}));
    const std::vector<std::byte> second(100, std::byte{9});
    (void)front().draw(buffers_[1], second, 5000);
    const auto pixels = back().pixels(buffers_[1]);
    line("backend sees {}", pixels ? std::to_integer<int>((*pixels)[5000]) : -1);
    const auto grants = world_->host.grants(kFrontend);
    line("grants: {}, writable: {}", grants.size(),
         std::ranges::count_if(grants, [](const auto& grant) { return grant.writable; }));
    told("small", front().create_buffer({.width = 8, .height = 8}));
    told("large", front().create_buffer({.width = 100, .height = 100}));
    if (s_.large) {
      told("several directory pages", front().create_buffer({.width = 1024, .height = 1100}));
    }
    if (s_.overshoot) {
      told("beyond limits", front().create_buffer({.width = 4000, .height = 4000}));
    }
  }

  void flip(FbCookie fb) {
    if (fb == FbCookie{}) return;
    told("flip", front().page_flip(0, fb));
    const auto event = front().await_flip(0, xen::in(2 * patience_));
    line("flip completes: {}, pending {}",
         !event                      ? "no"
         : event->number == kNoEvent ? "without event"
                                     : "by event",
         front().flip_pending(0));
  }

  void use() {
    told("off", front().page_flip(1, fbs_[0]));
    told("edid", front().get_edid(0));
    flip(fbs_[1]);
    flip(fbs_[0]);
    flip(fbs_[0]);
    if (s_.many_requests) {
      for (unsigned n = 0; n < 70; ++n) flip(fbs_[n % 2]);
    }
    told("reset other", front().reset_config(1));
    if (s_.outlast) outlast();
    told("configure again", front().set_config(0, fbs_[1]));
    told("detach", front().detach_fb(fbs_[1]));
    destroy();
    if (s_.be_alloc) use_backends_pages();
    told("destroy with framebuffer", front().destroy_buffer(buffers_[0]));
    line("pages after destruction: {}", pages());
  }

  // What is granted while the backend thinks about a destruction.
  void destroy() {
    back().set_faults([](BackendFaults& faults) {
      faults.response_late = {1, BackOperations::only(XENDISPL_OP_DBUF_DESTROY), milliseconds(30)};
    });
    auto call = std::async(std::launch::async, [&] { return front().destroy_buffer(buffers_[1]); });
    (void)back().await_request(fake_backend::RequestFilter::op(displif::Operation::dbuf_destroy),
                               xen::in(patience_));
    line("pages during destruction: {}", pages());
    const auto indexes = back().indexes(0);
    line("the backend's index is kept: {}", indexes && indexes->rsp_prod == indexes->rsp_prod_pvt);
    told("destroy", call.get());
  }

  void use_backends_pages() {
    const BufferReply made =
        front().create_buffer({.width = kWidth, .height = kHeight, .backend_allocated = true});
    told("create of the backend's", made);
    line("mapped: {}", world_->host.mapped_pages(kBackend));
    told("destroy", front().destroy_buffer(made.cookie));
    line("mapped after destruction: {}", world_->host.mapped_pages(kBackend));
  }

  // A call that the backend does not answer, and the backend's end in the middle of one.
  void outlast() {
    back().set_faults([](BackendFaults& faults) {
      faults.response_never = {kAlways, BackOperations::only(XENDISPL_OP_SET_CONFIG)};
    });
    fake_backend::Cursor cursor;
    const auto lasts = [&](const char* what, const std::function<void()>& meanwhile) {
      cursor = back().request_cursor();
      auto call = std::async(std::launch::async, [&] { return front().reset_config(1); });
      meanwhile();
      line("{} ends: {}", what, call.wait_for(4 * patience_) == std::future_status::ready);
      if (call.wait_for(std::chrono::seconds(0)) != std::future_status::ready) front().vanish();
      told(what, call.get());
    };
    lasts("unanswered", [] {});
    lasts("interrupted", [&] {
      (void)back().await_request({.connector = 1}, xen::in(patience_), cursor);
      back().shutdown();
    });
    back().clear_faults();
  }

  std::size_t pages() { return world_->host.grant_usage(kFrontend).pages; }
  std::size_t ports() {
    const auto all = world_->host.ports(kFrontend);
    return static_cast<std::size_t>(
        std::ranges::count_if(all, [](const auto& port) { return port.handle != 0; }));
  }

  // The backend fails, comes back, and the frontend leaves.
  void finish() {
    for (std::size_t i = 0; i < s_.connectors; ++i) {
      const auto indexes = back().indexes(i);
      if (!indexes) continue;
      line("indices {}: req_prod {} rsp_event {} rsp_prod {} req_event {} in_cons {} in_prod {}", i,
           indexes->req_prod, indexes->rsp_event, indexes->rsp_prod, indexes->req_event,
           indexes->in_cons, indexes->in_prod);
      line("notified {}", indexes->req_notifications + indexes->evt_notifications > 200);
      line("event channel notified: {}", indexes->evt_notifications > 1);
    }
    record_nodes();
    const auto unsettled = front().frontend_state();
    back().shutdown();
    (void)eventually([&] { return front().frontend_state() != unsettled; }, patience_);
    (void)front().await_disconnected(xen::in(patience_));
    line("after the backend's end: {}, ports {}, pages {}", own_state(), ports(), pages());
    told("without backend", front().reset_config(0));
    line("a new client: {}", front().open_client());
    if (s_.client) front().close_client();
    if (front().clients() > 0) front().close_client();
    line("without clients: {}", own_state());
    back().clear_faults();
    back().start();
    line("reconnected: {}", static_cast<bool>(front().await_connected(xen::in(2 * patience_))));
    (void)back().await_connected(xen::in(patience_));
    (void)front().leave();
    for (const StateChange& change : front().states()) {
      if (change.side == bus::Side::frontend) line("own state {}", change.text);
    }
    line("left: {}, pages {}, ports {}, serving {}", own_state(), pages(), ports(),
         front().serving());
  }

  // The trace of the backend, without what depends on who was faster.
  void describe_wire() {
    world_->frontend->vanish();
    world_->backend->vanish();
    for (const Json& record : world_->backend_records.all()) {
      const std::string kind = record.at("kind");
      const std::string direction = record.at("dir");
      if (kind == "req") line("request {}", record.at("hex").get<std::string>());
      const Json fields = record.value("fields", Json::object());
      if (kind == "req" && fields.contains("notified")) {
        line("on {}, notified {}", fields.at("connector").dump(), fields.at("notified").dump());
      }
      if (kind != "index") continue;
      const std::string what = fields.value("what", "");
      if (direction == "-" || what == "refused" || what == "directory") {
        line("{} {}", fields.dump(), record.value("hex", ""));
      }
    }
  }

  Setting s_;
  const FaultInfo* fault_;
  std::unique_ptr<World> world_;
  std::vector<std::string> lines_;
  std::vector<DbufCookie> buffers_;
  std::vector<FbCookie> fbs_;
  bool struck_ = false;
  milliseconds patience_{};
};

class FaultEffects : public testing::TestWithParam<std::string_view> {};

TEST_P(FaultEffects, show) {
  const FaultInfo* fault = find_fault(GetParam());
  ASSERT_NE(fault, nullptr);
  Play polite(GetParam(), nullptr);
  const auto expected = polite.perform();
  EXPECT_FALSE(polite.struck());
  Play faulty(GetParam(), fault);
  const auto seen = faulty.perform();
  EXPECT_TRUE(faulty.struck()) << "the fault never struck";
  EXPECT_NE(expected, seen);
  if (testing::UnitTest::GetInstance()->current_test_info()->result()->Failed()) {
    for (const std::string& text : seen) std::printf("%s\n", text.c_str());
  }
}

// Ids of 16 bits come again after 65,536 messages: the cases `long` are for that.
bool needs_a_long_run(std::string_view id) { return id.ends_with("-ids-wide"); }

std::vector<std::string_view> ids() {
  std::vector<std::string_view> ids;
  for (const FaultInfo& fault : all_faults())
    if (!needs_a_long_run(fault.id)) ids.push_back(fault.id);
  return ids;
}

std::string test_name(const testing::TestParamInfo<std::string_view>& parameter) {
  std::string name(parameter.param);
  std::ranges::replace_if(
      name, [](char c) { return c == '.' || c == '-'; }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(All, FaultEffects, testing::ValuesIn(ids()), test_name);

// The comparison above means something only if the play is the same every time.
TEST(PolitePlay, is_seen_the_same_every_time) {
  std::set<std::vector<std::string>> seen;
  for (unsigned n = 0; n < 5; ++n) seen.insert(Play("polite", nullptr).perform());
  EXPECT_EQ(seen.size(), 1U);
  if (seen.size() > 1) {
    const auto& one = *seen.begin();
    const auto& other = *seen.rbegin();
    for (std::size_t i = 0; i < std::min(one.size(), other.size()); ++i) {
      if (one[i] != other[i]) std::printf("- %s\n+ %s\n", one[i].c_str(), other[i].c_str());
    }
  }
}

}  // namespace
}  // namespace displif_cts::fake_frontend
