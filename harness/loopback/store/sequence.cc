#include "harness/loopback/store/sequence.h"

#include <algorithm>
#include <array>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <ostream>
#include <random>
#include <set>
#include <span>
#include <stdexcept>
#include <vector>

namespace displif_cts::loopback::store {
namespace {

using std::chrono::milliseconds;
using namespace std::string_literals;

constexpr DomainId kDomains = 3;
// A client whose answer has not come twice that long after, though the store went on answering
// domain 0, is held back by a quota. Longer than xenstored's write rate limit delays anybody.
constexpr milliseconds kStalled{100};
constexpr unsigned kStalledRounds = 2;
constexpr milliseconds kPatience{5000};

struct Client {
  std::string name;
  DomainId id = 0;
  std::unique_ptr<Line> line;
  std::string octets;
  bool held = false;
  bool waiting = false;  // for an answer that has not come
  std::uint32_t waiting_for = 0;
  MessageType asked = MessageType::read;  // last
  std::vector<std::uint32_t> transactions;
  std::vector<std::pair<std::string, std::string>> watches;
};

// "OK\0" as "OK\0", other octets as \xNN, long ones as their length and a checksum.
std::string printable(std::string_view payload) {
  constexpr std::size_t kShown = 200;
  if (payload.size() > kShown) {
    std::uint64_t sum = 1469598103934665603ULL;  // FNV-1a
    for (const char c : payload) sum = (sum ^ static_cast<unsigned char>(c)) * 1099511628211ULL;
    return std::to_string(payload.size()) + " octets, sum " + std::to_string(sum);
  }
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text = "\"";
  for (const char c : payload) {
    const auto octet = static_cast<unsigned char>(c);
    if (c == '\0')
      text += "\\0";
    else if (octet >= ' ' && octet <= '~' && c != '\\')
      text += c;
    else
      ((text += "\\x") += kHex[octet >> 4]) += kHex[octet & 15];
  }
  return text + '"';
}

class Sequence {
 public:
  Sequence(World& world, const SequenceOptions& options, std::ostream& out)
      : world_(world), options_(options), out_(out), random_(options.seed) {}

  void play() {
    set_up();
    for (step_ = 1; step_ <= options_.steps; ++step_) {
      random_step();
      settle();
    }
    tear_down();
  }

 private:
  using Work = void (Sequence::*)(Client&);

  // ---- chance --------------------------------------------------------------------------------
  unsigned below(unsigned limit) { return static_cast<unsigned>(random_() % limit); }
  bool one_in(unsigned chances) { return below(chances) == 0; }
  template <class Container>
  auto& any(Container& of) {
    return of[below(static_cast<unsigned>(of.size()))];
  }

  // ---- talking -------------------------------------------------------------------------------
  void line(const std::string& text) { out_ << "#" << step_ << " " << text << "\n"; }

  Client& add_client(std::string name, DomainId id) {
    auto client = std::make_unique<Client>();
    client->name = std::move(name);
    client->id = id;
    client->line = world_.connect(id);
    clients_.push_back(std::move(client));
    return *clients_.back();
  }

  Client* client_of(DomainId id) {
    for (const auto& client : clients_)
      if (client->id == id && client->line) return client.get();
    return nullptr;
  }

  void drop_client(DomainId id) {
    std::erase_if(clients_, [&](const auto& client) { return client->id == id; });
  }

  void gather() {
    for (const auto& client : clients_)
      if (!client->held) client->octets += client->line->take();
  }

  // Prints and takes note of what has come; the answer to `wanted`, when it is among it.
  std::optional<Message> hear(Client& client, std::uint32_t wanted) {
    std::optional<Message> answer;
    while (std::optional<Message> message = take_message(client.octets)) {
      const bool event = message->type() == MessageType::watch_event;
      if (!event && client.waiting && message->header.request == client.waiting_for)
        client.waiting = false;
      if (event || message->header.request != kBarrier) {
        std::string text = "  " + client.name + (event ? " event " : " <- ");
        if (!event) {
          text += std::string(type_name(message->header.type)) + " " +
                  std::to_string(message->header.request) + "/" +
                  std::to_string(message->header.transaction) + " ";
        }
        line(text + shown(client, *message));
      }
      if (!event && message->header.request == wanted) answer = std::move(message);
    }
    return answer;
  }

