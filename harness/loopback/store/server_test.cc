// The server's core, octets in and octets out. Each rule is one of xenstored 4.17's; whether the
// whole is, sequences tell (test_store_fidelity.py).
#include "harness/loopback/store/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>

#include "harness/loopback/store/tree.h"

namespace displif_cts::loopback::store {
namespace {

using namespace std::string_literals;
using testing::ElementsAre;
using testing::IsEmpty;

using Type = MessageType;

// One client. ask() gives the answer's payload, or the error's word with a '!' before it; events
// that come meanwhile are kept as "path token".
class Client {
 public:
  Client(Server& server, DomainId id) : server_(server), connection_(server.connect(id)) {}
  ~Client() {
    if (connection_) server_.disconnect(*connection_);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void send(Type type, const std::string& payload, std::uint32_t transaction = 0) {
    connection_->receive(encode(type, 7, transaction, payload));
    while (server_.step()) {
    }
  }
  std::string ask(Type type, const std::string& payload, std::uint32_t transaction = 0) {
    send(type, payload, transaction);
    return answer();
  }
  std::string answer() {
    read();
    if (answers_.empty()) return "(none)";
    const Message message = answers_.front();
    answers_.erase(answers_.begin());
    if (message.type() != Type::error) return message.payload;
    return "!" + std::string(message.payload.c_str());
  }
  std::vector<std::string> events() {
    read();
    return std::exchange(events_, {});
  }
  // What comes, in its order: "event" or the answer's type.
  std::vector<std::string> order() {
    read();
    return std::exchange(order_, {});
  }

  std::string write(const std::string& path, const std::string& value, std::uint32_t t = 0) {
    return ask(Type::write, path + '\0' + value, t);
  }
  std::string get(const std::string& path, std::uint32_t t = 0) {
    return ask(Type::read, path + '\0', t);
  }
  std::string list(const std::string& path, std::uint32_t t = 0) {
    return ask(Type::directory, path + '\0', t);
  }
  std::string remove(const std::string& path, std::uint32_t t = 0) {
    return ask(Type::remove, path + '\0', t);
  }
  std::string permit(const std::string& path, const std::string& entries, std::uint32_t t = 0) {
    return ask(Type::set_permissions, path + '\0' + entries, t);
  }
  std::string permissions(const std::string& path) {
    return ask(Type::get_permissions, path + '\0');
  }
  std::string watch(const std::string& path, const std::string& token) {
    return ask(Type::watch, path + '\0' + token + '\0');
  }
  std::uint32_t begin() {
    return static_cast<std::uint32_t>(std::stoul(ask(Type::transaction_start, "\0"s)));
  }
  std::string commit(std::uint32_t t) { return ask(Type::transaction_end, "T\0"s, t); }

  Connection& connection() { return *connection_; }

 private:
  void read() {
    while (connection_->has_output()) {
      octets_ += connection_->output();
      connection_->sent(connection_->output().size());
    }
    while (auto message = take_message(octets_)) {
      if (message->type() == Type::watch_event) {
        order_.emplace_back("event");
        const auto strings = strings_of(message->payload);
        events_.push_back(std::string(strings[0]) + " " + std::string(strings[1]));
      } else {
        order_.emplace_back(type_name(message->header.type));
        answers_.push_back(*message);
      }
    }
  }

  Server& server_;
  std::shared_ptr<Connection> connection_;
  std::string octets_;
  std::vector<Message> answers_;
  std::vector<std::string> events_;
  std::vector<std::string> order_;
};

const std::string kOk = "OK\0"s;

class Store : public testing::Test {
 protected:
  static Server::Options options() {
    Server::Options made;
    made.now = [] { return clock; };
    return made;
  }
  void SetUp() override {
    for (const DomainId id : {1U, 2U}) add(id);
    zero.permit("/local/domain", "n0\0r0\0"s);
    zero.write("/shared", "");
    zero.permit("/shared", "b0\0"s);
  }
  void add(DomainId id) {
    server.domain_created(id);
    ASSERT_EQ(server.introduce(id), 0);
    const std::string directory = "/local/domain/" + std::to_string(id);
    zero.write(directory, "");
    zero.permit(directory, "n" + std::to_string(id) + '\0');
  }

