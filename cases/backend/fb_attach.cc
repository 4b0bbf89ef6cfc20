// displif.h, "Request framebuffer attachment".
#include <fmt/format.h>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_fb_attach {
namespace {

using displif::FbAttach;
using displif::FbDetach;

constexpr DbufCookie kBuffer{0x5031};
constexpr FbCookie kFb{0x5041};

// A buffer of the default size, by a raw request.
Reply make_raw_buffer(FakeFrontend& frontend) {
  return frontend.send(0, create_of(kBuffer, frontend.share_pages(kOctets)));
}

// --- right ---------------------------------------------------------------------------------------

BACKEND_CASE(SeveralOfOne, {.id = "backend.fb-attach.several-of-one-buffer",
                            .title = "Several framebuffers of one buffer live side by side.",
                            .requirements = of(req::fb_attach_accepted)}) {
  FakeFrontend& frontend = connect();
  const DbufCookie buffer = make_buffer(frontend);
  for (int i = 0; i < 8; ++i)
    check_done(req::fb_attach_accepted, frontend.attach_fb(buffer),
               fmt::format("framebuffer {}", i));
}

BACKEND_CASE(Smaller, {.id = "backend.fb-attach.smaller-than-buffer",
                       .title = "A framebuffer that is smaller than its buffer is attached.",
                       .requirements = of(req::fb_attach_accepted)}) {
  FakeFrontend& frontend = connect();
  const Reply made = make_raw_buffer(frontend);
  require(check_done(req::dbuf_create_accepted, made, "the buffer"));
  FbAttach attach = attach_of(kBuffer, kFb);
  attach.height = kHeight / 2;
  check_done(req::fb_attach_accepted, frontend.send(0, attach), "half of the buffer");
}

BACKEND_CASE(CookieReused,
             {.id = "backend.fb-attach.cookie-reused",
              .title = "The cookie of a detached framebuffer can be used again.",
              .requirements = of(req::fb_attach_cookie_reusable, req::fb_detach_accepted)}) {
  FakeFrontend& frontend = connect();
  const Reply made = make_raw_buffer(frontend);
  require(check_done(req::dbuf_create_accepted, made, "the buffer"));
  for (int round = 0; round < 4; ++round) {
    check_done(req::fb_attach_cookie_reusable, frontend.send(0, attach_of(kBuffer, kFb)),
               "the cookie");
    check_done(req::fb_detach_accepted, frontend.send(0, FbDetach{kFb}), "its end");
  }
}

BACKEND_CASE(CookiesWhole,
             {.id = "backend.fb-attach.cookies-whole",
              .title = "Cookies that differ in one of their 64 bits are different framebuffers.",
              .requirements = of(req::request_cookies_whole)}) {
  FakeFrontend& frontend = connect();
  const Reply made = make_raw_buffer(frontend);
  require(check_done(req::dbuf_create_accepted, made, "the buffer"));
  for (const std::uint64_t cookie :
       {std::uint64_t{1}, std::uint64_t{0x1'0000'0001}, std::uint64_t{0x8000'0000'0000'0001},
        std::uint64_t{0xFFFF'FFFF'FFFF'FFFF}})
    check_done(req::request_cookies_whole, frontend.send(0, attach_of(kBuffer, FbCookie{cookie})),
               hex_text(cookie));
}

// --- wrong ---------------------------------------------------------------------------------------

BACKEND_CASE(UnknownBuffer, {.id = "backend.fb-attach.unknown-buffer",
                             .title = "A framebuffer of a buffer that does not exist is refused.",
                             .requirements = of(req::fb_attach_unknown_dbuf_rejected)}) {
  FakeFrontend& frontend = connect();
  const Reply made = make_raw_buffer(frontend);
  require(check_done(req::dbuf_create_accepted, made, "a buffer"));
  std::uint64_t fb = 0x5064;
  for (const std::uint64_t cookie :
       {std::uint64_t{0xDEAD}, std::uint64_t{0}, std::uint64_t{0x1'0000'5031}})
    check_refused(req::fb_attach_unknown_dbuf_rejected,
                  frontend.send(0, attach_of(DbufCookie{cookie}, FbCookie{fb++})),
                  "a framebuffer of buffer " + hex_text(cookie));
}

BACKEND_CASE(ZeroCookie, {.id = "backend.fb-attach.zero-cookie",
                          .title = "A framebuffer with cookie 0 is refused.",
                          .requirements = of(req::fb_attach_zero_cookie_rejected)}) {
  FakeFrontend& frontend = connect();
  const Reply made = make_raw_buffer(frontend);
  require(check_done(req::dbuf_create_accepted, made, "the buffer"));
  check_refused(req::fb_attach_zero_cookie_rejected,
                frontend.send(0, attach_of(kBuffer, FbCookie{})), "cookie 0");
}

BACKEND_CASE(DuplicateCookie,
             {.id = "backend.fb-attach.duplicate-cookie",
              .title = "A framebuffer with a cookie in use is refused, of the same buffer and of "
                       "another one.",
              .requirements = of(req::fb_attach_duplicate_cookie_rejected)}) {
  FakeFrontend& frontend = connect();
  const Reply made = make_raw_buffer(frontend);
  require(check_done(req::dbuf_create_accepted, made, "the buffer"));
  const auto pages = frontend.share_pages(kOctets);
  require(check_done(req::dbuf_create_accepted,
                     frontend.send(0, create_of(DbufCookie{0x5032}, pages)), "another buffer"));
  require(check_done(req::fb_attach_accepted, frontend.send(0, attach_of(kBuffer, kFb)),
                     "the framebuffer"));
  check_refused(req::fb_attach_duplicate_cookie_rejected, frontend.send(0, attach_of(kBuffer, kFb)),
                "the same again");
  check_refused(req::fb_attach_duplicate_cookie_rejected,
                frontend.send(0, attach_of(DbufCookie{0x5032}, kFb)),
                "the same cookie for the other buffer");
}

struct Oversize {
  std::string name;
  std::uint32_t width;
  std::uint32_t height;
};

std::vector<std::pair<CaseSpec, Oversize>> oversizes() {
  std::vector<std::pair<CaseSpec, Oversize>> list;
  for (const Oversize& size :
       {Oversize{"one-row", kWidth, kHeight + 1}, Oversize{"twice-as-wide", 2 * kWidth, kHeight},
        Oversize{"screen", 1024, 768}}) {
    CaseSpec spec;
    spec.id = "backend.fb-attach.larger-than-buffer." + size.name;
    spec.title = fmt::format("A framebuffer of {}x{} in a buffer of {}x{} is not shown.",
                             size.width, size.height, kWidth, kHeight);
    spec.requirements = of(req::fb_attach_fits_in_buffer);
    list.emplace_back(std::move(spec), size);
  }
  return list;
}

BACKEND_CASES(LargerThanBuffer, Oversize, oversizes()) {
  FakeFrontend& frontend = connect();
  const Reply made = make_raw_buffer(frontend);
  require(check_done(req::dbuf_create_accepted, made, "the buffer"));
  FbAttach attach = attach_of(kBuffer, kFb);
  attach.width = param.width;
  attach.height = param.height;
  const Shown shown = try_to_show(frontend, {}, attach);
  check(req::fb_attach_fits_in_buffer, shown.refused, {"refused at some step"}, shown.text);
  check_recovers(req::fb_attach_fits_in_buffer, frontend);
}

struct Size {
  std::string name;
  std::uint32_t width;
  std::uint32_t height;
};

std::vector<std::pair<CaseSpec, Size>> odd_sizes() {
  std::vector<std::pair<CaseSpec, Size>> list;
  for (const Size& size :
       {Size{"width-zero", 0, kHeight}, Size{"height-zero", kWidth, 0}, Size{"both-zero", 0, 0},
        Size{"width-huge", 0xFFFFFFFF, kHeight}, Size{"height-huge", kWidth, 0xFFFFFFFF},
        Size{"both-huge", 0xFFFFFFFF, 0xFFFFFFFF}, Size{"product-overflows", 0x10000, 0x10000},
        Size{"row-overflows", 0x40000001, 1}}) {
    CaseSpec spec;
    spec.id = "backend.fb-attach.geometry." + size.name;
    spec.title = fmt::format("A framebuffer of {}x{} does no harm.", size.width, size.height);
    spec.requirements = of(req::fb_attach_geometry_survived);
    list.emplace_back(std::move(spec), size);
  }
  return list;
}

BACKEND_CASES(OddSizes, Size, odd_sizes()) {
  FakeFrontend& frontend = connect();
  const Reply made = make_raw_buffer(frontend);
  require(check_done(req::dbuf_create_accepted, made, "the buffer"));
  FbAttach attach = attach_of(kBuffer, kFb);
  attach.width = param.width;
  attach.height = param.height;
  const Shown shown = try_to_show(frontend, {}, attach);
  check(req::fb_attach_geometry_survived, shown.refused, {"refused at some step"}, shown.text);
  check_recovers(req::fb_attach_geometry_survived, frontend);
}

// --- formats -------------------------------------------------------------------------------------

struct Format {
  std::string name;
  std::uint32_t code;
  bool known;  // to drm_fourcc.h: a backend may take it
};

std::vector<std::pair<CaseSpec, Format>> formats() {
  std::vector<std::pair<CaseSpec, Format>> list;
  for (const Format& format :
       {Format{"zero", 0, false}, Format{"all-ones", 0xFFFFFFFF, false},
        Format{"unprintable", 0x01020304, false}, Format{"unknown-letters", 0x5A5A5A5A, false},
        Format{"xr24-big-endian", DRM_FORMAT_XRGB8888 | DRM_FORMAT_BIG_ENDIAN, true},
        Format{"nv12", DRM_FORMAT_NV12, true}, Format{"yuv420", DRM_FORMAT_YUV420, true},
        Format{"c8", DRM_FORMAT_C8, true}, Format{"rg16", DRM_FORMAT_RGB565, true},
        Format{"rg24", DRM_FORMAT_RGB888, true}, Format{"ar24", DRM_FORMAT_ARGB8888, true},
        Format{"xb24", DRM_FORMAT_XBGR8888, true}, Format{"xr30", DRM_FORMAT_XRGB2101010, true}}) {
    CaseSpec spec;
    spec.id = "backend.fb-attach.format." + format.name;
    spec.title = fmt::format("The pixel format {:#010x} is {}, and does no harm.", format.code,
                             format.known ? "accepted or refused" : "refused");
    spec.requirements = of(req::fb_attach_unusual_format_survived);
    list.emplace_back(std::move(spec), format);
  }
  return list;
}

BACKEND_CASES(Formats, Format, formats()) {
  FakeFrontend& frontend = connect();
  const Reply made = make_raw_buffer(frontend);
  require(check_done(req::dbuf_create_accepted, made, "the buffer"));
  FbAttach attach = attach_of(kBuffer, kFb);
  attach.pixel_format = param.code;
  const Shown shown = try_to_show(frontend, {}, attach);
  if (param.known) {
    check_timed(req::fb_attach_unusual_format_survived, !shown.unanswered,
                {"an answer to every step"}, shown.text);
  } else {
    check(req::fb_attach_unusual_format_survived, shown.refused, {"refused at some step"},
          shown.text);
  }
  check_recovers(req::fb_attach_unusual_format_survived, frontend);
}

}  // namespace
}  // namespace displif_cts::cases::backend_fb_attach