  std::string shown(const Client& client, const Message& message) const {
    // A running store's generations are its own.
    if (message.type() == MessageType::directory_part && !world_.whole())
      return "(part) " + printable(message.payload.substr(message.payload.find('\0') + 1));
    // Out of memory, xenstored answers these with whatever error came last.
    const bool any_error = memory_short_ && (client.asked == MessageType::write ||
                                             client.asked == MessageType::set_permissions);
    if (message.type() == MessageType::error && any_error) return "(some error)";
    return printable(message.payload);
  }

  // The store works: it answers domain 0. What else comes meanwhile is kept for hear().
  void prove_alive() {
    Client& zero = *clients_.front();
    zero.line->send(encode(MessageType::get_domain_path, kProof, 0, "0\0"s));
    for (;;) {
      gather();
      for (std::size_t at = 0; at + kHeaderSize <= zero.octets.size();) {
        const Header header =
            decode_header(std::span<const char, kHeaderSize>(zero.octets.data() + at, kHeaderSize));
        const std::size_t whole = kHeaderSize + header.length;
        if (header.request == kProof && at + whole <= zero.octets.size()) {
          zero.octets.erase(at, whole);
          return;
        }
        at += whole;
      }
      if (!world_.work(kPatience)) no_answer();
    }
  }

  [[noreturn]] void no_answer() const {
    throw std::runtime_error("no answer in step " + std::to_string(step_));
  }

  std::optional<Message> wait_for(Client& client, std::uint32_t request) {
    const bool may_stall = stalls_possible_ && client.id != 0;
    unsigned rounds = 0;
    for (;;) {
      gather();
      if (auto answer = hear(client, request)) return answer;
      if (client.line->closed()) {
        line("  " + client.name + " closed");
        return std::nullopt;
      }
      if (world_.work(may_stall ? kStalled : kPatience)) continue;
      if (!may_stall) no_answer();
      if (rounds++ < kStalledRounds) {
        prove_alive();
        continue;
      }
      line("  " + client.name + " waits");
      client.waiting = true;
      client.waiting_for = request;
      return std::nullopt;
    }
  }

  std::optional<Message> ask(Client& client, MessageType type, const std::string& payload,
                             std::uint32_t transaction = 0) {
    const std::uint32_t request = ++requests_;
    line(client.name + " " + std::string(type_name(static_cast<std::uint32_t>(type))) + " " +
         std::to_string(request) + "/" + std::to_string(transaction) + " " + printable(payload));
    client.asked = type;
    client.line->send(encode(type, request, transaction, payload));
    return wait_for(client, request);
  }

  // Every event that is due has come before the answer to a later request.
  void settle() {
    for (const auto& client : clients_) {
      if (!client->line || client->held || client->waiting || client->line->closed()) continue;
      client->line->send(encode(MessageType::get_domain_path, kBarrier, 0, "0\0"s));
      wait_for(*client, kBarrier);
    }
    std::erase_if(clients_, [&](const auto& client) { return client->line->closed(); });
  }

