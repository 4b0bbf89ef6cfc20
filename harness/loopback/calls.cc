#include "harness/loopback/calls.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <new>
#include <optional>
#include <span>
#include <system_error>
#include <utility>
#include <vector>

namespace displif_cts::loopback {
namespace {

Fd copy(int fd) {
  Fd duplicate(fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!duplicate) throw Refused{errno};
  return duplicate;
}

std::optional<std::uint32_t> optional(std::uint32_t word) {
  return word == kNone ? std::nullopt : std::optional(word);
}

void append(std::vector<std::uint32_t>& words, const std::vector<Run>& runs) {
  words.push_back(static_cast<std::uint32_t>(runs.size()));
  for (const Run& run : runs) words.insert(words.end(), {run.domain, run.first, run.count});
}

void describe_handle(Machine& machine, std::uint64_t number, HandleId handle, Message& answer) {
  answer.args = {handle, machine.slot_of(handle), static_cast<std::uint32_t>(number),
                 static_cast<std::uint32_t>(number >> 32)};
  answer.fds.push_back(copy(machine.events().fd()));
}

std::uint32_t flags_of(const DomainState& domain) {
  std::uint32_t flags = domain.dying ? kDomainDying : 0;
  if (domain.paused) flags |= kDomainPaused;
  if (domain.shutdown) {
    flags |= kDomainShutdown | static_cast<std::uint32_t>(*domain.shutdown) << kShutdownShift;
  }
  return flags;
}

// Which domain a privileged caller, or the domain itself, acts on.
DomainId target(Machine& machine, const Caller& caller, std::uint32_t id) {
  const DomainId own = machine.domain_of(caller.handle);
  if (id == kDomainSelf) return own;
  if (id != own && !machine.privileged(caller.handle)) throw Refused{EPERM};
  if (id >= kFirstReservedDomain) throw Refused{ESRCH};
  return static_cast<DomainId>(id);
}

void require_privilege(Machine& machine, const Caller& caller) {
  if (!machine.privileged(caller.handle)) throw Refused{EPERM};
}

// The domain's processes stop and go on; the caller's and the machine's own do not.
void pause(Machine& machine, const Caller& caller, DomainId domain, bool paused) {
  machine.set_paused(domain, paused);
  for (const pid_t process : machine.processes(domain))
    if (process > 0 && process != caller.process && process != getpid())
      kill(process, paused ? SIGSTOP : SIGCONT);
}

void open_handle(Machine& machine, std::uint64_t number, Caller& caller, Message& request,
                 Message& answer) {
  const auto kind = static_cast<HandleKind>(request.args[1]);
  if (caller.handle != 0 || request.args[0] >= kFirstReservedDomain || kind > HandleKind::control) {
    throw Refused{EINVAL};
  }
  Fd wake = request.fds.empty() ? Fd() : std::move(request.fds[0]);
  caller.handle =
      machine.open(static_cast<DomainId>(request.args[0]), kind, caller.process, std::move(wake));
  describe_handle(machine, number, caller.handle, answer);
}

void adopt_handle(Machine& machine, std::uint64_t number, Caller& caller, const Message& request,
                  Message& answer) {
  const HandleId found =
      machine.find_by_event_id(std::uint64_t{request.args[2]} << 32 | request.args[1]);
  if (caller.handle != 0 || found == 0 || machine.domain_of(found) != request.args[0]) {
    throw Refused{ENOTTY};
  }
  caller.handle = found;
  describe_handle(machine, number, found, answer);
  answer.words = machine.ports_of(found);
}

void share(Machine& machine, const Caller& caller, const Message& request, Message& answer) {
  const auto& args = request.args;
  const Shared shared = machine.share(caller.handle, args[0], args[1], args[2] != 0,
                                      {optional(args[3]), optional(args[4])});
  answer.args[0] = shared.area;
  append(answer.words, shared.runs);
  answer.words.insert(answer.words.end(), shared.refs.begin(), shared.refs.end());
}

void map(Machine& machine, const Caller& caller, const Message& request, Message& answer) {
  const auto& args = request.args;
  std::vector<ForeignRef> refs;
  refs.reserve(request.words.size() / 2);
  for (std::size_t i = 0; i + 1 < request.words.size(); i += 2) {
    refs.push_back({request.words[i], request.words[i + 1]});
  }
  const Mapped mapped =
      machine.map(caller.handle, refs, args[0] != 0, {optional(args[1]), optional(args[2])});
  answer.args[0] = mapped.mapping;
  append(answer.words, mapped.runs);
}

void begin_copy(Machine& machine, const Caller& caller, const Message& request, Message& answer) {
  std::vector<CopyTarget> targets;
  for (std::size_t i = 0; i + 2 < request.words.size(); i += 3) {
    targets.push_back({request.words[i], request.words[i + 1], request.words[i + 2] != 0});
  }
  std::vector<CopyPlace> places;
  answer.args[0] = machine.begin_copy(caller.handle, targets, places);
  for (const CopyPlace& place : places) {
    answer.words.insert(answer.words.end(),
                        {static_cast<std::uint32_t>(place.status), place.domain, place.page});
  }
}

void list_domains(Machine& machine, const Message& request, Message& answer) {
  std::uint32_t count = request.args[1];
  for (const DomainState& domain : machine.domains()) {
    if (domain.id < request.args[0] || count == 0) continue;
    --count;
    answer.words.insert(answer.words.end(), {domain.id, flags_of(domain), domain.memory_pages});
  }
}

void port_status(Machine& machine, const Caller& caller, const Message& request, Message& answer) {
  const PortState state = machine.port(target(machine, caller, request.args[0]), request.args[1]);
  answer.args = {static_cast<std::uint32_t>(state.link), state.remote, state.remote_port};
}

void carry_out(Machine& machine, std::uint64_t number, Caller& caller, Message& request,
               Message& answer) {
  const auto& args = request.args;
  const auto call = static_cast<Call>(request.code);
  if (call == Call::open) return open_handle(machine, number, caller, request, answer);
  if (call == Call::adopt) return adopt_handle(machine, number, caller, request, answer);
  if (!machine.has(caller.handle)) throw Refused{ENODEV};
  const HandleId handle = caller.handle;
  switch (call) {
    case Call::open:
    case Call::adopt:
      break;
    case Call::close:
      return machine.close(std::exchange(caller.handle, 0));
    case Call::wake_fd: {
      const int fd = machine.wake_fd(args[0]);
      if (fd < 0) throw Refused{ENOENT};
      answer.fds.push_back(copy(fd));
      return;
    }
    case Call::bind_unbound:
      answer.args[0] = machine.bind_unbound(handle, args[0]);
      return;
    case Call::bind_interdomain:
      answer.args[0] = machine.bind_interdomain(handle, args[0], args[1]);
      return;
    case Call::bind_virq:
      answer.args[0] = machine.bind_virq(handle, args[0]);
      return;
    case Call::unbind:
      return machine.unbind(handle, args[0]);
    case Call::restrict:
      return machine.restrict(handle, args[0]);
    case Call::share:
      return share(machine, caller, request, answer);
    case Call::unshare:
      return machine.unshare(handle, args[0]);
    case Call::map:
      return map(machine, caller, request, answer);
    case Call::unmap:
      return machine.unmap(handle, args[0]);
    case Call::begin_copy:
      return begin_copy(machine, caller, request, answer);
    case Call::memory: {
      Pages* const pages = machine.memory(args[0]);
      if (pages == nullptr) throw Refused{ENOENT};
      answer.fds.push_back(copy(args[1] != 0 ? pages->writable_fd() : pages->readable_fd()));
      return;
    }
    case Call::domains:
      require_privilege(machine, caller);
      return list_domains(machine, request, answer);
    case Call::port_status:
      return port_status(machine, caller, request, answer);
    case Call::offer_port:
      answer.args[0] =
          machine.offer_port(target(machine, caller, args[0]), static_cast<DomainId>(args[1]));
      return;
    case Call::reset_ports:
      return machine.reset_ports(target(machine, caller, args[0]));
    case Call::kill:
    case Call::shut_down:
    case Call::pause: {
      require_privilege(machine, caller);
      const DomainId id = target(machine, caller, args[0]);
      if (call == Call::kill) return machine.kill_domain(id);
      if (call == Call::pause) return pause(machine, caller, id, args[1] != 0);
      return machine.shut_down(id, static_cast<int>(args[1] & 0xff));
    }
  }
  throw Refused{ENOSYS};
}

}  // namespace

Message carry_out(Machine& machine, std::uint64_t number, Caller& caller, Message request) {
  Message answer;
  try {
    carry_out(machine, number, caller, request, answer);
  } catch (const Refused& refused) {
    answer = {.code = static_cast<std::uint32_t>(refused.error)};
  } catch (const std::system_error& error) {
    answer = {.code = static_cast<std::uint32_t>(error.code().value())};
  } catch (const std::bad_alloc&) {
    answer = {.code = ENOMEM};
  }
  return answer;
}

}  // namespace displif_cts::loopback
