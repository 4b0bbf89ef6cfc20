#include "harness/agent/daemon.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <thread>

#include "harness/agent/files.h"

namespace displif_cts::agent {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kDeviceRetry{100};
constexpr std::uint64_t kLongestMs = 86'400'000;
constexpr std::size_t kMaxConsoleAtOnce = 1u << 20;
constexpr std::string_view kGuestPrefix = "guest.";

// Null when the device is not there (yet).
UniqueFd open_device(const std::string& path) {
  UniqueFd fd(open(path.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  termios settings{};
  if (fd && tcgetattr(fd.get(), &settings) == 0) {
    cfmakeraw(&settings);
    tcsetattr(fd.get(), TCSANOW, &settings);
  }
  return fd;
}

[[noreturn]] void fail_system(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

// SIGTERM and SIGINT as a descriptor. Blocked in every thread that is started from now on; programs
// begin with none blocked.
UniqueFd signals_that_end() {
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  pthread_sigmask(SIG_BLOCK, &set, nullptr);
  UniqueFd fd(signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC));
  if (!fd) fail_system("signalfd");
  return fd;
}

}  // namespace

Daemon::Daemon(Options options)
    : options_(std::move(options)),
      signals_(signals_that_end()),
      children_(loop_),
      services_(std::filesystem::path(options_.socket).parent_path()),
      guest_(loop_, options_.guest),
      listener_(loop_, options_.socket,
                [this](const std::shared_ptr<Peer>& from, const Request& request) {
                  take(from, request);
                }),
      probes_(options_.oracle),
      kernel_log_(options_.kernel_log),
      heartbeat_(/*realtime=*/false) {
  loop_.watch(signals_.get(), EPOLLIN, [this](std::uint32_t) { loop_.stop(); });
  add_verbs();
  add_health_verbs();
  add_device_verbs();
  add_service_verbs();
}

void Daemon::run() {
  listener_.begin();
  if (!options_.port.empty()) open_port();
  if (!options_.stream_port.empty()) open_stream_port();
  guest_.begin();
  loop_.run();
  children_.kill_all();
  guest_.end();
}

void Daemon::open_port() {
  UniqueFd fd = open_device(options_.port);
  if (!fd) {
    loop_.after(kDeviceRetry, [this] { open_port(); });
    return;
  }
  port_ = std::make_shared<Peer>(
      loop_, std::move(fd), true,
      [this](const std::shared_ptr<Peer>& from, const Request& request) { take(from, request); },
      [](const std::shared_ptr<Peer>&) {});  // a device never closes
  port_->begin();
}

void Daemon::open_stream_port() {
  UniqueFd fd = open_device(options_.stream_port);
  if (fd)
    children_.open_stream(std::move(fd));
  else
    loop_.after(kDeviceRetry, [this] { open_stream_port(); });
}

void Daemon::take(const std::shared_ptr<Peer>& peer, const Request& request) {
  const Reply reply(peer, request.seq);
  const std::string_view name = request.verb;
  try {
    if (name.starts_with(kGuestPrefix) && name.size() > kGuestPrefix.size()) {
      guest_.request(name.substr(kGuestPrefix.size()), request, reply);
      return;
    }
    const auto verb = verbs_.find(name);
    if (verb == verbs_.end()) {
      if (serve_elsewhere(request, reply)) return;
      reply.answer(answer_unsupported(request.seq, name));
      return;
    }
    check_arguments(verb->second.spec, request.args, {});
    verb->second.run(request, reply);
  } catch (const VerbError& error) {
    if (error.number() == EOPNOTSUPP) {
      Json answer = answer_unsupported(request.seq, name);
      answer["error"] = error.what();
      reply.answer(answer);
    } else {
      reply.error(error.number(), error.what(), error.fields);
    }
  } catch (const std::bad_alloc&) {
    reply.error(ENOMEM, "out of memory");
  } catch (const std::system_error& error) {
    reply.error(error.code().value(), error.what());
  }
}

void Daemon::add(VerbSpec spec, Run run) {
  std::string name(spec.name);
  verbs_.emplace(std::move(name), Verb{std::move(spec), std::move(run)});
}

void Daemon::add_direct(VerbSpec spec, std::function<Json(const Request&)> run) {
  add(std::move(spec), [run = std::move(run)](const Request& request, const Reply& reply) {
    Json fields = run(request);
    reply.ok(fields.is_object() ? std::move(fields) : Json::object());
  });
}

void Daemon::add_slow(VerbSpec spec, std::function<Json(const Request&)> run) {
  add(std::move(spec), [this, run = std::move(run)](const Request& request, const Reply& reply) {
    answer_slowly(request, reply, run);
  });
}

void Daemon::answer_slowly(const Request& request, const Reply& reply,
                           std::function<Json(const Request&)> run) {
  std::thread([this, reply, run = std::move(run), request] {
    std::function<void()> done;
    try {
      done = [reply, fields = run(request)] { reply.ok(fields); };
    } catch (const VerbError& error) {
      done = [reply, error] { reply.error(error.number(), error.what()); };
    }
    loop_.post(std::move(done));
  }).detach();
}

bool Daemon::serve_elsewhere(const Request& request, const Reply& reply) {
  if (services_.offered(request.verb)) {
    services_.ask(request, reply);
    return true;
  }
  const std::string socket = services_.program(request.verb);
  if (socket.empty()) return false;
  answer_slowly(request, reply,
                [socket](const Request& asked) { return ask_program(socket, asked); });
  return true;
}

void Daemon::add_verbs() {
  add_direct({"hello", {}, {}}, [this](const Request&) { return hello(); });
  add_direct(kPutSpec, [](const Request& request) { return put_verb(request); });
  add_direct(kGetSpec, [](const Request& request) { return get_verb(request.args); });
  add_direct({"start", {"name", "argv"}, {"env", "stdout", "append"}},
             [this](const Request& request) { return children_.start(request.args); });
  add({"wait", {"name"}, {"timeout_ms"}},
      [this](const Request& request, const Reply& reply) { children_.wait(request.args, reply); });
  add_direct({"kill", {"name"}, {"signal"}},
             [this](const Request& request) { return children_.kill(request.args); });
  add_direct({"process", {"name"}, {}},
             [this](const Request& request) { return children_.footprint(request.args); });
  add_direct({"programs", {}, {}}, [this](const Request&) { return children_.list(); });
  add_direct({"mount-carried", {}, {"device", "dir"}},
             [this](const Request& request) { return mount_carried(request.args); });
  add_slow({"sh", {"command"}, {"timeout_ms"}}, [](const Request& request) {
    const milliseconds limit(request.args.number_or("timeout_ms", 60'000, kLongestMs));
    return run_shell(request.args.text("command"), limit);
  });
}

void Daemon::add_service_verbs() {
  add({"offer", {"verbs"}, {}}, [this](const Request& request, const Reply& reply) {
    if (!port_ || reply.peer() != port_) throw VerbError(EPERM, "only the host offers verbs");
    services_.offer(request.args, port_);
    reply.ok();
  });
  add({"answer", {"ask"}, {"fields", "error"}}, [this](const Request& request, const Reply& reply) {
    if (!port_ || reply.peer() != port_) throw VerbError(EPERM, "only the host answers");
    services_.answer(request.args);
    reply.ok();
  });
}

void Daemon::add_device_verbs() {
  add_direct({"device-add", {"device"}, {}},
             [this](const Request& request) { return devices_.add(request.args); });
  add_direct({"device-begin-removal", {"frontend", "libxl", "backend"}, {"forced"}},
             [this](const Request& request) { return devices_.begin_removal(request.args); });
  add_direct({"device-destroy", {"frontend", "libxl", "backend"}, {}},
             [this](const Request& request) { return devices_.destroy(request.args); });
  add_slow({"await-state", {"path"}, {"states", "gone", "timeout_ms"}}, [](const Request& request) {
    const milliseconds limit(request.args.number_or("timeout_ms", 60'000, kLongestMs));
    return await_state(request.args.text("path"), request.args.text("states", ""),
                       request.args.flag("gone"), limit);
  });
}

void Daemon::add_health_verbs() {
  add_direct({"klog", {}, {"offset"}},
             [this](const Request& request) { return klog_verb(kernel_log_, request.args); });
  add_direct({"guest-log", {}, {"offset", "max"}},
             [this](const Request& request) { return guest_log(request.args); });
  add_direct({"domain", {}, {"domid"}}, [this](const Request& request) {
    if (!request.args.has("domid") && !guest_.domid()) return Json{{"state", "gone"}};
    const std::uint16_t domid = domid_of(request.args);
    return probes_.domain(domid, guest_.introduced(domid));
  });
  for (const bool paused : {true, false})
    add_direct({paused ? "pause" : "unpause", {}, {"domid"}},
               [this, paused](const Request& request) {
                 const std::uint16_t domid = domid_of(request.args);
                 probes_.set_paused(domid, paused);
                 return Json{{"domid", domid}};
               });
  add_direct({"grants", {}, {"domid", "detail"}}, [this](const Request& request) {
    return probes_.grants(domid_of(request.args), request.args.flag("detail"));
  });
  add_direct({"ports", {}, {"domid"}},
             [this](const Request& request) { return probes_.ports(domid_of(request.args)); });
  add_direct({"xen", {}, {}}, [this](const Request&) {
    Json fields = describe_xen();
    // What Linux gives ends at the first octet that is 0.
    if (std::string told = probes_.xen_build_id(); !told.empty()) fields["buildid"] = told;
    return fields;
  });
  add_direct({"heartbeat", {}, {}}, [this](const Request&) { return heartbeat_.report(); });
  add_direct({"heartbeat-reset", {}, {}}, [this](const Request&) -> Json {
    heartbeat_.reset();
    return nullptr;
  });
}

Json Daemon::hello() const {
  Json names = Json::array();
  for (const auto& [name, verb] : verbs_) names.push_back(name);
  for (const std::string& name : services_.verbs()) names.push_back(name);
  Json fields{{"version", kAgentVersion},
              {"program", "displif-cts-agent"},
              {"pid", getpid()},
              {"guest_domid", nullptr},
              {"guest_connected", guest_.connected()},
              {"capabilities", probes_.capabilities()},
              {"verbs", std::move(names)}};
  if (guest_.domid()) fields["guest_domid"] = *guest_.domid();
  return fields;
}

std::uint16_t Daemon::domid_of(const Arguments& args) const {
  if (args.has("domid")) return static_cast<std::uint16_t>(args.number("domid", 0x7FEF));
  if (!guest_.domid()) throw VerbError(ESRCH, "there is no guest");
  return *guest_.domid();
}

// The disk is another one in every instance: what is mounted goes first, and its cached blocks
// with it.
Json Daemon::mount_carried(const Arguments& args) const {
  const std::string device = args.text("device", options_.carried_device);
  const std::string dir = args.text("dir", options_.carried_dir);
  std::error_code ignored;
  std::filesystem::create_directories(dir, ignored);
  while (umount2(dir.c_str(), UMOUNT_NOFOLLOW) == 0) {
  }
  if (errno == EBUSY) throw VerbError(EBUSY, "umount " + dir);
  int error = 0;
  for (const char* type : {"ext4", "ext2", "squashfs"}) {
    if (mount(device.c_str(), dir.c_str(), type, MS_RDONLY | MS_NODEV | MS_NOSUID, nullptr) == 0)
      return {{"device", device}, {"dir", dir}, {"type", type}};
    // Of the errors, the one of a kernel that knows the file system says most.
    if (error == 0 || error == ENODEV) error = errno;
  }
  throw VerbError(error, "mount " + device + " on " + dir);
}

Json Daemon::guest_log(const Arguments& args) const {
  if (options_.guest_console.empty())
    throw VerbError(EOPNOTSUPP, "the agent was started without --guest-console");
  if (offset_is_end(args)) {
    std::error_code error;
    const std::uintmax_t size = std::filesystem::file_size(options_.guest_console, error);
    if (error) throw VerbError(error.value(), "stat " + options_.guest_console);
    return {{"text", ""}, {"next", size}, {"eof", true}};
  }
  const std::uint64_t offset = args.number_or("offset", 0, INT64_MAX);
  const Piece piece =
      read_piece(options_.guest_console, offset,
                 static_cast<std::size_t>(args.number_or("max", 65536, kMaxConsoleAtOnce)));
  return {{"text", piece.octets}, {"next", offset + piece.octets.size()}, {"eof", piece.eof}};
}

}  // namespace displif_cts::agent
