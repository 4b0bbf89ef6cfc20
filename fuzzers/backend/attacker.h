// The frontend that attacks: plays an input's actions against the backend in this process, judges
// every answer by the oracle, and leaves the device as it was.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "fuzzers/backend/machine.h"
#include "fuzzers/backend/oracle.h"
#include "fuzzers/input/action.h"

namespace displif_cts::fuzz_backend {

class Attacker final : private Waiting {
 public:
  // A backend that is the reference itself is judged also by what the header leaves open.
  // `whole_connections`: each input has a connection of its own, and may act on the bus; otherwise
  // inputs share one.
  Attacker(Machine& machine, bool whole_connections);
  ~Attacker() override;
  Attacker(const Attacker&) = delete;
  Attacker& operator=(const Attacker&) = delete;

  void play(const fuzz::Input& input);

 private:
  struct Pending {
    displif::Request request;
    Directory directory;
  };
  // What the frontend knows of one connector's ring and event page.
  struct Side {
    std::uint32_t prod = 0;      // req_prod as it was last published
    std::uint32_t answered = 0;  // responses seen; the backend has taken as many requests
    std::uint32_t in_prod = 0;   // events seen
    std::uint16_t next_id = 0;
    bool notified = false;                 // since the backend ran last
    bool rsp_poked = false;                // the frontend has written over rsp_prod
    bool events_poked = false;             // and over in_prod
    std::vector<Pending> pending;          // what the backend may take
    std::vector<displif::FbCookie> flips;  // events that it owes
  };

  // What is waited for.
  enum class Owed : std::uint8_t { answers, events, unmapping };

  void perform(const fuzz::Action& action);
  void send(const fuzz::Action& action);
  displif::Packet packet_of(const fuzz::Action& action, std::uint16_t id);
  xen::GrantRef reference(std::uint64_t named, std::uint64_t cookie, std::uint32_t size,
                          bool allocate);
  void set_index(const fuzz::Action& action);
  void poke(const fuzz::Action& action);
  void write_directory(const fuzz::Action& action);
  void set_state(const fuzz::Action& action);
  void write_store(const fuzz::Action& action);
  void publish(std::size_t connector, std::uint32_t prod);
  void notify(std::size_t connector);
  void notify_of_events(std::size_t connector);

  void run();
  void let_it_answer();
  void await(Owed owed);
  bool settled() override;
  void tick() override { middle_of_a_call(); }
  bool all_answered() const;
  void judge_end();
  void note(std::size_t connector);
  void prepare(std::size_t connector);
  void after_run(std::size_t connector);
  void judge_events(std::size_t connector);
  static void middle_of_a_call();
  void in_the_middle();

  void connect();
  void restore();
  void tidy_up();
  void clean_request(const displif::RequestBody& body, std::size_t connector);
  void expect_connected();
  void expect_nothing_left();

  Machine& machine_;
  Oracle oracle_;
  bool whole_connections_;
  bool connected_ = false;
  unsigned connection_ = 0;  // which, by the backend's count
  std::array<Side, kConnectors> sides_;
  std::size_t base_mapped_ = 0;
  const fuzz::Input* input_ = nullptr;
  std::size_t next_ = 0;
  std::uint32_t countdown_ =
      0;  // calls of Xen's interface until the next actions happen in the middle; 0: never
  bool running_ = false;
  bool stirred_ = false;         // something was notified since the backend ran last
  bool memory_moves_ = false;    // directories have changed while the backend ran
  bool events_move_ = false;     // event pages have
  bool overfull_ = false;        // a ring has had more requests than slots: a backend may end the
                                 // connection (ring.h)
  xen::Deadline quiet_until_{};  // how long it may take to do what it must not
  std::uint8_t last_operation_ = 0;  // that was sent
  Owed owed_ = Owed::answers;
};

}  // namespace displif_cts::fuzz_backend
