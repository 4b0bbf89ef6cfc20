// What dom0 can see of the guest from outside: its scheduling state, its grant table, its event
// channels. libxenctrl, which changes with every Xen release, is looked for at run time; without a
// fitting one the probes that need it are unsupported.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "harness/trace/json.h"

struct xc_interface_core;
struct xenforeignmemory_handle;
struct xencall_handle;

namespace displif_cts::agent {

class Probes {
 public:
  // `oracle`: a socket that answers `grants` and `ports` where Xen cannot be asked (loopback);
  // empty: Xen is.
  explicit Probes(std::string oracle = {});
  ~Probes();
  Probes(const Probes&) = delete;
  Probes& operator=(const Probes&) = delete;

  // The hypervisor's build id in hex, by its own word (XENVER_build_id); empty if it does not tell.
  std::string xen_build_id() const;

  // {"domain":true,...}: what works here.
  Json capabilities() const;

  // {"state": running|paused|blocked|crashed|dying|shutdown|gone, "shutdown_reason", "cpu_ns",
  // "domid", "source": libxenctrl|xenstore}. XenStore knows only running and gone.
  // `introduced`: XenStore knows the domain.
  Json domain(std::uint16_t domid, bool introduced) const;

  // Stops or goes on with the domain's virtual processors. Throws VerbError.
  void set_paused(std::uint16_t domid, bool paused) const;

  // Entries of the domain's grant table that grant something (flags' type is not GTF_invalid):
  // {"in_use", "mapped": by somebody now, "list": first 64 references, "frames", "version"};
  // `detail`: "entries":[{ref, domid, frame, flags}] too. Throws VerbError.
  Json grants(std::uint16_t domid, bool detail) const;

  // {"in_use", "list":[{port,state,...}]}: all ports that are not closed. Throws VerbError.
  Json ports(std::uint16_t domid) const;

 private:
  struct Control;  // libxenctrl
  Json ask_oracle(std::string_view verb, std::uint16_t domid) const;

  std::string oracle_;
  std::unique_ptr<Control> control_;
  xenforeignmemory_handle* memory_ = nullptr;
  xencall_handle* call_ = nullptr;
};

}  // namespace displif_cts::agent
