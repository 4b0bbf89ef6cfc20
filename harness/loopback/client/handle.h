// What all handles of Xen's libraries have: a logger, a place in the list of
// xentoolcore_restrict_all(), and a way to say what went wrong.
#pragma once

#include <cstdarg>
#include <cstdint>
#include <memory>
#include <string>

extern "C" {
#include <xentoolcore.h>
#include <xentoollog.h>
}

namespace displif_cts::loopback::client {

// What libxentoolcore keeps of a handle (Xen: tools/include/xentoolcore_internal.h, which is not
// installed): part of the interface between Xen's own libraries, VERS_1.0.
struct ActiveHandle {
  int (*restrict_callback)(ActiveHandle*, std::uint32_t domain);
  struct {
    ActiveHandle* next;
    ActiveHandle** previous;
  } entry;
};

// Puts itself on the list, and takes itself off.
class Listed {
 public:
  // Called by xentoolcore_restrict_all(); returns 0, or -1 with errno.
  virtual int restrict_to(std::uint32_t domain) = 0;

 protected:
  Listed();
  ~Listed();
  Listed(const Listed&) = delete;
  Listed& operator=(const Listed&) = delete;

 private:
  struct Entry : ActiveHandle {
    Listed* self;
  } active_;
};

// The caller's logger; stderr where it gave none, as Xen's libraries do.
class Log {
 public:
  Log(xentoollog_logger* logger, const char* library);
  ~Log();
  Log(const Log&) = delete;
  Log& operator=(const Log&) = delete;

  // With errno's text; leaves errno as it is.
  void error(const std::string& what) const;

 private:
  const char* library_;
  xentoollog_logger* logger_;
  xentoollog_logger* own_ = nullptr;
};

}  // namespace displif_cts::loopback::client
