// What every case for a frontend under test stands on: a fake backend on one side, the guest's
// programs on the other, and checks of requirements in between.
//
//   FRONTEND_CASE(PageFlipCompletes, {.id = "frontend.pg-flip.completes",
//                                     .title = "A page flip completes by its event.",
//                                     .requirements = of(req::pg_flip_completes_by_event)}) {
//     FakeBackend& backend = connect();
//     ...
//     check(req::pg_flip_completes_by_event, event.arrived, {"an event"}, "none");
//   }
//
// A check judges the peer. A GoogleTest assertion or an exception says that the case could not be
// carried out, which is the suite's own trouble (docs/runner.md).
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "cases/requirements.gen.h"
#include "cases/support/case_spec.h"
#include "cases/support/guest.h"
#include "cases/support/judging_case.h"
#include "fake_backend/fake_backend.h"
#include "harness/runner/context.h"

namespace displif_cts::cases {

using fake_backend::BackendFaults;
using fake_backend::FakeBackend;
using fake_backend::ReceivedRequest;
using fake_backend::RequestFilter;
using xen::Deadline;

class FrontendCase : public JudgingCase {
 protected:
  FrontendCase();
  ~FrontendCase() override;
  void TearDown() override;

  // --- arrangement ------------------------------------------------------------------------------

  // One connector that is quick to draw, 75 pages: an emulated machine copies slowly. What depends
  // on size has cases of its own, up to 8100 pages.
  static fake_backend::Options small_screen();
  // A new device, created as the tool stack does and not served yet. The case may have several,
  // with ids that no other case of the run uses. All are removed at the end.
  FakeBackend& create_device(fake_backend::Options options = small_screen());
  // A new device, served, and connected. If the peer does not connect, that fails the case.
  FakeBackend& connect(fake_backend::Options options = small_screen());
  // Options with `count` connectors, each of another resolution so that they cannot be mixed up.
  static fake_backend::Options with_connectors(std::size_t count);

  // A guest's picture on a connector: buffer, framebuffer, mode. The names are for Guest's calls.
  struct Picture {
    GuestConnector connector;
    DumbBuffer buffer;
    std::string fb;
    std::uint64_t seed;
  };
  // Opens nothing: the device must be open as `fd`. Fills the buffer by lab/guest/pattern.h before
  // the mode is set. An error of any step ends the case.
  Picture show_picture(const GuestConnector& connector, const std::string& name,
                       const std::string& fd = "card");

  // --- judgement --------------------------------------------------------------------------------

  // The next request with `operation` from the cursor on, which moves behind it. If the peer sends
  // none soon, that fails the case, judged as `requirement`.
  ReceivedRequest expect_request(const Requirement& requirement, FakeBackend& backend,
                                 displif::Operation operation, Cursor& cursor);
  // The indexes of connector 0's ring and event page, as they stand now. If the peer has left its
  // connection, that fails the case, judged as `requirement`.
  FakeBackend::RingIndexes expect_indexes(const Requirement& requirement, FakeBackend& backend);

  // The guest makes all its usual calls once more and everything works: what "recovers" and "stays
  // usable" mean. Judged as `requirement`. Uses connector 0 and an fd of its own.
  void check_usable(const Requirement& requirement, FakeBackend& backend);

  // Puts what connector `connector` shows into the report; if it is not the picture of `seed`, that
  // one too, for comparison.
  void screenshot(FakeBackend& backend, std::size_t connector, std::uint64_t seed,
                  const std::string& name = "screen");

  // --- the peer from outside --------------------------------------------------------------------

  // Entries in use in the guest's grant table, and open event channels of the guest, now.
  std::uint64_t guest_grants();
  std::uint64_t guest_ports();
  // How many of our own domain's granted pages are mapped by somebody now. None where nobody can
  // tell: Xen shows no domain's grant table to that domain itself.
  std::optional<std::uint64_t> own_pages_mapped();
  std::string lacks_own_pages();
  // Waits until `count()` is at most `limit`, since frees may be deferred. Returns the last count.
  std::uint64_t settle(const std::function<std::uint64_t()>& count, std::uint64_t limit,
                       Deadline deadline);
  // Stops the guest's processors while `meanwhile` runs and the time for quiet() after that.
  void while_paused(const std::function<void()>& meanwhile);
  // Why that cannot be done here; empty if it can. For SKIP, before the first device is made.
  std::string lacks_pause();
  // Why the guest's exerciser cannot do `verb`; empty if it can. For SKIP, likewise.
  std::string lacks_verb(const std::string& verb);
  // A command of domain 0's shell; its status and output.
  Json tool_stack(const std::string& command);
  // Whether the guest's exerciser still answers.
  bool guest_answers(milliseconds limit = seconds(3));
  // Until the frontend's state is one of `states`: which; none at the deadline.
  std::optional<bus::State> await_any_state(FakeBackend& backend,
                                            std::initializer_list<bus::State> states,
                                            Deadline deadline);

  // --- limits in time, each named by its purpose ------------------------------------------------

  // For what the peer does at once: a request after a call, a state after a state.
  Deadline soon() const { return xen::in(peer().prompt); }
  // For what the peer does after it has waited for a response in vain.
  Deadline after_response_limit() const { return xen::in(peer().response + seconds(2)); }
  Deadline after_flip_limit() const { return xen::in(peer().flip_event + seconds(2)); }
  Deadline after_removal_limit() const { return xen::in(peer().removal + seconds(3)); }

  // Within which a flip's event has arrived if it was sent, and the flip's own limit is not near.
  milliseconds before_flip_limit() const { return peer().flip_event * 3 / 4; }
  // How long something that must not come is waited for; several fit into any limit of the peer's.
  milliseconds quiet() const {
    return std::min({milliseconds(300), peer().flip_event / 3, peer().response / 3});
  }

  xen::DomId guest_domain() const { return xen::DomId{run().domain}; }

 private:
  void await_gone(const bus::DevicePaths& paths);

  agent::Client client_;

 protected:
  Guest guest;

 private:
  std::vector<std::unique_ptr<FakeBackend>> devices_;
};

// Whether the guest's `fill seed=` made these octets, all of them (lab/guest/pattern.h).
bool is_pattern(std::span<const std::byte> pixels, std::uint64_t seed);

}  // namespace displif_cts::cases

// FRONTEND_CASE(ClassName, {CaseSpec}) { body }
#define FRONTEND_CASE(Name, ...)                                                                \
  class Name : public ::displif_cts::cases::FrontendCase {                                      \
    void TestBody() override;                                                                   \
  };                                                                                            \
  [[maybe_unused]] const bool Name##_registered = ::displif_cts::cases::register_case(          \
      ::displif_cts::cases::CaseSpec __VA_ARGS__, []() -> testing::Test* { return new Name; }); \
  void Name::TestBody()

// FRONTEND_CASES(ClassName, Param, list) { body uses `param` }: a case per element of `list`, a
// std::vector<std::pair<CaseSpec, Param>>.
#define FRONTEND_CASES(Name, Param, list)                     \
  class Name : public ::displif_cts::cases::FrontendCase {    \
   public:                                                    \
    explicit Name(Param value) : param(std::move(value)) {}   \
    void TestBody() override;                                 \
    const Param param;                                        \
  };                                                          \
  [[maybe_unused]] const bool Name##_registered =             \
      ::displif_cts::cases::register_each<Name, Param>(list); \
  void Name::TestBody()
