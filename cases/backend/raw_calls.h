// Requests that a polite frontend would not send, put together field by field.
#pragma once

#include <drm_fourcc.h>

#include <cstdint>

#include "cases/support/backend_case.h"
#include "harness/displif/wire.h"

namespace displif_cts::cases {

// The size that a buffer has by default here, in pixels of 32 bits: two pages.
inline constexpr std::uint32_t kWidth = 64;
inline constexpr std::uint32_t kHeight = 32;
inline constexpr std::uint32_t kOctets = kWidth * kHeight * 4;

// A polite DBUF_CREATE of that size for pages that are shared already.
inline displif::DbufCreate create_of(DbufCookie cookie, const FakeFrontend::SharedBuffer& pages) {
  displif::DbufCreate create;
  create.dbuf_cookie = cookie;
  create.width = kWidth;
  create.height = kHeight;
  create.bpp = 32;
  create.buffer_sz = kOctets;
  create.gref_directory = pages.directory.at(0);
  return create;
}

// A polite FB_ATTACH of that size.
inline displif::FbAttach attach_of(DbufCookie buffer, FbCookie cookie) {
  displif::FbAttach attach;
  attach.dbuf_cookie = buffer;
  attach.fb_cookie = cookie;
  attach.width = kWidth;
  attach.height = kHeight;
  attach.pixel_format = DRM_FORMAT_XRGB8888;
  return attach;
}

// A polite SET_CONFIG: the whole of the connector.
inline displif::SetConfig config_of(const displif::Resolution& resolution, FbCookie cookie) {
  displif::SetConfig config;
  config.fb_cookie = cookie;
  config.width = resolution.width;
  config.height = resolution.height;
  config.bpp = 32;
  return config;
}

// What came of trying to show a buffer, step by step, until one is refused.
struct Shown {
  bool refused = false;     // by one of the steps, with an error
  bool unanswered = false;  // by one of them
  std::string text;         // "DBUF_CREATE: status 0, FB_ATTACH: status -XEN_EINVAL"
};

inline void note(Shown& shown, const char* step, const Reply& reply) {
  shown.text += (shown.text.empty() ? "" : ", ") + std::string(step) + ": " + reply.text();
  if (!reply.response) shown.unanswered = true;
  if (reply.refused()) shown.refused = true;
}
inline bool goes_on(const Shown& shown) { return !shown.refused && !shown.unanswered; }

// Attaches, configures connector 0, flips. The buffer need not hold the framebuffer.
inline Shown try_to_show(FakeFrontend& frontend, Shown so_far, const displif::FbAttach& attach) {
  if (goes_on(so_far)) note(so_far, "FB_ATTACH", frontend.send(0, attach));
  if (goes_on(so_far))
    note(so_far, "SET_CONFIG",
         frontend.send(0, config_of(frontend.connectors().at(0), attach.fb_cookie)));
  if (goes_on(so_far)) note(so_far, "PG_FLIP", frontend.send(0, displif::PgFlip{attach.fb_cookie}));
  return so_far;
}

}  // namespace displif_cts::cases
