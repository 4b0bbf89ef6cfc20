// Several domains in one process, for unit tests and fuzzers: link harness_loopback_inprocess
// before Xen's libraries, and the same client code (client/) reaches a Host in the same process by
// function calls. XenStore stays the real libxenstore, over the Host's sockets.
#pragma once

#include "harness/loopback/host.h"
#include "harness/xen/types.h"

namespace displif_cts::loopback {

// While it lives, handles opened in this process belong to `host`. One at a time; all handles must
// be closed before it goes.
class InProcess {
 public:
  // `domain`: of threads without a ThreadDomain.
  explicit InProcess(Host& host, xen::DomId domain = xen::DomId{0});
  ~InProcess();
  // `hook` runs before each call that a handle of this process makes, on the calling thread: what
  // happens in the middle of a peer's work. nullptr: no more.
  static void before_calls(void (*hook)());
  // From now on, until it goes, what is unmapped stays where it is for who maps the same pages
  // again: for fuzzers, which do little else. Needs AddressSanitizer, which then finds who still
  // touches it; does nothing without.
  static void keep_mappings();
  InProcess(const InProcess&) = delete;
  InProcess& operator=(const InProcess&) = delete;
};

// While it lives, what the calling thread opens belongs to the domain. A handle remembers the
// domain that it was opened in, whoever uses it.
class ThreadDomain {
 public:
  explicit ThreadDomain(xen::DomId domain);
  ~ThreadDomain();
  ThreadDomain(const ThreadDomain&) = delete;
  ThreadDomain& operator=(const ThreadDomain&) = delete;

 private:
  int before_;
};

}  // namespace displif_cts::loopback
