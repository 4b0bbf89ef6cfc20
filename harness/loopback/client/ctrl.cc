// The part of libxenctrl (xenctrl.h) that the loopback machine has: domains and their ports. All
// other exported functions are generated (generate_library.py).
extern "C" {
#include <xenctrl.h>  // first: it makes xen/xen.h declare what tools need
}

#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "harness/loopback/client/handle.h"
#include "harness/loopback/client/link.h"
#include "harness/loopback/exported.h"

namespace loopback = displif_cts::loopback;
using loopback::Call;
using loopback::Message;
using loopback::client::Link;

struct xc_interface_core final : loopback::client::Listed {
  explicit xc_interface_core(xentoollog_logger* logger) : log(logger, "xc") {}

  int restrict_to(std::uint32_t) override {
    link.reset();
    return 0;
  }

  // 0, or -1 with errno.
  int call(Call what, std::array<std::uint32_t, 6> args, Message* answer = nullptr) {
    if (!link) {
      errno = ENOTTY;
      return -1;
    }
    Message got = link->call(what, args);
    const int result = got.code == 0 ? 0 : -1;
    if (answer != nullptr) *answer = std::move(got);
    return result;
  }

  loopback::client::Log log;
  pid_t opener = getpid();
  std::unique_ptr<Link> link;
  xc_error last_error{};
};

namespace {

void fill(const std::uint32_t* words, xc_domaininfo_t& info) {
  info = {};
  info.domain = static_cast<domid_t>(words[0]);
  if ((words[1] & loopback::kDomainDying) != 0) info.flags |= XEN_DOMINF_dying;
  if ((words[1] & loopback::kDomainPaused) != 0) info.flags |= XEN_DOMINF_paused;
  if ((words[1] & loopback::kDomainShutdown) != 0) {
    info.flags |= XEN_DOMINF_shutdown | words[1] >> loopback::kShutdownShift
                                                        << XEN_DOMINF_shutdownshift;
  }
  // Its virtual CPU waits for events.
  if ((words[1] & (loopback::kDomainDying | loopback::kDomainShutdown)) == 0) {
    info.flags |= XEN_DOMINF_blocked;
  }
  info.tot_pages = info.max_pages = words[2];
  info.nr_online_vcpus = 1;
}

// Domains from `first` on, at most `count`; -1 with errno.
int list(xc_interface* xch, std::uint32_t first, unsigned count, xc_domaininfo_t* info) {
  Message answer;
  if (xch->call(Call::domains, {first, count}, &answer) != 0) return -1;
  const std::size_t found =
      std::min<std::size_t>(count, answer.words.size() / loopback::kDomainWords);
  for (std::size_t i = 0; i < found; ++i) {
    fill(&answer.words[i * loopback::kDomainWords], info[i]);
  }
  return static_cast<int>(found);
}

}  // namespace

