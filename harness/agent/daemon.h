// displif-cts-agent's verbs, and who may ask for them.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "harness/agent/children.h"
#include "harness/agent/devices.h"
#include "harness/agent/guest_link.h"
#include "harness/agent/heartbeat.h"
#include "harness/agent/kernel_log.h"
#include "harness/agent/line_protocol.h"
#include "harness/agent/line_server.h"
#include "harness/agent/loop.h"
#include "harness/agent/peer.h"
#include "harness/agent/probes.h"
#include "harness/agent/services.h"
#include "harness/agent/unique_fd.h"

namespace displif_cts::agent {

inline constexpr std::string_view kAgentVersion = "1";  // of the verbs, as in PROTOCOL.md

struct Options {
  std::string port;         // a character device with the host at its other end
  std::string stream_port;  // another, for what `start stdout=port` writes
  std::string socket = "/run/displif-cts/agent.sock";
  std::string guest;  // domain id or name; empty: none
  std::string guest_console;
  std::string carried_device = "/dev/vda";
  std::string carried_dir = "/carried";
  std::string kernel_log = "/dev/kmsg";
  std::string oracle;  // socket of whoever knows the guest's grants and ports; empty: Xen itself
};

class Daemon {
 public:
  explicit Daemon(Options options);
  // Serves until SIGTERM or SIGINT; then ends its programs and removes its socket. Throws
  // std::system_error when it cannot begin.
  void run();
  // From another thread.
  void stop() {
    loop_.post([this] { loop_.stop(); });
  }

 private:
  using Run = std::function<void(const Request&, const Reply&)>;
  struct Verb {
    VerbSpec spec;
    Run run;
  };

  void add(VerbSpec spec, Run run);
  // A verb that answers at once.
  void add_direct(VerbSpec spec, std::function<Json(const Request&)> run);
  // One that may take its time: on a thread of its own.
  void add_slow(VerbSpec spec, std::function<Json(const Request&)> run);
  void add_verbs();
  void add_health_verbs();
  void add_device_verbs();
  void add_service_verbs();
  void answer_slowly(const Request& request, const Reply& reply,
                     std::function<Json(const Request&)> run);
  // By somebody else; false: nobody.
  bool serve_elsewhere(const Request& request, const Reply& reply);

  void open_port();
  void open_stream_port();
  void take(const std::shared_ptr<Peer>& peer, const Request& request);

  Json hello() const;
  Json mount_carried(const Arguments& args) const;
  Json guest_log(const Arguments& args) const;
  std::uint16_t domid_of(const Arguments& args) const;

  Options options_;
  Loop loop_;
  UniqueFd signals_;  // before whatever starts a thread
  std::map<std::string, Verb, std::less<>> verbs_;
  Children children_;
  Devices devices_;
  Services services_;
  GuestLink guest_;
  Listener listener_;
  std::shared_ptr<Peer> port_;
  Probes probes_;
  KernelLog kernel_log_;
  Heartbeat heartbeat_;
};

}  // namespace displif_cts::agent
