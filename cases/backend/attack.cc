// Each deviation of the fake frontend, and each legal nastiness, against a whole session: whatever
// the frontend does, the backend serves the next one that behaves (docs/requirements.md, "robust").
// The groups' own files say what the answer to each has to be; here is what all have in common.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_attack {
namespace {

using bus::State;
using displif::PgFlip;
using displif::RequestBody;
using fake_frontend::FaultInfo;
using fake_frontend::FaultKind;
using Fault = const FaultInfo*;

// What the fake leaves out that a backend can notice.
constexpr std::array kOmissions{"request-not-notified",
                                "rsp-event-not-updated",
                                "slot-not-cleared",
                                "directory-short",
                                "directory-chain-short",
                                "destroy-without-detach",
                                "detach-displayed",
                                "flip-unconfigured",
                                "requests-without-backend",
                                "close-ignored",
                                "close-keeps-channels",
                                "grants-leaked",
                                "channels-leaked",
                                "req-ring-ref-missing",
                                "req-event-channel-missing",
                                "evt-ring-ref-missing",
                                "evt-event-channel-missing",
                                "connector-left-out",
                                "initialises-early",
                                "transport-late",
                                "connects-early",
                                "grants-kept-after-destroy"};

std::string_view short_name(const FaultInfo& fault) {
  return fault.id.substr(fault.id.find('.', fault.id.find('.') + 1) + 1);
}

// All seven operations, large buffers and small ones, on every connector, whatever is answered.
void rampage(FakeFrontend& frontend) {
  const auto connectors = frontend.connectors();
  for (std::size_t connector = 0; connector < connectors.size(); ++connector) {
    BufferSpec spec;
    spec.width = connectors[connector].width;
    spec.height = connectors[connector].height;
    const BufferReply buffer = frontend.create_buffer(spec);
    const FramebufferReply fb = frontend.attach_fb(buffer.cookie);
    frontend.set_config(connector, fb.cookie);
    for (int flip = 0; flip < 2; ++flip)
      if (frontend.page_flip(connector, fb.cookie).ok())
        frontend.await_flip(connector, xen::in(milliseconds(100)));
    BufferSpec second;  // more than a directory page lists
    second.height = 1024 * 16;
    const BufferReply other = frontend.create_buffer(second);
    const FramebufferReply other_fb = frontend.attach_fb(other.cookie);
    frontend.set_config(connector, other_fb.cookie);
    if (frontend.protocol() >= 2) frontend.get_edid(connector);
    frontend.reset_config(connector);
    frontend.detach_fb(fb.cookie);
    frontend.destroy_buffer(buffer.cookie);
    frontend.detach_fb(other_fb.cookie);
    frontend.destroy_buffer(other.cookie);
  }
}

std::vector<std::pair<CaseSpec, Fault>> attacks() {
  std::vector<std::pair<CaseSpec, Fault>> list;
  for (const FaultInfo& fault : fake_frontend::all_faults()) {
    const std::string name(short_name(fault));
    const bool noticed = fault.kind == FaultKind::deviation ||
                         (fault.kind == FaultKind::omission &&
                          std::ranges::find(kOmissions, name) != kOmissions.end());
    if (!noticed) continue;
    CaseSpec spec;
    spec.id = fmt::format("backend.attack.{}.{}", fake::name(fault.kind), name);
    spec.title = fmt::format(
        "Whatever it makes of a session in which {}, the backend serves the "
        "next one.",
        fault.title);
    spec.requirements = of(req::backend_stays_responsive);
    spec.timeout = seconds(60);
    list.emplace_back(std::move(spec), &fault);
  }
  return list;
}

BACKEND_CASES(Attacks, Fault, attacks()) {
  FakeFrontend& frontend = create_device(with_connectors(std::min(peer().max_connectors, 2U)));
  frontend.set_faults(param->apply);
  frontend.start();
  if (frontend.await_connected(quiet())) rampage(frontend);
  check_recovers(req::backend_stays_responsive, frontend);
}

// --- legal, and nasty ----------------------------------------------------------------------------

// These end the session themselves.
bool ends_session(std::string_view name) {
  return name.starts_with("dies-") || name.starts_with("state-");
}

std::vector<std::pair<CaseSpec, Fault>> stresses(bool ending) {
  std::vector<std::pair<CaseSpec, Fault>> list;
  for (const FaultInfo& fault : fake_frontend::all_faults()) {
    if (fault.kind != FaultKind::stress) continue;
    const std::string name(short_name(fault));
    if (ends_session(name) != ending) continue;
    CaseSpec spec;
    spec.id = "backend.stress." + name;
    spec.title = fmt::format("A session in which {} is {}.", fault.title,
                             ending ? "got over" : "served like any other");
    spec.requirements =
        ending ? of(req::backend_stays_responsive)
               : of(req::bus_backend_connects, req::bus_backend_serves_every_connector);
    spec.timeout = seconds(60);
    list.emplace_back(std::move(spec), &fault);
  }
  return list;
}

BACKEND_CASES(Stresses, Fault, stresses(false)) {
  DeviceSpec device = with_connectors(std::min(peer().max_connectors, 2U));
  device.patience = seconds(1);
  FakeFrontend& frontend = create_device(std::move(device));
  frontend.set_faults(param->apply);
  frontend.start();
  require(check_awaited(req::bus_backend_connects, frontend.await_connected(soon()),
                        "both ends Connected"));
  for (int round = 0; round < 3; ++round) {
    const std::string trouble = use_once(frontend);
    check(req::bus_backend_serves_every_connector, trouble.empty(), {"the seven operations work"},
          trouble.empty() ? "they work" : trouble);
  }
}

BACKEND_CASES(EndingStresses, Fault, stresses(true)) {
  FakeFrontend& frontend = create_device();
  frontend.set_faults(param->apply);
  frontend.start();
  if (frontend.await_connected(quiet())) rampage(frontend);
  frontend.leave();
  frontend.vanish();
  check_recovers(req::backend_stays_responsive, frontend);
}

// --- the frontend's domain is destroyed ----------------------------------------------------------

struct Death {
  std::string name;
  std::string title;
  std::function<void(FakeFrontend&, FbCookie)> before;
};

std::vector<std::pair<CaseSpec, Death>> deaths() {
  const std::vector<Death> all{
      {"showing", "a picture is shown", [](FakeFrontend&, FbCookie) {}},
      {"requests-outstanding", "requests are unanswered",
       [](FakeFrontend& frontend, FbCookie fb) {
         frontend.submit(0, std::vector<RequestBody>(32, RequestBody{PgFlip{fb}}));
       }},
      {"closing", "it leaves",
       [](FakeFrontend& frontend, FbCookie) {
         frontend.follow_backend(false);
         frontend.set_state(State::closing);
       }},
  };
  std::vector<std::pair<CaseSpec, Death>> list;
  for (const Death& death : all) {
    CaseSpec spec;
    spec.id = "backend.death." + death.name;
    spec.title = fmt::format(
        "A frontend whose domain is destroyed while {} leaves nothing behind "
        "in the backend.",
        death.title);
    spec.requirements = of(req::backend_frontend_death_survived, req::backend_stays_responsive);
    list.emplace_back(std::move(spec), death);
  }
  return list;
}

BACKEND_CASES(Deaths, Death, deaths()) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  param.before(frontend, picture.fb);
  frontend.vanish();
  // As libxl destroys a domain's devices: without asking the frontend.
  const bool closed = remove_device(frontend, bus::RemoveOrder::forced);
  check_timed(req::backend_frontend_death_survived, closed, {"the backend closes the device"},
              closed ? "it closes the device" : "it does not, within the limit for removal");
  if (mapped_pages())
    check_mapped_at_most(req::backend_all_unmapped_on_close, mapped_baseline(),
                         "the frontend is dead");
  FakeFrontend& next = connect();
  const std::string trouble = use_once(next);
  check(req::backend_stays_responsive, trouble.empty(), {"the next device works"},
        trouble.empty() ? "it works" : trouble);
}

}  // namespace
}  // namespace displif_cts::cases::backend_attack
