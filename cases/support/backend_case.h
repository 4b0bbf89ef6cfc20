// What every case for a backend under test stands on: the fake frontend on one side, the tool stack
// and the peer seen from outside on the other, and checks of requirements in between.
//
//   BACKEND_CASE(FlipCompletes, {.id = "backend.pg-flip.completes",
//                                .title = "A flip is completed by one event.",
//                                .requirements = of(req::flip_event_follows)}) {
//     FakeFrontend& frontend = connect();
//     ...
//     check(req::flip_event_follows, event.has_value(), {"an event"}, "none");
//   }
//
// A check judges the peer. A GoogleTest assertion or an exception says that the case could not be
// carried out, which is the suite's own trouble (docs/runner.md).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cases/requirements.gen.h"
#include "cases/support/case_spec.h"
#include "cases/support/judging_case.h"
#include "cases/support/own_log.h"
#include "cases/support/tool_stack.h"
#include "fake_frontend/fake_frontend.h"
#include "harness/agent/footprint.h"
#include "harness/bus/device.h"
#include "harness/runner/context.h"
#include "harness/xen/store.h"

namespace displif_cts::cases {

using displif::DbufCookie;
using displif::FbCookie;
using fake_frontend::BufferReply;
using fake_frontend::BufferSpec;
using fake_frontend::EventFilter;
using fake_frontend::FakeFrontend;
using fake_frontend::FramebufferReply;
using fake_frontend::FramebufferSpec;
using fake_frontend::FrontendFaults;
using fake_frontend::Picture;
using fake_frontend::Reply;
using xen::Deadline;

// Capabilities of a backend, as descriptors list them.
inline constexpr const char* kBeAlloc = "be-alloc";
inline constexpr const char* kEdid = "edid";

// A display device, as the tool stack is told to make it.
struct DeviceSpec {
  std::vector<bus::ConnectorConfig> connectors{};  // none: one of the peer's own
  bool be_alloc = false;
  fake_frontend::Options frontend{};  // its limits in time are set to the peer's
  milliseconds patience{0};           // added to them: for requests that it holds back itself
  // May alter what is written: omitted and overridden nodes.
  std::function<void(bus::DeviceConfig&)> change{};
};

// What a connector really displays.
struct Screen {
  std::uint32_t width = 0;            // pixels
  std::uint32_t height = 0;           // pixels
  std::vector<std::uint32_t> pixels;  // 0xRRGGBB, row by row
};

class BackendCase : public JudgingCase {
 protected:
  BackendCase();
  ~BackendCase() override;
  // The baseline of what the peer holds.
  void SetUp() override;
  // Every device goes as the tool stack takes it away; then the peer must hold nothing of it.
  void TearDown() override;

  // --- arrangement ------------------------------------------------------------------------------

  // A new device, made as the tool stack does; its frontend is not started yet. The case may have
  // several. All are removed at the end.
  FakeFrontend& create_device(DeviceSpec spec = {});
  // A new device whose two ends are connected. If the peer does not connect, that fails the case.
  FakeFrontend& connect(DeviceSpec spec = {});
  // Starts the frontend and waits until both ends are connected; else that fails the case.
  void start(FakeFrontend& frontend);
  // A device with `count` connectors, each of another resolution.
  static DeviceSpec with_connectors(std::size_t count);

  // A buffer of the connector's size, a framebuffer and a configuration of it; an error of any step
  // ends the case, judged as the requirement that this step is accepted.
  Picture show_picture(FakeFrontend& frontend, std::size_t connector = 0);
  DbufCookie make_buffer(FakeFrontend& frontend, const BufferSpec& spec = {});
  FbCookie make_fb(FakeFrontend& frontend, DbufCookie buffer, const FramebufferSpec& spec = {});

  // The tool stack asks for the device's removal; the frontend follows the backend. Whether the
  // backend closed in time. The nodes are taken away in any case.
  bool remove_device(FakeFrontend& frontend, bus::RemoveOrder order = bus::RemoveOrder::polite);

  // --- judgement --------------------------------------------------------------------------------

  // The answer to a request that a conformant backend carries out: status 0.
  bool check_done(const Requirement& requirement, const Reply& reply, const std::string& what);
  // A flip that a conformant backend carries out: status 0, then its event.
  bool check_flip(const Requirement& requirement, FakeFrontend& frontend, std::size_t connector,
                  FbCookie fb, const std::string& what);
  // The answer to one that it must not carry out: a legal error. displif.h leaves open which.
  bool check_refused(const Requirement& requirement, const Reply& reply, const std::string& what);
  // An answer of either kind: what matters is that there is one, and that it is legal.
  bool check_answered(const Requirement& requirement, const Reply& reply, const std::string& what);

  // The backend does everything once more, for a polite frontend: on this connection if it still
  // stands and works, else on the next one, else for a new device. Faults are switched off.
  bool check_recovers(const Requirement& requirement, FakeFrontend& frontend);
  // The seven operations, each answered with success (GET_EDID by either answer), on connector 0
  // of a connection that stands. Says what went wrong first; empty if nothing did.
  std::string use_once(FakeFrontend& frontend);

  // --- the peer from outside --------------------------------------------------------------------

