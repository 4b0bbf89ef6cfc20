#include "lab/guest/server.h"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <thread>
#include <variant>

#include "lab/guest/fail_nth.h"

namespace displif_cts::exerciser {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLaneIdle{2000};

// Of a call that runs by itself: `job=`, or else the verb's own `name=`.
std::string job_name(const Arguments& args) { return args.text(args.has("job") ? "job" : "name"); }

// The answer's fields, or those of the error, say whether an allocation failed.
Json run_verb(const Verb& verb, const Request& request, const FailNth& failing) {
  try {
    Json fields = verb.run(request);
    if (fields.is_null()) fields = Json::object();
    failing.report(fields);
    return fields;
  } catch (VerbError& error) {
    failing.report(error.fields);
    throw;
  }
}

}  // namespace

void VerbTable::add(VerbSpec spec, std::function<Json(const Request&)> run, Verb::Kind kind) {
  std::string name(spec.name);
  verbs_.emplace(std::move(name), Verb{std::move(spec), std::move(run), kind});
}

const Verb* VerbTable::find(std::string_view name) const {
  const auto it = verbs_.find(name);
  return it == verbs_.end() ? nullptr : &it->second;
}

std::vector<std::string> VerbTable::names() const {
  std::vector<std::string> out;
  for (const auto& [name, verb] : verbs_) out.push_back(name);
  return out;
}

Server::Server(VerbTable& table) : table_(table), wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  table_.add(
      {"wait", {}, {"name"}},
      [this](const Request& request) { return wait_for_call(request.args); },
      Verb::Kind::relays_answer);
}

void Server::wake() {
  const std::uint64_t one = 1;
  // Full means that a wake-up is under way already.
  [[maybe_unused]] const ssize_t count = ::write(wake_fd_.get(), &one, sizeof one);
}

void Server::put_answer(const Json& answer, unsigned generation) {
  std::string line = agent::format_answer(answer);
  {
    const std::lock_guard lock(mutex_);
    if (generation != generation_) return;
    outbox_ += line;
  }
  wake();
}

Json Server::perform(const Request& request) const {
  const std::uint64_t began = agent::monotonic_ns();
  const auto took = [&](Json fields) {
    if (!fields.is_object()) fields = Json::object();
    fields["took_ns"] = agent::monotonic_ns() - began;
    return fields;
  };
  const Verb* verb = table_.find(request.verb);
  if (verb == nullptr) return agent::answer_unsupported(request.seq, request.verb);
  try {
    agent::check_arguments(verb->spec, request.args,
                           {"lane", "timeout_ms", "async", "job", "fail-nth",
                            request.args.has("async") ? "name" : "async"});
    const FailNth failing(request.args);
    Json fields = run_verb(*verb, request, failing);
    if (verb->kind == Verb::Kind::relays_answer) {
      fields["seq"] = request.seq;
      return fields;
    }
    return agent::answer_ok(request.seq, took(std::move(fields)));
  } catch (const VerbError& error) {
    return agent::answer_error(request.seq, error.number(), error.what(), took(error.fields));
  } catch (const std::bad_alloc&) {
    return agent::answer_error(request.seq, ENOMEM, "out of memory");
  }
}

void Server::take(Request request) {
  unsigned generation = 0;
  {
    const std::lock_guard lock(mutex_);
    generation = generation_;
  }
  const Verb* verb = table_.find(request.verb);
  try {
    if (verb == nullptr || verb->kind == Verb::Kind::immediate)
      return put_answer(perform(request), generation);
    if (request.args.flag("async")) return start_call(std::move(request));
    const std::uint64_t number = request.args.number_or("lane", 0, UINT32_MAX);
    const std::lock_guard lock(mutex_);
    if (!lanes_.contains(number) && lanes_.size() >= kMaxLanes)
      throw VerbError(EAGAIN, "too many lanes are busy");
    if (!lanes_.contains(number))
      std::thread([this, number, generation] { run_lane(number, generation); }).detach();
    lanes_[number].queue.push_back(std::move(request));
    changed_.notify_all();
  } catch (const VerbError& error) {
    put_answer(agent::answer_error(request.seq, error.number(), error.what()), generation);
  } catch (const std::system_error&) {
    put_answer(agent::answer_error(request.seq, EAGAIN, "no thread to be had"), generation);
  }
}

// A lane's thread ends when nothing was asked of it for a while; the next request begins it again.
void Server::run_lane(std::uint64_t number, unsigned generation) {
  std::unique_lock lock(mutex_);
  for (;;) {
    const bool asked = changed_.wait_for(lock, kLaneIdle, [&] {
      return generation != generation_ || !lanes_[number].queue.empty();
    });
    // Lanes of an earlier conversation were forgotten together with it.
    if (generation != generation_) return;
    if (!asked) {
      lanes_.erase(number);
      return;
    }
    lanes_[number].busy = true;
    const Request request = std::move(lanes_[number].queue.front());
    lanes_[number].queue.pop_front();
    lock.unlock();
    put_answer(perform(request), generation);
    lock.lock();
    if (generation != generation_) return;
    lanes_[number].busy = false;
    changed_.notify_all();
  }
}

