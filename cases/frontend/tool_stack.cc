// The tool stack's own commands in the place of the suite's hands: what `xl` writes makes a device,
// and what it asks for ends one.
#include <fmt/format.h>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"
#include "harness/xen/store.h"

namespace displif_cts::cases::frontend_tool_stack {
namespace {

// The device that has come; none at the deadline.
std::optional<std::uint16_t> await_device(xen::Store& store, const std::string& directory,
                                          const std::vector<std::string>& before,
                                          Deadline deadline) {
  const xen::Watch watch = store.watch(directory);
  do {
    for (const std::string& name : store.directory(directory).value_or(std::vector<std::string>{}))
      if (std::find(before.begin(), before.end(), name) == before.end())
        return static_cast<std::uint16_t>(std::stoul(name));
  } while (store.next_event(deadline));
  return std::nullopt;
}

FRONTEND_CASE(
    AttachDetach,
    {.id = "frontend.bus.tool-stack",
     .title = "A device that `xl vdispl-attach` makes is connected, listed, and gone after "
              "`xl vdispl-detach`, and its connector has the size that xl was told.",
     .requirements = of(req::bus_reaches_initialised, req::bus_connected_after_backend,
                        req::xenstore_resolution_adopted, req::bus_close_final_state),
     .timeout = seconds(90)}) {
  if (run().bed == "loopback") GTEST_SKIP() << "this bed has no tool stack";
  const std::string domain = std::to_string(raw(guest_domain()));
  if (tool_stack("xl list " + domain).value("status", -1) != 0)
    GTEST_SKIP() << "xl does not work on this bed";
  xen::Store store = xen::Store::open();
  const std::string directory = store.domain_path(guest_domain()) + "/device/vdispl";
  const auto before = store.directory(directory).value_or(std::vector<std::string>{});
  // xl returns when the backend has left Initialising, so that it runs beside us.
  const std::string log = "/run/displif-cts/xl.log";
  tool_stack(fmt::format("xl vdispl-attach {} connectors=id0:320x240 >{} 2>&1 &", domain, log));
  const auto device = await_device(store, directory, before, soon());
  ASSERT_TRUE(device) << tool_stack("cat " + log).value("output", std::string());
  fake_backend::Options options = small_screen();
  FakeBackend backend(guest_domain(), *device, options, recorder());
  backend.start();
  require(check_awaited(req::bus_connected_after_backend, backend.await_connected(soon()),
                        "Connected"));
  guest.open();
  const GuestConnector connector = guest.connector();
  check_equal(req::xenstore_resolution_adopted, "mode", std::string("320x240"),
              fmt::format("{}x{}", connector.width, connector.height));
  show_picture(connector, "picture");
  const std::string listed = tool_stack("xl vdispl-list " + domain).value("output", std::string());
  check(req::bus_reaches_initialised,
        listed.find(fmt::format("DevId: {},", *device)) != std::string::npos,
        {"xl lists the device"}, listed);
  guest.close();
  const Json detached = tool_stack(fmt::format("xl vdispl-detach {} {}", domain, *device));
  check(req::bus_close_final_state, detached.value("status", -1) == 0, {"xl detaches the device"},
        detached.value("output", std::string()));
  const bool gone = !store.read(fmt::format("{}/{}/state", directory, *device));
  check(req::bus_close_final_state, gone, {"no nodes are left of the device"},
        "its state node is there");
}

}  // namespace
}  // namespace displif_cts::cases::frontend_tool_stack
