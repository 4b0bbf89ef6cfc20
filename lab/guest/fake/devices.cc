#include "lab/guest/fake/devices.h"

#include <chrono>
#include <cstdio>
#include <exception>
#include <set>
#include <utility>

#include "harness/displif/nodes.h"
#include "harness/xen/domains.h"
#include "lab/guest/fake/client.h"

namespace displif_cts::fake_guest {

Devices::Devices(fake_frontend::Options options, fake_frontend::FrontendFaults faults)
    : options_(std::move(options)),
      faults_(std::move(faults)),
      recorder_([](const Json&) {}),
      store_(xen::Store::open()),
      directory_(store_.domain_path(xen::Domains(store_).own()) + "/device/" +
                 std::string(displif::node::kDevice)),
      watch_(store_.watch(directory_)),
      thread_([this] { follow(); }) {
  thread_.detach();
}

void Devices::follow() {
  for (;;)
    if (store_.next_event(xen::in(std::chrono::hours(1)))) look();
}

void Devices::look() {
  std::set<std::uint16_t> there;
  for (const std::string& name :
       store_.directory(directory_).value_or(std::vector<std::string>{})) {
    const auto id = displif::parse_uint32(name);
    if (id.ok() && *id <= 0xffff && store_.read(directory_ + "/" + name + "/backend"))
      there.insert(static_cast<std::uint16_t>(*id));
  }
  std::vector<std::shared_ptr<FakeFrontend>> unplugged;
  {
    const std::lock_guard lock(mutex_);
    for (auto it = devices_.begin(); it != devices_.end();) {
      if (there.contains(it->first)) {
        ++it;
        continue;
      }
      unplugged.push_back(it->second);
      gone_.push_back(std::move(it->second));
      it = devices_.erase(it);
    }
  }
  for (const auto& frontend : unplugged) frontend->vanish();
  for (const std::uint16_t id : there)
    if (!has(id)) probe(id);
}

void Devices::probe(std::uint16_t id) {
  try {
    auto frontend = std::make_shared<FakeFrontend>(id, options_, recorder_);
    frontend->set_faults([this](fake_frontend::FrontendFaults& faults) { faults = faults_; });
    frontend->start();
    const std::lock_guard lock(mutex_);
    devices_.emplace(id, std::move(frontend));
  } catch (const std::exception& error) {  // the next event tells of nodes that were not there yet
    std::fprintf(stderr, "device %u: %s\n", id, error.what());
  }
}

std::shared_ptr<DrmFile> Devices::open() {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, frontend] : devices_)
    if (frontend->open_client()) return std::make_shared<Client>(frontend);
  return nullptr;
}

bool Devices::has(std::uint16_t id) {
  const std::lock_guard lock(mutex_);
  return devices_.contains(id);
}

}  // namespace displif_cts::fake_guest
