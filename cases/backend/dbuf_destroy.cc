// displif.h, "Request dbuf destruction".
#include <fmt/format.h>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"

namespace displif_cts::cases::backend_dbuf_destroy {
namespace {

using displif::DbufDestroy;
using displif::PgFlip;

constexpr DbufCookie kBuffer{0x5011};
constexpr FbCookie kFb{0x5022};

BACKEND_CASE(Destroyed,
             {.id = "backend.dbuf-destroy.accepted",
              .title = "A destroyed buffer is answered with success, and is unknown "
                       "from then on.",
              .requirements = of(req::dbuf_destroy_accepted, req::dbuf_create_cookie_reusable)}) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  for (int round = 0; round < 3; ++round) {
    const Reply made = frontend.send(0, create_of(kBuffer, pages));
    if (round == 0) require(check_done(req::dbuf_create_accepted, made, "the buffer"));
    if (round > 0)
      require(check_done(req::dbuf_create_cookie_reusable, made, "the same cookie again"));
    require(
        check_done(req::dbuf_destroy_accepted, frontend.send(0, DbufDestroy{kBuffer}), "its end"));
    check_refused(req::dbuf_destroy_accepted, frontend.send(0, attach_of(kBuffer, kFb)),
                  "a framebuffer of it, afterwards");
  }
}

BACKEND_CASE(Others,
             {.id = "backend.dbuf-destroy.others-kept",
              .title = "The end of a buffer leaves the others as they are, those made before and "
                       "after it.",
              .requirements = of(req::dbuf_destroy_others_kept)}) {
  FakeFrontend& frontend = connect();
  const Picture before = show_picture(frontend);
  const displif::Resolution screen = frontend.connectors().at(0);
  const BufferSpec whole{.width = screen.width, .height = screen.height};
  const DbufCookie buffer = make_buffer(frontend, whole);
  const FbCookie fb = make_fb(frontend, buffer);
  const FbCookie after = make_fb(frontend, make_buffer(frontend, whole));
  require(check_done(req::fb_detach_accepted, frontend.detach_fb(fb), "its framebuffer's end"));
  require(check_done(req::dbuf_destroy_accepted, frontend.destroy_buffer(buffer), "its end"));
  for (const auto& [other, what] : {std::pair{after, "a flip to one made after it"},
                                    std::pair{before.fb, "a flip to one made before it"}})
    check_flip(req::dbuf_destroy_others_kept, frontend, 0, other, what);
  check_done(req::dbuf_destroy_others_kept, frontend.send(0, config_of(screen, after)),
             "a configuration with one made after it");
  const FbCookie again = make_fb(frontend, before.dbuf);
  check_flip(req::dbuf_destroy_others_kept, frontend, 0, again,
             "a flip to a new framebuffer of one made before it");
}

std::vector<std::pair<CaseSpec, DbufCookie>> unknown_cookies() {
  std::vector<std::pair<CaseSpec, DbufCookie>> list;
  for (const auto& [name, cookie] :
       {std::pair{"never-created", DbufCookie{0xDEAD}}, std::pair{"zero", DbufCookie{}},
        std::pair{"destroyed-before", kBuffer}}) {
    CaseSpec spec;
    spec.id = std::string("backend.dbuf-destroy.unknown-cookie.") + name;
    spec.title = fmt::format("The end of a buffer that does not exist ({}) is refused.", name);
    spec.requirements = of(req::dbuf_destroy_unknown_cookie_rejected);
    list.emplace_back(std::move(spec), cookie);
  }
  return list;
}

BACKEND_CASES(UnknownCookies, DbufCookie, unknown_cookies()) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  require(check_done(req::dbuf_create_accepted, frontend.send(0, create_of(kBuffer, pages)),
                     "a buffer"));
  if (param == kBuffer)
    require(
        check_done(req::dbuf_destroy_accepted, frontend.send(0, DbufDestroy{kBuffer}), "its end"));
  check_refused(req::dbuf_destroy_unknown_cookie_rejected, frontend.send(0, DbufDestroy{param}),
                hex_text(raw(param)));
}