  static inline std::chrono::steady_clock::time_point clock;
  Server server{options()};
  Client zero{server, 0};
};

TEST_F(Store, begins_as_xenstored_does) {
  Server fresh;
  Client client(fresh, 0);
  EXPECT_EQ(client.list("/"), "tool\0"s);
  EXPECT_EQ(client.list("/tool"), "xenstored\0"s);
  EXPECT_EQ(client.permissions("/"), "n0\0"s);
  EXPECT_EQ(client.ask(Type::directory_part,
                       "/tool/xenstored\0"
                       "0\0"s),
            "3\0\0"s);
}

TEST_F(Store, answers_carry_the_ids_of_their_requests) {
  auto connection = server.connect(0);
  connection->receive(encode(Type::read, 4711, 0, "/tool\0"s));
  server.step();
  const Header header =
      decode_header(std::span<const char, kHeaderSize>(connection->output().data(), kHeaderSize));
  EXPECT_EQ(header.request, 4711U);
  EXPECT_EQ(header.transaction, 0U);
  EXPECT_EQ(header.type, static_cast<std::uint32_t>(Type::read));
  EXPECT_EQ(header.length, 0U);
}

TEST_F(Store, requests_may_come_octet_by_octet) {
  auto connection = server.connect(0);
  for (const char octet : encode(Type::get_domain_path, 1, 0, "5\0"s)) {
    EXPECT_FALSE(connection->has_output());
    connection->receive(std::string_view(&octet, 1));
    server.step();
  }
  EXPECT_EQ(connection->output().substr(kHeaderSize), "/local/domain/5\0"s);
}

TEST_F(Store, unknown_types_are_not_implemented) {
  for (const std::uint32_t type : {15U, 16U, 20U, 23U, 4711U})
    EXPECT_EQ(zero.ask(static_cast<Type>(type), "/\0"s), "!ENOSYS") << type;
}

TEST_F(Store, the_unprivileged_may_not_ask_what_is_the_toolstacks) {
  Client one(server, 1);
  for (const Type type : {Type::control, Type::introduce, Type::release, Type::resume,
                          Type::set_target, Type::is_domain_introduced})
    EXPECT_EQ(one.ask(type,
                      "1\0"
                      "1\0"
                      "1\0"s),
              "!EACCES")
        << static_cast<int>(type);
}

TEST_F(Store, a_payload_above_the_limit_ends_that_client_only) {
  Client one(server, 1);
  auto other = server.connect(1);
  std::string octets;
  append_header(octets, {static_cast<std::uint32_t>(Type::read), 1, 0, kPayloadMax + 1});
  other->receive(octets);
  server.step();
  EXPECT_TRUE(other->closed());
  EXPECT_FALSE(one.connection().closed());
  EXPECT_EQ(one.get("/shared"), "");
}

TEST_F(Store, malformed_arguments_are_invalid) {
  EXPECT_EQ(zero.ask(Type::read, "/tool"), "!EINVAL");            // no NUL
  EXPECT_EQ(zero.ask(Type::read, "/tool\0/tool\0"s), "!EINVAL");  // two
  EXPECT_EQ(zero.ask(Type::write, "/tool"), "!EINVAL");
  EXPECT_EQ(zero.ask(Type::watch, "/tool\0"s), "!EINVAL");
  EXPECT_EQ(zero.ask(Type::transaction_end, "X\0"s), "!EINVAL");
  EXPECT_EQ(zero.ask(Type::set_permissions, "/tool\0"s), "!EINVAL");
  EXPECT_EQ(zero.permit("/tool", "x0\0"s), "!EINVAL");
  EXPECT_EQ(zero.permit("/tool", "r\0"s), "!EINVAL");
}

TEST_F(Store, paths_are_of_certain_characters_and_length) {
  for (const char* path : {"/a//b", "/a/", "/a b", "/a.b", "", "@releaseDomain", "/\xc3\xa4"})
    EXPECT_EQ(zero.write(path, "x"), "!EINVAL") << path;
  EXPECT_EQ(zero.write("/" + std::string(2047, 'a'), ""), kOk);
  EXPECT_EQ(zero.write("/" + std::string(2048, 'a'), ""), "!EINVAL");
  // A domain's own directory does not count.
  EXPECT_EQ(zero.write("/local/domain/1/" + std::string(2048, 'a'), ""), kOk);
  EXPECT_EQ(zero.write("/local/domain/1/" + std::string(2049, 'a'), ""), "!EINVAL");
}

TEST_F(Store, writing_makes_what_is_missing_above) {
  EXPECT_EQ(zero.write("/x/y/z", "value"), kOk);
  EXPECT_EQ(zero.list("/x"), "y\0"s);
  EXPECT_EQ(zero.get("/x/y"), "");
  EXPECT_EQ(zero.get("/x/y/z"), "value");
}

TEST_F(Store, children_stand_in_the_order_of_their_creation) {
  for (const char* name : {"c", "a", "b"}) zero.write("/shared/"s + name, "");
  EXPECT_EQ(zero.list("/shared"), "c\0a\0b\0"s);
}

TEST_F(Store, relative_paths_begin_at_the_own_domain) {
  Client one(server, 1);
  EXPECT_EQ(one.write("device/x", "1"), kOk);
  EXPECT_EQ(zero.get("/local/domain/1/device/x"), "1");
  EXPECT_EQ(zero.write("y", "0"), kOk);
  EXPECT_EQ(zero.get("/local/domain/0/y"), "0");
}

TEST_F(Store, removing_what_is_gone_succeeds_if_its_parent_is_there) {
  EXPECT_EQ(zero.remove("/shared/gone"), kOk);
  EXPECT_EQ(zero.remove("/gone/gone"), "!ENOENT");
  EXPECT_EQ(zero.remove("/"), "!EINVAL");
}

TEST_F(Store, directories_too_long_for_an_answer_come_in_parts) {
  for (int i = 0; i < 100; ++i)
    zero.write("/shared/" + std::string(60, 'n') + std::to_string(i), "");
  EXPECT_EQ(zero.list("/shared"), "!E2BIG");
  std::string names;
  for (bool more = true; more;) {
    const std::string part =
        zero.ask(Type::directory_part, "/shared\0"s + std::to_string(names.size()) + '\0');
    ASSERT_LE(part.size(), kPayloadMax);
    std::string some = part.substr(part.find('\0') + 1);
    more = !some.ends_with("\0\0"s);
    if (!more) some.pop_back();
    names += some;
  }
  EXPECT_EQ(strings_of(names).size(), 100U);
}

// ---- permissions -------------------------------------------------------------------------------

struct Access {
  const char* entries;
  bool readable;
  bool writable;
};

class Permitted : public Store, public testing::WithParamInterface<Access> {};

TEST_P(Permitted, as_the_list_says) {
  zero.write("/shared/node", "old");
  zero.permit("/shared/node", std::string(GetParam().entries) + '\0');
  Client one(server, 1);
  EXPECT_EQ(one.get("/shared/node"), GetParam().readable ? "old" : "!EACCES");
  EXPECT_EQ(one.write("/shared/node", "new"), GetParam().writable ? kOk : "!EACCES");
  EXPECT_EQ(zero.get("/shared/node"), GetParam().writable ? "new" : "old");
}

INSTANTIATE_TEST_SUITE_P(All, Permitted,
                         testing::Values(Access{"n0", false, false}, Access{"r0", true, false},
                                         Access{"w0", false, true}, Access{"b0", true, true},
                                         Access{"n1", true, true}));

TEST_F(Store, an_entry_of_its_own_comes_before_the_one_for_all) {
  zero.write("/shared/node", "v");
  zero.permit("/shared/node", "b0\0n1\0"s);
  Client one(server, 1);
  Client two(server, 2);
  EXPECT_EQ(one.get("/shared/node"), "!EACCES");
  EXPECT_EQ(two.get("/shared/node"), "v");
}

TEST_F(Store, who_may_not_read_the_parent_is_not_told_that_a_node_is_missing) {
  Client two(server, 2);
  EXPECT_EQ(two.get("/local/domain/1/nothing"), "!EACCES");
  EXPECT_EQ(two.get("/shared/nothing"), "!ENOENT");
  EXPECT_EQ(two.write("/local/domain/1/new", ""), "!EACCES");
}

TEST_F(Store, an_unprivileged_domain_owns_what_it_makes_and_inherits_the_rest) {
  zero.permit("/shared", "b0\0r2\0"s);
  Client one(server, 1);
  one.write("/shared/a/b", "");
  EXPECT_EQ(zero.permissions("/shared/a"), "b1\0r2\0"s);
  EXPECT_EQ(zero.permissions("/shared/a/b"), "b1\0r2\0"s);
  zero.write("/shared/z", "");
  EXPECT_EQ(zero.permissions("/shared/z"), "b0\0r2\0"s);
}

TEST_F(Store, only_the_owner_changes_a_list_and_it_cannot_give_the_node_away) {
  Client one(server, 1);
  Client two(server, 2);
  one.write("/shared/node", "");
  EXPECT_EQ(two.permit("/shared/node", "b2\0"s), "!EACCES");
  EXPECT_EQ(one.permit("/shared/node", "n2\0"s), "!EPERM");
  EXPECT_EQ(one.permit("/shared/node", "n1\0r2\0"s), kOk);
  EXPECT_EQ(zero.permit("/shared/node", "n2\0"s), kOk);
  EXPECT_EQ(server.usage(1)->nodes, 1);
  EXPECT_EQ(server.usage(2)->nodes, 2);
}

TEST_F(Store, a_domain_that_does_not_exist_cannot_own) {
  zero.write("/shared/node", "");
  EXPECT_EQ(zero.permit("/shared/node", "n99\0"s), "!ENOENT");
  EXPECT_EQ(zero.permit("/shared/node", "n0\0r99\0"s), kOk);
}

TEST_F(Store, a_new_domain_of_an_old_number_gets_nothing_by_old_lists) {
  zero.write("/shared/node", "secret");
  zero.permit("/shared/node", "n0\0r2\0"s);
  EXPECT_EQ(Client(server, 2).get("/shared/node"), "secret");
  server.domain_died(2);
  zero.write("/elsewhere", "");  // time goes on
  add(2);
  EXPECT_EQ(Client(server, 2).get("/shared/node"), "!EACCES");
}

TEST_F(Store, a_domain_has_what_its_target_has) {
  Client one(server, 1);
  EXPECT_EQ(one.get("/local/domain/2"), "!EACCES");
  EXPECT_EQ(zero.ask(Type::set_target,
                     "1\0"
                     "2\0"s),
            kOk);
  EXPECT_EQ(one.get("/local/domain/2"), "");
  EXPECT_EQ(zero.ask(Type::set_target,
                     "1\0"
                     "9\0"s),
            "!ENOENT");
}

// ---- transactions ------------------------------------------------------------------------------

TEST_F(Store, a_transaction_is_seen_by_nobody_until_it_ends) {
  const auto t = zero.begin();
  EXPECT_EQ(zero.write("/shared/a", "in", t), kOk);
  EXPECT_EQ(zero.get("/shared/a", t), "in");
  EXPECT_EQ(zero.get("/shared/a"), "!ENOENT");
  EXPECT_EQ(zero.commit(t), kOk);
  EXPECT_EQ(zero.get("/shared/a"), "in");
  EXPECT_EQ(zero.get("/shared/a", t), "!ENOENT");  // it is over
}

TEST_F(Store, an_abandoned_transaction_leaves_nothing) {
  const auto t = zero.begin();
  zero.write("/shared/a", "in", t);
  EXPECT_EQ(zero.ask(Type::transaction_end, "F\0"s, t), kOk);
  EXPECT_EQ(zero.get("/shared/a"), "!ENOENT");
}

TEST_F(Store, what_a_transaction_has_read_must_not_change) {
  for (const char* node : {"/shared/a", "/shared/b", "/shared/other"}) zero.write(node, "1");
  for (const bool disturbed : {false, true}) {
    const auto t = zero.begin();
    zero.get("/shared/a", t);
    zero.write("/shared/b", "2", t);
    zero.write(disturbed ? "/shared/a" : "/shared/other", "3");
    EXPECT_EQ(zero.commit(t), disturbed ? "!EAGAIN" : kOk);
  }
}

TEST_F(Store, what_a_transaction_has_missed_must_not_come) {
  const auto t = zero.begin();
  EXPECT_EQ(zero.get("/shared/a", t), "!ENOENT");
  zero.write("/shared/a", "");
  EXPECT_EQ(zero.commit(t), "!EAGAIN");
}

TEST_F(Store, a_transaction_goes_on_seeing_what_it_saw) {
  zero.write("/shared/a", "old");
  const auto t = zero.begin();
  EXPECT_EQ(zero.get("/shared/a", t), "old");
  zero.write("/shared/a", "new");
  EXPECT_EQ(zero.get("/shared/a", t), "old");
}

TEST_F(Store, transactions_do_not_nest_and_belong_to_their_client) {
  const auto t = zero.begin();
  EXPECT_EQ(zero.ask(Type::transaction_start, "\0"s, t), "!EBUSY");
  Client other(server, 0);
  EXPECT_EQ(other.get("/shared", t), "!ENOENT");
  EXPECT_EQ(zero.ask(Type::transaction_end, "T\0"s), "!ENOENT");
}

TEST_F(Store, watches_hear_of_a_transaction_when_it_ends) {
  zero.watch("/shared", "t");
  zero.events();
  const auto t = zero.begin();
  zero.write("/shared/a", "", t);
  zero.write("/shared/a", "again", t);
  EXPECT_THAT(zero.events(), IsEmpty());
  zero.commit(t);
  EXPECT_THAT(zero.events(), ElementsAre("/shared/a t"));
}

TEST_F(Store, removal_in_a_transaction_is_seen_and_committed) {
  zero.write("/shared/a/b", "");
  const auto t = zero.begin();
  EXPECT_EQ(zero.remove("/shared/a", t), kOk);
  EXPECT_EQ(zero.list("/shared", t), "");
  EXPECT_EQ(zero.list("/shared"), "a\0"s);
  EXPECT_EQ(zero.commit(t), kOk);
  EXPECT_EQ(zero.get("/shared/a/b"), "!ENOENT");
}

// ---- watches -----------------------------------------------------------------------------------

TEST_F(Store, a_watch_fires_once_at_once_after_its_answer) {
  zero.order();
  EXPECT_EQ(zero.watch("/not/there", "token"), kOk);
  EXPECT_THAT(zero.order(), ElementsAre("WATCH", "event"));
  EXPECT_THAT(zero.events(), ElementsAre("/not/there token"));
}

TEST_F(Store, events_of_an_own_write_come_before_its_answer) {
  zero.watch("/shared", "t");
  zero.order();
  zero.write("/shared/a", "");
  EXPECT_THAT(zero.order(), ElementsAre("event", "WRITE"));
}

TEST_F(Store, a_watch_hears_of_all_below) {
  zero.watch("/shared", "t");
  zero.events();
  zero.write("/shared/a/b", "");
  zero.write("/sharedness", "");
  EXPECT_THAT(zero.events(), ElementsAre("/shared/a/b t"));
}

TEST_F(Store, removal_is_told_to_watches_on_each_node_and_once_above) {
  zero.write("/shared/a/b", "");
  zero.write("/shared/a/c", "");
  zero.watch("/shared", "top");
  zero.watch("/shared/a/b", "leaf");
  zero.events();
  zero.remove("/shared/a");
  EXPECT_THAT(zero.events(), ElementsAre("/shared/a/b leaf", "/shared/a top"));
}

TEST_F(Store, a_relative_watch_has_relative_events) {
  Client one(server, 1);
  one.watch("device", "t");
  one.write("/local/domain/1/device/x", "");
  EXPECT_THAT(one.events(), ElementsAre("device t", "device/x t"));
}

TEST_F(Store, the_same_watch_is_taken_once) {
  EXPECT_EQ(zero.watch("/shared", "t"), kOk);
  EXPECT_EQ(zero.watch("/shared", "t"), "!EEXIST");
  EXPECT_EQ(zero.watch("/shared", "u"), kOk);
  EXPECT_EQ(zero.ask(Type::unwatch, "/shared\0t\0"s), kOk);
  EXPECT_EQ(zero.ask(Type::unwatch, "/shared\0t\0"s), "!ENOENT");
}

TEST_F(Store, nobody_hears_of_what_it_may_not_read) {
  Client one(server, 1);
  one.watch("/", "all");
  one.events();
  zero.write("/local/domain/2/x", "");
  EXPECT_THAT(one.events(), IsEmpty());
  zero.permit("/local/domain/2/x", "n2\0r1\0"s);
  EXPECT_THAT(one.events(), ElementsAre("/local/domain/2/x all"));
  // Losing it is the last thing heard.
  zero.permit("/local/domain/2/x", "n2\0"s);
  EXPECT_THAT(one.events(), ElementsAre("/local/domain/2/x all"));
  zero.write("/local/domain/2/x", "");
  EXPECT_THAT(one.events(), IsEmpty());
}

TEST_F(Store, an_unread_event_is_not_told_twice) {
  Client one(server, 1);
  one.watch("/shared", "t");
  one.events();
  for (int i = 0; i < 3; ++i) zero.write("/shared/a", "");
  EXPECT_THAT(one.events(), ElementsAre("/shared/a t"));
}

TEST_F(Store, reset_ends_watches_and_transactions) {
  Client one(server, 1);
  one.watch("/shared", "t");
  const auto t = one.begin();
  one.events();
  EXPECT_EQ(one.ask(Type::reset_watches, "\0"s), kOk);
  zero.write("/shared/a", "");
  EXPECT_THAT(one.events(), IsEmpty());
  EXPECT_EQ(one.get("/shared", t), "!ENOENT");
  EXPECT_EQ(server.usage(1)->watches, 0);
}

// ---- domains -----------------------------------------------------------------------------------

TEST_F(Store, domains_that_come_and_go_are_told_to_the_privileged) {
  Client one(server, 1);
  for (Client* client : {&zero, &one}) {
    client->watch("@introduceDomain", "in");
    client->watch("@releaseDomain", "out");
    client->events();
  }
  add(3);
  EXPECT_THAT(zero.events(), ElementsAre("@introduceDomain in"));
  server.domain_shut_down(3);
  server.domain_shut_down(3);
  EXPECT_THAT(zero.events(), ElementsAre("@releaseDomain out"));
  server.domain_died(3);
  EXPECT_THAT(zero.events(), ElementsAre("@releaseDomain out"));
  EXPECT_THAT(one.events(), IsEmpty());

  EXPECT_EQ(zero.permit("@releaseDomain", "n0\0r1\0"s), kOk);
  server.domain_died(2);
  EXPECT_THAT(one.events(), ElementsAre("@releaseDomain out"));
}

TEST_F(Store, a_dead_domain_takes_its_nodes_and_its_clients_with_it) {
  Client one(server, 1);
  one.write("/shared/own/a", "");
  one.write("data", "");
  zero.watch("/shared/own", "t");
  zero.events();
  server.domain_died(1);
  EXPECT_TRUE(one.connection().closed());
  EXPECT_EQ(zero.get("/shared/own"), "!ENOENT");
  EXPECT_EQ(zero.get("/local/domain/1"), "!ENOENT");
  EXPECT_THAT(zero.events(), ElementsAre("/shared/own t"));
  EXPECT_EQ(server.connect(1), nullptr);
  EXPECT_FALSE(server.usage(1).has_value());
}

TEST_F(Store, release_ends_a_domain_for_the_store_only) {
  Client one(server, 1);
  EXPECT_EQ(zero.ask(Type::release, "1\0"s), kOk);
  EXPECT_TRUE(one.connection().closed());
  EXPECT_EQ(zero.ask(Type::is_domain_introduced, "1\0"s), "F\0"s);
  EXPECT_EQ(zero.ask(Type::release, "1\0"s), "!ENOENT");
  EXPECT_EQ(zero.ask(Type::release, "0\0"s), "!EINVAL");
  EXPECT_EQ(zero.ask(Type::introduce,
                     "1\0"
                     "1\0"
                     "1\0"s),
            kOk);
  EXPECT_EQ(zero.ask(Type::is_domain_introduced, "1\0"s), "T\0"s);
  EXPECT_EQ(zero.ask(Type::introduce,
                     "77\0"
                     "1\0"
                     "1\0"s),
            "!EINVAL");  // there is no such
  EXPECT_EQ(zero.ask(Type::introduce,
                     "1\0"
                     "1\0"
                     "0\0"s),
            "!EINVAL");  // no port
}

TEST_F(Store, a_dead_target_stays_as_long_as_who_has_it) {
  zero.watch("@releaseDomain", "out");
  zero.events();
  ASSERT_EQ(server.set_target(1, 2), 0);
  server.domain_died(2);
  EXPECT_THAT(zero.events(), IsEmpty());
  EXPECT_TRUE(server.introduced(2));
  EXPECT_EQ(server.release(2), EINVAL);
  server.domain_died(1);
  EXPECT_THAT(zero.events(), ElementsAre("@releaseDomain out", "@releaseDomain out"));
  EXPECT_FALSE(server.introduced(2));
}

// ---- quotas ------------------------------------------------------------------------------------

TEST_F(Store, quotas_bind_the_unprivileged) {
  Quotas& quotas = server.quotas();
  Client one(server, 1);
  quotas.nodes = 3;  // it owns its directory
  EXPECT_EQ(one.write("a", ""), kOk);
  EXPECT_EQ(one.write("b/c", ""), "!ENOSPC");
  EXPECT_EQ(one.get("b"), "!ENOENT");
  EXPECT_EQ(one.write("b", ""), kOk);
  EXPECT_EQ(one.write("c", ""), "!ENOSPC");
  EXPECT_EQ(zero.write("/local/domain/1/c", ""), kOk);

  quotas.node_size = 100;  // 24 for the record, 8 for a permission
  EXPECT_EQ(one.write("a", std::string(67, 'v')), kOk);
  EXPECT_EQ(one.write("a", std::string(68, 'v')), "!ENOSPC");
  EXPECT_EQ(zero.write("/local/domain/1/a", std::string(68, 'v')), kOk);

  quotas.permissions = 2;
  EXPECT_EQ(one.permit("b", "n1\0r0\0r2\0"s), "!ENOSPC");
  EXPECT_EQ(one.permit("b", "n1\0r0\0"s), kOk);

  quotas.path_max = 4;
  EXPECT_EQ(one.get("12345"), "!EINVAL");
}

TEST_F(Store, watches_and_transactions_stop_one_above_their_quotas) {
  server.quotas().watches = 2;
  server.quotas().transactions = 1;
  Client one(server, 1);
  Client also_one(server, 1);  // a domain's clients count together
  EXPECT_EQ(one.watch("a", "1"), kOk);
  EXPECT_EQ(also_one.watch("a", "2"), kOk);
  EXPECT_EQ(one.watch("a", "3"), kOk);
  EXPECT_EQ(also_one.watch("a", "4"), "!E2BIG");
  one.begin();
  also_one.begin();
  EXPECT_EQ(one.ask(Type::transaction_start, "\0"s), "!ENOSPC");
  EXPECT_EQ(server.usage(1)->watches, 3);
  EXPECT_EQ(server.usage(1)->transactions, 2);
  server.disconnect(also_one.connection());
  EXPECT_EQ(server.usage(1)->watches, 2);
  EXPECT_EQ(server.usage(1)->transactions, 1);
}

TEST_F(Store, a_transaction_that_touches_too_much_fails) {
  server.quotas().transaction_nodes = 1;
  Client one(server, 1);
  const auto t = one.begin();
  EXPECT_EQ(one.write("a", "", t), "!ENOSPC");  // the node, and what is to hold it
  EXPECT_EQ(one.commit(t), "!ENOMEM");
}

TEST_F(Store, who_causes_events_that_nobody_reads_has_to_wait) {
  server.quotas().outstanding = 3;
  Client one(server, 1);
  Client two(server, 2);
  two.watch("/shared", "t");
  two.events();
  for (const char* name : {"a", "b", "c"}) EXPECT_EQ(one.write("/shared/"s + name, ""), kOk);
  EXPECT_EQ(server.usage(1)->outstanding, 3);
  EXPECT_EQ(one.write("/shared/d", ""), "(none)");
  EXPECT_FALSE(one.connection().may_proceed());
  EXPECT_EQ(zero.write("/shared/z", ""), kOk);  // others go on
  EXPECT_EQ(two.events().size(), 4U);
  while (server.step()) {
  }
  EXPECT_EQ(one.answer(), kOk);
  EXPECT_THAT(two.events(), ElementsAre("/shared/d t"));
  EXPECT_EQ(server.usage(1)->outstanding, 0);
}

TEST_F(Store, memory_is_limited_and_given_back) {
  const int before = server.usage(1)->memory;
  Client one(server, 1);
  server.quotas().memory = before + 400;
  EXPECT_EQ(one.write("a", std::string(100, 'v')), kOk);
  EXPECT_EQ(one.write("b", std::string(300, 'v')), "!EIO");
  EXPECT_EQ(one.watch("a", std::string(300, 't')), "!ENOMEM");
  EXPECT_EQ(one.remove("a"), kOk);
  const auto t = one.begin();
  one.get("", t);
  one.get("/shared", t);
  EXPECT_GT(server.usage(1)->memory, before);
  one.ask(Type::transaction_end, "F\0"s, t);
  one.events();
  EXPECT_EQ(server.usage(1)->memory, before);
}

TEST_F(Store, events_unread_for_too_long_are_dropped) {
  Client one(server, 1);
  one.watch("/shared", "t");
  one.events();
  zero.write("/shared/a", "");
  clock += std::chrono::seconds(19);
  zero.write("/shared/b", "");
  clock += std::chrono::seconds(1);
  server.expire();
  EXPECT_THAT(one.events(), ElementsAre("/shared/b t"));
}

TEST_F(Store, control_shows_and_sets_quotas) {
  EXPECT_EQ(zero.ask(Type::control,
                     "quota\0set\0nodes\0"
                     "5\0"s),
            kOk);
  EXPECT_EQ(server.quotas().nodes, 5);
  EXPECT_THAT(zero.ask(Type::control, "quota\0"s),
              testing::HasSubstr("nodes            :        5"));
  EXPECT_THAT(zero.ask(Type::control,
                       "quota\0"
                       "1\0"s),
              testing::StartsWith("Domain 1:\nnodes"));
  EXPECT_EQ(zero.ask(Type::control,
                     "quota\0"
                     "9\0"s),
            "!ENOENT");
  EXPECT_EQ(zero.ask(Type::control,
                     "quota\0set\0nothing\0"
                     "5\0"s),
            "!EINVAL");
  EXPECT_EQ(zero.ask(Type::control, "nothing\0"s), "!EINVAL");
}

TEST_F(Store, connections_may_outlive_the_server) {
  auto other = std::make_unique<Server>();
  const auto connection = other->connect(0);
  connection->receive(encode(Type::read, 1, 0, "/tool\0"s));
  other->step();
  other.reset();
  EXPECT_TRUE(connection->closed());
  connection->sent(connection->output().size());
}

TEST_F(Store, a_local_client_plays_the_toolstack) {
  LocalClient client(server);
  client.write("/a/b", "v");
  client.mkdir("/a/c");
  EXPECT_EQ(client.read("/a/b"), "v");
  EXPECT_EQ(client.read("/a/x"), std::nullopt);
  EXPECT_THAT(client.directory("/a"), ElementsAre("b", "c"));
  client.set_permissions("/a/b", {"n1", "r2"});
  EXPECT_EQ(zero.permissions("/a/b"), "n1\0r2\0"s);
  EXPECT_TRUE(client.remove("/a"));
  EXPECT_FALSE(client.remove("/a"));
  try {
    client.write("/bad name", "");
    FAIL();
  } catch (const StoreError& error) {
    EXPECT_EQ(error.number(), EINVAL);
    EXPECT_STREQ(error.what(), "WRITE(/bad name): EINVAL");
  }
}

}  // namespace
}  // namespace displif_cts::loopback::store
