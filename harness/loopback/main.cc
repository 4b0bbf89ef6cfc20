// displif-loopback: Xen without a hypervisor, by hand or for a bed.
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <filesystem>
#include <optional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "harness/loopback/host.h"
#include "harness/loopback/oracle.h"

namespace {

using displif_cts::loopback::DomainOptions;
using displif_cts::loopback::Host;
using displif_cts::loopback::Link;
namespace xen = displif_cts::xen;

constexpr const char* kFooter =
    "DOMAIN is an id and options, as in 1,name=guest,shared-pages=16384:\n"
    "  name=TEXT           for people\n"
    "  privileged          as dom0 (domain 0 is so anyway)\n"
    "  shared-pages=N      xen_gntalloc.limit, 1024 by default\n"
    "  grant-frames=N      max_grant_frames, 64 by default: 512 entries each\n"
    "  last-port=N         max_event_channels, 1023 by default\n"
    "  ends-with-processes the domain dies when its last process has gone\n"
    "\n"
    "When all is set up one line 'ready DIRECTORY' goes to stdout. A process then belongs to "
    "domain N\n"
    "by DISPLIF_LOOPBACK=DIRECTORY DISPLIF_LOOPBACK_DOMAIN=N "
    "XENSTORED_PATH=DIRECTORY/store-N.sock\n"
    "and LD_LIBRARY_PATH with the replacements of Xen's libraries; --environment N prints them.\n"
    "\n"
    "Commands on stdin, each answered by lines of which the last is 'ok' or 'error TEXT':\n"
    "  add DOMAIN | kill N | shutdown N REASON | reset | status | environment N | quit\n";

std::uint32_t number(std::string_view text) {
  std::uint32_t value = 0;
  const char* const end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || rest != end) {
    throw std::invalid_argument("not a number: '" + std::string(text) + "'");
  }
  return value;
}

xen::DomId domain_id(std::string_view text) {
  const std::uint32_t value = number(text);
  if (value >= displif_cts::loopback::kFirstReservedDomain) {
    throw std::invalid_argument("not a domain id: '" + std::string(text) + "'");
  }
  return static_cast<xen::DomId>(value);
}

std::pair<xen::DomId, DomainOptions> parse_domain(const std::string& text) {
  std::istringstream parts(text);
  std::string part;
  std::getline(parts, part, ',');
  const xen::DomId id = domain_id(part);
  DomainOptions options;
  options.privileged = xen::raw(id) == 0;
  if (options.privileged) options.last_port = displif_cts::loopback::kPortsPerDomain - 1;
  while (std::getline(parts, part, ',')) {
    const std::size_t equals = part.find('=');
    const std::string name = part.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : part.substr(equals + 1);
    if (name == "name") {
      options.name = value;
    } else if (name == "privileged") {
      options.privileged = true;
    } else if (name == "shared-pages") {
      options.shared_pages = number(value);
    } else if (name == "grant-frames") {
      options.grant_frames = number(value);
    } else if (name == "last-port") {
      options.last_port = number(value);
    } else if (name == "ends-with-processes") {
      options.ends_with_processes = true;
    } else {
      throw std::invalid_argument("unknown option '" + name + "' of a domain");
    }
  }
  return {id, options};
}

// Where the replacements of Xen's libraries lie: beside this program.
std::string library_path() {
  std::error_code error;
  const auto program = std::filesystem::read_symlink("/proc/self/exe", error);
  return (program.parent_path() / "xen-libraries").string();
}

void print_environment(const Host& host, xen::DomId id) {
  std::printf("LD_LIBRARY_PATH=%s\n", library_path().c_str());
  for (const auto& [name, value] : host.environment(id)) {
    std::printf("%s=%s\n", name.c_str(), value.c_str());
  }
}

const char* name_of(Link link) {
  switch (link) {
    case Link::free:
      return "closed";
    case Link::reserved:
      return "reserved";
    case Link::unbound:
      return "unbound";
    case Link::virq:
      return "virq";
    case Link::interdomain:
      return "interdomain";
  }
  return "?";
}

void print_status(const Host& host) {
  for (const auto& domain : host.domains()) {
    const xen::DomId id{domain.id};
    const auto usage = host.grant_usage(id);
    std::printf("domain %u %s%s%s%s grants %u of %u pages %zu\n", unsigned{domain.id},
                domain.name.c_str(), domain.privileged ? " privileged" : "",
                domain.dying ? " dying" : "", domain.shutdown ? " shutdown" : "", usage.used,
                usage.max_frames * displif_cts::loopback::kGrantsPerFrame, usage.pages);
    for (const auto& port : host.ports(id)) {
      std::printf("  port %u %s remote %u:%u process %d%s%s\n", port.port, name_of(port.link),
                  unsigned{port.remote}, port.remote_port, port.process,
                  port.pending ? " pending" : "", port.masked ? " masked" : "");
    }
    for (const auto& map : host.mappings_of(id)) {
      std::printf("  gref %u mapped by domain %u process %d%s\n", map.ref, unsigned{map.mapper},
                  map.process, map.writable ? "" : " read-only");
    }
  }
}

