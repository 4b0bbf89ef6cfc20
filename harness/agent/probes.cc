// The newest interface version of Xen's headers.
#define __XEN_TOOLS__ 1  // NOLINT(bugprone-reserved-identifier)

#include "harness/agent/probes.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

extern "C" {
#include <xen/event_channel.h>
#include <xen/grant_table.h>
#include <xen/memory.h>
#include <xen/sched.h>
#include <xen/version.h>
#include <xen/xen.h>
#include <xencall.h>
#include <xenforeignmemory.h>
}

#include "harness/agent/line_protocol.h"
#include "harness/agent/quiet_logger.h"
#include "harness/agent/services.h"

namespace displif_cts::agent {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kMaxListedRefs = 64;
constexpr std::size_t kMaxListedPorts = 4096;
constexpr std::uint32_t kMaxPorts = 131072;  // the FIFO ABI's (event_channel.h)
constexpr std::uint32_t kMaxGrantFrames = 4096;

// A domain's entry of xc_domain_getinfolist(), as far as it is needed: struct
// xen_domctl_getdomaininfo (domctl.h), whose beginning is the same from Xen 4.11 to 4.21. The
// entry as a whole grows from release to release, hence the spare room.
struct DomainInfo {
  std::uint16_t domain;
  std::uint16_t pad;
  std::uint32_t flags;  // XEN_DOMINF_*
  std::uint64_t pages[6];
  std::uint64_t cpu_time;
  std::byte rest[8192];
};
static_assert(offsetof(DomainInfo, flags) == 4 && offsetof(DomainInfo, cpu_time) == 56);

enum DomainFlag : std::uint32_t {
  kDying = 1u << 0,
  kShutdown = 1u << 2,
  kPaused = 1u << 3,
  kBlocked = 1u << 4,
};
constexpr unsigned kShutdownShift = 16;

// Every libxenctrl.so.* in the places where libraries are, newest name first.
std::vector<std::string> find_libxenctrl() {
  std::vector<std::string> folders;
  if (const char* path = std::getenv("LD_LIBRARY_PATH"))
    for (std::string_view rest = path; !rest.empty();) {
      const std::size_t colon = std::min(rest.find(':'), rest.size());
      folders.emplace_back(rest.substr(0, colon));
      rest.remove_prefix(std::min(colon + 1, rest.size()));
    }
  for (const char* root : {"/usr/local", "/usr", ""})
    for (const char* folder : {"/lib", "/lib64", "/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu"})
      folders.push_back(std::string(root) + folder);
  std::vector<std::string> found;
  for (const std::string& folder : folders) {
    std::vector<std::string> here;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(folder, error))
      if (entry.path().filename().native().starts_with("libxenctrl.so."))
        here.push_back(entry.path());
    std::sort(here.rbegin(), here.rend());
    found.insert(found.end(), here.begin(), here.end());
  }
  return found;
}

const char* shutdown_reason(unsigned code) {
  switch (code) {
    case SHUTDOWN_poweroff:
      return "poweroff";
    case SHUTDOWN_reboot:
      return "reboot";
    case SHUTDOWN_suspend:
      return "suspend";
    case SHUTDOWN_crash:
      return "crash";
    case SHUTDOWN_watchdog:
      return "watchdog";
    case SHUTDOWN_soft_reset:
      return "soft-reset";
    default:
      return "unknown";
  }
}

}  // namespace

// The functions of whichever libxenctrl is here, once it has shown that it fits this hypervisor
// (it checks interface versions) and this layout (domain 0 is described as domain 0).
struct Probes::Control {
  using Open = xc_interface_core* (*)(xentoollog_logger*, xentoollog_logger*, unsigned);
  using Close = int (*)(xc_interface_core*);
  using GetInfoList = int (*)(xc_interface_core*, std::uint32_t, unsigned, void*);
  using EvtchnStatus = int (*)(xc_interface_core*, evtchn_status*);
  using Pause = int (*)(xc_interface_core*, std::uint32_t);

  void* library = nullptr;
  xc_interface_core* handle = nullptr;
  Close close = nullptr;
  GetInfoList get_info_list = nullptr;
  EvtchnStatus evtchn_status_of = nullptr;
  Pause pause = nullptr;
  Pause unpause = nullptr;

  static std::unique_ptr<Control> load() {
    for (const std::string& path : find_libxenctrl()) {
      auto control = std::make_unique<Control>();
      if (control->try_load(path)) return control;
    }
    return nullptr;
  }

  bool try_load(const std::string& path) {
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    const auto open = reinterpret_cast<Open>(dlsym(library, "xc_interface_open"));
    close = reinterpret_cast<Close>(dlsym(library, "xc_interface_close"));
    get_info_list = reinterpret_cast<GetInfoList>(dlsym(library, "xc_domain_getinfolist"));
    evtchn_status_of = reinterpret_cast<EvtchnStatus>(dlsym(library, "xc_evtchn_status"));
    pause = reinterpret_cast<Pause>(dlsym(library, "xc_domain_pause"));
    unpause = reinterpret_cast<Pause>(dlsym(library, "xc_domain_unpause"));
    if (open == nullptr || close == nullptr || get_info_list == nullptr ||
        evtchn_status_of == nullptr || pause == nullptr || unpause == nullptr)
      return false;
    handle = open(quiet_logger(), quiet_logger(), 0);
    if (handle == nullptr) return false;
    DomainInfo info{};
    info.domain = 0xFFFF;
    return get_info_list(handle, 0, 1, &info) == 1 && info.domain == 0 &&
           (info.flags & (kDying | kShutdown)) == 0;
  }

