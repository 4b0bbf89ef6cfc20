// displif.h, "Request dbuf creation" and the page directory: which buffers a backend takes, and
// what it does with those that it cannot.
#include <fmt/format.h>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"
#include "lab/guest/pattern.h"

namespace displif_cts::cases::backend_dbuf_create {
namespace {

using displif::DbufCreate;
using displif::DbufDestroy;
using displif::FbAttach;
using fake_frontend::AtOperations;

// --- right ---------------------------------------------------------------------------------------

struct Size {
  std::string name;
  std::uint32_t width;
  std::uint32_t height;
};

std::vector<std::pair<CaseSpec, Size>> sizes() {
  std::vector<std::pair<CaseSpec, Size>> list;
  // A directory page holds 1023 references; the connector is 1024x768.
  for (const Size& size :
       {Size{"part-of-a-page", 1, 1}, Size{"one-page", 32, 32}, Size{"smaller", 640, 480},
        Size{"odd", 333, 77}, Size{"equal", 1024, 768}, Size{"1023-pages", 1023, 1024},
        Size{"1024-pages", 1024, 1024}, Size{"2046-pages", 1023, 2048},
        Size{"2047-pages", 1024, 2047}, Size{"width-3840", 3840, 2160}}) {
    CaseSpec spec;
    spec.id = "backend.dbuf-create.size." + size.name;
    spec.title = fmt::format("A buffer of {}x{} is created, and a framebuffer of it attached.",
                             size.width, size.height);
    spec.requirements = of(req::dbuf_create_accepted, req::fb_attach_accepted);
    if (std::uint64_t{size.width} * size.height * 4 > 1023 * xen::kPageSize)
      spec.requirements.push_back(&req::dbuf_create_directory_followed);
    list.emplace_back(std::move(spec), size);
  }
  return list;
}

BACKEND_CASES(Sizes, Size, sizes()) {
  FakeFrontend& frontend = connect();
  BufferSpec spec;
  spec.width = param.width;
  spec.height = param.height;
  const BufferReply buffer = frontend.create_buffer(spec);
  if (!buffer.request) GTEST_SKIP() << "our own domain cannot share as much: " << buffer.text();
  const std::uint64_t pages =
      (std::uint64_t{param.width} * param.height * 4 + xen::kPageSize - 1) / xen::kPageSize;
  if (pages > 1023)
    require(check_done(req::dbuf_create_directory_followed, buffer,
                       fmt::format("a buffer of {} pages", pages)));
  require(check_done(req::dbuf_create_accepted, buffer, "the buffer"));
  check_done(req::fb_attach_accepted, frontend.attach_fb(buffer.cookie), "the framebuffer");
}

BACKEND_CASE(Several,
             {.id = "backend.dbuf-create.several",
              .title = "Sixteen buffers live side by side, and come and go in any order.",
              .requirements = of(req::dbuf_create_several, req::dbuf_create_cookie_reusable)}) {
  constexpr std::size_t kBuffers = 16;
  FakeFrontend& frontend = connect();
  std::vector<DbufCookie> cookies;
  for (std::size_t i = 0; i < kBuffers; ++i) {
    const BufferReply reply = frontend.create_buffer({});
    require(check_done(req::dbuf_create_several, reply, fmt::format("buffer {}", i)));
    cookies.push_back(reply.cookie);
  }
  for (std::size_t i = 0; i < kBuffers; i += 2)
    check_done(req::dbuf_create_several, frontend.destroy_buffer(cookies[i]),
               fmt::format("the end of buffer {}", i));
  for (std::size_t i = 1; i < kBuffers; i += 2)
    check_done(req::dbuf_create_several, frontend.attach_fb(cookies[i]),
               fmt::format("a framebuffer of buffer {}", i));
  for (std::size_t i = 0; i < kBuffers; i += 2) {
    BufferSpec spec;
    spec.cookie = cookies[i];
    check_done(req::dbuf_create_cookie_reusable, frontend.create_buffer(spec),
               fmt::format("buffer {} with its old cookie", i));
  }
}

BACKEND_CASE(DataOffset,
             {.id = "backend.dbuf-create.data-offset",
              .title = "A buffer whose data begin at an offset is created and shown.",
              .requirements = of(req::dbuf_create_accepted, req::set_config_accepted)}) {
  FakeFrontend& frontend = connect();
  if (frontend.protocol() < 2) GTEST_SKIP() << "version 1 has no data offset";
  BufferSpec spec;
  spec.width = 1024;
  spec.height = 768;
  spec.data_offset = 4096;
  const BufferReply buffer = frontend.create_buffer(spec);
  require(check_done(req::dbuf_create_accepted, buffer, "a buffer with data at 4096"));
  const FramebufferReply fb = frontend.attach_fb(buffer.cookie);
  require(check_done(req::fb_attach_accepted, fb, "its framebuffer"));
  check_done(req::set_config_accepted, frontend.set_config(0, fb.cookie), "its configuration");
}

BACKEND_CASE(PictureLeftOpen,
             {.id = "backend.dbuf-create.picture-left-open",
              .title = "A buffer without width, height and depth of its own, as Linux makes of an "
                       "imported one, is answered, and does no harm.",
              .requirements = of(req::dbuf_create_geometry_survived)}) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  DbufCreate create = create_of(DbufCookie{0x5005}, pages);
  create.width = create.height = create.bpp = 0;
  const Reply reply = frontend.send(0, create);
  check_answered(req::dbuf_create_geometry_survived, reply, "the buffer");
  if (reply.ok())
    check_answered(req::dbuf_create_geometry_survived,
                   frontend.send(0, attach_of(DbufCookie{0x5005}, FbCookie{0x5006})),
                   "its framebuffer");
  check_recovers(req::dbuf_create_geometry_survived, frontend);
}

BACKEND_CASE(ContentsUntouched,
             {.id = "backend.dbuf-create.contents-untouched",
              .title = "Shown, flipped and detached, a buffer still holds what the guest drew.",
              .requirements = of(req::backend_buffer_contents_untouched)}) {
  FakeFrontend& frontend = connect();
  BufferSpec spec;
  spec.width = frontend.connectors().at(0).width;
  spec.height = frontend.connectors().at(0).height;
  const DbufCookie buffer = make_buffer(frontend, spec);
  std::vector<std::uint8_t> drawn(std::size_t{spec.width} * spec.height * 4);
  pattern::octets(seed(), 0, drawn);
  frontend.draw(buffer, std::as_bytes(std::span(drawn)));
  const FbCookie fb = make_fb(frontend, buffer);
  frontend.set_config(0, fb);
  for (int flip = 0; flip < 3; ++flip) {
    frontend.page_flip(0, fb);
    frontend.await_flip(0, event_limit());
  }
  frontend.reset_config(0);
  frontend.detach_fb(fb);
  const auto found = frontend.contents(buffer);
  if (!found) throw std::runtime_error("our own buffer is not there");
  const std::span octets(reinterpret_cast<const std::uint8_t*>(found->data()), found->size());
  const std::size_t at = pattern::first_difference(seed(), 0, octets);
  check(
      req::backend_buffer_contents_untouched, at == octets.size(), {"every octet as it was drawn"},
      at == octets.size() ? "every octet as it was drawn" : fmt::format("octet {} is another", at));
}

// --- cookies -------------------------------------------------------------------------------------

BACKEND_CASE(ZeroCookie, {.id = "backend.dbuf-create.zero-cookie",
                          .title = "A buffer with cookie 0 is refused.",
                          .requirements = of(req::dbuf_create_zero_cookie_rejected)}) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  check_refused(req::dbuf_create_zero_cookie_rejected,
                frontend.send(0, create_of(DbufCookie{}, pages)), "cookie 0");
}

