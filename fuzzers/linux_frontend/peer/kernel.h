// The guest's kernel: one thread, on which the driver and the shim run, over a real machine (Xen's
// libraries) and in real time. Others ask it to make calls, as processes do.
#pragma once

#include <functional>

namespace displif_cts::linux_guest {

// Loads the module and runs from now on, in a thread that ends with the process. Throws
// std::exception when the machine cannot be reached.
void start_kernel();

// Makes a call on a task of its own, and returns what it returns. From any other thread; waits as
// long as it takes.
int in_kernel(const std::function<int()>& call);

// ---- between the parts of the kernel; on its thread

// Descriptors that the kernel waits for, and what it does when one is readable.
struct Source {
  int fd = -1;
  void (*readable)() = nullptr;
};
Source store_source();   // bus.cc
Source events_source();  // events.cc
void bus_open();
void events_open();
void grants_open();

}  // namespace displif_cts::linux_guest
