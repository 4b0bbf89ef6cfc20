// loopback's xenstored, octets in and octets out: three connections of two domains send what they
// like, in pieces. Beside the sanitizers: it comes to rest, and what it says is well formed.
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string_view>

#include "fuzzers/harness/store_piece.h"
#include "harness/loopback/store/server.h"
#include "harness/loopback/store/wire.h"

namespace {

namespace store = displif_cts::loopback::store;

void require(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "FINDING broken-promise: %s\n", what);
  std::abort();
}

void drain(store::Connection& connection) {
  while (connection.has_output()) {
    const std::string_view output = connection.output();
    require(!output.empty(), "output that is there can be read");
    connection.sent(output.size() > 64 ? 64 : output.size());
  }
}

}  // namespace

// A piece is raw octets, or the payload of a request of its kind; its control octet also says
// whether output is read.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  std::chrono::steady_clock::time_point now{};
  store::Server::Options options;
  options.now = [&now] { return now; };
  store::Server server(options);
  server.domain_created(1);
  server.introduce(1);
  std::array<std::shared_ptr<store::Connection>, 3> connections{
      server.connect(0), server.connect(1), server.connect(1)};
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  while (const auto piece = displif_cts::fuzz_harness::take_piece(rest)) {
    const auto [control, type, payload] = *piece;
    store::Connection& connection = *connections[control % connections.size()];
    if (!connection.closed()) {
      if ((control & 0x40) != 0) {
        connection.receive(payload);
      } else {
        connection.receive(store::encode(static_cast<store::MessageType>(type % 24), control,
                                         control >> 4 & 3, payload));
      }
    }
    int steps = 0;
    while (server.step())
      require(++steps < 1000, "a message is dealt with in a bounded number of steps");
    if ((control & 0x80) == 0) drain(connection);
    now += std::chrono::milliseconds(type);
    server.expire();
  }
  for (auto& connection : connections) server.disconnect(*connection);
  return 0;
}