BACKEND_CASE(DuplicateCookie,
             {.id = "backend.dbuf-create.duplicate-cookie",
              .title = "A buffer with a cookie in use is refused, and the first one stays.",
              .requirements = of(req::dbuf_create_duplicate_cookie_rejected)}) {
  constexpr DbufCookie kCookie{0x1234};
  FakeFrontend& frontend = connect();
  const auto first = frontend.share_pages(kOctets);
  const auto second = frontend.share_pages(xen::kPageSize);
  require(check_done(req::dbuf_create_accepted, frontend.send(0, create_of(kCookie, first)),
                     "the first buffer"));
  DbufCreate smaller = create_of(kCookie, second);
  smaller.width = smaller.height = 8;
  smaller.buffer_sz = 8 * 8 * 4;
  check_refused(req::dbuf_create_duplicate_cookie_rejected, frontend.send(0, smaller),
                "a second buffer with its cookie");
  check_done(req::dbuf_create_duplicate_cookie_rejected,
             frontend.send(0, attach_of(kCookie, FbCookie{0x5009})),
             "a framebuffer of the first one's size");
}

BACKEND_CASE(CookieAfterRefusal, {.id = "backend.dbuf-create.cookie-after-refusal",
                                  .title = "The cookie of a buffer that was refused is free.",
                                  .requirements = of(req::dbuf_create_cookie_reusable)}) {
  constexpr DbufCookie kCookie{0x4321};
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  DbufCreate bad = create_of(kCookie, pages);
  bad.gref_directory = xen::GrantRef{};
  if (frontend.send(0, bad).ok()) GTEST_SKIP() << "the backend took a buffer without directory";
  check_done(req::dbuf_create_cookie_reusable, frontend.send(0, create_of(kCookie, pages)),
             "the cookie again");
}

