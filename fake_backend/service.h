// The service thread of the fake backend: it alone touches XenStore, rings, channels and mappings.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "fake_backend/buffers.h"
#include "fake_backend/fake_backend.h"
#include "fake_backend/journal.h"
#include "fake_backend/link.h"
#include "harness/xen/store.h"

namespace displif_cts::fake_backend {

class FakeBackend::Service {
  const xen::DomId frontend_;
  const std::uint16_t device_;
  const Options options_;
  trace::Recorder& recorder_;
  const xen::DomId backend_;

 public:
  Service(xen::DomId frontend, std::uint16_t device, Options options, trace::Recorder& recorder);
  ~Service();

  // Runs `task` on the service thread and returns what it returns; exceptions pass through.
  template <class Task>
  auto run(Task&& task) -> decltype(task()) {
    if (!thread_.joinable() || std::this_thread::get_id() == thread_.get_id()) return task();
    std::packaged_task<decltype(task())()> packaged(std::forward<Task>(task));
    auto result = packaged.get_future();
    post([&packaged] { packaged(); });
    return result.get();
  }

  // All below: on the service thread, by run().
  void create_device(const std::function<void(bus::DeviceConfig&)>& change);
  void destroy_device();
  void discard_device();
  void begin_removal();
  void remove_frontend();  // and give the connection up: InitWait
  void start();
  void vanish();
  void shut_down();
  void write_state(std::string_view text);
  Link& link(std::size_t connector);  // throws std::logic_error when not connected
  bool turn(std::chrono::milliseconds most);
  bool has_links() const { return !links_.empty(); }
  Buffers* buffers() { return buffers_ ? &*buffers_ : nullptr; }
  // Puts a packet as it is; with its record and journal entry.
  void put_response(std::size_t connector, const displif::Packet& packet, const Reason& reason);
  void publish_responses(std::size_t connector, bool notify_anyway);
  void put_event(std::size_t connector, const displif::Packet& packet);
  void publish_events(std::size_t connector);
  void put_flip_event(std::size_t connector, FbCookie cookie);
  void record_index(std::size_t connector, trace::Direction direction, std::string_view name,
                    std::uint32_t value);

  Journal journal;
  const bus::DevicePaths paths;
  bool follow = true;  // act on the frontend's states

 private:
  enum class Phase { idle, waiting, connected };

  // A request that was handled, and what is to be sent for it.
  struct Reply {
    std::size_t number = 0;  // in the journal
    std::size_t connector = 0;
    displif::Response response;
    bool injected = false;         // the status is a fault's, and the answer's reason not why
    std::optional<FbCookie> flip;  // a flip event is due
  };

  // --- the thread
  void post(std::function<void()> task);
  void loop();
  void end();
  bool run_commands();  // false: quit
  void step(std::chrono::milliseconds most);
  int wait_ms() const;
  void fail(const std::string& reason);
  void drop_everything();

  // --- bus
  void on_store_event(const xen::WatchEvent& event);
  void look_at_frontend();
  void look_at_own_state();
  void follow_frontend(std::optional<bus::State> state, std::optional<bus::State> before);
  void go(bus::State state);
  void connect();
  void map_links(const std::vector<displif::ConnectorTransport>& transports);
  std::vector<displif::ConnectorTransport> read_transports();
  unsigned negotiated_protocol();
  void record_page(std::size_t connector);
  void leak();
  void tear_down(std::string_view why);
  void publish_versions();
  void publish_node(const std::string& path, const std::string& value);
  std::optional<std::string> read_recorded(const std::string& path, std::optional<std::size_t> of);

  // --- requests
  void drain_ports();
  void serve(std::size_t connector, bool notified);
  void take_requests(std::size_t connector, bool notified);  // into taken_
  void take_overflowing(std::size_t connector, std::uint32_t prod, std::vector<std::size_t>& taken);
  std::size_t journal_request(std::size_t connector, std::uint32_t index,
                              const displif::Packet& packet, bool notified);
  Reply handle(std::size_t number);
  Answer decide(const ReceivedRequest& request);
  void carry_out(const ReceivedRequest& request, Answer& answer, Reply& reply);
  void create_buffer(const DisplayBuffer& buffer, Answer& answer);
  void read_edid(std::size_t connector, const ReadEdid& read, Answer& answer, Reply& reply);
  void apply(std::size_t connector, Effect effect);
  std::int32_t wire_status(std::uint8_t operation, std::int32_t status);
  void deliver(Reply reply);
  void respond(const Reply& reply);
  void put_faulty_responses(const Reply& reply);
  void flip_event(const Reply& reply);
  void after_answer(std::size_t connector);
  void rescue_unnotified();
  void read_confirmations(std::size_t connector);

  // --- faults
  bool strikes(Times BackendFaults::*fault, std::string_view name);
  template <class Fault>
  std::optional<Fault> strikes_at(Fault BackendFaults::*fault, std::uint8_t operation,
                                  std::string_view name);
  template <class Fault>
  std::optional<Fault> strikes_with(Fault BackendFaults::*fault, std::string_view name);
  void struck(std::string_view name);

  void meet(Situation situation);  // fault breaks-down
  void meet_reserved(const displif::Request& request);
  void meet_refusal(const ReceivedRequest& request, const Answer& answer);
  void meet_effect(const Effect& effect);
  void meet_change(const Reply& reply);

  void trouble(const std::string& text);
  template <class Change>
  void update(Change&& change) {
    {
      const std::lock_guard lock(journal.mutex);
      change(journal);
    }
    journal.changed.notify_all();
  }

  xen::Store& store();  // opens it where necessary

  // Open while serving, in this order: what is mapped and bound goes before its handle.
  std::optional<xen::Store> store_;
  std::optional<xen::Watch> frontend_watch_;
  std::optional<xen::Watch> own_watch_;
  std::optional<xen::Watch> nodes_watch_;  // faults breaks-down-at-nodes-changed, -node-flood
  unsigned node_changes_ = 0;  // of the frontend's, while connected, where they are watched
  std::optional<xen::EventChannels> channels_;
  std::optional<xen::Grants> grants_;
  std::vector<Link> kept_links_;            // fault mapping-kept-after-close
  std::vector<xen::BoundPort> kept_ports_;  // fault channels-kept-after-close
  std::optional<Buffers> buffers_;
  std::vector<Link> links_;

  std::unique_ptr<bus::DeviceInstance> instance_;
  Phase phase_ = Phase::idle;
  std::vector<std::size_t> taken_;  // requests that are being served, by their numbers
  std::vector<Reply> replies_;      // and what was decided about them
  unsigned refusals_ = 0;
  unsigned idle_notifications_ = 0;
  std::string written_state_;  // by us
  std::multimap<xen::Clock::time_point, std::function<void()>> timers_;

  std::mutex command_mutex_;
  std::deque<std::function<void()>> commands_;
  bool quit_ = false;
  int wake_fd_ = -1;
  std::thread thread_;
};

}  // namespace displif_cts::fake_backend
