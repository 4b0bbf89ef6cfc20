#include "lab/guest/fake/verbs.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "harness/agent/heartbeat.h"
#include "harness/displif/fourcc.h"
#include "lab/guest/pattern.h"
#include "lab/guest/system_verbs.h"

namespace displif_cts::fake_guest {
namespace {

using agent::Arguments;
using exerciser::Request;
using exerciser::Verb;
using exerciser::VerbTable;
using std::chrono::milliseconds;

// One for each size of a pixel, and both orders of the octets.
constexpr std::array kFormats{"AB24", "AR24", "RG16", "RG24", "XB24", "XR24"};
constexpr std::uint64_t kMaxWaitMs = 86'400'000;

std::uint32_t u32(const Arguments& args, std::string_view key) {
  return static_cast<std::uint32_t>(args.number(key, UINT32_MAX));
}

class Verbs {
 public:
  Verbs(DrmDevices& devices, std::string program)
      : devices_(devices), program_(std::move(program)) {}

  Json hello(const VerbTable& table) const {
    return {{"version", exerciser::kVersion},     {"program", program_}, {"kernel", "none"},
            {"page_size", sysconf(_SC_PAGESIZE)}, {"pid", getpid()},     {"verbs", table.names()}};
  }

  Json await_no_device(const Arguments& args) {
    const std::string path = args.text("path");
    const std::string_view prefix = "device/vdispl/";
    if (!path.starts_with(prefix)) throw VerbError(EINVAL, "argument path= is no display device");
    const auto id = static_cast<std::uint16_t>(std::atoi(path.c_str() + prefix.size()));
    const auto gone = [&] { return !devices_.has(id); };
    if (!await(gone, milliseconds(args.number_or("timeout_ms", 1000, kMaxWaitMs))))
      throw VerbError(ETIMEDOUT, path + " is still there");
    return nullptr;
  }

  Json open(const Arguments& args) {
    const std::string name = args.text("name");
    expect_free(name);
    std::shared_ptr<DrmFile> file;
    const auto opened = [&] { return (file = devices_.open()) != nullptr; };
    if (!await(opened, milliseconds(args.number_or("timeout_ms", 0, kMaxWaitMs))))
      throw VerbError(ENODEV, "no display device takes a client");
    const std::lock_guard lock(mutex_);
    clients_.emplace(name, std::move(file));
    return {{"path", "device/vdispl"}, {"driver", devices_.driver()}};
  }

  Json close(const Arguments& args) {
    std::shared_ptr<DrmFile> last;
    const std::lock_guard lock(mutex_);
    const auto found = clients_.find(args.text("name"));
    if (found == clients_.end()) throw VerbError(ENOENT, "no file named " + args.text("name"));
    last = std::move(found->second);
    clients_.erase(found);
    return {{"deferred", last.use_count() > 1}};
  }

  Json close_all() {
    std::map<std::string, std::shared_ptr<DrmFile>> all;
    {
      const std::lock_guard lock(mutex_);
      all.swap(clients_);
    }
    const auto closed = all.size();
    std::size_t deferred = 0;
    for (const auto& [name, client] : all) deferred += client.use_count() > 1 ? 1 : 0;
    return {{"closed", closed}, {"deferred", deferred}};
  }

  Json connectors(const Arguments& args) {
    Json connectors = Json::array();
    Json crtcs = Json::array();
    Json planes = Json::array();
    const auto file = client(args);
    // A frontend may keep what it knows of a connector until it is told to look again.
    const bool probe = args.has("probe") && args.number("probe", 1) == 1;
    for (const DrmFile::Connector& each : file->connectors()) {
      if (probe) file->probe(connectors.size());
      Json modes = Json::array();
      if (each.connected)
        modes.push_back({{"hdisplay", each.mode.width}, {"vdisplay", each.mode.height}});
      connectors.push_back({{"id", each.id},
                            {"connected", each.connected},
                            {"modes", std::move(modes)},
                            {"crtc", each.crtc}});
      crtcs.push_back(each.crtc);
      planes.push_back({{"crtc", each.crtc}, {"formats", Json(kFormats)}});
    }
    return {{"connectors", std::move(connectors)},
            {"crtcs", std::move(crtcs)},
            {"planes", std::move(planes)}};
  }

