#include "fuzzers/guest/programs.h"

#include <fmt/format.h>

#include <algorithm>

namespace displif_cts::fuzz_guest {
namespace {

using C = fuzz::Client;
using fuzz::Call;
using std::chrono::milliseconds;

constexpr milliseconds kLife = std::chrono::seconds(3);
// A shorter look would not read what is there.
constexpr milliseconds kLook{1};

std::string number(std::uint64_t value) { return std::to_string(value); }

std::string bits(std::uint64_t depth) { return number(depth > 64 ? 32 : depth); }

// As the exerciser takes it: four characters. A value that has none is left to the model.
std::string fourcc(std::uint64_t depth) {
  if (depth == 16) return "RG16";
  if (depth == 24) return "RG24";
  if (depth == 15) return "XR15";
  if (depth <= 64) return "XR24";
  std::string text;
  for (unsigned shift = 0; shift < 32; shift += 8) {
    const char octet = static_cast<char>(depth >> shift & 0xff);
    if (octet < 0x20 || octet > 0x7e) return "XR24";
    text += octet;
  }
  return text;
}

std::uint32_t u32(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_unsigned() ? it->get<std::uint32_t>() : 0;
}

template <class T>
const T* pick(const std::vector<T>& all, std::uint64_t index) {
  return all.empty() ? nullptr : &all[index % all.size()];
}

// Grants run out with buffers of these measures together.
constexpr std::uint64_t kLargePages = 2048;  // of one
constexpr std::size_t kManyBuffers = 12;

bool is_large(std::uint64_t width, std::uint64_t height, std::uint64_t depth) {
  return width * height > kLargePages * 4096 * 8 / std::clamp<std::uint64_t>(depth, 8, 32);
}

// The size of such a buffer overflows to nothing (docs/findings, pitch-overflows).
bool overflows(std::uint64_t width, std::uint64_t height, std::uint64_t depth) {
  const auto pitch = static_cast<std::uint32_t>(width * ((depth > 64 ? 32 : depth) + 7) / 8);
  const auto size = static_cast<std::uint32_t>(pitch * height);
  return size == 0 || static_cast<std::uint64_t>(pitch) * height != size;
}

}  // namespace

Programs::Programs(const std::filesystem::path& agent, const Masks& masks,
                   trace::Recorder& recorder)
    : masks_(masks), recorder_(recorder), watcher_(agent) {
  for (Program& program : programs_) program.client = std::make_unique<agent::Client>(agent);
}

std::string Programs::fresh(const char* what) { return fmt::format("{}{}", what, names_++); }

bool Programs::idle() const {
  return std::ranges::none_of(programs_, [](const Program& p) { return p.ticket.has_value(); });
}

bool Programs::any_open() const {
  return std::ranges::any_of(programs_, [](const Program& p) { return !p.fd.empty(); });
}

std::vector<std::string> Programs::stuck() const {
  std::vector<std::string> calls;
  for (const Program& program : programs_)
    if (program.ticket) calls.push_back(program.ticket->verb());
  return calls;
}

// --- what an action comes to ---------------------------------------------------------------------

void Programs::call(const fuzz::Action& action) {
  Program& program = programs_[action.values[C::who] % kPrograms];
  if (program.ticket || silent_) return;
  plan(program, action);
  start(program);
}

void Programs::plan(Program& program, const fuzz::Action& action) {
  const auto which = static_cast<Call>(action.values[C::call] % 17);
  if (which == Call::open) {
    if (!program.fd.empty()) return;
    const std::string fd = fresh("f");
    program.steps.push_back({"open", {{"name", fd}, {"timeout_ms", "200"}}, fd});
    program.steps.push_back({"connectors", {{"fd", fd}}, fd});
    return;
  }
  if (which == Call::drop_fd) {
    if (const std::string* buffer = pick(exported_, action.values[C::object]))
      program.steps.push_back({"close-dmabuf", {{"name", *buffer}}, *buffer});
    return;
  }
  if (program.fd.empty()) return;
  if (which == Call::close) {
    program.steps.push_back({"close", {{"name", program.fd}}, program.fd});
    return;
  }
  plan_buffer(program, action);
  plan_display(program, action);
  plan_prime(program, action);
}

void Programs::plan_buffer(Program& program, const fuzz::Action& action) {
  const auto& values = action.values;
  const auto which = static_cast<Call>(values[C::call] % 17);
  const Buffer* buffer = pick(program.buffers, values[C::object]);
  if (which == Call::create) {
    if (masks_[Known::zero_sized_buffer] &&
        overflows(values[C::width], values[C::height], values[C::depth]))
      return;
    std::size_t buffers = 0;
    for (const Program& each : programs_) buffers += each.buffers.size();
    if (masks_[Known::buffer_freed_twice] &&
        (buffers >= kManyBuffers ||
         is_large(values[C::width], values[C::height], values[C::depth])))
      return;
    const std::string name = fresh("b");
    program.steps.push_back({"create-dumb",
                             {{"fd", program.fd},
                              {"name", name},
                              {"width", number(values[C::width])},
                              {"height", number(values[C::height])},
                              {"bpp", bits(values[C::depth])}},
                             name});
  } else if (which == Call::destroy && buffer != nullptr) {
    program.steps.push_back(
        {"destroy-dumb", {{"fd", program.fd}, {"name", buffer->name}}, buffer->name});
  } else if (which == Call::map && buffer != nullptr) {
    program.steps.push_back({"map", {{"name", buffer->name}}, buffer->name});
  } else if (which == Call::attach && buffer != nullptr) {
    const std::string name = fresh("x");
    program.steps.push_back({"add-fb",
                             {{"fd", program.fd},
                              {"name", name},
                              {"buffer", buffer->name},
                              {"width", number(values[C::width])},
                              {"height", number(values[C::height])},
                              {"format", fourcc(values[C::depth])}},
                             name});
  }
}

void Programs::plan_display(Program& program, const fuzz::Action& action) {
  const auto& values = action.values;
  const auto which = static_cast<Call>(values[C::call] % 17);
  const Connector* connector = pick(program.connectors, values[C::connector]);
  const std::string* fb = pick(program.fbs, values[C::object]);
  const std::uint64_t flags = values[C::flags];
  if (which == Call::probe) {
    program.steps.push_back({"connectors", {{"fd", program.fd}, {"probe", "1"}}, program.fd});
  } else if (which == Call::detach && fb != nullptr) {
    program.steps.push_back({"rm-fb", {{"fd", program.fd}, {"name", *fb}}, *fb});
  } else if (which == Call::off && connector != nullptr) {
    program.steps.push_back(
        {"crtc-off", {{"fd", program.fd}, {"crtc", number(connector->crtc)}}, {}});
  } else if (which == Call::configure && connector != nullptr && fb != nullptr) {
    const bool own = (flags & 1) != 0;
    program.steps.push_back({"set-crtc",
                             {{"fd", program.fd},
                              {"crtc", number(connector->crtc)},
                              {"fb", *fb},
                              {"connector", number(connector->id)},
                              {"width", number(own ? values[C::width] : connector->width)},
                              {"height", number(own ? values[C::height] : connector->height)},
                              {"x", number(flags >> 1 & 1)},
                              {"y", number(flags >> 2 & 1)}},
                             {}});
  } else if (which == Call::flip && connector != nullptr && fb != nullptr) {
    program.steps.push_back({"page-flip",
                             {{"fd", program.fd},
                              {"crtc", number(connector->crtc)},
                              {"fb", *fb},
                              {"event", number(flags & 1)}},
                             {}});
  }
}

// Buffers of other drivers, and importers in the kernel, are left to the model.
void Programs::plan_prime(Program& program, const fuzz::Action& action) {
  const auto& values = action.values;
  const auto which = static_cast<Call>(values[C::call] % 17);
  const Buffer* buffer = pick(program.buffers, values[C::object]);
  const std::string* shared = pick(exported_, values[C::object]);
  if (which == Call::export_buffer && buffer != nullptr) {
    const std::string name = fresh("d");
    program.steps.push_back({"prime-export", {{"name", buffer->name}, {"out", name}}, name});
  } else if (which == Call::import_own && shared != nullptr) {
    const std::string name = fresh("b");
    program.steps.push_back(
        {"prime-import", {{"fd", program.fd}, {"in", *shared}, {"name", name}}, name});
  }
}

void Programs::rebind(const std::string& device) {
  Program& program = administrator();
  if (program.ticket || silent_) return;
  program.steps.push_back({"sh",
                           {{"command", fmt::format("cd /sys/bus/xen/drivers/vdispl && "
                                                    "echo {0} >unbind && echo {0} >bind",
                                                    device)},
                            {"timeout_ms", "15000"}},
                           {}});
  start(program);
}

// --- calls and answers ---------------------------------------------------------------------------

void Programs::start(Program& program) {
  if (program.steps.empty() || program.ticket || silent_) return;
  const Step& step = program.steps.front();
  try {
    program.ticket = program.client->start_limited("guest." + step.verb, step.args, kCallLimit);
    program.since = std::chrono::steady_clock::now();
    ++calls_;
  } catch (const agent::Error&) {
    silent_ = true;
  }
}

bool Programs::take_answers() {
  bool any = false;
  for (Program& program : programs_) {
    while (program.ticket && !silent_) {
      std::optional<Json> answer;
      try {
        answer = program.client->poll(*program.ticket, kLook);
      } catch (const agent::Error&) {
        silent_ = true;
        break;
      }
      if (!answer) break;
      any = true;
      if (answer->value("guest_silent", false)) {
        silent_ = true;  // and its call stays among the stuck
        break;
      }
      program.ticket.reset();
      const Step step = std::move(program.steps.front());
      program.steps.pop_front();
      answered(program, step, *answer);
      start(program);
    }
  }
  return any;
}

void Programs::answered(Program& program, const Step& step, const Json& answer) {
  const bool ok = answer.value("ok", false);
  const auto error = answer.find("errno");
  recorder_.log(fmt::format("guest: {} {}", step.verb,
                            ok ? "succeeds"
                            : error != answer.end() && error->is_string()
                                ? error->get<std::string>()
                                : "fails"));
  if (!ok) {
    program.steps.clear();
    return;
  }
  if (step.verb == "open") {
    program.fd = step.name;
  } else if (step.verb == "close-all") {
    all_closed();
  } else if (step.verb == "close") {
    program.fd.clear();
    program.connectors.clear();
    program.buffers.clear();
    program.fbs.clear();
  } else if (step.verb == "connectors") {
    program.connectors.clear();
    for (const Json& item : answer.value("connectors", Json::array())) {
      Connector connector{u32(item, "id"), u32(item, "crtc"), 0, 0};
      if (const Json modes = item.value("modes", Json::array()); !modes.empty()) {
        connector.width = u32(modes[0], "hdisplay");
        connector.height = u32(modes[0], "vdisplay");
      }
      program.connectors.push_back(connector);
    }
  } else if (step.verb == "create-dumb" || step.verb == "prime-import") {
    program.buffers.push_back({step.name, 0, 0});
  } else if (step.verb == "destroy-dumb") {
    std::erase_if(program.buffers, [&](const Buffer& b) { return b.name == step.name; });
  } else if (step.verb == "add-fb") {
    program.fbs.push_back(step.name);
  } else if (step.verb == "rm-fb") {
    std::erase(program.fbs, step.name);
  } else if (step.verb == "prime-export") {
    exported_.push_back(step.name);
  } else if (step.verb == "close-dmabuf") {
    std::erase(exported_, step.name);
  }
}

void Programs::close_all() {
  Program& program = administrator();
  if (program.ticket || silent_) return;
  program.steps.push_back({"close-all", {}, {}});
  start(program);
}

void Programs::all_closed() {
  for (Program& program : programs_) {
    program.fd.clear();
    program.connectors.clear();
    program.buffers.clear();
    program.fbs.clear();
  }
  exported_.clear();
}

void Programs::look_for_life() {
  if (silent_) return;
  try {
    silent_ = watcher_.try_call("guest.hello", {}, kLife).value("guest_silent", false);
  } catch (const agent::Error&) {
    silent_ = true;
  }
  if (silent_) recorder_.log("the guest does not answer");
}

void Programs::await_no_device(const std::string& device, milliseconds limit) {
  if (silent_) return;
  try {
    administrator().client->try_call("guest.await-no-device",
                                     {{"path", device}, {"timeout_ms", number(limit.count())}},
                                     limit + std::chrono::seconds(3));
  } catch (const agent::Error&) {
    silent_ = true;
  }
}

}  // namespace displif_cts::fuzz_guest
