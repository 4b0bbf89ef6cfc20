// For Xen's libraries: their default logger writes every refused attempt to stderr, in a guest the
// console.
#pragma once

#include <cstdio>

extern "C" {
#include <xentoollog.h>
}

namespace displif_cts::agent {

// The process's one; null when memory is out, which the libraries take for their default.
inline xentoollog_logger* quiet_logger() {
  static auto* const logger =
      reinterpret_cast<xentoollog_logger*>(xtl_createlogger_stdiostream(stderr, XTL_CRITICAL, 0));
  return logger;
}

}  // namespace displif_cts::agent
