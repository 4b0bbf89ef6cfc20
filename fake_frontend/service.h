// The service thread of the fake frontend: it alone touches XenStore, rings, channels and memory.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <future>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "fake_frontend/fake_frontend.h"
#include "fake_frontend/journal.h"
#include "fake_frontend/link.h"
#include "fake_frontend/memory.h"
#include "fake_frontend/tracer.h"
#include "harness/xen/store.h"

namespace displif_cts::fake_frontend {

class FakeFrontend::Service {
  const std::uint16_t device_;
  const Options options_;
  Tracer tracer_;

 public:
  Service(std::uint16_t device, Options options, trace::Recorder& recorder);
  ~Service();

  // Runs `task` on the service thread and returns what it returns; exceptions pass through.
  template <class Task>
  auto run(Task&& task) -> decltype(task()) {
    if (std::this_thread::get_id() == thread_.get_id()) return task();
    std::packaged_task<decltype(task())()> packaged(std::forward<Task>(task));
    auto result = packaged.get_future();
    post([&packaged] { packaged(); });
    return result.get();
  }

  // --- all below: on the service thread, by run() unless told otherwise

  // --- life (bus.cc)
  void start();
  // False: a connection is being made, and `now` does not say that it must not be awaited.
  bool begin_leaving(bool now);
  void finish_leaving();
  void vanish();
  bool open_client();
  void close_client();
  void write_state(std::string_view text);
  void write_node(std::string_view name, std::string_view value);
  void remove_node(std::string_view name);

  // --- requests (messages.cc)
  // What became of an attempt to send: a number, or the reason why nothing was sent.
  struct Sent {
    std::optional<std::size_t> number{};
    int error = 0;  // errno
    std::string failure{};
  };
  // One of the frontend's own operations: faults strike.
  Sent send(std::size_t connector, displif::RequestBody body);
  // As they are, together. Empty: not connected, or no room for all.
  std::vector<std::size_t> send_raw(std::size_t connector,
                                    const std::vector<displif::Packet>& packets);
  // Fault directory-changing, from now until the request is answered.
  void shake_later(std::size_t handle, std::size_t number, unsigned turn);
  // The caller waits no longer. No effect when the response is there.
  void give_up(std::size_t number, const std::string& why);

  // --- operations (operations.cc)
  // A step before a request: what goes into it, or why nothing is sent.
  struct Prepared {
    int error = 0;
    std::string failure{};
    displif::RequestBody body{};
    std::size_t handle = 0;  // of the memory, where there is some
  };
  // On the caller's thread: sends the request and waits for its response.
  Reply call(std::size_t connector, const Prepared& prepared);
  // On the caller's thread. `patient`: the request is not given up at the deadline.
  Reply await(std::size_t number, xen::Deadline deadline, bool patient);
  Prepared prepare_create(const BufferSpec& spec, DbufCookie& cookie);
  void finish_create(std::size_t handle, Reply& reply);
  Prepared prepare_destroy(DbufCookie cookie);
  void finish_destroy(std::size_t handle, Reply& reply);
  Prepared prepare_attach(DbufCookie buffer, const FramebufferSpec& spec, FbCookie& cookie);
  void finish_attach(const displif::RequestBody& body, DbufCookie buffer, FbCookie cookie,
                     Reply& reply);
  Prepared prepare_detach(FbCookie cookie);
  void finish_detach(FbCookie cookie, Reply& reply);
  Prepared prepare_config(std::size_t connector, FbCookie cookie);
  void fault_config(displif::SetConfig& config);  // what a caller gave, on its way to the wire
  void finish_config(std::size_t connector, const displif::SetConfig& config, Reply& reply);
  Prepared prepare_reset(std::size_t connector);
  void finish_reset(std::size_t connector, Reply& reply);
  Prepared prepare_flip(std::size_t connector, FbCookie cookie);
  std::chrono::milliseconds lateness();
  void finish_flip(std::size_t connector, Reply& reply);
  Prepared prepare_edid(std::size_t connector, std::uint32_t size);
  void finish_edid(std::size_t handle, EdidReply& reply);
  std::vector<FbCookie> framebuffers_of(DbufCookie cookie) const;
  std::vector<std::size_t> showing(FbCookie cookie) const;  // connectors
  displif::Resolution resolution(std::size_t connector) const;