BACKEND_CASE(Unmapped, {.id = "backend.dbuf-destroy.unmapped",
                        .title = "Of a destroyed buffer, small or large, nothing stays mapped.",
                        .requirements = of(req::dbuf_destroy_buffer_unmapped)}) {
  SKIP_IF(lacks_mappings());
  FakeFrontend& frontend = connect();
  const std::uint64_t before = mapped_pages().value_or(0);
  for (const std::uint32_t height : {32U, 768U}) {
    BufferSpec spec;
    spec.width = 1024;
    spec.height = height;
    const DbufCookie buffer = make_buffer(frontend, spec);
    const FbCookie fb = make_fb(frontend, buffer);
    frontend.detach_fb(fb);
    // By a raw request: the frontend's own grants stay, so that only the backend's unmapping tells.
    require(
        check_done(req::dbuf_destroy_accepted, frontend.send(0, DbufDestroy{buffer}), "its end"));
    check_mapped_at_most(req::dbuf_destroy_buffer_unmapped, before,
                         fmt::format("a buffer of 1024x{} was destroyed", height));
  }
}

struct InUse {
  std::string name;
  std::string title;
  bool shown;
  bool flipping;
};

std::vector<std::pair<CaseSpec, InUse>> uses() {
  std::vector<std::pair<CaseSpec, InUse>> list;
  for (const InUse& use : {InUse{"attached", "a framebuffer is attached", false, false},
                           InUse{"shown", "it is shown", true, false},
                           InUse{"flipping", "a flip to it is under way", true, true}}) {
    CaseSpec spec;
    spec.id = "backend.dbuf-destroy.in-use." + use.name;
    spec.title = fmt::format("A buffer that is destroyed while {} does no harm.", use.title);
    spec.requirements = of(req::dbuf_destroy_in_use_survived);
    list.emplace_back(std::move(spec), use);
  }
  return list;
}

BACKEND_CASES(DestroyedInUse, InUse, uses()) {
  FakeFrontend& frontend = connect();
  const displif::Resolution screen = frontend.connectors().at(0);
  BufferSpec spec;
  spec.width = screen.width;
  spec.height = screen.height;
  const DbufCookie buffer = make_buffer(frontend, spec);
  const FbCookie fb = make_fb(frontend, buffer);
  if (param.shown)
    require(check_done(req::set_config_accepted, frontend.set_config(0, fb), "its configuration"));
  if (param.flipping) frontend.submit(0, {displif::RequestBody{PgFlip{fb}}});
  check_answered(req::dbuf_destroy_in_use_survived, frontend.send(0, DbufDestroy{buffer}),
                 "its end");
  // What is left of it may not be touched any more, whoever asks.
  check_answered(req::dbuf_destroy_in_use_survived, frontend.send(0, PgFlip{fb}),
                 "a flip to it, afterwards");
  check_answered(req::dbuf_destroy_in_use_survived, frontend.send(0, config_of(screen, fb)),
                 "its configuration, afterwards");
  check_recovers(req::dbuf_destroy_in_use_survived, frontend);
}

BACKEND_CASE(GrantsEndFirst,
             {.id = "backend.dbuf-destroy.grants-end-first",
              .title = "A frontend that ends its grants while a picture is shown, and destroys the "
                       "buffer afterwards, does no harm.",
              .requirements = of(req::backend_page_revoked_survived)}) {
  FakeFrontend& frontend = connect();
  const Picture picture = show_picture(frontend);
  frontend.set_faults([](FrontendFaults& faults) { faults.grants_ended_before_destroy = 1; });
  check_answered(req::backend_page_revoked_survived, frontend.destroy_buffer(picture.dbuf),
                 "its end");
  check_recovers(req::backend_page_revoked_survived, frontend);
}

BACKEND_CASE(DirectoryEndsEarly,
             {.id = "backend.dbuf-destroy.directory-ends-early",
              .title = "A directory and pages whose grants end once the buffer was created do no "
                       "harm.",
              .requirements = of(req::backend_page_revoked_survived)}) {
  FakeFrontend& frontend = connect();
  const auto pages = frontend.share_pages(kOctets);
  require(check_done(req::dbuf_create_accepted, frontend.send(0, create_of(kBuffer, pages)),
                     "the buffer"));
  frontend.end_directory(pages.handle);
  frontend.end_pages(pages.handle);
  Shown shown;
  try_to_show(frontend, shown, attach_of(kBuffer, kFb));
  check_answered(req::backend_page_revoked_survived, frontend.send(0, DbufDestroy{kBuffer}),
                 "its end");
  check_recovers(req::backend_page_revoked_survived, frontend);
}

}  // namespace
}  // namespace displif_cts::cases::backend_dbuf_destroy
