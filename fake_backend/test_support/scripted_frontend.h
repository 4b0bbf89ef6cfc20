// A frontend that does what a test tells it, over small_xen. Polite unless told otherwise.
#pragma once

#include <fmt/format.h>

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "fake_backend/test_support/small_xen.h"
#include "harness/bus/nodes.h"
#include "harness/bus/state.h"
#include "harness/displif/event_page.h"
#include "harness/displif/page_directory.h"
#include "harness/displif/ring.h"
#include "harness/displif/wire.h"

namespace displif_cts::fake_backend {

struct GuestBuffer {
  std::vector<small_xen::GrantedPage> directory;
  std::vector<small_xen::GrantedPage> pages;  // empty for backend allocation
  std::uint32_t size = 0;

  xen::GrantRef first() const { return directory.front().ref; }
};

class ScriptedFrontend {
 public:
  explicit ScriptedFrontend(std::string directory) : directory_(std::move(directory)) {}

  struct Connector {
    small_xen::GrantedPage ring_page = small_xen::grant_page();
    small_xen::GrantedPage event_page = small_xen::grant_page();
    xen::Port req_port = small_xen::offer_port();
    xen::Port evt_port = small_xen::offer_port();
    displif::FrontRing ring{ring_page.page};
    displif::EventConsumer events{event_page.page};
    std::uint16_t next_id = 0;
  };

  // Fresh pages and channels, published; then Initialised.
  void publish(std::size_t connectors) {
    connectors_.clear();
    for (std::size_t i = 0; i < connectors; ++i) {
      const auto& connector = *connectors_.emplace_back(std::make_unique<Connector>());
      node(i, displif::node::kReqRingRef, displif::print(connector.ring_page.ref));
      node(i, displif::node::kReqEventChannel, displif::print(connector.req_port));
      node(i, displif::node::kEvtRingRef, displif::print(connector.event_page.ref));
      node(i, displif::node::kEvtEventChannel, displif::print(connector.evt_port));
    }
    state(bus::State::initialised);
  }
  void node(std::size_t connector, std::string_view name, const std::string& value) {
    small_xen::write(fmt::format("{}/{}/{}", directory_, connector, name), value);
  }
  void version(const std::string& text) { small_xen::write(directory_ + "/version", text); }
  void state(bus::State state) { small_xen::write(directory_ + "/state", bus::print(state)); }

  Connector& connector(std::size_t index) { return *connectors_.at(index); }

  // Puts a request and announces it as ring.h says; returns its id.
  std::uint16_t send(std::size_t index, const displif::RequestBody& body) {
    Connector& to = connector(index);
    const std::uint16_t id = to.next_id++;
    if (!to.ring.put_request(displif::encode_request(id, body))) std::abort();
    if (to.ring.publish_requests()) small_xen::notify(to.req_port);
    return id;
  }
  // The next response, or nothing within the time.
  std::optional<displif::Response> receive(
      std::size_t index, std::chrono::milliseconds limit = std::chrono::seconds(5)) {
    return until<displif::Response>(limit, [&]() -> std::optional<displif::Response> {
      Connector& from = connector(index);
      const displif::Taken taken = from.ring.take_response();
      if (taken) return displif::decode_response(taken.packet);
      (void)from.ring.final_check_for_responses();
      return std::nullopt;
    });
  }
  std::optional<displif::Event> receive_event(
      std::size_t index, std::chrono::milliseconds limit = std::chrono::seconds(5)) {
    return until<displif::Event>(limit, [&]() -> std::optional<displif::Event> {
      const displif::Taken taken = connector(index).events.take();
      if (!taken) return std::nullopt;
      connector(index).events.confirm();
      return displif::decode_event(taken.packet);
    });
  }
  // Request and response. -4711 when no response came.
  std::int32_t call(std::size_t index, const displif::RequestBody& body) {
    send(index, body);
    const auto response = receive(index);
    return response ? response->status : -4711;
  }

  // Guest pages with a directory that describes them, each octet of page i set to i.
  static GuestBuffer allocate(std::uint32_t size) {
    GuestBuffer buffer = directory_only(size);
    std::vector<xen::GrantRef> refs;
    for (std::uint32_t i = 0; i < displif::buffer_pages(size); ++i) {
      buffer.pages.push_back(small_xen::grant_page());
      std::ranges::fill(buffer.pages.back().page, std::byte(i));
      refs.push_back(buffer.pages.back().ref);
    }
    fill(buffer, displif::build_directory(refs, refs_of(buffer.directory)));
    return buffer;
  }
  // The links only, for backend allocation.
  static GuestBuffer directory_only(std::uint32_t size) {
    GuestBuffer buffer;
    buffer.size = size;
    const std::uint32_t refs = displif::buffer_pages(size);
    for (std::uint32_t i = 0; i < displif::directory_pages(refs); ++i) {
      buffer.directory.push_back(small_xen::grant_page());
    }
    fill(buffer, displif::build_empty_directory(refs, refs_of(buffer.directory)));
    return buffer;
  }
  static displif::DbufCreate create(std::uint64_t cookie, const GuestBuffer& buffer,
                                    std::uint32_t width, std::uint32_t height) {
    return {.dbuf_cookie = displif::DbufCookie{cookie},
            .width = width,
            .height = height,
            .bpp = 32,
            .buffer_sz = buffer.size,
            .gref_directory = buffer.first()};
  }

  template <class T>
  static std::optional<T> until(std::chrono::milliseconds limit,
                                const std::function<std::optional<T>()>& probe) {
    const auto deadline = xen::in(limit);
    for (;;) {
      if (auto found = probe()) return found;
      if (xen::Clock::now() >= deadline) return std::nullopt;
      std::this_thread::sleep_for(std::chrono::microseconds(200));
    }
  }

 private:
  static std::vector<xen::GrantRef> refs_of(const std::vector<small_xen::GrantedPage>& pages) {
    std::vector<xen::GrantRef> refs;
    refs.reserve(pages.size());
    for (const auto& page : pages) refs.push_back(page.ref);
    return refs;
  }
  static void fill(GuestBuffer& buffer, const std::vector<displif::DirectoryPage>& contents) {
    for (std::size_t i = 0; i < contents.size(); ++i) {
      const auto octets = std::as_bytes(std::span(contents[i]));
      std::ranges::copy(octets, buffer.directory[i].page.begin());
    }
  }

  std::string directory_;
  std::vector<std::unique_ptr<Connector>> connectors_;
};

}  // namespace displif_cts::fake_backend
