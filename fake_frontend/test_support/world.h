// A loopback machine within the test's process: domain 0 with a fake backend, domain 1 with the
// fake frontend. Threads belong to domain 0 unless they say otherwise.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "fake_backend/fake_backend.h"
#include "fake_frontend/fake_frontend.h"
#include "harness/loopback/host.h"
#include "harness/loopback/inprocess.h"
#include "harness/trace/recorder.h"

namespace displif_cts::fake_frontend {

using std::chrono::milliseconds;

inline constexpr xen::DomId kBackend{0};
inline constexpr xen::DomId kFrontend{1};
inline constexpr std::uint32_t kWidth = 64;
inline constexpr std::uint32_t kHeight = 32;
inline constexpr std::uint32_t kSize = kWidth * kHeight * 4;  // two pages

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "fake-frontend-XXXXXX").string();
    if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("mkdtemp " + name);
    path = name;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::filesystem::path path;
};

// Records of one side, as they came.
class Records {
 public:
  trace::Recorder recorder{[this](const Json& record) {
    const std::lock_guard lock(mutex_);
    records_.push_back(record);
  }};
  std::vector<Json> all() const {
    const std::lock_guard lock(mutex_);
    return records_;
  }
  bool logged(const std::string& text) const {
    for (const Json& record : all()) {
      if (record.dump().find(text) != std::string::npos) return true;
    }
    return false;
  }

 private:
  mutable std::mutex mutex_;
  std::vector<Json> records_;
};

inline fake_backend::Options backend_options(std::size_t connectors = 1) {
  fake_backend::Options options;
  options.connectors.assign(connectors, fake_backend::Connector{.resolution = {kWidth, kHeight}});
  options.connectors[0].edid.assign(256, std::byte{0x5a});
  return options;
}

inline Options frontend_options() {
  Options options;
  options.thread_context = [] { return std::make_shared<loopback::ThreadDomain>(kFrontend); };
  return options;
}

// The two fakes face each other. Nothing has started.
class World {
 public:
  explicit World(fake_backend::Options back = backend_options(), Options front = frontend_options(),
                 loopback::DomainOptions guest = {}) {
    loopback::DomainOptions dom0;
    dom0.privileged = true;
    host.add_domain(kBackend, dom0);
    host.add_domain(kFrontend, std::move(guest));
    backend = std::make_unique<fake_backend::FakeBackend>(kFrontend, 0, std::move(back),
                                                          backend_records.recorder);
    backend->create_device();
    frontend = std::make_unique<FakeFrontend>(0, std::move(front), frontend_records.recorder);
  }

  TemporaryDirectory directory;
  loopback::Host host{directory.path};
  loopback::InProcess in_process{host, kBackend};
  Records backend_records;
  Records frontend_records;
  std::unique_ptr<fake_backend::FakeBackend> backend;
  std::unique_ptr<FakeFrontend> frontend;
};

// Until `probe()` is true, at most `limit`.
inline bool eventually(const std::function<bool()>& probe,
                       milliseconds limit = milliseconds(5000)) {
  const auto deadline = xen::in(limit);
  while (!probe()) {
    if (xen::Clock::now() >= deadline) return false;
    std::this_thread::sleep_for(std::chrono::microseconds(500));
  }
  return true;
}

}  // namespace displif_cts::fake_frontend
