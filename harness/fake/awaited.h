// What a wait on a fake's journal gives, and where it looks from.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "harness/bus/state.h"

namespace displif_cts::fake {

// What a wait came to. When it is empty, failure() says what was awaited and what was seen last.
template <typename T>
class Awaited {
 public:
  Awaited(T value) : value_(std::move(value)) {}  // NOLINT: meant to convert
  static Awaited failed(std::string failure) {    // NOLINT: moved, two lines below
    Awaited result;
    result.failure_ = std::move(failure);
    return result;
  }

  explicit operator bool() const { return value_.has_value(); }
  const T& operator*() const { return *value_; }
  const T* operator->() const { return &*value_; }
  const std::string& failure() const { return failure_; }

 private:
  Awaited() = default;
  std::optional<T> value_;
  std::string failure_;
};

// A place in a journal. Waits that take one look at entries from it on, and leave it behind the
// entry they returned.
struct Cursor {
  std::size_t next = 0;
};

struct StateChange {
  std::size_t number = 0;
  bus::Side side = bus::Side::frontend;
  std::optional<bus::State> state;  // none: the node is missing, or holds no state
  std::string text;                 // as in the node; empty when it is missing
  std::uint64_t ns = 0;
};

}  // namespace displif_cts::fake