// False: quit.
bool obey(Host& host, const std::string& line) {
  std::istringstream words(line);
  std::string verb;
  std::string argument;
  std::string more;
  words >> verb >> argument >> more;
  if (verb.empty()) return true;
  if (verb == "quit") return false;
  try {
    if (verb == "add") {
      const auto [id, options] = parse_domain(argument);
      host.add_domain(id, options);
    } else if (verb == "kill") {
      host.kill_domain(domain_id(argument));
    } else if (verb == "shutdown") {
      host.shut_down(domain_id(argument), static_cast<int>(number(more)));
    } else if (verb == "reset") {
      host.reset();
    } else if (verb == "status") {
      print_status(host);
    } else if (verb == "environment") {
      print_environment(host, domain_id(argument));
    } else {
      throw std::invalid_argument("unknown command '" + verb + "'");
    }
    std::puts("ok");
  } catch (const std::exception& error) {
    std::printf("error %s\n", error.what());
  }
  std::fflush(stdout);
  return true;
}

// The first domain that is not dom0.
xen::DomId guest_of(const std::vector<std::pair<xen::DomId, DomainOptions>>& domains) {
  for (const auto& [id, options] : domains)
    if (xen::raw(id) != 0) return id;
  return xen::DomId{0};
}

// Until a signal or `quit`; the end of stdin is not the machine's.
void serve(Host& host, int signals) {
  std::string input;
  pollfd items[2] = {{signals, POLLIN, 0}, {STDIN_FILENO, POLLIN, 0}};
  for (;;) {
    if (poll(items, 2, -1) < 0) {
      if (errno == EINTR) continue;
      throw std::system_error(errno, std::generic_category(), "poll");
    }
    if (items[0].revents != 0) return;
    if (items[1].revents == 0) continue;
    char buffer[4096];
    const ssize_t got = read(STDIN_FILENO, buffer, sizeof buffer);
    if (got <= 0) {
      items[1].fd = -1;
      continue;
    }
    input.append(buffer, static_cast<std::size_t>(got));
    for (std::size_t end = input.find('\n'); end != std::string::npos; end = input.find('\n')) {
      if (!obey(host, input.substr(0, end))) return;
      input.erase(0, end + 1);
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"A machine of domains without a hypervisor: event channels, grants and XenStore."};
  app.footer(kFooter);
  std::string directory;
  std::vector<std::string> domains{"0", "1"};
  std::optional<unsigned> environment;
  bool with_parent = false;
  bool with_oracle = false;
  app.add_option("--dir", directory, "where its sockets come; an own one under /tmp by default");
  app.add_option("--domain", domains, "a domain that is there from the start; 0 and 1 by default")
      ->type_name("DOMAIN");
  app.add_option("--environment", environment,
                 "print the environment of a domain's processes, too");
  app.add_flag("--oracle", with_oracle,
               "answer what only the machine knows at DIRECTORY/agent.sock (oracle.h)");
  app.add_flag("--with-parent", with_parent, "end when the parent process does");
  CLI11_PARSE(app, argc, argv);

  std::vector<std::pair<xen::DomId, DomainOptions>> parsed;
  try {
    for (const std::string& text : domains) parsed.push_back(parse_domain(text));
  } catch (const std::exception& error) {
    std::fprintf(stderr, "displif-loopback: --domain: %s\n", error.what());
    return 2;
  }
  if (with_parent) prctl(PR_SET_PDEATHSIG, SIGTERM);
  // Before the Host's thread, which inherits the mask.
  sigset_t ending;
  sigemptyset(&ending);
  for (const int each : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ending, each);
  sigprocmask(SIG_BLOCK, &ending, nullptr);
  const displif_cts::loopback::Fd signals(signalfd(-1, &ending, SFD_CLOEXEC));

  bool own_directory = false;
  try {
    if (directory.empty()) {
      char pattern[] = "/tmp/displif-loopback-XXXXXX";
      if (mkdtemp(pattern) == nullptr) {
        throw std::system_error(errno, std::generic_category(), pattern);
      }
      directory = pattern;
      own_directory = true;
    }
    {
      Host host(directory);
      for (auto& [id, options] : parsed) host.add_domain(id, options);
      std::optional<displif_cts::loopback::Oracle> oracle;
      if (with_oracle) oracle.emplace(host, host.directory() / "agent.sock", guest_of(parsed));
      if (environment) print_environment(host, domain_id(std::to_string(*environment)));
      std::printf("ready %s\n", host.directory().c_str());
      std::fflush(stdout);
      serve(host, signals.get());
    }
    if (own_directory) std::filesystem::remove_all(directory);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "displif-loopback: %s\n", error.what());
    return 3;
  }
  return 0;
}
