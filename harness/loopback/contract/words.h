// The words that contract tests are written in: what must hold, shared pages, mapped pages.
#pragma once

#include <chrono>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "harness/loopback/contract/side.h"

namespace displif_cts::contract {

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};

inline void check(bool holds, const std::string& what) {
  if (!holds) throw Failure(what);
}

inline void equal(long seen, long wanted, const std::string& what) {
  if (seen != wanted) {
    throw Failure(what + ": " + std::to_string(seen) + " instead of " + std::to_string(wanted));
  }
}

// The value of a call that must succeed.
inline long ok(const Answer& answer, const std::string& what) {
  if (answer.value < 0) {
    throw Failure(what + " failed: " + std::strerror(answer.error));
  }
  return answer.value;
}

inline void refused(const Answer& answer, int error, const std::string& what) {
  if (answer.value >= 0) throw Failure(what + " succeeded");
  if (answer.error != error) {
    throw Failure(what + ": errno " + std::to_string(answer.error) + " (" +
                  std::strerror(answer.error) + ") instead of " + std::strerror(error));
  }
}

// Repeats until `holds`, 5 s at most: for what Linux does in the background.
inline void eventually(const std::function<bool()>& holds, const std::string& what) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(5);
  while (!holds()) {
    check(std::chrono::steady_clock::now() < end, what);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

struct Pages {
  Side& side;
  long handle;
  long memory = 0;
  std::vector<long> refs;

  Pages(Side& its_side, const Side& peer, long count, bool writable)
      : side(its_side), handle(ok(side("gntshr-open"), "gntshr_open")) {
    const Answer answer = side("share", {handle, peer.domain(), count, writable});
    memory = ok(answer, "share_pages");
    refs = answer.more;
  }
  void poke(long offset, long value) const { side("poke", {memory, offset, value}); }
  long peek(long offset) const { return side("peek", {memory, offset}).value; }
  void unshare() const { ok(side("unshare", {handle, memory}), "unshare"); }
};

struct Mapper {
  Side& side;
  long handle;

  explicit Mapper(Side& its_side)
      : side(its_side), handle(ok(side("gnttab-open"), "gnttab_open")) {}
  Answer try_map(const Side& owner, std::vector<long> refs, long protection) const {
    refs.insert(refs.begin(), {handle, owner.domain(), protection});
    return side.run("map", refs);
  }
  long map(const Side& owner, const std::vector<long>& refs, long protection) const {
    return ok(try_map(owner, refs, protection), "map");
  }
  long peek(long memory, long offset) const { return side("peek", {memory, offset}).value; }
  void poke(long memory, long offset, long value) const { side("poke", {memory, offset, value}); }
  void unmap(long memory, long count = 1) const {
    ok(side("unmap", {handle, memory, count}), "unmap");
  }
};

}  // namespace displif_cts::contract
