// What is recorded, without JSON: tracer.cc alone builds the records.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "fake_frontend/fake_frontend.h"

namespace displif_cts::fake_frontend {

std::uint64_t now_ns();  // trace::now_ns()

// Who wrote what is recorded.
enum class From { frontend, backend };

// Writes the records that fake_frontend.h lists.
class Tracer {
 public:
  explicit Tracer(trace::Recorder& recorder) : recorder_(recorder) {}

  void log(std::string_view text);
  void connection(unsigned number, std::string_view what, std::string_view why = {});
  void state(bus::Side side, const std::optional<bus::State>& state, std::string_view text);
  void node(From from, std::string_view path, const std::optional<std::string>& value,
            std::optional<std::size_t> connector = std::nullopt);
  void resolution(std::size_t connector, const displif::Resolution& resolution);
  void index(From from, std::size_t connector, std::string_view name, std::uint32_t value);
  void notification(std::size_t connector, std::string_view channel, std::uint64_t count);
  void unnotified(std::size_t connector, std::string_view name, std::uint32_t value);
  void refused(std::size_t connector, std::string_view name, std::uint32_t value,
               std::string_view reason);
  void directory(From from, DbufCookie cookie, std::span<const xen::GrantRef> pages,
                 std::span<const xen::GrantRef> references);
  void request(const SentRequest& request, unsigned protocol);
  void response(const ReceivedResponse& response);
  void event(const ReceivedEvent& event);

 private:
  trace::Recorder& recorder_;
};

}  // namespace displif_cts::fake_frontend
