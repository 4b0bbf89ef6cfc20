#include "lab/guest/system_verbs.h"

#include <elf.h>
#include <fcntl.h>
#include <linux/module.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "harness/agent/command.h"
#include "harness/agent/files.h"
#include "harness/agent/heartbeat.h"
#include "harness/agent/kernel_log.h"
#include "harness/agent/unique_fd.h"
#include "lab/guest/leaks.h"

#ifndef MODULE_INIT_COMPRESSED_FILE  // Linux 5.17
#define MODULE_INIT_COMPRESSED_FILE 4
#endif

namespace displif_cts::exerciser {
namespace {

using agent::read_file;
using agent::read_optional;
using agent::UniqueFd;
using std::chrono::milliseconds;

bool exists(const std::string& path) { return access(path.c_str(), F_OK) == 0; }

// The name under /sys/module: words joined by underscores. Nothing that leads out of the folder.
std::string module_name(const Arguments& args) {
  std::string name = args.text("name");
  std::replace(name.begin(), name.end(), '-', '_');
  const bool fine = !name.empty() && name.size() < 64 &&
                    std::all_of(name.begin(), name.end(),
                                [](unsigned char c) { return std::isalnum(c) != 0 || c == '_'; });
  if (!fine) throw VerbError(EINVAL, "argument name= is no module's name");
  return name;
}

// The build id out of an ELF note section (note type 3 of "GNU"); empty if there is none.
std::string gnu_build_id(std::string_view notes) {
  const auto padded = [](std::uint32_t size) { return (std::size_t{size} + 3) / 4 * 4; };
  while (notes.size() >= sizeof(Elf64_Nhdr)) {
    Elf64_Nhdr head;
    std::memcpy(&head, notes.data(), sizeof head);
    notes.remove_prefix(sizeof head);
    const std::size_t name_size = padded(head.n_namesz);
    if (name_size > notes.size() || head.n_descsz > notes.size() - name_size) return {};
    if (head.n_type == NT_GNU_BUILD_ID &&
        notes.substr(0, head.n_namesz) == std::string_view("GNU\0", 4)) {
      return agent::hex(notes.substr(name_size, head.n_descsz));
    }
    notes.remove_prefix(std::min(notes.size(), name_size + padded(head.n_descsz)));
  }
  return {};
}

Json hello(const VerbTable& table) {
  utsname system{};
  uname(&system);
  return {
      {"version", kVersion},       {"program", "displif-cts-exerciser"}, {"kernel", system.release},
      {"machine", system.machine}, {"page_size", sysconf(_SC_PAGESIZE)}, {"pid", getpid()},
      {"verbs", table.names()}};
}

Json load_module(const Arguments& args) {
  const std::string path = args.text("path");
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw VerbError(errno, "open " + path);
  const bool compressed = path.ends_with(".xz") || path.ends_with(".zst") || path.ends_with(".gz");
  if (syscall(SYS_finit_module, fd.get(), args.text("params", "").c_str(),
              compressed ? MODULE_INIT_COMPRESSED_FILE : 0) != 0)
    throw VerbError(errno, "finit_module " + path + "; see the kernel log");
  return nullptr;
}

Json unload_module(const Arguments& args) {
  const std::string name = module_name(args);
  if (syscall(SYS_delete_module, name.c_str(), O_NONBLOCK) != 0)
    throw VerbError(errno, "delete_module " + name);
  return nullptr;
}

Json describe_module(const Arguments& args) {
  const std::string folder = "/sys/module/" + module_name(args);
  // Code that is built into the kernel has a folder, but no state.
  const std::string state = read_optional(folder + "/initstate");
  Json fields{{"loaded", state == "live"}, {"builtin", state.empty() && exists(folder)}};
  if (state.empty()) return fields;
  fields["state"] = state;
  fields["refcount"] = std::atoi(read_optional(folder + "/refcnt").c_str());
  fields["taint"] = read_optional(folder + "/taint");
  fields["version"] = read_optional(folder + "/version");
  try {
    fields["build_id"] = gnu_build_id(read_file(folder + "/notes/.note.gnu.build-id"));
  } catch (const VerbError&) {
    fields["build_id"] = "";
  }
  return fields;
}

Json list_modules() {
  Json names = Json::array();
  const std::string text = read_file("/proc/modules", 1u << 20);
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    names.push_back(text.substr(at, text.find(' ', at) - at));
    at = end + 1;
  }
  return {{"modules", std::move(names)}};
}

Json sysctl(const Arguments& args) {
  std::string key = args.text("key");
  if (key.find('/') == std::string::npos) std::replace(key.begin(), key.end(), '.', '/');
  if (key.empty() || key.find("..") != std::string::npos)
    throw VerbError(EINVAL, "argument key= is no sysctl's name");
  const std::string path = "/proc/sys/" + key;
  if (args.has("value")) agent::write_existing(path, args.text("value"));
  return {{"value", read_optional(path)}};
}

// Linux then says again what it says only once (kernel/panic.c, clear_warn_once).
Json clear_warn_once() {
  agent::write_existing("/sys/kernel/debug/clear_warn_once", "1");
  return nullptr;
}

// device/vdispl/0 is called vdispl-0 in sysfs (drivers/xen/xenbus/xenbus_probe_frontend.c,
// frontend_bus_id). Its entry under the bus goes before the driver is asked to let go, its own
// directory after that (drivers/base/bus.c, bus_remove_device; drivers/base/core.c, device_del).
Json await_no_device(const Arguments& args) {
  std::string name = args.text("path");
  if (!name.starts_with("device/") || std::count(name.begin(), name.end(), '/') != 2)
    throw VerbError(EINVAL, "argument path= is not device/TYPE/ID");
  name.erase(0, name.find('/') + 1);
  name[name.find('/')] = '-';
  const auto limit = std::chrono::steady_clock::now() +
                     milliseconds(args.number_or("timeout_ms", 1000, 86'400'000));
  while (exists("/sys/bus/xen/devices/" + name) || exists("/sys/devices/" + name)) {
    if (std::chrono::steady_clock::now() >= limit)
      throw VerbError(ETIMEDOUT, "the device " + name + " is still there");
    std::this_thread::sleep_for(milliseconds(5));
  }
  return nullptr;
}

// With mark=WORD, a line with it goes to the kernel's log: whoever reads the console's copy knows
// when all that was logged before has arrived.
Json report_heartbeat(agent::Heartbeat& heartbeat, const Arguments& args) {
  Json fields = heartbeat.report();
  const std::string mark = args.text("mark", "");
  if (mark.empty()) return fields;
  const bool word = mark.size() <= 64 && std::all_of(mark.begin(), mark.end(), [](unsigned char c) {
                      return std::isalnum(c) != 0 || c == '-' || c == '.';
                    });
  if (!word) throw VerbError(EINVAL, "argument mark= is not a word of at most 64 octets");
  // Opened anew each time: Linux limits the rate for each opener (kernel/printk/printk.c).
  agent::write_existing("/dev/kmsg", "<6>displif-cts: mark " + mark + "\n");
  fields["marked"] = true;
  return fields;
}

Json taint() {
  const std::uint64_t bits =
      std::strtoull(read_file("/proc/sys/kernel/tainted").c_str(), nullptr, 10);
  // Letters as in Linux's Documentation/admin-guide/tainted-kernels.rst, for those that are set.
  static constexpr std::string_view kLetters = "PFSRMBUDAWCIOELKXTN";
  std::string letters;
  for (std::size_t i = 0; i < kLetters.size(); ++i)
    if ((bits >> i & 1) != 0) letters += kLetters[i];
  return {{"taint", bits}, {"letters", letters}};
}

Json sysrq(std::string_view key) {
  if (key.size() != 1) throw VerbError(EINVAL, "argument key= is one character");
  agent::write_existing("/proc/sysrq-trigger", key);
  return nullptr;
}

Json sleep_for(const Arguments& args) {
  std::this_thread::sleep_for(milliseconds(args.number("ms", 86'400'000)));
  return nullptr;
}

}  // namespace