  Control() = default;
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  ~Control() {
    if (handle != nullptr) close(handle);
    if (library != nullptr) dlclose(library);
  }
};

Probes::Probes(std::string oracle)
    : oracle_(std::move(oracle)),
      control_(Control::load()),
      memory_(xenforeignmemory_open(quiet_logger(), 0)),
      call_(xencall_open(quiet_logger(), 0)) {}

Probes::~Probes() {
  if (memory_ != nullptr) xenforeignmemory_close(memory_);
  if (call_ != nullptr) xencall_close(call_);
}

std::string Probes::xen_build_id() const {
  if (call_ == nullptr) return {};
  constexpr std::uint32_t kRoom = 64;
  struct Buffer {
    std::uint32_t size;  // xen_build_id_t
    char octets[kRoom];
  };
  auto* buffer = static_cast<Buffer*>(xencall_alloc_buffer(call_, sizeof(Buffer)));
  if (buffer == nullptr) return {};
  buffer->size = kRoom;
  const int size = xencall2(call_, __HYPERVISOR_xen_version, XENVER_build_id,
                            reinterpret_cast<std::uint64_t>(buffer));
  std::string out;
  if (size > 0)
    out.assign(buffer->octets, std::min<std::size_t>(static_cast<std::size_t>(size), kRoom));
  xencall_free_buffer(call_, buffer);
  return hex(out);
}

Json Probes::capabilities() const {
  return {{"domain", control_ != nullptr},
          {"pause", control_ != nullptr},
          {"grants", !oracle_.empty() || (memory_ != nullptr && call_ != nullptr)},
          {"ports", !oracle_.empty() || control_ != nullptr}};
}

Json Probes::ask_oracle(std::string_view verb, std::uint16_t domid) const {
  return ask_program(oracle_, std::string(verb), {{"domid", std::to_string(domid)}});
}

Json Probes::domain(std::uint16_t domid, bool introduced) const {
  Json fields{{"state", introduced ? "running" : "gone"},
              {"domid", domid},
              {"source", control_ ? "libxenctrl" : "xenstore"}};
  if (!control_) return fields;
  DomainInfo info{};
  const int count = control_->get_info_list(control_->handle, domid, 1, &info);
  if (count < 0) throw VerbError(errno, "xc_domain_getinfolist");
  if (count == 0 || info.domain != domid) {  // the next domain, or none
    fields["state"] = "gone";
    return fields;
  }
  const unsigned reason = info.flags >> kShutdownShift & 255;
  const char* state = "running";
  if ((info.flags & kShutdown) != 0)
    state = reason == SHUTDOWN_crash ? "crashed" : "shutdown";
  else if ((info.flags & kDying) != 0)
    state = "dying";
  else if ((info.flags & kPaused) != 0)
    state = "paused";
  else if ((info.flags & kBlocked) != 0)
    state = "blocked";
  fields["state"] = state;
  if ((info.flags & kShutdown) != 0) fields["shutdown_reason"] = shutdown_reason(reason);
  fields["dying"] = (info.flags & kDying) != 0;
  fields["cpu_ns"] = info.cpu_time;
  return fields;
}

void Probes::set_paused(std::uint16_t domid, bool paused) const {
  if (!control_) throw VerbError(ENOTSUP, "no libxenctrl that fits");
  const auto call = paused ? control_->pause : control_->unpause;
  if (call(control_->handle, domid) != 0)
    throw VerbError(errno, paused ? "xc_domain_pause" : "xc_domain_unpause");
}

namespace {

// One GNTTABOP on an argument struct, by way of a buffer that the hypervisor can read.
template <typename Op>
void grant_table_op(xencall_handle* call, unsigned command, Op& op, const char* what) {
  auto* buffer = static_cast<Op*>(xencall_alloc_buffer(call, sizeof(Op)));
  if (buffer == nullptr) throw VerbError(ENOMEM, what);
  *buffer = op;
  const int result = xencall3(call, __HYPERVISOR_grant_table_op, command,
                              reinterpret_cast<std::uint64_t>(buffer), 1);
  const int error = errno;
  op = *buffer;
  xencall_free_buffer(call, buffer);
  if (result < 0) throw VerbError(error, what);
}

class GrantFrames {
 public:
  GrantFrames(xenforeignmemory_handle* memory, std::uint16_t domid, std::uint32_t frames)
      : memory_(memory),
        resource_(xenforeignmemory_map_resource(memory, domid, XENMEM_resource_grant_table,
                                                XENMEM_resource_grant_table_id_shared, 0, frames,
                                                &address_, PROT_READ, 0)) {
    if (resource_ == nullptr) throw VerbError(errno, "map the grant table");
  }
  ~GrantFrames() { xenforeignmemory_unmap_resource(memory_, resource_); }
  GrantFrames(const GrantFrames&) = delete;
  GrantFrames& operator=(const GrantFrames&) = delete;
  const volatile std::byte* data() const {
    return static_cast<const volatile std::byte*>(address_);
  }