  Json create_dumb(const Arguments& args) {
    const std::string name = args.text("name");
    expect_free(name);
    const auto made = client(args)->create_buffer(
        name, u32(args, "width"), u32(args, "height"),
        static_cast<std::uint32_t>(args.number_or("bpp", 32, UINT32_MAX)));
    return {{"handle", made.id}, {"pitch", made.pitch}, {"size", made.size}};
  }

  Json destroy_dumb(const Arguments& args) {
    client(args)->destroy_buffer(args.text("name"));
    return nullptr;
  }

  Json fill(const Arguments& args) {
    const std::string name = args.text("name");
    if (args.text("pattern", "xorshift") != "xorshift")
      throw VerbError(EINVAL, "argument pattern= is not one that is known here");
    const auto owner = owner_of(name);
    const std::uint64_t size = owner->buffer(name).size;
    const std::uint64_t offset = args.number_or("offset", 0, size);
    std::vector<std::uint8_t> octets(args.number_or("length", size - offset, size - offset));
    pattern::octets(args.number("seed", UINT64_MAX), offset, octets);
    owner->draw(name, std::as_bytes(std::span(octets)), offset);
    return nullptr;
  }

  Json add_fb(const Arguments& args) {
    const std::string name = args.text("name");
    expect_free(name);
    DrmFile::FramebufferSpec spec{.buffer = args.text("buffer")};
    if (args.has("width")) spec.width = u32(args, "width");
    if (args.has("height")) spec.height = u32(args, "height");
    const auto format = displif::fourcc_from_name(args.text("format", "XR24"));
    if (!format) throw VerbError(EINVAL, "argument format= is no FourCC code");
    spec.format = *format;
    const auto owner = client(args);
    if (args.has("pitch")) spec.pitch = u32(args, "pitch");
    spec.offset = static_cast<std::uint32_t>(args.number_or("offset", 0, UINT32_MAX));
    owner->add_framebuffer(name, spec);
    return nullptr;
  }

  Json rm_fb(const Arguments& args) {
    client(args)->remove_framebuffer(args.text("name"));
    return nullptr;
  }

  Json set_crtc(const Arguments& args) {
    client(args)->set_mode(args.text("fb"),
                           {.crtc = u32(args, "crtc"),
                            .connector = u32(args, "connector"),
                            .x = static_cast<std::uint32_t>(args.number_or("x", 0, UINT32_MAX)),
                            .y = static_cast<std::uint32_t>(args.number_or("y", 0, UINT32_MAX)),
                            .width = u32(args, "width"),
                            .height = u32(args, "height")});
    return nullptr;
  }

  Json crtc_off(const Arguments& args) {
    client(args)->switch_off(u32(args, "crtc"));
    return nullptr;
  }

  Json page_flip(const Arguments& args) {
    client(args)->page_flip(u32(args, "crtc"), args.text("fb"), args.number_or("event", 1, 1) == 1,
                            args.number_or("user_data", 0, UINT64_MAX));
    return nullptr;
  }

  Json wait_event(const Arguments& args) {
    const auto event = client(args)->next_event(
        xen::in(milliseconds(args.number_or("timeout_ms", 1000, kMaxWaitMs))));
    if (!event) throw VerbError(ETIMEDOUT, "no event");
    return {{"type", "flip-complete"},
            {"user_data", event->user_data},
            {"crtc", event->crtc},
            {"after_ns", event->after_ns}};
  }

  Json flips(const Arguments& args) {
    const auto owner = client(args);
    const std::vector<std::string> fbs = args.list("fbs");
    if (fbs.empty()) throw VerbError(EINVAL, "argument fbs= is empty");
    const std::uint64_t count = args.number("count", UINT32_MAX);
    const milliseconds limit(args.number_or("timeout_ms", 5000, kMaxWaitMs));
    std::uint64_t done = 0;
    const auto fields = [&] { return Json{{"done", done}, {"failed", count - done}}; };
    try {
      for (; done < count; ++done) {
        owner->page_flip(u32(args, "crtc"), fbs[done % fbs.size()], true, done);
        if (!owner->next_event(xen::in(limit))) throw VerbError(ETIMEDOUT, "no event");
      }
    } catch (VerbError& error) {
      error.fields = fields();
      throw;
    }
    return fields();
  }