  std::size_t share(std::uint32_t size, xen::Access access);
  Memory& memory(std::size_t handle);  // throws std::out_of_range
  Memory* memory_of(DbufCookie cookie);
  xen::GrantRef grant(xen::DomId to, xen::Access access);
  bool draw(DbufCookie cookie, std::span<const std::byte> octets, std::size_t offset);

  // --- raw access
  Link& link(std::size_t connector);  // throws std::logic_error where there is none
  Link* find_link(std::size_t connector) {
    return connector < links_.size() ? &links_[connector] : nullptr;
  }
  displif::SharedRing& shared_ring(std::size_t connector);  // as link(); nor once it was ended
  displif::SharedEventPage& shared_page(std::size_t connector);
  void set_taking(bool on);
  void record_published(std::size_t connector, std::string_view name, std::uint32_t value) {
    tracer_.index(From::frontend, connector, name, value);
  }

  // Whether the fault strikes now: consumes one strike. With its record. Any of the service's
  // callers may ask on any thread.
  bool strikes(Times FrontendFaults::*fault, std::string_view name);
  template <class Fault>
  std::optional<Fault> strikes_with(Fault FrontendFaults::*fault, std::string_view name);
  bool strikes_at(AtOperations FrontendFaults::*fault, std::uint8_t operation,
                  std::string_view name);

  const Options& options() const { return options_; }

  Journal journal;
  bus::DevicePaths paths;  // set by start()
  bool follow = true;      // act on the backend's states

 private:
  enum class Phase { idle, waiting, initialised, connected };

  struct DisplayBuffer {
    DbufCookie cookie{};
    BufferSpec spec;
    Memory memory;
    bool live = false;  // the backend has accepted it
  };
  struct Framebuffer {
    DbufCookie buffer{};
    std::uint32_t width = 0;
    std::uint32_t height = 0;
    std::uint32_t format = 0;
  };

  // Faults of the transport nodes that strike at this connection.
  struct NodeFaults {
    std::optional<AtNodes> missing, invalid, foreign, zero;
    std::optional<NodeText> text;
    bool shared = false;
    bool page_is_ring = false;
  };

  // --- the thread
  void post(std::function<void()> task);
  void loop();
  bool run_commands();  // false: quit
  void step();
  int wait_ms() const;
  void fail(const std::string& reason);
  void drop_everything();
  void run_timers();
  void after(std::chrono::milliseconds delay, std::function<void()> task) {
    timers_.emplace(xen::in(delay), std::move(task));
  }
  // Ends the frontend at the next safe point, as if it had died; with `fatal`, for good.
  void doom(std::string reason, bool fatal);
  void meet_doom();
  void at(Moment moment);
  void fatal(Times FrontendFaults::*fault, std::string_view name);

  // --- bus
  void look_at_backend();
  void follow_backend(std::optional<bus::State> state);
  void go(bus::State state);
  void set_up();
  void read_configuration();
  void choose_version();
  void make_links();
  void spoil_pages();
  void publish_transport();
  std::vector<std::pair<std::string, std::string>> transport_nodes();
  std::optional<std::string> node_text(const NodeFaults& faults, Node node, std::size_t connector);
  std::uint32_t foreign_node(Node node);
  void publish_version(std::vector<std::pair<std::string, std::string>>& nodes);
  void become_initialised();
  void backend_connected();
  void become_connected();
  void backend_gone(std::string_view why);
  void tear_down(std::string_view why);
  void give_up_all(std::string_view why);
  void after_last_client();
  std::optional<std::string> read_recorded(const std::string& path,
                                           std::optional<std::size_t> connector = std::nullopt);