extern "C" {

xc_interface* xc_interface_open(xentoollog_logger* logger, xentoollog_logger*, unsigned flags) {
  auto xch = std::make_unique<xc_interface_core>(logger);
  if ((flags & XC_OPENFLAG_DUMMY) != 0) return xch.release();
  std::string problem;
  xch->link = Link::open(loopback::HandleKind::control, -1, false, problem);
  if (!xch->link) {
    xch->log.error(problem);
    const int number = errno;
    xch.reset();
    errno = number;
    return nullptr;
  }
  return xch.release();
}

int xc_interface_close(xc_interface* xch) {
  if (xch == nullptr) return 0;
  if (xch->link && xch->opener == getpid()) xch->link->close();
  delete xch;
  return 0;
}

int xc_domain_getinfolist(xc_interface* xch, std::uint32_t first, unsigned count,
                          xc_domaininfo_t* info) {
  return list(xch, first, count, info);
}

#ifdef EXPORTED_xc_domain_getinfo
int xc_domain_getinfo(xc_interface* xch, std::uint32_t first, unsigned count, xc_dominfo_t* info) {
  std::vector<xc_domaininfo_t> domains(count);
  const int found = list(xch, first, count, domains.data());
  if (found < 0) return -1;
  if (found == 0) {
    errno = ESRCH;
    return -1;
  }
  for (int i = 0; i < found; ++i) {
    const xc_domaininfo_t& from = domains[static_cast<std::size_t>(i)];
    xc_dominfo_t& to = info[i];
    to = {};
    to.domid = from.domain;
    to.dying = (from.flags & XEN_DOMINF_dying) != 0;
    to.shutdown = (from.flags & XEN_DOMINF_shutdown) != 0;
    to.paused = (from.flags & XEN_DOMINF_paused) != 0;
    to.blocked = (from.flags & XEN_DOMINF_blocked) != 0;
    to.running = (from.flags & XEN_DOMINF_running) != 0;
    to.shutdown_reason = from.flags >> XEN_DOMINF_shutdownshift & XEN_DOMINF_shutdownmask;
    to.crashed = to.shutdown && to.shutdown_reason == SHUTDOWN_crash;
    to.nr_pages = from.tot_pages;
    to.max_memkb = from.max_pages << (XC_PAGE_SHIFT - 10);
    to.nr_online_vcpus = from.nr_online_vcpus;
  }
  return found;
}
#endif

#ifdef EXPORTED_xc_domain_getinfo_single
int xc_domain_getinfo_single(xc_interface* xch, std::uint32_t domain, xc_domaininfo_t* info) {
  xc_domaininfo_t found;
  const int count = list(xch, domain, 1, &found);
  if (count < 0) return -1;
  if (count == 0 || found.domain != domain) {
    errno = ESRCH;
    return -1;
  }
  *info = found;
  return 0;
}
#endif

int xc_domain_pause(xc_interface* xch, std::uint32_t domain) {
  return xch->call(Call::pause, {domain, 1});
}

int xc_domain_unpause(xc_interface* xch, std::uint32_t domain) {
  return xch->call(Call::pause, {domain, 0});
}

int xc_domain_destroy(xc_interface* xch, std::uint32_t domain) {
  return xch->call(Call::kill, {domain});
}

int xc_domain_shutdown(xc_interface* xch, std::uint32_t domain, int reason) {
  return xch->call(Call::shut_down, {domain, static_cast<std::uint32_t>(reason)});
}

int xc_evtchn_status(xc_interface* xch, xc_evtchn_status_t* status) {
  Message answer;
  if (xch->call(Call::port_status, {status->dom, status->port}, &answer) != 0) return -1;
  status->vcpu = 0;
  const std::uint32_t remote_port = answer.args[2];
  switch (static_cast<loopback::Link>(answer.args[0])) {
    case loopback::Link::free:
    case loopback::Link::reserved:
      status->status = EVTCHNSTAT_closed;
      break;
    case loopback::Link::unbound:
      status->status = EVTCHNSTAT_unbound;
      status->u.unbound.dom = static_cast<domid_t>(answer.args[1]);
      break;
    case loopback::Link::virq:
      status->status = EVTCHNSTAT_virq;
      status->u.virq = remote_port;
      break;
    case loopback::Link::interdomain:
      status->status = EVTCHNSTAT_interdomain;
      status->u.interdomain.dom = static_cast<domid_t>(answer.args[1]);
      status->u.interdomain.port = remote_port;
      break;
  }
  return 0;
}

xc_evtchn_port_or_error_t xc_evtchn_alloc_unbound(xc_interface* xch, std::uint32_t domain,
                                                  std::uint32_t remote) {
  Message answer;
  if (xch->call(Call::offer_port, {domain, remote}, &answer) != 0) return -1;
  return static_cast<int>(answer.args[0]);
}

int xc_evtchn_reset(xc_interface* xch, std::uint32_t domain) {
  return xch->call(Call::reset_ports, {domain});
}

const xc_error* xc_get_last_error(xc_interface* xch) { return &xch->last_error; }

void xc_clear_last_error(xc_interface* xch) { xch->last_error = {}; }

const char* xc_error_code_to_desc(int code) {
  switch (code) {
    case XC_ERROR_NONE:
      return "No error details";
    case XC_INTERNAL_ERROR:
      return "Internal error";
    case XC_INVALID_KERNEL:
      return "Invalid kernel";
    case XC_INVALID_PARAM:
      return "Invalid configuration";
    case XC_OUT_OF_MEMORY:
      return "Out of memory";
    default:
      return "Unknown error code";
  }
}

const char* xc_strerror(xc_interface*, int number) { return std::strerror(number); }

}  // extern "C"
