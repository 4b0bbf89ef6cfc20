// displif.h, XENDISPL_DBUF_FLG_REQ_ALLOC: buffers that the backend allocates. Not every guest's
// programs can touch such a buffer, so that most cases look at the wire alone.
#include <fmt/format.h>

#include "cases/support/frontend_case.h"
#include "harness/xen/types.h"

namespace displif_cts::cases::be_alloc {
namespace {

using displif::DbufCreate;
using displif::Operation;

const runner::Capability kBeAlloc = "be-alloc";

fake_backend::Options allocating() {
  fake_backend::Options options;
  options.be_alloc = true;
  return options;
}

struct Size {
  std::uint32_t width;
  std::uint32_t height;
};

std::vector<std::pair<CaseSpec, Size>> directory_specs() {
  std::vector<std::pair<CaseSpec, Size>> list;
  // A page; as many as one directory page can list; one more.
  for (const Size& size : {Size{32, 32}, Size{1024, 1023}, Size{1024, 1024}}) {
    CaseSpec spec;
    spec.id = fmt::format("frontend.be-alloc.directory.{}x{}", size.width, size.height);
    spec.title = fmt::format(
        "For a buffer of {}x{} from the backend, the frontend provides a directory that the "
        "backend can fill, takes the pages, and gives them back.",
        size.width, size.height);
    spec.requirements =
        of(req::be_alloc_directory_provided, req::dbuf_create_flags, req::dbuf_create_buffer_size);
    spec.needs = {kBeAlloc};
    list.emplace_back(std::move(spec), size);
  }
  return list;
}

FRONTEND_CASES(Directory, Size, directory_specs()) {
  FakeBackend& backend = connect(allocating());
  guest.open();
  Cursor requests = backend.request_cursor();
  const Result result = guest.call("create-dumb", {{"fd", "card"},
                                                   {"name", "buffer"},
                                                   {"width", std::to_string(param.width)},
                                                   {"height", std::to_string(param.height)},
                                                   {"bpp", "32"}});
  const auto request =
      expect_request(req::be_alloc_directory_provided, backend, Operation::dbuf_create, requests);
  const DbufCreate& create = *request.request.as<DbufCreate>();
  check(req::dbuf_create_flags, (create.flags & ~1U) == 0, {"flags 0 or 1"},
        fmt::format("flags {:#x}", create.flags));
  if ((create.flags & 1U) == 0) GTEST_SKIP() << "the frontend allocates its buffers itself";
  const std::uint64_t octets = std::uint64_t{param.width} * param.height * 4;
  check(req::dbuf_create_buffer_size,
        create.buffer_sz >= octets && create.buffer_sz < octets + xen::kPageSize,
        {fmt::format("buffer_sz from {}, within its last page", octets)},
        std::to_string(create.buffer_sz));
  const auto directory = backend.directory(create.dbuf_cookie);
  const bool sound = directory && directory->problems.empty();
  check(req::be_alloc_directory_provided, sound, {"a directory that the backend can fill"},
        !directory ? "none"
        : sound    ? "it can"
                   : directory->problems.front().text);
  check(req::be_alloc_directory_provided, result.ok, {"the call succeeds"}, result.text());
}

FRONTEND_CASE(
    GivenBack,
    {.id = "frontend.be-alloc.given-back",
     .title = "Of two buffers from the backend, destroyed one after the other, and of two "
              "more, no page stays mapped.",
     .requirements = of(req::be_alloc_pages_given_back),
     .needs = {kBeAlloc}}) {
  if (const std::string lack = lacks_own_pages(); !lack.empty()) GTEST_SKIP() << lack;
  FakeBackend& backend = connect(allocating());
  guest.open();
  const std::uint64_t before = own_pages_mapped().value_or(0);
  for (int turn = 0; turn < 2; ++turn) {
    Cursor requests = backend.request_cursor();
    std::vector<DumbBuffer> buffers;
    for (const char* name : {"first", "second"}) buffers.push_back(guest.create_dumb(name, 64, 64));
    const auto request =
        expect_request(req::be_alloc_pages_given_back, backend, Operation::dbuf_create, requests);
    if ((request.request.as<DbufCreate>()->flags & 1U) == 0)
      GTEST_SKIP() << "the frontend allocates its buffers itself";
    // Four pages each; without them there would be nothing to give back.
    if (own_pages_mapped().value_or(0) < before + 8)
      GTEST_SKIP() << "the frontend does not map all pages of a buffer that nobody uses";
    for (const DumbBuffer& buffer : buffers) {
      guest.destroy_dumb(buffer.name);
      expect_request(req::be_alloc_pages_given_back, backend, Operation::dbuf_destroy, requests);
    }
    const std::uint64_t left =
        settle([this] { return own_pages_mapped().value_or(0); }, before, soon());
    check(req::be_alloc_pages_given_back, left <= before, {"no page stays mapped"},
          fmt::format("{} more than before", left - std::min(left, before)));
  }
}

struct BadReferences {
  std::string name;
  std::string words;
  fake_backend::Times BackendFaults::*fault;
};

std::vector<std::pair<CaseSpec, BadReferences>> bad_specs() {
  std::vector<std::pair<CaseSpec, BadReferences>> list;
  for (const BadReferences& bad :
       {BadReferences{"invalid", "references that grant nothing",
                      &BackendFaults::be_alloc_refs_invalid},
        BadReferences{"missing", "no reference at all", &BackendFaults::be_alloc_refs_missing},
        BadReferences{"short", "all references but the last",
                      &BackendFaults::be_alloc_refs_short}}) {
    CaseSpec spec;
    spec.id = "frontend.be-alloc.bad-references." + bad.name;
    spec.title = "The backend says that it allocated a buffer, and its directory holds " +
                 bad.words + ": the call fails, and nothing is harmed.";
    spec.requirements = of(req::be_alloc_bad_references_survived);
    spec.needs = {kBeAlloc};
    spec.timeout = seconds(30);
    list.emplace_back(std::move(spec), bad);
  }
  return list;
}

FRONTEND_CASES(References, BadReferences, bad_specs()) {
  FakeBackend& backend = connect(allocating());
  guest.open();
  backend.set_faults([this](BackendFaults& faults) { faults.*param.fault = 1; });
  Cursor requests = backend.request_cursor();
  const auto args = [](const std::string& name) {
    return Args{{"fd", "card"}, {"name", name}, {"width", "64"}, {"height", "64"}};
  };
  const Result result = guest.call("create-dumb", args("buffer"));
  const auto request = expect_request(req::be_alloc_bad_references_survived, backend,
                                      Operation::dbuf_create, requests);
  if ((request.request.as<DbufCreate>()->flags & 1U) == 0)
    GTEST_SKIP() << "the frontend allocates its buffers itself";
  check(req::be_alloc_bad_references_survived, !result.ok, {"an error"}, result.text());
  const Result good = guest.call("create-dumb", args("again"));
  check(req::be_alloc_bad_references_survived, good.ok, {"the next buffer can be had"},
        good.text());
}

// A program of a PV guest can map such a buffer; at the first access it gets SIGBUS, and its end
// makes Linux complain of a bad rss-counter. A guest whose exerciser cannot say what it is is
// asked to draw.
bool programs_can_touch(Guest& guest) {
  try {
    return guest.call("xen").answer.value("guest_type", "") != "PV";
  } catch (const GuestSilent&) {
    throw;
  } catch (const std::runtime_error&) {
    return true;
  }
}

FRONTEND_CASE(Contents,
              {.id = "frontend.be-alloc.contents",
               .title = "What the guest draws into a buffer that the backend allocated is in the "
                        "backend's own pages.",
               .requirements = of(req::dbuf_create_contents_shared),
               .needs = {kBeAlloc}}) {
  if (!programs_can_touch(guest))
    GTEST_SKIP() << "a PV guest's programs cannot touch a buffer of the backend's";
  FakeBackend& backend = connect(allocating());
  guest.open();
  Cursor requests = backend.request_cursor();
  const DumbBuffer buffer = guest.create_dumb("buffer", 200, 150);
  const auto request =
      expect_request(req::dbuf_create_contents_shared, backend, Operation::dbuf_create, requests);
  const DbufCreate& create = *request.request.as<DbufCreate>();
  if ((create.flags & 1U) == 0) GTEST_SKIP() << "the frontend allocates its buffers itself";
  for (const std::uint64_t seed : {1U, 2U}) {
    guest.fill(buffer, seed);
    const auto pixels = backend.pixels(create.dbuf_cookie);
    check(req::dbuf_create_contents_shared, pixels && is_pattern(*pixels, seed),
          {"all octets as drawn"},
          !pixels                     ? "no such buffer"
          : is_pattern(*pixels, seed) ? "all as drawn"
                                      : "others");
  }
}

}  // namespace
}  // namespace displif_cts::cases::be_alloc
