// The display devices of this domain, each with a fake frontend for a driver, as they come and go.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fake_frontend/fake_frontend.h"
#include "harness/trace/recorder.h"
#include "harness/xen/store.h"
#include "lab/guest/fake/drm_file.h"

namespace displif_cts::fake_guest {

using fake_frontend::FakeFrontend;

class Devices final : public DrmDevices {
 public:
  // `options` and `faults` of every device's frontend. Watches device/vdispl from now on, in a
  // thread that ends with the process. Throws xen::Error without a XenStore.
  Devices(fake_frontend::Options options, fake_frontend::FrontendFaults faults);

  std::shared_ptr<DrmFile> open() override;
  bool has(std::uint16_t id) override;
  std::string_view driver() const override { return "displif-fake-frontend"; }

 private:
  [[noreturn]] void follow();
  void look();
  void probe(std::uint16_t id);

  fake_frontend::Options options_;
  fake_frontend::FrontendFaults faults_;
  trace::Recorder recorder_;
  xen::Store store_;
  std::string directory_;
  xen::Watch watch_;
  std::mutex mutex_;  // of what follows
  std::map<std::uint16_t, std::shared_ptr<FakeFrontend>> devices_;
  // Devices that are gone: a driver that leaks does so for as long as it is loaded.
  std::vector<std::shared_ptr<FakeFrontend>> gone_;
  std::thread thread_;
};

}  // namespace displif_cts::fake_guest