 private:
  xenforeignmemory_handle* memory_;
  void* address_ = nullptr;
  xenforeignmemory_resource_handle* resource_;
};

}  // namespace

Json Probes::grants(std::uint16_t domid, bool detail) const {
  if (!oracle_.empty()) return ask_oracle("grants", domid);
  if (memory_ == nullptr || call_ == nullptr)
    throw VerbError(EOPNOTSUPP, "no access to the hypervisor here");
  gnttab_query_size size{};
  size.dom = domid;
  grant_table_op(call_, GNTTABOP_query_size, size, "GNTTABOP_query_size");
  if (size.status == GNTST_bad_domain) throw VerbError(ESRCH, "no such domain");
  if (size.status != GNTST_okay) throw VerbError(EPERM, "GNTTABOP_query_size");
  gnttab_get_version version{};
  version.dom = domid;
  grant_table_op(call_, GNTTABOP_get_version, version, "GNTTABOP_get_version");
  const std::uint32_t frames = std::min(size.nr_frames, kMaxGrantFrames);
  Json list = Json::array();
  Json entries = Json::array();
  std::uint64_t in_use = 0;
  std::uint64_t mapped = 0;
  if (frames > 0) {
    // Exactly the frames that are there: asking for more makes Xen enlarge the table.
    const GrantFrames table(memory_, domid, frames);
    // Both versions begin an entry with flags and domid (grant_table.h).
    const std::size_t entry_size =
        version.version == 2 ? sizeof(grant_entry_v2_t) : sizeof(grant_entry_v1_t);
    const std::size_t count = frames * kPage / entry_size;
    for (std::size_t ref = 0; ref < count; ++ref) {
      const volatile std::byte* entry = table.data() + ref * entry_size;
      const std::uint16_t flags = *reinterpret_cast<const volatile std::uint16_t*>(entry);
      if ((flags & GTF_type_mask) == GTF_invalid) continue;
      ++in_use;
      if ((flags & (GTF_reading | GTF_writing)) != 0) ++mapped;
      if (list.size() < kMaxListedRefs) list.push_back(ref);
      if (!detail) continue;
      const std::uint16_t to = *reinterpret_cast<const volatile std::uint16_t*>(entry + 2);
      Json described{{"ref", ref}, {"domid", to}, {"flags", flags}};
      if (version.version != 2) {
        const std::uint32_t frame = *reinterpret_cast<const volatile std::uint32_t*>(entry + 4);
        described["frame"] = frame;
      }
      entries.push_back(std::move(described));
    }
  }
  Json fields{{"in_use", in_use},
              {"mapped", mapped},
              {"list", std::move(list)},
              {"frames", size.nr_frames},
              {"max_frames", size.max_nr_frames},
              {"version", version.version}};
  if (detail) fields["entries"] = std::move(entries);
  return fields;
}

Json Probes::ports(std::uint16_t domid) const {
  if (!oracle_.empty()) return ask_oracle("ports", domid);
  if (!control_) throw VerbError(EOPNOTSUPP, "no fitting libxenctrl here");
  Json list = Json::array();
  std::uint64_t in_use = 0;
  for (std::uint32_t port = 1; port < kMaxPorts; ++port) {
    evtchn_status status{};
    status.dom = domid;
    status.port = port;
    Json entry{{"port", port}};
    if (control_->evtchn_status_of(control_->handle, &status) != 0) {
      if (errno == EINVAL) break;  // past the last one
      if (errno != EACCES) throw VerbError(errno, "xc_evtchn_status");
      entry["state"] = "xen";  // the hypervisor's own end
    } else if (status.status == EVTCHNSTAT_closed) {
      continue;
    } else if (status.status == EVTCHNSTAT_unbound) {
      entry["state"] = "unbound";
      entry["domid"] = status.u.unbound.dom;
    } else if (status.status == EVTCHNSTAT_interdomain) {
      entry["state"] = "interdomain";
      entry["domid"] = status.u.interdomain.dom;
      entry["remote_port"] = status.u.interdomain.port;
    } else if (status.status == EVTCHNSTAT_pirq) {
      entry["state"] = "pirq";
    } else if (status.status == EVTCHNSTAT_virq) {
      entry["state"] = "virq";
      entry["virq"] = status.u.virq;
    } else {
      entry["state"] = "ipi";
    }
    ++in_use;
    if (list.size() < kMaxListedPorts) list.push_back(std::move(entry));
  }
  return {{"in_use", in_use}, {"list", std::move(list)}};
}

}  // namespace displif_cts::agent