  // Pages of the frontend's that another domain maps now, the backend's above all; none where this
  // bed cannot tell.
  std::optional<std::uint64_t> mapped_pages();
  // Event channels that the backend's domain has open now; none where this bed cannot tell.
  std::optional<std::uint64_t> backend_ports();
  // What the case needs, and peer or bed do not have; empty if there is nothing. For SKIP_IF,
  // before the first device is made.
  std::string lacks_connectors(std::size_t count) const;
  // Why two devices cannot display at once: connectors that the descriptor names are real ones, and
  // each is one device's at a time.
  std::string lacks_second_device() const;
  std::string lacks_mappings();
  std::string lacks_ports();
  std::string lacks_process();
  std::string lacks_screen();
  // Waits until `count()` is at most `limit`. Returns the last count.
  std::uint64_t settle(const std::function<std::optional<std::uint64_t>()>& count,
                       std::uint64_t limit, Deadline deadline);
  // Judges that no more of the frontend's pages are mapped than `limit`.
  bool check_mapped_at_most(const Requirement& requirement, std::uint64_t limit,
                            const std::string& when);
  std::uint64_t mapped_baseline() const { return mapped_baseline_.value_or(0); }
  std::optional<std::uint64_t> ports_baseline() const { return ports_baseline_; }
  // What the connector displays; none where the bed cannot tell.
  std::optional<Screen> screen(std::size_t connector);
  // Draws a picture that no other seed gives, as XRGB8888.
  static std::vector<std::byte> drawing(std::uint32_t width, std::uint32_t height,
                                        std::uint32_t seed);
  // Where the screen first differs from drawing(); empty: nowhere.
  static std::string difference(const Screen& screen, std::uint32_t width, std::uint32_t height,
                                std::uint32_t seed);

  // A node below the device's backend directory; none: it is not there.
  std::optional<std::string> read_backend_node(const FakeFrontend& frontend, std::string_view name);
  std::optional<bus::State> backend_state(const FakeFrontend& frontend);
  static std::string state_text(const std::optional<bus::State>& state);
  // Until the backend's state is one of `states`: which; none at the deadline.
  std::optional<bus::State> await_any_state(FakeFrontend& frontend,
                                            std::initializer_list<bus::State> states,
                                            Deadline deadline);

  // Until the frontend has received `count` responses in all; how many it has then.
  static std::size_t await_responses(const FakeFrontend& frontend, std::size_t count,
                                     Deadline deadline);
  // Until `done()`; false at the deadline. For what tells no changes.
  static bool await(const std::function<bool()>& done, Deadline deadline);

  // --- limits in time, each named by its purpose ------------------------------------------------

  // For a step on the bus.
  Deadline soon() const { return xen::in(peer().prompt); }
  Deadline answer_limit() const { return xen::in(peer().response); }
  Deadline event_limit() const { return xen::in(peer().flip_event); }
  Deadline removal_limit() const { return xen::in(peer().removal); }
  // How long something that must not come is waited for.
  Deadline quiet() const {
    return xen::in(std::min<milliseconds>(peer().flip_event, milliseconds(200)));
  }

  std::uint64_t seed() const { return run().seed; }
  xen::DomId own_domain() const { return own_; }
  xen::DomId backend_domain() const { return xen::DomId{run().domain}; }

 private:
  struct Device {
    bus::DeviceConfig config;
    bus::DevicePaths paths;
    std::unique_ptr<FakeFrontend> frontend;
    bool removed = false;
  };

  bool agent_knows(const std::string& verb) const { return verbs_.contains(verb); }
  Device& device_of(const FakeFrontend& frontend);
  bool remove(Device& device, bus::RemoveOrder order);
  void check_released();
  std::optional<agent::Footprint> footprint();
  void check_process_released();
  void check_kernel_log();
  std::vector<std::uint8_t> screen_octets(const Json& answer);

  std::unique_ptr<agent::Client> agent_;  // null where the bed has none
  std::set<std::string> verbs_;
  ToolStack tool_stack_;
  xen::DomId own_{};
  std::vector<Device> devices_;
  struct {
    std::vector<std::uint8_t> octets;  // XRGB8888
    std::uint32_t width = 0;
    std::uint32_t height = 0;
  } last_screen_;  // as it was last seen, for the reports
  std::optional<std::uint64_t> mapped_baseline_;
  std::optional<std::uint64_t> ports_baseline_;
  std::optional<agent::Footprint> process_baseline_;
  std::optional<OwnLog> kernel_log_;  // the backend's kernel's, where the agent is in its domain
};

// 0, or an error number from -4095 to -1 (requirement response.status-zero-or-negative).
bool is_legal_status(std::int32_t status);
// The connector of that resolution, told apart by its unique id.
bus::ConnectorConfig connector_of(std::uint32_t width, std::uint32_t height, std::size_t index);

}  // namespace displif_cts::cases

// Ends the case as skipped when `reason` (a string) is not empty.
#define SKIP_IF(reason) \
  if (const std::string lacking = (reason); !lacking.empty()) GTEST_SKIP() << lacking

// BACKEND_CASE(ClassName, {CaseSpec}) { body }
#define BACKEND_CASE(Name, ...)                                                                 \
  class Name : public ::displif_cts::cases::BackendCase {                                       \
    void TestBody() override;                                                                   \
  };                                                                                            \
  [[maybe_unused]] const bool Name##_registered = ::displif_cts::cases::register_case(          \
      ::displif_cts::cases::CaseSpec __VA_ARGS__, []() -> testing::Test* { return new Name; }); \
  void Name::TestBody()

// BACKEND_CASES(ClassName, Param, list) { body uses `param` }: a case per element of `list`, a
// std::vector<std::pair<CaseSpec, Param>>.
#define BACKEND_CASES(Name, Param, list)                      \
  class Name : public ::displif_cts::cases::BackendCase {     \
   public:                                                    \
    explicit Name(Param value) : param(std::move(value)) {}   \
    void TestBody() override;                                 \
    const Param param;                                        \
  };                                                          \
  [[maybe_unused]] const bool Name##_registered =             \
      ::displif_cts::cases::register_each<Name, Param>(list); \
  void Name::TestBody()
