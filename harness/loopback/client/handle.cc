#include "harness/loopback/client/handle.h"

#include <cerrno>
#include <cstdio>

extern "C" {
// Exported by libxentoolcore for Xen's own libraries.
void xentoolcore__register_active_handle(displif_cts::loopback::client::ActiveHandle* handle);
void xentoolcore__deregister_active_handle(displif_cts::loopback::client::ActiveHandle* handle);
}

namespace displif_cts::loopback::client {

Listed::Listed() {
  active_.self = this;
  active_.restrict_callback = [](ActiveHandle* handle, std::uint32_t domain) {
    return static_cast<Entry*>(handle)->self->restrict_to(domain);
  };
  xentoolcore__register_active_handle(&active_);
}

Listed::~Listed() { xentoolcore__deregister_active_handle(&active_); }

Log::Log(xentoollog_logger* logger, const char* library) : library_(library), logger_(logger) {
  if (logger_ == nullptr) {
    own_ =
        reinterpret_cast<xentoollog_logger*>(xtl_createlogger_stdiostream(stderr, XTL_PROGRESS, 0));
    logger_ = own_;
  }
}

Log::~Log() { xtl_logger_destroy(own_); }

void Log::error(const std::string& what) const {
  const int number = errno;
  xtl_log(logger_, XTL_ERROR, number, library_, "%s", what.c_str());
  errno = number;
}

}  // namespace displif_cts::loopback::client