BACKEND_CASE(CookiesWhole,
             {.id = "backend.dbuf-create.cookies-whole",
              .title = "Cookies that differ in one of their 64 bits are different buffers.",
              .requirements = of(req::request_cookies_whole)}) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  const std::vector<std::uint64_t> cookies{1,          0x1'0000'0001U, 0x8000'0000'0000'0001U,
                                           0xFFFFFFFF, 0x1'FFFF'FFFFU, 0xFFFF'FFFF'FFFF'FFFFU};
  for (const std::uint64_t cookie : cookies)
    check_done(req::request_cookies_whole, frontend.send(0, create_of(DbufCookie{cookie}, pages)),
               hex_text(cookie));
  check_done(req::request_cookies_whole, frontend.send(0, DbufDestroy{DbufCookie{0x1'0000'0001U}}),
             "the end of 0x100000001");
  check_done(req::request_cookies_whole, frontend.send(0, attach_of(DbufCookie{1}, FbCookie{1})),
             "a framebuffer of 0x1");
}

// --- wrong ---------------------------------------------------------------------------------------

std::vector<std::pair<CaseSpec, std::uint32_t>> flag_specs() {
  std::vector<std::pair<CaseSpec, std::uint32_t>> list;
  for (const std::uint32_t flags : {0x2U, 0x80U, 0x8000'0000U, 0xFFFF'FFFEU}) {
    CaseSpec spec;
    spec.id = fmt::format("backend.dbuf-create.flags.{:x}", flags);
    spec.title = fmt::format("A buffer with the undefined flags {:#x} is refused.", flags);
    spec.requirements = of(req::dbuf_create_unknown_flags_rejected);
    list.emplace_back(std::move(spec), flags);
  }
  return list;
}

BACKEND_CASES(UnknownFlags, std::uint32_t, flag_specs()) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  DbufCreate create = create_of(DbufCookie{0x5003}, pages);
  create.flags = param;
  check_refused(req::dbuf_create_unknown_flags_rejected, frontend.send(0, create),
                "flags " + hex_text(param));
}

BACKEND_CASE(ShortBuffer, {.id = "backend.dbuf-create.short-buffer",
                           .title = "A buffer that its own picture does not fit into is refused.",
                           .requirements = of(req::dbuf_create_buffer_holds_picture)}) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  DbufCreate create = create_of(DbufCookie{0x5003}, pages);
  create.height = 2 * kHeight;
  check_refused(req::dbuf_create_buffer_holds_picture, frontend.send(0, create),
                fmt::format("{}x{} in {} octets", create.width, create.height, create.buffer_sz));
}

struct Geometry {
  std::string name;
  std::function<void(DbufCreate&)> change;
};

