#include "harness/agent/children.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <system_error>

#include "harness/agent/footprint.h"

namespace displif_cts::agent {
namespace {

constexpr std::size_t kTail = 16384;
constexpr std::size_t kStreamFull = 1u << 20;  // then the writers wait
constexpr std::uint64_t kMaxTimeoutMs = 86'400'000;

void append_tail(std::string& tail, std::string_view more) {
  tail += more;
  if (tail.size() > 2 * kTail) tail.erase(0, tail.size() - kTail);
}

std::string last(const std::string& tail) {
  return tail.size() > kTail ? tail.substr(tail.size() - kTail) : tail;
}

struct Pipe {
  UniqueFd read;
  UniqueFd write;
};

Pipe make_pipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) throw VerbError(errno, "pipe");
  Pipe made{UniqueFd(ends[0]), UniqueFd(ends[1])};
  fcntl(made.read.get(), F_SETFL, O_NONBLOCK);
  return made;
}

int signal_number(const std::string& text) {
  for (const int number :
       {SIGTERM, SIGKILL, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGSTOP, SIGCONT, SIGQUIT, SIGABRT})
    if (text == sigabbrev_np(number) || text == "SIG" + std::string(sigabbrev_np(number)))
      return number;
  const bool digits =
      !text.empty() && text.size() <= 2 &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  const int number = digits ? std::stoi(text) : 0;
  if (number < 1 || number >= NSIG) throw VerbError(EINVAL, "argument signal= is no signal");
  return number;
}

}  // namespace

StreamPort::~StreamPort() {
  if (fd_) loop_.forget(fd_.get());
}

void StreamPort::open(UniqueFd fd, std::function<void()> on_room) {
  fd_ = std::move(fd);
  on_room_ = std::move(on_room);
  loop_.watch(fd_.get(), EPOLLIN | EPOLLOUT | EPOLLET, [this](std::uint32_t) {
    // What the host sends here is not wanted, but would fill the device.
    std::array<char, 4096> ignored;
    while (::read(fd_.get(), ignored.data(), ignored.size()) > 0) {
    }
    flush();
    on_room_();
  });
}

void StreamPort::write(std::string_view octets) {
  outbox_ += octets;
  flush();
}

void StreamPort::flush() {
  while (done_ < outbox_.size()) {
    const std::size_t count = std::min<std::size_t>(outbox_.size() - done_, 32768);
    const ssize_t written = ::write(fd_.get(), outbox_.data() + done_, count);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) break;
    done_ += static_cast<std::size_t>(written);
  }
  if (done_ == outbox_.size() || done_ > kStreamFull) {
    outbox_.erase(0, done_);
    done_ = 0;
  }
}

void Children::kill_all() {
  for (const auto& [name, child] : children_)
    if (!child->ended) ::kill(-child->process.pid, SIGKILL);
}

Children::~Children() {
  kill_all();
  for (const auto& [name, child] : children_) {
    loop_.forget(child->process.pidfd.get());
    close_output(*child, &Running::out);
    close_output(*child, &Running::err);
  }
}

void Children::open_stream(UniqueFd fd) {
  stream_.open(std::move(fd), [this] { continue_all(); });
}

std::shared_ptr<Children::Running> Children::find(const std::string& name) const {
  const auto it = children_.find(name);
  if (it == children_.end()) throw VerbError(ENOENT, "no program named " + name);
  return it->second;
}

Json Children::start(const Arguments& args) {
  const std::string name = args.text("name");
  const std::vector<std::string> argv = args.list("argv");
  const std::vector<std::string> env = args.list("env");
  const std::string where = args.text("stdout", "");
  if (argv.empty() || argv[0].empty()) throw VerbError(EINVAL, "argument argv= is empty");
  if (const auto it = children_.find(name); it != children_.end()) {
    if (!it->second->finished) throw VerbError(EEXIST, "a program named " + name + " is running");
    children_.erase(it);
  }
  if (children_.size() >= kMaxChildren) {
    const auto old = std::find_if(children_.begin(), children_.end(),
                                  [](const auto& entry) { return entry.second->finished; });
    if (old == children_.end()) throw VerbError(EAGAIN, "too many programs are running");
    children_.erase(old);
  }
  const auto child = std::make_shared<Running>();
  child->name = name;
  child->to_port = where == "port";
  if (child->to_port && !stream_.is_open()) throw VerbError(ENXIO, "the agent has no stream port");
  UniqueFd out;
  if (where.empty() || child->to_port) {
    Pipe made = make_pipe();
    child->out = std::move(made.read);
    out = std::move(made.write);
  } else {
    const int flags = args.flag("append") ? O_APPEND : O_TRUNC;
    out.reset(open(where.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | flags, 0644));
    if (!out) throw VerbError(errno, "create " + where);
  }
  Pipe err = make_pipe();
  child->process = spawn(argv, env, out.get(), err.write.get());
  child->err = std::move(err.read);
  children_.emplace(name, child);
  if (child->out) watch_output(child, &Running::out);
  watch_output(child, &Running::err);
  loop_.watch(child->process.pidfd.get(), EPOLLIN, [this, child](std::uint32_t) { reap(child); });
  return {{"pid", child->process.pid}};
}