void Server::start_call(Request request) {
  const std::string name = job_name(request.args);
  auto call = std::make_shared<Call>();
  unsigned generation = 0;
  {
    const std::lock_guard lock(mutex_);
    generation = generation_;
    if (calls_.contains(name)) throw VerbError(EEXIST, "a call named " + name + " is under way");
    if (calls_.size() >= kMaxCalls) throw VerbError(EAGAIN, "too many calls are under way");
    calls_.emplace(name, call);
  }
  const std::uint64_t seq = request.seq;
  try {
    std::thread([this, call, request = std::move(request)] {
      Json answer = perform(request);
      const std::lock_guard lock(mutex_);
      call->answer = std::move(answer);
      call->done = true;
      changed_.notify_all();
    }).detach();
  } catch (const std::system_error&) {
    const std::lock_guard lock(mutex_);
    calls_.erase(name);
    throw VerbError(EAGAIN, "no thread to be had");
  }
  put_answer(agent::answer_ok(seq, {{"started", name}}), generation);
}

Json Server::wait_for_call(const Arguments& args) {
  const std::string name = job_name(args);
  const milliseconds limit(args.number_or("timeout_ms", 60'000, 86'400'000));
  std::unique_lock lock(mutex_);
  const auto it = calls_.find(name);
  if (it == calls_.end()) throw VerbError(ENOENT, "no call named " + name);
  const std::shared_ptr<Call> call = it->second;
  if (!changed_.wait_for(lock, limit, [&] { return call->done; })) {
    VerbError error(ETIMEDOUT, "the call " + name + " is still under way");
    error.fields["pending"] = true;
    throw error;
  }
  if (const auto now = calls_.find(name); now != calls_.end() && now->second == call)
    calls_.erase(now);
  return call->answer;
}

bool Server::write_some(Channel& channel) {
  const std::lock_guard lock(mutex_);
  while (!outbox_.empty()) {
    const long count = channel.write(outbox_);
    if (count < 0) return false;
    if (count == 0) return true;
    outbox_.erase(0, static_cast<std::size_t>(count));
  }
  return true;
}

void Server::serve(Channel& channel, std::string_view session) {
  {
    const std::lock_guard lock(mutex_);
    ++generation_;
    outbox_.clear();
    lanes_.clear();
    changed_.notify_all();
    if (!session.empty()) outbox_ = Json{{"event", "ready"}, {"session", session}}.dump() + "\n";
  }
  const std::string opening = "0 session id=" + std::string(session);
  bool opened = session.empty();
  std::string before;  // the conversation's opening, when there is one
  agent::RequestReader reader;
  char chunk[65536];
  for (;;) {
    const long count = channel.read(chunk, sizeof chunk);
    if (count < 0) return;
    std::string_view octets(chunk, static_cast<std::size_t>(count));
    if (!opened && count > 0) {
      before += octets;
      octets = {};
      for (std::size_t end; !opened && (end = before.find('\n')) != std::string::npos;) {
        opened = before.compare(0, end, opening) == 0;
        before.erase(0, end + 1);
      }
      if (opened) octets = before;
      if (before.size() > agent::kMaxLine) before.clear();
    }
    reader.feed(octets);
    while (auto item = reader.next()) {
      if (auto* request = std::get_if<Request>(&*item)) {
        take(std::move(*request));
      } else {
        const auto& bad = std::get<agent::BadRequest>(*item);
        put_answer(agent::answer_error(bad.seq, bad.number, bad.text), generation_);
      }
    }
    if (!write_some(channel)) return;
    if (count > 0) continue;
    bool want_to_write = false;
    {
      const std::lock_guard lock(mutex_);
      want_to_write = !outbox_.empty();
    }
    pollfd wanted[2] = {channel.wait_for(want_to_write), {wake_fd_.get(), POLLIN, 0}};
    if (poll(wanted, 2, -1) < 0) continue;
    if (wanted[1].revents != 0) {
      std::uint64_t drained = 0;
      [[maybe_unused]] const ssize_t got = ::read(wake_fd_.get(), &drained, sizeof drained);
    }
    if (wanted[0].revents != 0) channel.acknowledge();
  }
}

void Server::drain(Channel& channel) {
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] {
      return std::all_of(lanes_.begin(), lanes_.end(), [](const auto& lane) {
        return !lane.second.busy && lane.second.queue.empty();
      });
    });
  }
  while (write_some(channel)) {
    const std::lock_guard lock(mutex_);
    if (outbox_.empty()) return;
  }
}

}  // namespace displif_cts::exerciser
