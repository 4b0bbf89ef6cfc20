// Switching between stacks, known to AddressSanitizer. The shim's tasks (the guest's kernel threads
// and processes) are fibers of one thread: what runs when is the fuzz input's choice alone.
#pragma once

#include <cstddef>

namespace displif_cts::shim {

class Fiber {
 public:
  // The fiber that calls: the thread's own stack.
  Fiber() = default;
  // `entry` runs on a stack of its own from the first switch on and must never return.
  explicit Fiber(void (*entry)());
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Goes on in `to`; returns when somebody switches back here. `*this` is the fiber that runs.
  void switch_to(Fiber& to);

 private:
  static void begin();
  static void arrived();

  void (*entry_)() = nullptr;
  void* stack_ = nullptr;
  std::size_t size_ = 0;
  void* saved_ = nullptr;  // stack pointer while it does not run (x86-64), else its ucontext
  void* fake_ = nullptr;   // AddressSanitizer's
};

}  // namespace displif_cts::shim
