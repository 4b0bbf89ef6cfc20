// displif.h, "Request dbuf creation", XENDISPL_DBUF_FLG_REQ_ALLOC: buffers that the backend
// allocates, and grants to the frontend.
#include <fmt/format.h>

#include <algorithm>
#include <thread>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"
#include "harness/displif/page_directory.h"
#include "harness/xen/grants.h"

namespace displif_cts::cases::backend_be_alloc {
namespace {

using displif::DbufCreate;
using displif::DbufDestroy;
using xen::GrantRef;

constexpr DbufCookie kCookie{0x50BE};
constexpr std::size_t kReferencesPerPage = 1023;
constexpr GrantRef kBeyondEveryTable{0x0fffffff};

// A buffer of `pages` pages that the backend was asked to allocate, into a directory of ours.
struct Allocated {
  FakeFrontend::SharedBuffer directory;  // its own pages are not used
  std::vector<std::uint32_t> links;      // of the directory, before the request
  Reply reply;
  std::vector<GrantRef> references;      // as the backend filled them in
  std::vector<std::uint32_t> links_now;  // of the directory, after the response
};

std::vector<std::uint32_t> links_of(FakeFrontend& frontend,
                                    const FakeFrontend::SharedBuffer& directory) {
  std::vector<std::uint32_t> links;
  for (std::size_t page = 0; page < directory.directory.size(); ++page)
    links.push_back(frontend.read_directory(directory.handle, page, 0));
  return links;
}

Allocated allocate(FakeFrontend& frontend, std::size_t pages) {
  Allocated made;
  const auto octets = static_cast<std::uint32_t>(pages * xen::kPageSize);
  made.directory = frontend.share_pages(octets);
  for (std::size_t i = 0; i < pages; ++i)
    frontend.write_directory(made.directory.handle, i / kReferencesPerPage,
                             1 + i % kReferencesPerPage, 0);
  made.links = links_of(frontend, made.directory);
  DbufCreate create = create_of(kCookie, made.directory);
  create.width = 1024;  // four octets each: a page is one row
  create.height = static_cast<std::uint32_t>(pages);
  create.buffer_sz = octets;
  create.flags = XENDISPL_DBUF_FLG_REQ_ALLOC;
  made.reply = frontend.send(0, create);
  made.links_now = links_of(frontend, made.directory);
  for (std::size_t i = 0; i < pages; ++i)
    made.references.push_back(GrantRef{frontend.read_directory(
        made.directory.handle, i / kReferencesPerPage, 1 + i % kReferencesPerPage)});
  return made;
}

bool readable(const xen::Grants& grants, xen::DomId domain, const std::vector<GrantRef>& refs) {
  try {
    (void)grants.map(domain, refs, xen::Access::read_only);
    return true;
  } catch (const xen::Error&) {
    return false;
  }
}

DeviceSpec with_be_alloc() {
  DeviceSpec device;
  device.be_alloc = true;
  return device;
}

std::vector<std::pair<CaseSpec, std::size_t>> sizes() {
  std::vector<std::pair<CaseSpec, std::size_t>> list;
  for (const std::size_t pages : {1U, 2U, 1023U, 1024U}) {
    CaseSpec spec;
    spec.id = fmt::format("backend.be-alloc.pages.{}", pages);
    spec.title = fmt::format(
        "The backend allocates {} pages, grants them all, and the frontend "
        "draws into them.",
        pages);
    spec.requirements = of(req::be_alloc_honoured_when_offered, req::be_alloc_directory_filled,
                           req::be_alloc_all_pages_granted, req::be_alloc_next_page_kept,
                           req::be_alloc_pages_writable, req::be_alloc_pages_reveal_nothing);
    spec.needs = {kBeAlloc};
    list.emplace_back(std::move(spec), pages);
  }
  return list;
}

BACKEND_CASES(Pages, std::size_t, sizes()) {
  FakeFrontend& frontend = connect(with_be_alloc());
  const Allocated made = allocate(frontend, param);
  require(
      check_done(req::be_alloc_honoured_when_offered, made.reply, fmt::format("{} pages", param)));
  check(req::be_alloc_next_page_kept, made.links == made.links_now,
        {"the links of the directory as before"},
        made.links == made.links_now ? "as before" : "changed");
  const auto zeros = static_cast<std::size_t>(std::ranges::count(made.references, GrantRef{}));
  check(req::be_alloc_all_pages_granted, zeros == 0, {fmt::format("{} references", param)},
        fmt::format("{} references", param - zeros));
  std::vector<GrantRef> given;
  std::ranges::copy_if(made.references, std::back_inserter(given),
                       [](GrantRef ref) { return ref != GrantRef{}; });
  require(check(req::be_alloc_directory_filled, !given.empty(), {"references other than 0"},
                fmt::format("{} of {}", given.size(), param)));
  const xen::Grants grants = xen::Grants::open();
  std::optional<xen::Mapping> mapping;
  try {
    mapping = grants.map(backend_domain(), given, xen::Access::read_write);
  } catch (const xen::Error& error) {
    require(check(readable(grants, backend_domain(), given) ? req::be_alloc_pages_writable
                                                            : req::be_alloc_directory_filled,
                  false, {"references that can be mapped for writing"}, error.what()));
  }
  check(req::be_alloc_directory_filled, true, {"references that can be mapped"}, "all of them");

  std::vector<std::byte> page(xen::kPageSize);
  std::size_t dirty = 0;
  for (std::size_t i = 0; i < mapping->pages(); ++i) {
    mapping->copy_out(i * xen::kPageSize, page);
    if (std::ranges::any_of(page, [](std::byte octet) { return octet != std::byte{}; })) ++dirty;
  }
  check(req::be_alloc_pages_reveal_nothing, dirty == 0, {"every page filled with zeros"},
        dirty == 0 ? "every page filled with zeros" : fmt::format("{} pages are not", dirty));

  const std::vector<std::byte> drawn(xen::kPageSize, std::byte{0x5A});
  for (std::size_t i = 0; i < mapping->pages(); ++i) mapping->copy_in(i * xen::kPageSize, drawn);
  mapping->copy_out((mapping->pages() - 1) * xen::kPageSize, page);
  check(req::be_alloc_pages_writable, page == drawn, {"what was drawn is there"},
        page == drawn ? "it is there" : "it is not");
}

BACKEND_CASE(AllocatedShown,
             {.id = "backend.be-alloc.shown",
              .title = "A buffer of the backend's own is attached, shown and flipped to.",
              .requirements = of(req::be_alloc_honoured_when_offered, req::set_config_accepted,
                                 req::pg_flip_accepted),
              .needs = {kBeAlloc}}) {
  FakeFrontend& frontend = connect(with_be_alloc());
  BufferSpec spec;
  spec.width = frontend.connectors().at(0).width;
  spec.height = frontend.connectors().at(0).height;
  spec.backend_allocated = true;
  const BufferReply buffer = frontend.create_buffer(spec);
  require(check_done(req::be_alloc_honoured_when_offered, buffer, "the buffer"));
  const FbCookie fb = make_fb(frontend, buffer.cookie);
  check_done(req::set_config_accepted, frontend.set_config(0, fb), "the configuration");
  check_done(req::pg_flip_accepted, frontend.page_flip(0, fb), "a flip");
  frontend.await_flip(0, event_limit());
}

BACKEND_CASE(ReleasedOnDestroy,
             {.id = "backend.be-alloc.released-on-destroy",
              .title = "When a buffer of its own is destroyed, the backend takes its grants back.",
              .requirements = of(req::be_alloc_released_on_destroy),
              .needs = {kBeAlloc}}) {
  FakeFrontend& frontend = connect(with_be_alloc());
  const Allocated made = allocate(frontend, 2);
  require(check_done(req::be_alloc_honoured_when_offered, made.reply, "the buffer"));
  require(
      check_done(req::dbuf_destroy_accepted, frontend.send(0, DbufDestroy{kCookie}), "its end"));
  const xen::Grants grants = xen::Grants::open();
  const auto still_granted = [&] {
    try {
      const auto mapping =
          grants.map(backend_domain(), made.references.at(0), xen::Access::read_only);
      return true;
    } catch (const xen::Error&) {
      return false;
    }
  };
  bool granted = still_granted();
  for (const Deadline limit = removal_limit(); granted && xen::Clock::now() < limit;
       granted = still_granted())
    std::this_thread::sleep_for(milliseconds(5));
  check_timed(req::be_alloc_released_on_destroy, !granted, {"its references grant nothing"},
              granted ? "they can be mapped" : "they grant nothing");
}

BACKEND_CASE(NotOffered,
             {.id = "backend.be-alloc.not-offered",
              .title = "A request for allocation where it was not offered is answered, and does "
                       "no harm.",
              .requirements = of(req::be_alloc_not_offered_refused)}) {
  FakeFrontend& frontend = connect();
  const Allocated made = allocate(frontend, 2);
  check_answered(req::be_alloc_not_offered_refused, made.reply, "the buffer");
  check_recovers(req::be_alloc_not_offered_refused, frontend);
}

struct Offer {
  bool offered = false;
};

std::vector<std::pair<CaseSpec, Offer>> refused_specs() {
  std::vector<std::pair<CaseSpec, Offer>> list;
  for (const bool offered : {false, true}) {
    CaseSpec spec;
    spec.id = fmt::format("backend.be-alloc.refused-leaves-nothing.{}",
                          offered ? "offered" : "not-offered");
    spec.title = fmt::format(
        "Of an allocation that was {}offered and is refused, for the directory cannot be written, "
        "nothing can be found.",
        offered ? "" : "not ");
    spec.requirements = of(req::dbuf_create_refused_leaves_nothing);
    if (offered) spec.needs = {kBeAlloc};
    list.emplace_back(std::move(spec), Offer{offered});
  }
  return list;
}

BACKEND_CASES(RefusedLeavesNothing, Offer, refused_specs()) {
  FakeFrontend& frontend = connect(param.offered ? with_be_alloc() : DeviceSpec{});
  const FakeFrontend::SharedBuffer pages = frontend.share_pages(kOctets);
  DbufCreate create = create_of(kCookie, pages);
  create.flags = XENDISPL_DBUF_FLG_REQ_ALLOC;
  create.gref_directory = kBeyondEveryTable;
  const Reply reply = frontend.send(0, create);
  if (reply.ok()) GTEST_SKIP() << "it was not refused: " << reply.text();
  require(check_refused(req::dbuf_create_refused_leaves_nothing, reply, "the allocation"));
  check_refused(req::dbuf_create_refused_leaves_nothing,
                frontend.send(0, attach_of(kCookie, FbCookie{0x4444})),
                "a framebuffer of the refused buffer");
}

}  // namespace
}  // namespace displif_cts::cases::backend_be_alloc