void Children::watch_output(const std::shared_ptr<Running>& child, UniqueFd Running::*end) {
  // Edge-triggered: while the port is full nothing is read, and nothing is asked again.
  loop_.watch((*child.*end).get(), EPOLLIN | EPOLLET,
              [this, child, end](std::uint32_t) { read_output(child, end); });
}

void Children::close_output(Running& child, UniqueFd Running::*end) {
  if (!(child.*end)) return;
  loop_.forget((child.*end).get());
  (child.*end).reset();
}

void Children::read_output(const std::shared_ptr<Running>& child, UniqueFd Running::*end) {
  const bool to_port = child->to_port && end == &Running::out;
  std::array<char, 65536> chunk;
  while (*child.*end) {
    if (to_port && stream_.waiting() >= kStreamFull) return;
    const ssize_t count = read((*child.*end).get(), chunk.data(), chunk.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0 && errno == EAGAIN) break;
    if (count <= 0) {
      close_output(*child, end);
      break;
    }
    const std::string_view octets(chunk.data(), static_cast<std::size_t>(count));
    if (to_port) {
      child->octets += octets.size();
      stream_.write(octets);
    } else {
      append_tail(end == &Running::out ? child->out_tail : child->err_tail, octets);
    }
  }
  if (child->ended) try_finish(child);
}

void Children::reap(const std::shared_ptr<Running>& child) {
  if (waitpid(child->process.pid, &child->wait_status, WNOHANG) != child->process.pid) return;
  child->ended = true;
  loop_.forget(child->process.pidfd.get());
  try_finish(child);
}

// All that the process wrote is in its pipes by the time it has ended. What it left running may
// hold them open for ever: not waited for.
void Children::try_finish(const std::shared_ptr<Running>& child) {
  if (child->finished) return;
  child->ended = false;  // keeps read_output() from coming back here
  read_output(child, &Running::err);
  read_output(child, &Running::out);
  child->ended = true;
  if (child->to_port && stream_.waiting() > 0) return;  // continue_all() comes back
  child->finished = true;
  close_output(*child, &Running::out);
  close_output(*child, &Running::err);
  for (const Waiter& waiter : child->waiters) {
    loop_.cancel(waiter.timer);
    waiter.reply.ok(describe(*child));
  }
  child->waiters.clear();
}

void Children::continue_all() {
  const auto all = children_;  // a copy: answering may start another
  for (const auto& [name, child] : all) {
    if (!child->to_port || child->finished) continue;
    if (child->ended)
      try_finish(child);
    else
      read_output(child, &Running::out);
  }
}

Json Children::describe(const Running& child) {
  Json fields{{"name", child.name}, {"exited", child.finished}};
  if (child.finished) {
    fields.update(describe_status(child.wait_status));
    fields["stderr"] = last(child.err_tail);
    if (child.to_port)
      fields["stream_octets"] = child.octets;
    else
      fields["stdout"] = last(child.out_tail);
  }
  return fields;
}

void Children::wait(const Arguments& args, const Reply& reply) {
  const auto child = find(args.text("name"));
  const std::uint64_t limit = args.number_or("timeout_ms", 60'000, kMaxTimeoutMs);
  if (child->finished || limit == 0) return reply.ok(describe(*child));
  const auto timer = loop_.after(
      std::chrono::milliseconds(limit), [child, seq = reply.seq(), peer = reply.peer().get()] {
        const auto it = std::find_if(
            child->waiters.begin(), child->waiters.end(),
            [&](const Waiter& w) { return w.reply.seq() == seq && w.reply.peer().get() == peer; });
        if (it == child->waiters.end()) return;
        const Reply late = it->reply;
        child->waiters.erase(it);
        late.ok(describe(*child));
      });
  child->waiters.push_back({reply, timer});
}

Json Children::kill(const Arguments& args) {
  const auto child = find(args.text("name"));
  const int number = signal_number(args.text("signal", "TERM"));
  if (child->ended) throw VerbError(ESRCH, "the program has ended");
  if (::kill(-child->process.pid, number) != 0) throw VerbError(errno, "kill");
  return nullptr;
}

Json Children::list() const {
  Json out = Json::array();
  for (const auto& [name, child] : children_)
    out.push_back({{"name", name}, {"pid", child->process.pid}, {"running", !child->finished}});
  return {{"programs", std::move(out)}};
}

Json Children::footprint(const Arguments& args) const {
  const auto found = children_.find(args.text("name"));
  if (found == children_.end() || found->second->ended)
    throw VerbError(ESRCH, "no program of that name runs");
  const std::array<pid_t, 1> process{found->second->process.pid};
  try {
    return to_json(footprint_of(process));
  } catch (const std::system_error& error) {
    throw VerbError(error.code().value(), error.what());
  }
}

}  // namespace displif_cts::agent