  // ---- what is asked -------------------------------------------------------------------------
  std::string any_path(const Client& client) {
    static const std::vector<std::string> kNames = {"a", "b", "c", "device", "x-1", "@y"};
    static const std::vector<std::string> kOdd = {"",
                                                  "/",
                                                  "/a//b",
                                                  "/a/",
                                                  "/tool/xenstored",
                                                  "/bad name",
                                                  "/local",
                                                  "@releaseDomain",
                                                  "@introduceDomain",
                                                  "@other",
                                                  "/local/domain/1",
                                                  "/local/domain/1/" + std::string(2048, 'p'),
                                                  "/local/domain/1/" + std::string(2049, 'p'),
                                                  "/" + std::string(2048, 'q'),
                                                  "a/",
                                                  "/\xe4"};
    if (world_.whole() && one_in(14)) return any(kOdd);
    if (!made_.empty() && one_in(2)) return any(made_);
    std::string path = root_;
    if (world_.whole()) {
      const unsigned where = below(6);
      if (where == 0)
        path = "";  // relative
      else if (where <= 3)
        path = "/local/domain/" + std::to_string(below(5));
      else if (where == 4 && client.id != 0)
        path = "/local/domain/" + std::to_string(client.id);
      else
        path = "/shared";
    }
    for (unsigned depth = 1 + below(3); depth > 0; --depth) {
      if (!path.empty()) path += "/";
      path += any(kNames);
    }
    return path;
  }

  std::string any_value() {
    const unsigned kind = below(12);
    if (kind == 0) return "";
    if (kind == 1) return std::string(below(200), 'v');
    if (kind == 2) return std::string(1700 + below(600), 'V');
    if (kind == 3) return "\0binary\x01\xff\0"s;
    return std::to_string(below(1000));
  }

  std::uint32_t any_transaction(Client& client) {
    if (one_in(40)) return 77;
    if (client.transactions.empty() || one_in(2)) return 0;
    return any(client.transactions);
  }

  std::string any_entry(const Client& client) {
    static const std::vector<std::string> kOdd = {
        "x1", "r", "r1x", "n0x2", "r 0", "b-1", "r29999", "w1234567890123", "r030111", ""};
    if (one_in(12)) return any(kOdd);
    constexpr std::string_view kLetters = "nrwb";
    DomainId id = one_in(3) ? client.id : below(kDomains + 2);
    if (!world_.whole() && id != 0) id += 32000;  // those of a running machine are not ours
    return std::string(1, kLetters[below(4)]) + std::to_string(id);
  }

