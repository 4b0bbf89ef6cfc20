#include "harness/loopback/inprocess.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>

#include "harness/loopback/client/kept_mappings.h"
#include "harness/loopback/client/link.h"

extern "C" const char* xs_daemon_socket();

namespace displif_cts::loopback {
namespace {

std::atomic<Host*> the_host;
std::atomic<void (*)()> before_call;
std::atomic<DomainId> default_domain;
client::Locator by_environment;
thread_local int thread_domain = -1;

DomainId current_domain() {
  return thread_domain >= 0 ? static_cast<DomainId>(thread_domain) : default_domain.load();
}

class DirectChannel : public client::Channel {
 public:
  explicit DirectChannel(Host& host) : host_(host) { caller_.process = getpid(); }
  ~DirectChannel() override {
    if (caller_.handle != 0) host_.call(caller_, {.code = static_cast<std::uint32_t>(Call::close)});
  }

  bool exchange(Message request, Message& answer) override {
    if (void (*const hook)() = before_call.load(); hook != nullptr) hook();
    answer = host_.call(caller_, std::move(request));
    return true;
  }

 private:
  Host& host_;
  Caller caller_;
};

client::Place in_this_process(std::string& problem, bool inherited) {
  Host* const host = the_host.load();
  if (host == nullptr) return by_environment(problem, inherited);
  return {std::make_unique<DirectChannel>(*host), current_domain()};
}

}  // namespace

InProcess::InProcess(Host& host, xen::DomId domain) {
  default_domain = xen::raw(domain);
  Host* none = nullptr;
  if (!the_host.compare_exchange_strong(none, &host)) {
    throw std::logic_error("this process has a loopback machine already");
  }
  if (by_environment == nullptr) by_environment = std::exchange(client::locator, in_this_process);
}

InProcess::~InProcess() {
  before_call = nullptr;
  the_host = nullptr;
  client::kept_mappings().drop();
}

void InProcess::before_calls(void (*hook)()) { before_call = hook; }

void InProcess::keep_mappings() { client::kept_mappings().keep(); }

ThreadDomain::ThreadDomain(xen::DomId domain)
    : before_(std::exchange(thread_domain, xen::raw(domain))) {}

ThreadDomain::~ThreadDomain() { thread_domain = before_; }

}  // namespace displif_cts::loopback

// libxenstore asks this exported function of its own where to connect (tools/libs/store/xs.c,
// xs_open()); a definition in the program comes before the library's.
extern "C" const char* xs_daemon_socket() {
  using namespace displif_cts::loopback;
  static thread_local std::string path;
  if (Host* const host = the_host.load(); host != nullptr) {
    path = host->store_path(displif_cts::xen::DomId{current_domain()});
  } else {
    const char* const given = std::getenv("XENSTORED_PATH");
    path = given != nullptr ? given : "/run/xenstored/socket";
  }
  return path.c_str();
}