std::vector<std::pair<CaseSpec, Geometry>> geometries() {
  const std::vector<Geometry> all{
      {"width-zero", [](DbufCreate& create) { create.width = 0; }},
      {"height-zero", [](DbufCreate& create) { create.height = 0; }},
      {"bpp-zero", [](DbufCreate& create) { create.bpp = 0; }},
      {"width-huge", [](DbufCreate& create) { create.width = 0xFFFFFFFF; }},
      {"height-huge", [](DbufCreate& create) { create.height = 0xFFFFFFFF; }},
      {"bpp-huge", [](DbufCreate& create) { create.bpp = 0xFFFFFFFF; }},
      {"bpp-odd", [](DbufCreate& create) { create.bpp = 7; }},
      {"all-huge",
       [](DbufCreate& create) { create.width = create.height = create.bpp = 0xFFFFFFFF; }},
      // 0x10000 x 0x10000 x 32 bits are 0 octets in 32 bits.
      {"product-overflows", [](DbufCreate& create) { create.width = create.height = 0x10000; }},
      {"row-overflows", [](DbufCreate& create) { create.width = 0x40000001; }},
      {"size-zero", [](DbufCreate& create) { create.buffer_sz = 0; }},
      {"size-one", [](DbufCreate& create) { create.buffer_sz = 1; }},
      {"size-huge", [](DbufCreate& create) { create.buffer_sz = 0xFFFFFFFF; }},
      {"size-rounds-to-zero", [](DbufCreate& create) { create.buffer_sz = 0xFFFFF001; }},
      {"size-long", [](DbufCreate& create) { create.buffer_sz = 64 * kOctets; }},
  };
  std::vector<std::pair<CaseSpec, Geometry>> list;
  for (const Geometry& geometry : all) {
    CaseSpec spec;
    spec.id = "backend.dbuf-create.geometry." + geometry.name;
    spec.title =
        fmt::format("A buffer whose sizes make no sense ({}) does no harm.", geometry.name);
    spec.requirements = of(req::dbuf_create_geometry_survived);
    list.emplace_back(std::move(spec), geometry);
  }
  return list;
}

BACKEND_CASES(Geometries, Geometry, geometries()) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  DbufCreate create = create_of(DbufCookie{0x5003}, pages);
  param.change(create);
  Shown shown;
  const Reply reply = frontend.send(0, create);
  check_answered(req::dbuf_create_geometry_survived, reply, "the buffer");
  note(shown, "DBUF_CREATE", reply);
  FbAttach attach = attach_of(DbufCookie{0x5003}, FbCookie{0x5004});
  attach.width = create.width;
  attach.height = create.height;
  try_to_show(frontend, shown, attach);
  check_recovers(req::dbuf_create_geometry_survived, frontend);
}

std::vector<std::pair<CaseSpec, std::uint32_t>> offsets() {
  std::vector<std::pair<CaseSpec, std::uint32_t>> list;
  for (const auto& [name, offset] :
       {std::pair{"one-octet", 1U}, std::pair{"whole-buffer", kOctets},
        std::pair{"beyond", 2 * kOctets}, std::pair{"huge", 0xFFFFFFFFU},
        std::pair{"wraps", 0U - kOctets}}) {
    CaseSpec spec;
    spec.id = std::string("backend.dbuf-create.offset-beyond.") + name;
    spec.title =
        fmt::format("A data offset of {} leaves no room, and nothing beyond is shown.", offset);
    spec.requirements = of(req::dbuf_create_data_offset_within_buffer);
    list.emplace_back(std::move(spec), offset);
  }
  return list;
}

BACKEND_CASES(OffsetBeyond, std::uint32_t, offsets()) {
  FakeFrontend& frontend = connect();
  if (frontend.protocol() < 2) GTEST_SKIP() << "version 1 has no data offset";
  const auto pages = frontend.share_pages(kOctets);
  DbufCreate create = create_of(DbufCookie{0x5003}, pages);
  create.data_ofs = param;
  Shown shown;
  note(shown, "DBUF_CREATE", frontend.send(0, create));
  shown = try_to_show(frontend, shown, attach_of(DbufCookie{0x5003}, FbCookie{0x5004}));
  check(req::dbuf_create_data_offset_within_buffer, shown.refused, {"refused at some step"},
        shown.text);
  check_recovers(req::dbuf_create_data_offset_within_buffer, frontend);
}

