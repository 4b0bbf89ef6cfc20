// Writes the stream: one JSON line per record, numbered, sealed by `end` with the hash of all lines
// before it (docs/stream.md).
#pragma once

#include <nettle/sha2.h>

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "harness/trace/json.h"

namespace displif_cts::runner {

// SHA-256 in hex.
class Sha256 {
 public:
  Sha256() { sha256_init(&context_); }
  void update(std::string_view bytes);
  // Of what came so far; the object goes on.
  std::string hex() const;

 private:
  sha256_ctx context_;
};

class StreamWriter {
 public:
  // `write_line` takes a line with its newline, and throws if it cannot be written.
  explicit StreamWriter(std::function<void(std::string_view)> write_line)
      : write_line_(std::move(write_line)) {}

  // A line that an earlier writer of this stream wrote, with its newline: numbers and hash go on
  // behind it.
  void went_before(std::string_view line);
  // Adds `seq` and writes.
  void write(const Json& record);
  // Writes `end`. Nothing may follow.
  void seal(Json counts);

 private:
  std::function<void(std::string_view)> write_line_;
  std::uint64_t seq_ = 0;
  Sha256 hash_;
};

}  // namespace displif_cts::runner