  void read(Client& c) { ask(c, MessageType::read, any_path(c) + '\0', any_transaction(c)); }
  void directory(Client& c) {
    ask(c, MessageType::directory, any_path(c) + '\0', any_transaction(c));
  }
  void directory_part(Client& c) {
    std::string payload = any_path(c) + '\0' + std::to_string(below(12)) + '\0';
    if (one_in(10)) payload.pop_back();
    ask(c, MessageType::directory_part, payload, any_transaction(c));
  }
  void get_permissions(Client& c) {
    ask(c, MessageType::get_permissions, any_path(c) + '\0', any_transaction(c));
  }
  void set_permissions(Client& c) {
    std::string path = any_path(c);
    // Where xenstored refuses a special node, it answers with whatever error came last.
    const bool special = path == "@releaseDomain" || path == "@introduceDomain";
    if (path.starts_with('@') && (c.id != 0 || !special)) path = "/shared";
    // A domain that owns the root takes all of xenstored's nodes along when it goes.
    if (path == "/") path = "/shared";
    std::string payload = path + '\0';
    // Its own node to others, most of the time.
    if (!one_in(4)) payload += "nrwb"[below(4)] + std::to_string(one_in(4) ? 0 : c.id) + '\0';
    for (unsigned i = below(4); i > 0; --i) payload += any_entry(c) + '\0';
    if (one_in(30))
      for (unsigned i = 0; i < 6; ++i) payload += "r2\0"s;
    ask(c, MessageType::set_permissions, payload, any_transaction(c));
  }
  // Paths of nodes that were made lately are asked for more often than others.
  void remember(const Client& client, std::string path, const std::optional<Message>& answer) {
    constexpr std::size_t kMany = 12;
    if (!answer || answer->type() == MessageType::error) return;
    if (!path.starts_with('/')) path = "/local/domain/" + std::to_string(client.id) + "/" + path;
    made_.push_back(path);
    if (made_.size() > kMany) made_.erase(made_.begin());
  }
  void write(Client& c) {
    const std::string path = any_path(c);
    std::string payload = path;
    if (!one_in(60)) payload += '\0' + any_value();
    payload.resize(std::min<std::size_t>(payload.size(), kPayloadMax));
    remember(c, path, ask(c, MessageType::write, payload, any_transaction(c)));
  }
  void mkdir(Client& c) {
    const std::string path = any_path(c);
    remember(c, path, ask(c, MessageType::mkdir, path + '\0', any_transaction(c)));
  }
  void remove(Client& c) { ask(c, MessageType::remove, any_path(c) + '\0', any_transaction(c)); }
  void watch(Client& c) {
    static const std::vector<std::string> kTokens = {"t", "token", "", "t 2"};
    std::string path = one_in(6) ? "@releaseDomain" : one_in(8) ? "@introduceDomain" : any_path(c);
    if (world_.whole() && one_in(8)) path = one_in(2) ? "/" : "/local/domain";
    const std::string& token = any(kTokens);
    std::string payload = path + '\0' + token + '\0';
    if (one_in(25)) payload += "more\0"s;
    if (one_in(25)) payload += "tail";
    ask(c, MessageType::watch, payload, one_in(20) ? 77 : 0);
    c.watches.emplace_back(path, token);
  }
  void unwatch(Client& c) {
    std::pair<std::string, std::string> watch{any_path(c), "t"};
    if (!c.watches.empty() && !one_in(5)) watch = any(c.watches);
    ask(c, MessageType::unwatch, watch.first + '\0' + watch.second + '\0');
  }
  void reset_watches(Client& c) {
    if (!ask(c, MessageType::reset_watches, one_in(2) ? "" : "\0"s)) return;
    c.transactions.clear();
    c.watches.clear();
  }
  void transaction_start(Client& c) {
    const auto answer =
        ask(c, MessageType::transaction_start, "\0"s, one_in(12) ? any_transaction(c) : 0);
    if (answer && answer->type() == MessageType::transaction_start)
      c.transactions.push_back(static_cast<std::uint32_t>(std::stoul(answer->payload)));
  }
  void transaction_end(Client& c) {
    static const std::vector<std::string> kEnds = {"T\0"s, "T\0"s, "T\0"s, "F\0"s, "T", "X\0"s};
    const std::uint32_t id = any_transaction(c);
    const auto answer = ask(c, MessageType::transaction_end, any(kEnds), id);
    if (answer && answer->payload != "EINVAL\0"s) std::erase(c.transactions, id);
  }
  void get_domain_path(Client& c) {
    static const std::vector<std::string> kIds = {"0\0"s, "7\0"s, "-1\0"s, "x\0"s, "5", ""};
    ask(c, MessageType::get_domain_path, any(kIds));
  }
  void unknown(Client& c) {
    constexpr std::array<std::uint32_t, 5> kTypes = {15, 16, 20, 23, 4711};
    ask(c, static_cast<MessageType>(any(kTypes)), "/\0"s, one_in(4) ? 99 : 0);
  }
  // What only the privileged may ask; others are told so.
  void privileged_request(Client& c) {
    const std::string id = std::to_string(below(kDomains + 3)) + '\0';
    switch (below(4)) {
      case 0:
        ask(c, MessageType::is_domain_introduced, one_in(6) ? "32752\0"s : id);
        break;
      case 1:
        ask(c, MessageType::resume, one_in(8) ? "1" : id);
        break;
      case 2:
        if (c.id != 0)
          ask(c, MessageType::introduce,
              id + "1\0"
                   "1\0"s);
        else
          ask(c, MessageType::introduce,
              id + "1\0"
                   "0\0"s);
        break;
      default:
        show_usage(c);
        break;
    }
  }
  void show_usage(Client& c) {
    const DomainId id = below(kDomains + 2);
    if (!dead_target(id)) ask(c, MessageType::control, "quota\0"s + std::to_string(id) + '\0');
  }