void add_system_verbs(VerbTable& table) {
  using Kind = Verb::Kind;
  const auto heartbeat = std::make_shared<agent::Heartbeat>(/*realtime=*/true);
  const auto log = std::make_shared<agent::KernelLog>();

  table.add(
      {"hello", {}, {}}, [&table](const Request&) { return hello(table); }, Kind::immediate);
  table.add(
      {"heartbeat", {}, {"mark"}},
      [heartbeat](const Request& r) { return report_heartbeat(*heartbeat, r.args); },
      Kind::immediate);
  table.add(
      {"heartbeat-reset", {}, {}},
      [heartbeat](const Request&) -> Json {
        heartbeat->reset();
        return nullptr;
      },
      Kind::immediate);
  table.add(
      {"klog", {}, {"offset"}}, [log](const Request& r) { return agent::klog_verb(*log, r.args); },
      Kind::immediate);

  table.add(agent::kPutSpec, [](const Request& r) { return agent::put_verb(r); });
  table.add(agent::kGetSpec, [](const Request& r) { return agent::get_verb(r.args); });
  table.add({"load-module", {"path"}, {"params"}},
            [](const Request& r) { return load_module(r.args); });
  table.add({"unload-module", {"name"}, {}},
            [](const Request& r) { return unload_module(r.args); });
  table.add({"module", {"name"}, {}}, [](const Request& r) { return describe_module(r.args); });
  table.add({"modules", {}, {}}, [](const Request&) { return list_modules(); });
  table.add({"xen", {}, {}}, [](const Request&) { return agent::describe_xen(); });
  table.add({"sysctl", {"key"}, {"value"}}, [](const Request& r) { return sysctl(r.args); });
  table.add({"await-no-device", {"path"}, {"timeout_ms"}},
            [](const Request& r) { return await_no_device(r.args); });
  table.add({"clear-warn-once", {}, {}}, [](const Request&) { return clear_warn_once(); });
  table.add({"leaks", {}, {"settle_ms"}}, [](const Request& r) { return find_leaks(r.args); });
  table.add({"taint", {}, {}}, [](const Request&) { return taint(); });
  table.add({"sysrq", {"key"}, {}}, [](const Request& r) { return sysrq(r.args.text("key")); });
  table.add({"panic", {}, {}}, [](const Request&) { return sysrq("c"); });
  table.add({"sleep", {"ms"}, {}}, [](const Request& r) { return sleep_for(r.args); });
  table.add({"sh", {"command"}, {}}, [](const Request& r) {
    return agent::run_shell(r.args.text("command"),
                            milliseconds(r.args.number_or("timeout_ms", 60'000, 86'400'000)));
  });
}

}  // namespace displif_cts::exerciser