  // --- messages
  std::size_t ring_for(std::size_t connector, std::uint8_t operation);
  std::uint16_t next_id(Link& link);
  std::size_t put(std::size_t connector, displif::Packet packet, bool clear_slot);
  void spoil_packet(displif::Packet& packet, std::uint8_t operation);
  void put_extras(std::size_t connector, const displif::Packet& packet, std::uint8_t operation);
  void publish(std::size_t connector, std::uint8_t operation, bool polite);
  void forge_indexes(std::size_t connector, std::uint32_t before, bool& notify);
  void change_later(std::size_t connector, std::size_t number, unsigned turn);
  bool answered(std::size_t number) const;
  void drain_ports();
  void take_responses(std::size_t connector, bool notified);
  void ask_for_responses(Link& link, std::size_t connector);
  void take_response(std::size_t connector, const displif::Taken& taken, bool notified);
  std::optional<std::size_t> match(Link& link, const displif::Taken& taken,
                                   const displif::Response& response);
  bool untouched(const Link& link, const displif::Taken& taken) const;
  void refuse_index(std::size_t connector, std::string_view name, std::uint32_t value,
                    std::optional<std::uint32_t>& refused, const std::string& reason);
  void take_events(std::size_t connector, bool notified);
  unsigned take_overflowing(std::size_t connector, std::uint32_t prod, bool notified);
  void take_event(std::size_t connector, std::uint32_t index, const displif::Packet& packet,
                  bool notified);
  void complete_flip(const ReceivedEvent& event);
  void confirm_events(std::size_t connector, unsigned taken);
  void rescue_unnotified();
  void overdue(std::size_t connector);

  // --- operations
  MemoryFaults memory_faults(std::uint8_t operation);
  void number(NumberFault FrontendFaults::*fault, std::uint32_t& value, std::string_view name);
  Prepared refuse(int error, std::string why) { return {error, std::move(why)}; }
  std::optional<Prepared> out_of_service();
  DisplayBuffer* buffer(DbufCookie cookie);
  const DisplayBuffer* buffer(DbufCookie cookie) const;
  Prepared allocate(std::uint32_t size, Owner owner, std::uint8_t operation);

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

  // Open while serving, in this order: what is bound and mapped goes before its handle.
  std::optional<xen::Store> store_;
  std::optional<xen::Watch> backend_watch_;
  unsigned store_events_ = 0;  // since the beginning
  std::optional<xen::EventChannels> channels_;
  std::optional<xen::Grants> grants_;
  std::vector<xen::SharedPages> granted_;  // of grant(), and of faults
  std::vector<xen::BoundPort> bound_;      // of faults
  std::map<std::size_t, DisplayBuffer> buffers_;
  std::map<std::size_t, Memory> shared_;  // of share() and of EDID buffers
  std::vector<Memory> kept_memory_;       // faults that leak
  std::vector<Link> kept_links_;
  std::vector<Link> old_links_;  // fault requests-without-backend
  std::vector<Link> links_;

  std::map<FbCookie, Framebuffer> framebuffers_;
  xen::DomId own_{};
  xen::DomId backend_{};
  Phase phase_ = Phase::idle;
  std::string written_state_;  // by us
  bool taking_ = true;         // take responses and events
  std::optional<unsigned> published_version_;
  std::multimap<xen::Clock::time_point, std::function<void()>> timers_;
  std::size_t next_handle_ = 1;
  std::uint64_t next_dbuf_ = 1;
  std::uint64_t next_fb_ = 1;
  std::uint64_t next_flip_ = 1;
  bool config_final_ = false;  // faults: a refusal was the last word
  bool flip_final_ = false;
  bool stuck_ = false;  // faults: an index was believed, its slots never end
  struct LateDraw {
    DbufCookie cookie;
    std::vector<std::byte> octets;
    std::size_t offset;
  };
  std::vector<LateDraw> late_draws_;  // fault flip-before-contents
  std::optional<std::string> doomed_;
  bool doomed_for_good_ = false;
  std::map<Moment, std::uint32_t> moments_;

  std::mutex command_mutex_;
  std::deque<std::function<void()>> commands_;
  bool quit_ = false;
  int wake_fd_ = -1;
  std::thread thread_;
};

template <class Fault>
std::optional<Fault> FakeFrontend::Service::strikes_with(Fault FrontendFaults::*fault,
                                                         std::string_view name) {
  Fault found;
  {
    const std::lock_guard lock(journal.mutex);
    if (!strike((journal.faults.*fault).times)) return std::nullopt;
    found = journal.faults.*fault;
  }
  tracer_.log("fault " + std::string(name));
  return found;
}

}  // namespace displif_cts::fake_frontend