// --- directories ---------------------------------------------------------------------------------

struct Directory {
  std::string name;
  AtOperations FrontendFaults::*fault;
  std::uint32_t height = kHeight;  // of a buffer that is 64 pixels wide
};

// Such a buffer does not exist: its creation fails, or what would show it does.
const std::vector<Directory>& invalid_directories() {
  static const std::vector<Directory> all{
      {"short", &FrontendFaults::directory_short},
      {"chain-short", &FrontendFaults::directory_chain_short, 1024 * 16},
      {"reference-zero", &FrontendFaults::entry_zero},
      {"reference-invalid", &FrontendFaults::reference_invalid},
      {"reference-foreign", &FrontendFaults::reference_foreign},
      {"reference-revoked", &FrontendFaults::reference_revoked},
      {"directory-zero", &FrontendFaults::directory_reference_zero},
      {"directory-invalid", &FrontendFaults::directory_reference_invalid},
      {"directory-foreign", &FrontendFaults::directory_reference_foreign},
      {"directory-revoked", &FrontendFaults::directory_reference_revoked},
  };
  return all;
}

BufferSpec buffer_for(const Directory& directory) {
  BufferSpec spec;
  spec.width = kWidth;
  spec.height = directory.height;
  return spec;
}

void set(FakeFrontend& frontend, AtOperations FrontendFaults::*fault) {
  frontend.set_faults([fault](FrontendFaults& faults) { (faults.*fault).times = 1; });
}

std::vector<std::pair<CaseSpec, Directory>> invalid_specs() {
  std::vector<std::pair<CaseSpec, Directory>> list;
  for (const Directory& directory : invalid_directories()) {
    CaseSpec spec;
    spec.id = "backend.dbuf-create.invalid-directory." + directory.name;
    spec.title = fmt::format(
        "A buffer without all its pages ({}) is refused, at the latest when "
        "it would be shown.",
        directory.name);
    spec.requirements = of(req::dbuf_create_invalid_directory_rejected);
    list.emplace_back(std::move(spec), directory);
  }
  return list;
}

BACKEND_CASES(InvalidDirectories, Directory, invalid_specs()) {
  FakeFrontend& frontend = connect();
  set(frontend, param.fault);
  const BufferReply buffer = frontend.create_buffer(buffer_for(param));
  if (!buffer.request) GTEST_SKIP() << "our own domain cannot share as much: " << buffer.text();
  Shown shown;
  note(shown, "DBUF_CREATE", buffer);
  FbAttach attach = attach_of(buffer.cookie, FbCookie{0x4444});
  attach.height = param.height;
  shown = try_to_show(frontend, shown, attach);
  check(req::dbuf_create_invalid_directory_rejected, shown.refused, {"refused at some step"},
        shown.text);
  check_recovers(req::dbuf_create_invalid_directory_rejected, frontend);
}

BACKEND_CASE(RefusedLeavesNothing,
             {.id = "backend.dbuf-create.refused-leaves-nothing",
              .title = "Of a refused buffer nothing stays mapped, and its cookie names nothing.",
              .requirements = of(req::dbuf_create_refused_leaves_nothing)}) {
  SKIP_IF(lacks_mappings());
  FakeFrontend& frontend = connect();
  const std::uint64_t before = mapped_pages().value_or(0);
  for (const Directory& directory : invalid_directories()) {
    set(frontend, directory.fault);
    const BufferReply buffer = frontend.create_buffer(buffer_for(directory));
    frontend.clear_faults();
    if (!buffer.refused()) {  // judged by invalid-directory
      frontend.send(0, DbufDestroy{buffer.cookie});
      continue;
    }
    check_refused(req::dbuf_create_refused_leaves_nothing,
                  frontend.send(0, attach_of(buffer.cookie, FbCookie{0x4444})),
                  "a framebuffer of the refused buffer");
    check_mapped_at_most(req::dbuf_create_refused_leaves_nothing, before,
                         directory.name + " was refused");
  }
  check_mapped_at_most(req::dbuf_create_refused_leaves_nothing, before, "all were refused");
}