  // What xenstored still counts of a dead domain that is a target, we no longer do.
  bool dead_target(DomainId id) { return targets_.count(id) != 0 && !exists_[id]; }

  // ---- domains -------------------------------------------------------------------------------
  void introduce(DomainId id) {
    Client& zero = *clients_.front();
    drop_client(id);
    const auto answer = ask(zero, MessageType::introduce,
                            std::to_string(id) +
                                "\0"
                                "1\0"
                                "1\0"s);
    if (answer && answer->type() == MessageType::introduce)
      add_client("d" + std::to_string(id), id);
  }
  bool introduced(DomainId id) {
    const auto answer =
        ask(*clients_.front(), MessageType::is_domain_introduced, std::to_string(id) + '\0');
    return answer && answer->payload == "T\0"s;
  }
  void domain_event() {
    const DomainId id = 1 + below(kDomains);
    const unsigned what = below(8);
    if (what == 0 && exists_[id]) {
      line("shut down " + std::to_string(id));
      world_.shut_down(id);
    } else if (what <= 2 && exists_[id]) {
      // Events for a dead target stay in its ring, and their causes outstanding.
      if (targets_.count(id) != 0) {
        Client* const target = client_of(id);
        if (!target) return;
        reset_watches(*target);
      }
      line("destroy " + std::to_string(id));
      world_.destroy(id);
      exists_[id] = false;
      drop_client(id);
    } else if (what == 3 && targets_.count(id) == 0) {
      // Released while another has it as its target, xenstored would keep a pointer to it.
      ask(*clients_.front(), MessageType::release, std::to_string(id) + '\0');
      if (!introduced(id)) drop_client(id);
    } else if (what == 4 && exists_[id]) {
      introduce(id);
    } else if (what == 5) {
      ask(*clients_.front(), MessageType::introduce,
          "9\0"
          "1\0"
          "1\0"s);
    } else if (what == 6 && exists_[id]) {
      const DomainId other = 1 + below(kDomains);
      // One that is the target of two, xenstored never lets go.
      if (!exists_[other] || other == id || targets_.count(other) != 0) return;
      targets_.insert(other);
      ask(*clients_.front(), MessageType::set_target,
          std::to_string(id) + '\0' + std::to_string(other) + '\0');
    } else if (!exists_[id] && !introduced(id)) {
      line("create " + std::to_string(id));
      world_.create(id);
      exists_[id] = true;
      targets_.erase(id);
      if (!one_in(4)) introduce(id);
    }
  }

  // ---- quotas --------------------------------------------------------------------------------
  void set_quota() {
    struct Range {
      const char* name;
      unsigned least, more, usual;
    };
    static const std::vector<Range> kQuotas = {
        {"nodes", 4, 20, 1000},       {"watches", 1, 5, 128},
        {"transactions", 1, 3, 10},   {"transaction-nodes", 2, 12, 1024},
        {"node-size", 60, 200, 2048}, {"path-max", 8, 40, 2048},
        {"permissions", 1, 4, 5}};
    const Range& quota = any(kQuotas);
    const unsigned value = one_in(2) ? quota.usual : quota.least + below(quota.more);
    ask(*clients_.front(), MessageType::control,
        "quota\0set\0"s + quota.name + '\0' + std::to_string(value) + '\0');
  }

  // A domain above its memory is told so, or not served at all.
  void memory_quota() {
    Client& zero = *clients_.front();
    stalls_possible_ = memory_short_ = true;
    ask(zero, MessageType::control,
        "quota\0set\0memory\0"s + std::to_string(300 + below(3000)) + '\0');
    for (unsigned i = 2 + below(6); i > 0; --i) {
      Client& client = *any(clients_);
      if (!client.waiting && !client.held && !client.line->closed()) random_request(client);
      settle();
    }
    ask(zero, MessageType::control,
        "quota\0set\0memory\0"
        "2621440\0"s);
    resume();
    stalls_possible_ = memory_short_ = false;
  }

