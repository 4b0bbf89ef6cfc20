#include "harness/runner/stream_writer.h"

#include <array>

#include "harness/trace/recorder.h"

namespace displif_cts::runner {

void Sha256::update(std::string_view bytes) {
  sha256_update(&context_, bytes.size(), reinterpret_cast<const std::uint8_t*>(bytes.data()));
}

std::string Sha256::hex() const {
  sha256_ctx copy = context_;
  std::array<std::byte, SHA256_DIGEST_SIZE> digest{};
  sha256_digest(&copy, digest.size(), reinterpret_cast<std::uint8_t*>(digest.data()));
  return trace::hex(digest);
}

void StreamWriter::went_before(std::string_view line) {
  ++seq_;
  hash_.update(line);
}

void StreamWriter::write(const Json& record) {
  Json numbered = record;
  numbered["seq"] = seq_++;
  const std::string line = numbered.dump(-1, ' ', true, Json::error_handler_t::replace) + "\n";
  write_line_(line);
  hash_.update(line);
}

void StreamWriter::seal(Json counts) {
  write(Json{{"v", 1},
             {"t", "end"},
             {"ns", trace::now_ns()},
             {"counts", std::move(counts)},
             {"sha256", hash_.hex()}});
}

}  // namespace displif_cts::runner