std::vector<std::pair<CaseSpec, Directory>> hostile_specs() {
  const std::vector<Directory> all{
      {"long", &FrontendFaults::directory_long},
      {"cyclic", &FrontendFaults::directory_cyclic},
      {"cyclic-large", &FrontendFaults::directory_cyclic, 1024 * 16},
      {"references-duplicated", &FrontendFaults::references_duplicated},
      {"pages-read-only", &FrontendFaults::pages_read_only},
      {"directory-read-only", &FrontendFaults::directory_read_only},
      {"changing", &FrontendFaults::directory_changing},
      {"changing-large", &FrontendFaults::directory_changing, 1024 * 16},
  };
  std::vector<std::pair<CaseSpec, Directory>> list;
  for (const Directory& directory : all) {
    CaseSpec spec;
    spec.id = "backend.dbuf-create.hostile-directory." + directory.name;
    spec.title = fmt::format("A hostile page directory ({}) does no harm.", directory.name);
    spec.requirements = of(req::dbuf_create_hostile_directory_survived);
    list.emplace_back(std::move(spec), directory);
  }
  return list;
}

BACKEND_CASES(HostileDirectories, Directory, hostile_specs()) {
  FakeFrontend& frontend = connect();
  set(frontend, param.fault);
  const BufferReply buffer = frontend.create_buffer(buffer_for(param));
  if (!buffer.request) GTEST_SKIP() << "our own domain cannot share as much: " << buffer.text();
  check_answered(req::dbuf_create_hostile_directory_survived, buffer, "the buffer");
  Shown shown;
  note(shown, "DBUF_CREATE", buffer);
  FbAttach attach = attach_of(buffer.cookie, FbCookie{0x4444});
  attach.height = param.height;
  try_to_show(frontend, shown, attach);
  check_recovers(req::dbuf_create_hostile_directory_survived, frontend);
}

BACKEND_CASE(LinksToEachOther,
             {.id = "backend.dbuf-create.hostile-directory.two-page-loop",
              .title = "Two directory pages that link to each other do not hold the backend.",
              .requirements = of(req::dbuf_create_hostile_directory_survived)}) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(1024 * xen::kPageSize);
  frontend.write_directory(pages.handle, 1, 0, raw(pages.directory.at(0)));
  DbufCreate create = create_of(DbufCookie{0x5003}, pages);
  create.width = create.height = 0;
  create.buffer_sz = 0xFFFFF000;  // a million references, if anybody believes it
  check_answered(req::dbuf_create_hostile_directory_survived, frontend.send(0, create),
                 "the buffer");
  check_recovers(req::dbuf_create_hostile_directory_survived, frontend);
}

BACKEND_CASE(MoreAndMore,
             {.id = "backend.dbuf-create.more-and-more",
              .title = "A frontend that asks for buffer after buffer, and framebuffer after "
                       "framebuffer, is answered each time.",
              .requirements = of(req::dbuf_create_resources_bounded),
              .timeout = seconds(60)}) {
  constexpr std::uint64_t kBuffers = 1200;
  constexpr std::uint64_t kFramebuffers = 1200;
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  std::size_t answered = 0;
  const auto count = [&](const Reply& reply) {
    if (!reply.response || !is_legal_status(*reply.status())) return false;
    ++answered;
    return true;
  };
  for (std::uint64_t i = 1; i <= kBuffers; ++i)
    if (!count(frontend.send(0, create_of(DbufCookie{i}, pages)))) break;
  for (std::uint64_t i = 1; i <= kFramebuffers; ++i)
    if (!count(frontend.send(0, attach_of(DbufCookie{1}, FbCookie{i})))) break;
  check(req::dbuf_create_resources_bounded, answered == kBuffers + kFramebuffers,
        {fmt::format("{} legal answers", kBuffers + kFramebuffers)},
        fmt::format("{} legal answers", answered));
  frontend.leave();
  check_recovers(req::dbuf_create_resources_bounded, frontend);
}

}  // namespace
}  // namespace displif_cts::cases::backend_dbuf_create