  agent::Heartbeat& heartbeat() { return heartbeat_; }

 private:
  static bool await(const std::function<bool()>& done, milliseconds limit) {
    constexpr milliseconds kLook{1};
    const auto end = xen::in(limit);
    while (!done()) {
      if (xen::Clock::now() >= end) return false;
      std::this_thread::sleep_for(kLook);
    }
    return true;
  }

  void expect_free(const std::string& name) {
    const std::lock_guard lock(mutex_);
    for (const auto& [file, each] : clients_)
      if (file == name || each->has(name)) throw VerbError(EEXIST, name + " is taken");
  }
  std::shared_ptr<DrmFile> client(const Arguments& args) {
    const std::lock_guard lock(mutex_);
    const auto found = clients_.find(args.text("fd"));
    if (found == clients_.end()) throw VerbError(ENOENT, "no file named " + args.text("fd"));
    return found->second;
  }
  std::shared_ptr<DrmFile> owner_of(const std::string& buffer) {
    const std::lock_guard lock(mutex_);
    for (const auto& [name, each] : clients_)
      if (each->has(buffer)) return each;
    throw VerbError(ENOENT, "no buffer named " + buffer);
  }

  DrmDevices& devices_;
  std::string program_;
  agent::Heartbeat heartbeat_{/*realtime=*/false};
  std::mutex mutex_;
  std::map<std::string, std::shared_ptr<DrmFile>> clients_;
};

}  // namespace

void add_verbs(VerbTable& table, DrmDevices& devices, std::string program) {
  const auto verbs = std::make_shared<Verbs>(devices, std::move(program));
  const auto add = [&](agent::VerbSpec spec, Json (Verbs::*run)(const Arguments&)) {
    table.add(std::move(spec),
              [verbs, run](const Request& request) { return (verbs.get()->*run)(request.args); });
  };
  table.add(
      {"hello", {}, {}}, [verbs, &table](const Request&) { return verbs->hello(table); },
      Verb::Kind::immediate);
  table.add(
      // No kernel, no log: `mark` is not answered with `marked`.
      {"heartbeat", {}, {"mark"}}, [verbs](const Request&) { return verbs->heartbeat().report(); },
      Verb::Kind::immediate);
  table.add(
      {"heartbeat-reset", {}, {}},
      [verbs](const Request&) -> Json {
        verbs->heartbeat().reset();
        return nullptr;
      },
      Verb::Kind::immediate);
  table.add({"sleep", {"ms"}, {}}, [](const Request& request) -> Json {
    std::this_thread::sleep_for(milliseconds(request.args.number("ms", kMaxWaitMs)));
    return nullptr;
  });
  table.add({"close-all", {}, {}}, [verbs](const Request&) { return verbs->close_all(); });
  add({"await-no-device", {"path"}, {}}, &Verbs::await_no_device);
  add({"open", {"name"}, {"driver"}}, &Verbs::open);
  add({"close", {"name"}, {}}, &Verbs::close);
  add({"connectors", {"fd"}, {"probe"}}, &Verbs::connectors);
  add({"create-dumb", {"fd", "name", "width", "height"}, {"bpp", "flags"}}, &Verbs::create_dumb);
  add({"destroy-dumb", {"fd", "name"}, {"keep-map"}}, &Verbs::destroy_dumb);
  add({"fill", {"name"}, {"pattern", "seed", "offset", "length"}}, &Verbs::fill);
  add({"add-fb", {"fd", "name", "buffer"}, {"width", "height", "format", "pitch", "offset"}},
      &Verbs::add_fb);
  add({"rm-fb", {"fd", "name"}, {}}, &Verbs::rm_fb);
  add({"set-crtc", {"fd", "crtc", "fb", "connector", "width", "height"}, {"x", "y"}},
      &Verbs::set_crtc);
  add({"crtc-off", {"fd", "crtc"}, {}}, &Verbs::crtc_off);
  add({"page-flip", {"fd", "crtc", "fb"}, {"event", "flags", "user_data"}}, &Verbs::page_flip);
  add({"wait-event", {"fd"}, {}}, &Verbs::wait_event);
  add({"flips", {"fd", "crtc", "fbs", "count"}, {}}, &Verbs::flips);
}

}  // namespace displif_cts::fake_guest
