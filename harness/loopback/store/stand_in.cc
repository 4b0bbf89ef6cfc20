// Lets Debian's own xenstored run where there is no Xen: preloaded into it, it plays the few calls
// that the daemon makes of libxenctrl, libxenevtchn and libxengnttab. Test equipment: the machine
// is a directory, named by DISPLIF_STORE_STAND_IN, kept by daemon_world.cc:
//   ring-N    the page that domain N shares with the daemon (struct xenstore_domain_interface)
//   domain-N  there while the domain exists; "s" in it: shut down
//   evtchn-N.sock, evtchn-daemon.sock  where an event goes, one datagram each: the port
// Ports of the daemon: 1 is VIRQ_DOM_EXC, 2 + N is domain N's ring.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

extern "C" {
#include <xenctrl.h>
#include <xenevtchn.h>
#include <xengnttab.h>
}

namespace {

constexpr std::uint32_t kDomainException = 1;
constexpr std::uint32_t kFirstRing = 2;
constexpr std::size_t kPage = 4096;

std::string machine(const std::string& name) {
  const char* directory = std::getenv("DISPLIF_STORE_STAND_IN");
  return std::string(directory ? directory : ".") + "/" + name;
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::snprintf(address.sun_path, sizeof address.sun_path, "%s", path.c_str());
  return address;
}

int events = -1;

void* map_ring(unsigned domain) {
  const int fd = ::open(machine("ring-" + std::to_string(domain)).c_str(), O_RDWR | O_CLOEXEC);
  void* page =
      fd < 0 ? MAP_FAILED : mmap(nullptr, kPage, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (fd >= 0) close(fd);
  if (page != MAP_FAILED) return page;
  errno = EINVAL;  // as gntdev's mmap has it for a domain that is not there
  return nullptr;
}

// What cannot be null, and is never looked into.
template <class Handle>
Handle* some_handle() {
  static char there;
  return reinterpret_cast<Handle*>(&there);
}

}  // namespace

extern "C" {

// The page and the port that domain 0's kernel would show in /proc/xen.
int open(const char* path, int flags, ...) {
  using Open = int (*)(const char*, int, ...);
  static const auto real = reinterpret_cast<Open>(dlsym(RTLD_NEXT, "open"));
  va_list arguments;
  va_start(arguments, flags);
  const unsigned mode = (flags & O_CREAT) != 0 ? va_arg(arguments, unsigned) : 0;
  va_end(arguments);
  if (std::strcmp(path, "/proc/xen/xsd_kva") == 0) return real(machine("ring-0").c_str(), flags);
  if (std::strcmp(path, "/proc/xen/xsd_port") == 0) return real(machine("port").c_str(), flags);
  return real(path, flags, mode);
}

xc_interface* xc_interface_open(xentoollog_logger*, xentoollog_logger*, unsigned) {
  return some_handle<xc_interface>();
}
int xc_interface_close(xc_interface*) { return 0; }

int xc_domain_getinfo(xc_interface*, std::uint32_t first, unsigned, xc_dominfo_t* info) {
  const int fd = ::open(machine("domain-" + std::to_string(first)).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0 && first != 0) return 0;
  std::memset(info, 0, sizeof *info);
  info->domid = first;
  char state = 0;
  if (fd >= 0) {
    if (read(fd, &state, 1) == 1 && state == 's') info->shutdown = 1;
    close(fd);
  }
  return 1;
}

xenevtchn_handle* xenevtchn_open(xentoollog_logger*, unsigned) {
  const sockaddr_un address = address_of(machine("evtchn-daemon.sock"));
  events = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (events < 0 || bind(events, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return nullptr;
  return some_handle<xenevtchn_handle>();
}
xenevtchn_handle* xenevtchn_fdopen(xentoollog_logger*, int, unsigned) { return nullptr; }
int xenevtchn_fd(xenevtchn_handle*) { return events; }
xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle*, unsigned) {
  return kDomainException;
}
xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle*, std::uint32_t domain,
                                                     evtchn_port_t) {
  return static_cast<int>(kFirstRing + domain);
}
int xenevtchn_unbind(xenevtchn_handle*, evtchn_port_t) { return 0; }
int xenevtchn_unmask(xenevtchn_handle*, evtchn_port_t) { return 0; }

int xenevtchn_notify(xenevtchn_handle*, evtchn_port_t port) {
  const sockaddr_un address =
      address_of(machine("evtchn-" + std::to_string(port - kFirstRing) + ".sock"));
  sendto(events, &port, sizeof port, MSG_DONTWAIT, reinterpret_cast<const sockaddr*>(&address),
         sizeof address);
  return 0;
}

// The daemon looks at every ring whenever it wakes: of rings, one event says as much as many.
xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle*) {
  std::uint32_t port = 0;
  std::uint32_t found = 0;
  while (recv(events, &port, sizeof port, MSG_DONTWAIT) == sizeof port)
    if (found != kDomainException) found = port;
  return static_cast<int>(found);
}

xengnttab_handle* xengnttab_open(xentoollog_logger*, unsigned) {
  return some_handle<xengnttab_handle>();
}
int xengnttab_close(xengnttab_handle*) { return 0; }
int xengnttab_set_max_grants(xengnttab_handle*, std::uint32_t) { return 0; }
void* xengnttab_map_grant_ref(xengnttab_handle*, std::uint32_t domain, std::uint32_t, int) {
  return map_ring(domain);
}
int xengnttab_unmap(xengnttab_handle*, void* start, std::uint32_t count) {
  return munmap(start, count * kPage);
}

}  // extern "C"
