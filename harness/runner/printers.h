// What a runner on a board can print by itself: people's text, KTAP and LAVA's signals, all made
// from records.
#pragma once

#include <cstdio>
#include <memory>
#include <string_view>

#include "harness/trace/json.h"

namespace displif_cts::runner {

class Printer {
 public:
  explicit Printer(std::FILE* out) : out_(out) {}
  virtual ~Printer() = default;
  // Any record, in the stream's order.
  virtual void take(const Json& record) = 0;
  // A record that an earlier runner printed: it is counted, and not printed again.
  void went_before(const Json& record);

 protected:
  std::FILE* out_;
};

// `format` is human, ktap, lava or none; null for another word.
std::unique_ptr<Printer> make_printer(std::string_view format, std::FILE* out);

}  // namespace displif_cts::runner
