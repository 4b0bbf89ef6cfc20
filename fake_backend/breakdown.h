// A backend whose worker died of what a frontend did: from then on nothing of the whole process is
// served, neither this device nor another nor a new one.
#pragma once

#include <atomic>

namespace displif_cts::fake_backend {

class Breakdown {
 public:
  static bool happened() { return flag().load(std::memory_order_relaxed); }
  static void happen() { flag().store(true, std::memory_order_relaxed); }
  static void mend() { flag().store(false, std::memory_order_relaxed); }  // for tests

 private:
  static std::atomic<bool>& flag() {
    static std::atomic<bool> broken{false};
    return broken;
  }
};

}  // namespace displif_cts::fake_backend
