#include "harness/loopback/contract/side.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <sstream>
#include <utility>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
#include <xentoollog.h>
}

namespace displif_cts::contract {
namespace {

using Clock = std::chrono::steady_clock;
constexpr long kPage = 4096;
constexpr auto kAnswerLimit = std::chrono::seconds(60);

// Failures are what the tests ask for: say nothing of them.
xentoollog_logger* quiet() {
  static auto* const logger =
      reinterpret_cast<xentoollog_logger*>(xtl_createlogger_stdiostream(stderr, XTL_CRITICAL, 0));
  return logger;
}

Answer of(long value) { return {value, value < 0 ? errno : 0, {}}; }

sigjmp_buf after_fault;

void on_fault(int signal) { siglongjmp(after_fault, signal); }

// The signal that touching the octet gives; 0: none.
int touch(volatile char* octet, bool write) {
  struct sigaction action {};
  action.sa_handler = on_fault;
  struct sigaction segv;
  struct sigaction bus;
  sigaction(SIGSEGV, &action, &segv);
  sigaction(SIGBUS, &action, &bus);
  const int signal = sigsetjmp(after_fault, 1);
  if (signal == 0) {
    const char value = *octet;
    if (write) *octet = value;
  }
  sigaction(SIGSEGV, &segv, nullptr);
  sigaction(SIGBUS, &bus, nullptr);
  return signal;
}

bool readable(int fd, long milliseconds) {
  pollfd item{fd, POLLIN, 0};
  return poll(&item, 1, static_cast<int>(milliseconds)) == 1 && (item.revents & POLLIN) != 0;
}

std::uint32_t word(long value) { return static_cast<std::uint32_t>(value); }

}  // namespace

Executor::Executor() = default;
Executor::~Executor() { clear(); }

void Executor::clear() {
  for (auto& [number, memory] : memory_) {
    if (memory.shared) {
      xengntshr_unshare(sharers_.count(memory.handle) != 0 ? sharers_[memory.handle] : nullptr,
                        memory.start, word(static_cast<long>(memory.pages)));
    } else if (mappers_.count(memory.handle) != 0) {
      xengnttab_unmap(mappers_[memory.handle], memory.start, word(static_cast<long>(memory.pages)));
    } else {
      munmap(memory.start, memory.pages * kPage);
    }
  }
  memory_.clear();
  for (auto& [number, handle] : mappers_) xengnttab_close(handle);
  for (auto& [number, handle] : sharers_) xengntshr_close(handle);
  for (auto& [number, handle] : events_) xenevtchn_close(handle);
  mappers_.clear();
  sharers_.clear();
  events_.clear();
}

Executor::Memory& Executor::memory(long number) {
  const auto found = memory_.find(number);
  if (found == memory_.end()) throw std::logic_error("no such memory");
  return found->second;
}

xenevtchn_handle* Executor::events(long number) {
  const auto found = events_.find(number);
  if (found == events_.end()) throw std::logic_error("no such event channel handle");
  return found->second;
}

xengntdev_handle* Executor::grants(long number) {
  for (auto* list : {&mappers_, &sharers_}) {
    if (const auto found = list->find(number); found != list->end()) return found->second;
  }
  throw std::logic_error("no such grant handle");
}

Answer Executor::run(const std::string& verb, const std::vector<long>& arguments) {
  const auto a = [&](std::size_t index) {
    if (index >= arguments.size()) throw std::logic_error(verb + ": too few arguments");
    return arguments[index];
  };
  const auto opened = [&](auto& list, auto* handle) {
    if (handle == nullptr) return Answer{-1, errno, {}};
    list[next_] = handle;
    return Answer{next_++, 0, {}};
  };
  const auto placed = [&](void* start, std::size_t pages, bool shared) {
    if (start == nullptr) return Answer{-1, errno, {}};
    memory_[next_] = {static_cast<char*>(start), pages, shared, a(0)};
    return Answer{next_++, 0, {}};
  };
  const auto rest = [&](std::size_t from) {
    std::vector<std::uint32_t> list;
    for (std::size_t i = from; i < arguments.size(); ++i) list.push_back(word(arguments[i]));
    return list;
  };
  errno = 0;

  // --- event channels: the first argument is the handle
  if (verb == "ev-open") return opened(events_, xenevtchn_open(quiet(), 0));
  if (verb == "ev-close") {
    Answer answer = of(xenevtchn_close(events(a(0))));
    events_.erase(a(0));
    return answer;
  }
  if (verb == "unbound") return of(xenevtchn_bind_unbound_port(events(a(0)), word(a(1))));
  if (verb == "interdomain") {
    return of(xenevtchn_bind_interdomain(events(a(0)), word(a(1)), word(a(2))));
  }
  if (verb == "virq") return of(xenevtchn_bind_virq(events(a(0)), word(a(1))));
  if (verb == "unbind") return of(xenevtchn_unbind(events(a(0)), word(a(1))));
  if (verb == "notify") return of(xenevtchn_notify(events(a(0)), word(a(1))));
  if (verb == "unmask") return of(xenevtchn_unmask(events(a(0)), word(a(1))));
  if (verb == "restrict") {
    return of(xenevtchn_restrict(events(a(0)), static_cast<domid_t>(a(1))));
  }
  // Whether the descriptor becomes readable within so many milliseconds.
  if (verb == "readable") return of(readable(xenevtchn_fd(events(a(0))), a(1)));
  // Never waits: on a descriptor that is set so.
  if (verb == "pending") {
    const int fd = xenevtchn_fd(events(a(0)));
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    return of(xenevtchn_pending(events(a(0))));
  }

  // --- mapping: handle, ...
  if (verb == "gnttab-open") return opened(mappers_, xengnttab_open(quiet(), 0));
  if (verb == "gnttab-close") {
    Answer answer = of(xengnttab_close(grants(a(0))));
    mappers_.erase(a(0));
    return answer;
  }
  if (verb == "map") {  // handle, domain, protection, references
    auto refs = rest(3);
    const std::size_t pages = refs.size();
    refs.push_back(0);  // data() of none
    return placed(xengnttab_map_domain_grant_refs(grants(a(0)), word(static_cast<long>(pages)),
                                                  word(a(1)), refs.data(), static_cast<int>(a(2))),
                  pages, false);
  }
  if (verb == "map-several") {  // handle, protection, domain and reference each
    std::vector<std::uint32_t> domains;
    std::vector<std::uint32_t> refs;
    for (std::size_t i = 2; i + 1 < arguments.size(); i += 2) {
      domains.push_back(word(a(i)));
      refs.push_back(word(a(i + 1)));
    }
    return placed(xengnttab_map_grant_refs(grants(a(0)), word(static_cast<long>(refs.size())),
                                           domains.data(), refs.data(), static_cast<int>(a(1))),
                  refs.size(), false);
  }
  if (verb == "map-notify") {  // handle, domain, protection, reference, offset, port; -1: none
    return placed(xengnttab_map_grant_ref_notify(grants(a(0)), word(a(1)), word(a(3)),
                                                 static_cast<int>(a(2)), word(a(4)), word(a(5))),
                  1, false);
  }
  if (verb == "unmap") {  // handle, memory, count
    Answer answer = of(xengnttab_unmap(grants(a(0)), memory(a(1)).start, word(a(2))));
    if (answer.value == 0) memory_.erase(a(1));
    return answer;
  }
  if (verb == "unmap-nothing") return of(xengnttab_unmap(grants(a(0)), nullptr, 1));
  // handle, then one segment: memory, offset, domain, reference, offset, length, whether to the
  // grant. Answers the call's value and the segment's status.
  if (verb == "copy") {
    std::vector<xengnttab_grant_copy_segment_t> segments;
    for (std::size_t i = 1; i + 6 < arguments.size(); i += 7) {
      xengnttab_grant_copy_segment_t segment{};
      auto& local = a(i + 6) != 0 ? segment.source : segment.dest;
      auto& foreign = a(i + 6) != 0 ? segment.dest : segment.source;
      local.virt = memory(a(i)).start + a(i + 1);
      foreign.foreign.domid = static_cast<std::uint16_t>(a(i + 2));
      foreign.foreign.ref = word(a(i + 3));
      foreign.foreign.offset = static_cast<std::uint16_t>(a(i + 4));
      segment.len = static_cast<std::uint16_t>(a(i + 5));
      segment.flags = a(i + 6) != 0 ? GNTCOPY_dest_gref : GNTCOPY_source_gref;
      segment.status = 77;
      segments.push_back(segment);
    }
    Answer answer = of(xengnttab_grant_copy(grants(a(0)), word(static_cast<long>(segments.size())),
                                            segments.data()));
    for (const auto& segment : segments) answer.more.push_back(segment.status);
    return answer;
  }
  if (verb == "copy-between") {  // handle; domain, reference, offset twice; length
    xengnttab_grant_copy_segment_t segment{};
    segment.source.foreign.domid = static_cast<std::uint16_t>(a(1));
    segment.source.foreign.ref = word(a(2));
    segment.source.foreign.offset = static_cast<std::uint16_t>(a(3));
    segment.dest.foreign.domid = static_cast<std::uint16_t>(a(4));
    segment.dest.foreign.ref = word(a(5));
    segment.dest.foreign.offset = static_cast<std::uint16_t>(a(6));
    segment.len = static_cast<std::uint16_t>(a(7));
    segment.flags = GNTCOPY_source_gref | GNTCOPY_dest_gref;
    Answer answer = of(xengnttab_grant_copy(grants(a(0)), 1, &segment));
    answer.more.push_back(segment.status);
    return answer;
  }
  if (verb == "copy-locally") {  // handle, memory
    xengnttab_grant_copy_segment_t segment{};
    segment.source.virt = memory(a(1)).start;
    segment.dest.virt = memory(a(1)).start + 64;
    segment.len = 8;
    return of(xengnttab_grant_copy(grants(a(0)), 1, &segment));
  }

  // --- sharing: handle, ...
  if (verb == "gntshr-open") return opened(sharers_, xengntshr_open(quiet(), 0));
  if (verb == "gntshr-close") {
    Answer answer = of(xengntshr_close(grants(a(0))));
    sharers_.erase(a(0));
    return answer;
  }
  if (verb == "share") {  // handle, domain, count, whether writable
    std::vector<std::uint32_t> refs(static_cast<std::size_t>(a(2) > 0 ? a(2) : 1));
    Answer answer = placed(xengntshr_share_pages(grants(a(0)), word(a(1)), static_cast<int>(a(2)),
                                                 refs.data(), static_cast<int>(a(3))),
                           static_cast<std::size_t>(a(2)), true);
    if (answer.value >= 0) answer.more.assign(refs.begin(), refs.end());
    return answer;
  }
  if (verb == "share-notify") {  // handle, domain, whether writable, offset, port
    std::uint32_t ref = 0;
    Answer answer =
        placed(xengntshr_share_page_notify(grants(a(0)), word(a(1)), &ref, static_cast<int>(a(2)),
                                           word(a(3)), word(a(4))),
               1, true);
    answer.more.push_back(ref);
    return answer;
  }
  if (verb == "unshare") {  // handle, memory
    const Memory gone = memory(a(1));
    memory_.erase(a(1));
    return of(xengntshr_unshare(grants(a(0)), gone.start, word(static_cast<long>(gone.pages))));
  }
  if (verb == "unshare-part") {  // handle, memory, first page, count
    return of(xengntshr_unshare(grants(a(0)), memory(a(1)).start + a(2) * kPage, word(a(3))));
  }

  // --- memory
  if (verb == "private") {  // pages of the process's own
    void* const start = mmap(nullptr, static_cast<std::size_t>(a(1) * kPage),
                             PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memory_[next_] = {static_cast<char*>(start), static_cast<std::size_t>(a(1)), false, -1};
    return {next_++, 0, {}};
  }
  if (verb == "peek") return {static_cast<unsigned char>(memory(a(0)).start[a(1)]), 0, {}};
  if (verb == "poke") {
    memory(a(0)).start[a(1)] = static_cast<char>(a(2));
    return {};
  }
  // memory, offset, whether to write: the signal
  if (verb == "touch") return {touch(memory(a(0)).start + a(1), a(2) != 0), 0, {}};

  if (verb == "clear") {
    clear();
    return {};
  }
  throw std::logic_error("unknown verb " + verb);
}

// --- a child of the own domain -------------------------------------------------------------------

namespace {

// "1 2 3" after the first word of a request.
std::vector<long> numbers(std::istringstream& words) {
  std::vector<long> list;
  for (long each; words >> each;) list.push_back(each);
  return list;
}

std::string carry_out(Executor& executor, const std::string& request) {
  std::istringstream words(request);
  std::string verb;
  words >> verb;
  try {
    const Answer answer = executor.run(verb, numbers(words));
    std::string text = std::to_string(answer.value) + " " + std::to_string(answer.error);
    for (const long each : answer.more) text += " " + std::to_string(each);
    return text;
  } catch (const std::logic_error& error) {
    return std::string("? ") + error.what();
  }
}

std::string request_of(const std::string& verb, const std::vector<long>& arguments) {
  std::string request = verb;
  for (const long argument : arguments) request += " " + std::to_string(argument);
  return request;
}

Answer parse_answer(const char* name, const std::string& text) {
  std::istringstream words(text);
  Answer answer;
  if (!(words >> answer.value >> answer.error)) {
    throw std::logic_error(std::string(name) + ": " + text);
  }
  answer.more = numbers(words);
  return answer;
}

constexpr std::size_t kMaxText = 65536;

[[noreturn]] void obey_parent(int socket) {
  Executor executor;
  std::vector<char> buffer(kMaxText);
  for (;;) {
    const ssize_t got = recv(socket, buffer.data(), buffer.size(), 0);
    if (got <= 0) _exit(0);
    const std::string answer =
        carry_out(executor, std::string(buffer.data(), static_cast<std::size_t>(got)));
    if (send(socket, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) _exit(0);
  }
}

}  // namespace

Near::Near(const char* name, long domain) : name_(name), domain_(domain) { start(); }
Near::~Near() { stop(); }

void Near::start() {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
    throw std::runtime_error("socketpair");
  }
  child_ = fork();
  if (child_ < 0) throw std::runtime_error("fork");
  if (child_ == 0) {
    close(ends[0]);
    obey_parent(ends[1]);
  }
  close(ends[1]);
  socket_ = ends[0];
}

void Near::stop() {
  kill(child_, SIGKILL);
  while (waitpid(child_, nullptr, 0) < 0 && errno == EINTR) {
  }
  close(socket_);
}

void Near::die() {
  stop();
  start();
}

Answer Near::run(const std::string& verb, const std::vector<long>& arguments) {
  const std::string request = request_of(verb, arguments);
  std::vector<char> buffer(kMaxText);
  if (send(socket_, request.data(), request.size(), MSG_NOSIGNAL) < 0) {
    throw std::runtime_error(std::string(name_) + " has ended");
  }
  if (!readable(socket_, std::chrono::milliseconds(kAnswerLimit).count())) {
    throw std::runtime_error(std::string(name_) + " does not answer '" + request + "'");
  }
  const ssize_t got = recv(socket_, buffer.data(), buffer.size(), 0);
  if (got <= 0) throw std::runtime_error(std::string(name_) + " has ended in '" + request + "'");
  return parse_answer(name_, std::string(buffer.data(), static_cast<std::size_t>(got)));
}

// --- between two domains -------------------------------------------------------------------------

namespace {

std::optional<std::string> read_node(xs_handle* store, const std::string& path) {
  unsigned size = 0;
  char* const text = static_cast<char*>(xs_read(store, XBT_NULL, path.c_str(), &size));
  if (text == nullptr) return std::nullopt;
  std::string value(text, size);
  std::free(text);
  return value;
}

void write_node(xs_handle* store, const std::string& path, const std::string& value) {
  if (!xs_write(store, XBT_NULL, path.c_str(), value.data(), static_cast<unsigned>(value.size()))) {
    throw std::runtime_error("xs_write " + path + ": " + std::strerror(errno));
  }
}

// Waits for `ready` to say true, called again with every watch event.
template <class Ready>
void wait_for(xs_handle* store, const std::string& what, std::optional<Clock::time_point> deadline,
              Ready&& ready) {
  while (!ready()) {
    const auto left =
        deadline ? std::chrono::duration_cast<std::chrono::milliseconds>(*deadline - Clock::now())
                       .count()
                 : 1000;
    if (left <= 0) throw std::runtime_error("waited in vain for " + what);
    if (!readable(xs_fileno(store), left)) continue;
    char** const event = xs_check_watch(store);
    std::free(event);
  }
}

xs_handle* open_store(const std::string& watched) {
  xs_handle* const store = xs_open(0);
  if (store == nullptr) throw std::runtime_error(std::string("xs_open: ") + std::strerror(errno));
  if (!xs_watch(store, watched.c_str(), "contract")) {
    throw std::runtime_error("xs_watch " + watched + ": " + std::strerror(errno));
  }
  return store;
}

constexpr int kAgain = 10;

// Serves until told to die or to quit.
int serve_once(const std::string& control) {
  xs_handle* const store = open_store(control + "/request");
  Executor executor;
  std::string last;
  for (;;) {
    std::string request;
    wait_for(store, "a request", std::nullopt, [&] {
      const auto found = read_node(store, control + "/request");
      if (!found || found->empty() || *found == last) return false;
      request = last = *found;
      return true;
    });
    const std::size_t space = request.find(' ');
    const std::string sequence = request.substr(0, space);
    const std::string verb = request.substr(space + 1);
    if (verb == "die" || verb == "quit") {
      // Not to be obeyed again by whoever comes next.
      write_node(store, control + "/request", "");
      if (verb == "quit") return 0;
      // Answered by the next process: by then the kernel has closed all that this one had open.
      write_node(store, control + "/died", sequence);
      _exit(kAgain);
    }
    write_node(store, control + "/answer", sequence + " " + carry_out(executor, verb));
  }
}

}  // namespace

int serve(const std::string& control) {
  for (;;) {
    const pid_t child = fork();
    if (child < 0) throw std::runtime_error("fork");
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      int status = 3;
      try {
        status = serve_once(control);
      } catch (const std::exception& error) {
        dprintf(STDERR_FILENO, "far: %s\n", error.what());
      }
      _exit(status);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (!WIFEXITED(status) || WEXITSTATUS(status) != kAgain) {
      return WIFEXITED(status) ? WEXITSTATUS(status) : 3;
    }
    xs_handle* const store = xs_open(0);
    if (store == nullptr) throw std::runtime_error("xs_open");
    const auto sequence = read_node(store, control + "/died");
    write_node(store, control + "/answer", sequence.value_or("0") + " 0 0");
    xs_close(store);
  }
}

Far::Far(std::string control, long domain)
    : store_(open_store(control + "/answer")), control_(std::move(control)), domain_(domain) {
  // A number that no earlier run has used, so that no old answer fits.
  sequence_ = static_cast<long>(getpid()) * 100'000;
  // Made by this half, so that both can read it whatever the far half's domain is.
  write_node(store_, control_ + "/answer", "");
}

Far::~Far() { xs_close(store_); }

std::string Far::ask(const std::string& request) {
  const std::string sequence = std::to_string(++sequence_);
  write_node(store_, control_ + "/request", sequence + " " + request);
  std::string answer;
  wait_for(store_, "the far half's answer to '" + request + "'", Clock::now() + kAnswerLimit, [&] {
    const auto found = read_node(store_, control_ + "/answer");
    if (!found || found->rfind(sequence + " ", 0) != 0) return false;
    answer = found->substr(sequence.size() + 1);
    return true;
  });
  return answer;
}

Answer Far::run(const std::string& verb, const std::vector<long>& arguments) {
  return parse_answer(name(), ask(request_of(verb, arguments)));
}

void Far::die() { ask("die"); }
// Without an answer: a domain may end with its last process, and its nodes with it.
void Far::quit() {
  write_node(store_, control_ + "/request", std::to_string(++sequence_) + " quit");
}

}  // namespace displif_cts::contract