  // Clients that do not read: events pile up, and those who cause them have to wait.
  void held_lines() {
    Client& zero = *clients_.front();
    Client* const reader = client_of(1 + below(kDomains));
    if (!reader) return;
    stalls_possible_ = true;
    ask(zero, MessageType::control,
        "quota\0set\0outstanding\0"s + std::to_string(1 + below(6)) + '\0');
    ask(*reader, MessageType::watch, "/shared\0"s + std::string(1 + below(60), 'h') + '\0');
    settle();
    line("hold " + reader->name);
    reader->held = true;
    reader->line->hold(true);
    for (unsigned i = 10 + below(25); i > 0; --i) {
      Client& client = *any(clients_);
      if (client.waiting || client.held || client.line->closed()) continue;
      if (one_in(4)) {
        random_request(client);
      } else {
        ask(client, one_in(3) ? MessageType::mkdir : MessageType::write,
            "/shared/" + std::string(1 + below(80), "abc"[below(3)]) + '\0');
      }
      settle();
    }
    line("go on " + reader->name);
    reader->held = false;
    reader->line->hold(false);
    resume();
    ask(zero, MessageType::control,
        "quota\0set\0outstanding\0"
        "20\0"s);
    resume();
    stalls_possible_ = false;
  }

  // Everybody reads; whoever waited gets the answer.
  void resume() {
    for (unsigned quiet = 0; quiet < kStalledRounds;) {
      gather();
      quiet = world_.work(kStalled) ? 0 : quiet + 1;
      if (quiet > 0) prove_alive();
    }
    for (const auto& client : clients_) hear(*client, 0);
    for (const auto& client : clients_)
      if (client->waiting) line("  " + client->name + " still waits");
    // Out of a stall that its own transactions or watches keep up, only this leads.
    std::vector<DomainId> stuck;
    for (const auto& client : clients_)
      if (client->waiting) stuck.push_back(client->id);
    for (const DomainId id : stuck) introduce(id);
  }

  // ---- the whole -----------------------------------------------------------------------------
  void random_request(Client& client) {
    struct Choice {
      unsigned weight;
      Work work;
    };
    static const std::vector<Choice> kChoices = {{10, &Sequence::read},
                                                 {6, &Sequence::directory},
                                                 {4, &Sequence::directory_part},
                                                 {5, &Sequence::get_permissions},
                                                 {14, &Sequence::set_permissions},
                                                 {22, &Sequence::write},
                                                 {8, &Sequence::mkdir},
                                                 {9, &Sequence::remove},
                                                 {9, &Sequence::watch},
                                                 {4, &Sequence::unwatch},
                                                 {1, &Sequence::reset_watches},
                                                 {7, &Sequence::transaction_start},
                                                 {11, &Sequence::transaction_end},
                                                 {1, &Sequence::get_domain_path},
                                                 {1, &Sequence::unknown},
                                                 {4, &Sequence::privileged_request}};
    unsigned all = 0;
    for (const Choice& choice : kChoices) all += choice.weight;
    unsigned at = below(all);
    for (const Choice& choice : kChoices) {
      if (at < choice.weight) {
        const bool privileged = choice.work == &Sequence::privileged_request;
        (this->*(privileged && !world_.whole() ? &Sequence::read : choice.work))(client);
        return;
      }
      at -= choice.weight;
    }
  }

  void random_step() {
    if (world_.whole()) {
      const unsigned rare = below(200);
      if (rare < 8) return domain_event();
      if (rare < 16) return set_quota();
      if (rare < 18) return memory_quota();
      if (rare < 20) return held_lines();
      if (rare < 26) return show_usage(*clients_.front());
      if (rare == 26) return break_off();
    }
    random_request(*any(clients_));
  }

  // More than a payload may have.
  void break_off() {
    if (clients_.size() < 3) return;
    Client& client = *clients_[2 + below(static_cast<unsigned>(clients_.size()) - 2)];
    // xenstored serves a ring again only after its release, which is not for targets.
    if (targets_.count(client.id) != 0) return;
    line(client.name + " sends too much");
    std::string octets;
    append_header(octets, {static_cast<std::uint32_t>(MessageType::read), 1, 0, kPayloadMax + 1});
    client.line->send(octets);
    const DomainId id = client.id;
    // A ring's error is only written into its page.
    for (unsigned i = 0; i < 100 && !client.line->closed(); ++i) {
      world_.work(milliseconds(50));
      gather();
    }
    line(client.name + (client.line->closed() ? " closed" : " not closed"));
    drop_client_if_closed();
    if (id == 0) return void(add_client("0c", 0));
    ask(*clients_.front(), MessageType::release, std::to_string(id) + '\0');
    if (!introduced(id) && exists_[id]) introduce(id);
  }
  void drop_client_if_closed() {
    std::erase_if(clients_, [](const auto& client) { return client->line->closed(); });
  }

  void set_up() {
    add_client("0a", 0);
    add_client("0b", 0);
    Client& zero = *clients_.front();
    if (!world_.whole()) {
      add_client("0c", 0);
      root_ = "/displif-store-sequences";
      ask(zero, MessageType::remove, root_ + '\0');
      ask(zero, MessageType::mkdir, root_ + '\0');
      return;
    }
    ask(zero, MessageType::mkdir, "/local/domain/0\0"s);
    ask(zero, MessageType::set_permissions, "/local/domain\0n0\0r0\0"s);
    ask(zero, MessageType::mkdir, "/shared\0"s);
    ask(zero, MessageType::set_permissions, "/shared\0b0\0"s);
    for (DomainId id = 1; id <= kDomains; ++id) {
      const std::string directory = "/local/domain/" + std::to_string(id) + '\0';
      line("create " + std::to_string(id));
      world_.create(id);
      exists_[id] = true;
      introduce(id);
      ask(zero, MessageType::mkdir, directory);
      ask(zero, MessageType::set_permissions, directory + "n" + std::to_string(id) + '\0');
    }
    settle();
  }

  void tear_down() {
    Client& zero = *clients_.front();
    if (!world_.whole()) {
      ask(zero, MessageType::remove, root_ + '\0');
      return;
    }
    for (DomainId id = 0; id <= kDomains; ++id)
      if (!dead_target(id)) ask(zero, MessageType::control, "quota\0"s + std::to_string(id) + '\0');
    dump(zero, "/");
  }

  // All that is there in the end.
  void dump(Client& zero, const std::string& path) {
    ask(zero, MessageType::read, path + '\0');
    ask(zero, MessageType::get_permissions, path + '\0');
    const auto answer = ask(zero, MessageType::directory_part, path + '\0' + "0\0"s);
    if (!answer || answer->type() != MessageType::directory_part) return;
    std::string_view names(answer->payload);
    names.remove_prefix(names.find('\0') + 1);
    while (!names.empty() && names.front() != '\0') {
      const std::string name(names.substr(0, names.find('\0')));
      names.remove_prefix(name.size() + 1);
      dump(zero, (path == "/" ? "" : path) + "/" + name);
    }
  }

  // Requests that are not printed.
  static constexpr std::uint32_t kBarrier = 0xba881e5;
  static constexpr std::uint32_t kProof = 0xba881e6;

  World& world_;
  SequenceOptions options_;
  std::ostream& out_;
  std::mt19937_64 random_;
  unsigned step_ = 0;
  std::uint32_t requests_ = 0;
  std::vector<std::unique_ptr<Client>> clients_;
  std::vector<std::string> made_;
  std::map<DomainId, bool> exists_;
  std::set<DomainId> targets_;  // of XS_SET_TARGET, at any time
  std::string root_;
  bool stalls_possible_ = false;
  bool memory_short_ = false;
};

}  // namespace

void play_sequence(World& world, const SequenceOptions& options, std::ostream& out) {
  Sequence(world, options, out).play();
}

}  // namespace displif_cts::loopback::store
