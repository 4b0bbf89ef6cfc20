// displif.h, "Request dbuf creation" and the page directory: what a guest's buffer looks like on
// the wire, and that its pages are the guest's own.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <stdexcept>

#include "cases/frontend/guest_calls.h"
#include "cases/support/frontend_case.h"
#include "lab/guest/pattern.h"

namespace displif_cts::cases {
namespace {

using displif::DbufCreate;
using displif::DirectoryError;
using displif::Operation;

struct Geometry {
  std::uint32_t width;
  std::uint32_t height;
  std::uint32_t bpp;
};

Args create_args(const std::string& name, const Geometry& geometry) {
  return {{"fd", "card"},
          {"name", name},
          {"width", std::to_string(geometry.width)},
          {"height", std::to_string(geometry.height)},
          {"bpp", std::to_string(geometry.bpp)}};
}

std::vector<std::pair<CaseSpec, Geometry>> field_specs() {
  std::vector<std::pair<CaseSpec, Geometry>> list;
  for (const Geometry& geometry :
       {Geometry{640, 480, 32}, Geometry{333, 77, 32}, Geometry{320, 200, 16},
        Geometry{100, 60, 24}, Geometry{1, 1, 32}}) {
    CaseSpec spec;
    spec.id = fmt::format("frontend.dbuf-create.fields.{}x{}x{}", geometry.width, geometry.height,
                          geometry.bpp);
    spec.title = fmt::format("A buffer of {}x{} at {} bits is asked for as the guest did.",
                             geometry.width, geometry.height, geometry.bpp);
    spec.requirements =
        of(req::dbuf_create_width, req::dbuf_create_height, req::dbuf_create_bpp,
           req::dbuf_create_buffer_size, req::dbuf_create_flags, req::dbuf_create_allocates_itself,
           req::dbuf_create_directory, req::dbuf_create_data_offset, req::packet_dbuf_cookie_valid);
    list.emplace_back(std::move(spec), geometry);
  }
  return list;
}

FRONTEND_CASES(Fields, Geometry, field_specs()) {
  FakeBackend& backend = connect();
  guest.open();
  Cursor requests = backend.request_cursor();
  // A request that is wrong may be refused: the request is what counts.
  const Result made = guest.call("create-dumb", create_args("buffer", param));
  const std::uint64_t pitch = made.answer.value("pitch", (param.width * param.bpp + 7) / 8);
  const auto request =
      expect_request(req::dbuf_create_width, backend, Operation::dbuf_create, requests);
  const DbufCreate& create = *request.request.as<DbufCreate>();
  check_equal(req::dbuf_create_width, "width", param.width, create.width);
  check_equal(req::dbuf_create_height, "height", param.height, create.height);
  check_equal(req::dbuf_create_bpp, "bpp", param.bpp, create.bpp);

  const std::uint64_t needed = pitch * param.height;
  const std::uint64_t rounded = (needed + xen::kPageSize - 1) / xen::kPageSize * xen::kPageSize;
  check(req::dbuf_create_buffer_size, create.buffer_sz >= needed && create.buffer_sz <= rounded,
        {fmt::format("buffer_sz from {} to {}", needed, rounded)},
        fmt::format("buffer_sz {}", create.buffer_sz));

  check(req::dbuf_create_flags, (create.flags & ~displif::kDbufFlags) == 0,
        {"unused bits of flags 0"}, "flags " + hex_text(create.flags));
  check(req::dbuf_create_allocates_itself, (create.flags & displif::kDbufFlags) == 0,
        {"no backend allocation asked for"}, "flags " + hex_text(create.flags));
  check_equal(req::dbuf_create_data_offset, "data_ofs", 0U, create.data_ofs);
  check(req::packet_dbuf_cookie_valid, raw(create.dbuf_cookie) != 0, {"a cookie other than 0"},
        hex_text(raw(create.dbuf_cookie)));

  const auto directory = backend.directory(create.dbuf_cookie);
  const bool walked =
      raw(create.gref_directory) != 0 && directory && !directory->pages.empty() && directory->ok();
  check(req::dbuf_create_directory, walked, {"a directory that can be mapped and read"},
        walked ? "the directory was read"
               : fmt::format("gref_directory {}: {}", raw(create.gref_directory),
                             directory && !directory->problems.empty()
                                 ? directory->problems.front().text
                                 : "not mapped"));
}

// --- sizes ---------------------------------------------------------------------------------------

struct Size {
  std::string name;
  Geometry geometry;
  std::size_t pages;
};

std::vector<std::pair<CaseSpec, Size>> size_specs() {
  std::vector<std::pair<CaseSpec, Size>> list;
  // A directory page holds 1023 references.
  for (const Size& size :
       {Size{"part-of-a-page", {1, 1, 32}, 1}, Size{"one-page", {32, 32, 32}, 1},
        Size{"1023-grants", {1023, 1024, 32}, 1023}, Size{"1024-grants", {1024, 1024, 32}, 1024},
        Size{"2046-grants", {1023, 2048, 32}, 2046}, Size{"2047-grants", {1024, 2047, 32}, 2047},
        Size{"width-3840", {3840, 2160, 32}, 8100}}) {
    CaseSpec spec;
    spec.id = "frontend.dbuf-create.size." + size.name;
    spec.title = fmt::format(
        "A buffer of {} pages has a sound directory, and its pages are the "
        "guest's, octet for octet.",
        size.pages);
    spec.requirements =
        of(req::page_directory_covers_buffer, req::page_directory_next_page,
           req::page_directory_end, req::page_directory_references_valid,
           req::page_directory_references_distinct, req::dbuf_create_contents_shared);
    const bool small = size.pages == 1;
    spec.requirements.push_back(small ? &req::dbuf_create_smallest
                                      : &req::dbuf_create_bigger_than_connector);
    spec.timeout = seconds(60);
    list.emplace_back(std::move(spec), size);
  }
  return list;
}

// What the walk of the directory found of `error`, or "none".
std::string problem_text(const displif::Directory& directory,
                         std::initializer_list<DirectoryError> errors) {
  for (const auto& problem : directory.problems)
    if (std::find(errors.begin(), errors.end(), problem.error) != errors.end()) return problem.text;
  return "none";
}

std::string difference_text(const std::vector<std::byte>& seen, std::uint64_t seed) {
  const std::span octets(reinterpret_cast<const std::uint8_t*>(seen.data()), seen.size());
  const std::size_t at = pattern::first_difference(seed, 0, octets);
  if (at == octets.size()) return fmt::format("all {} octets as drawn", octets.size());
  return fmt::format("octet {} is {:#04x} and not {:#04x}", at, octets[at],
                     pattern::octet(seed, at));
}

FRONTEND_CASES(Sizes, Size, size_specs()) {
  fake_backend::Options options;
  options.connectors = {{.resolution = {640, 480}}};
  options.writable_buffers = true;  // a backend may map the pages for writing too
  FakeBackend& backend = connect(options);
  guest.open();
  const Requirement& offered =
      param.pages == 1 ? req::dbuf_create_smallest : req::dbuf_create_bigger_than_connector;
  Cursor requests = backend.request_cursor();
  const Result made = guest.call("create-dumb", create_args("buffer", param.geometry), seconds(30));
  const auto request = expect_request(offered, backend, Operation::dbuf_create, requests);
  const DbufCreate& create = *request.request.as<DbufCreate>();
  const auto directory = backend.directory(create.dbuf_cookie);
  require(check(req::page_directory_covers_buffer, directory.has_value(),
                {"a directory that can be mapped"}, directory ? "it was mapped" : "it was not"));

  check_equal(req::page_directory_covers_buffer, "references", param.pages, directory->refs.size());
  const std::string broken =
      problem_text(*directory, {DirectoryError::missing_page, DirectoryError::repeated_page,
                                DirectoryError::unmappable_page});
  check(req::page_directory_next_page, broken == "none",
        {fmt::format("{} directory pages, linked",
                     displif::directory_pages(displif::buffer_pages(create.buffer_sz)))},
        broken == "none" ? fmt::format("{} directory pages, linked", directory->pages.size())
                         : broken);
  const std::string trailing = problem_text(*directory, {DirectoryError::trailing_page});
  check(req::page_directory_end, trailing == "none" && broken == "none",
        {"0 in the last directory page, and only there"},
        trailing != "none" ? trailing
        : broken == "none" ? "as expected"
                           : broken);
  const std::string zero = problem_text(*directory, {DirectoryError::zero_reference});
  const std::set<xen::GrantRef> distinct(directory->refs.begin(), directory->refs.end());
  check_equal(req::page_directory_references_distinct, "distinct references",
              directory->refs.size(), distinct.size());
  // The fake maps everything, for writing too, before it answers.
  const ReceivedRequest served = backend.requests().at(request.number);
  if (!made.ok && (served.answered_ns == 0 ||
                   std::chrono::nanoseconds(served.answered_ns - served.ns) > peer().response))
    throw std::runtime_error("our own side needed longer for the buffer than the peer waits");
  const bool mapped = zero == "none" && served.answer.status == 0;
  check(req::page_directory_references_valid, mapped, {"every reference can be mapped"},
        mapped           ? "all were mapped"
        : zero != "none" ? zero
                         : served.answer.reason.text());
  require(check(offered, made.ok, {"the buffer is created"}, made.text()));

  const DumbBuffer buffer{
      "buffer", param.geometry.width, param.geometry.height, param.geometry.bpp, 0, 0};
  const std::uint64_t seed = 0x5eed0000 + param.pages;
  guest.fill(buffer, seed);
  const auto pixels = backend.pixels(create.dbuf_cookie);
  const std::string seen = pixels ? difference_text(*pixels, seed) : "not mapped";
  check(req::dbuf_create_contents_shared, seen.starts_with("all "), {"all octets as drawn"}, seen);
}

FRONTEND_CASE(ContentsFollow,
              {.id = "frontend.dbuf-create.contents-follow",
               .title = "What the guest draws again and again is there each time, in each of two "
                        "buffers.",
               .requirements = of(req::dbuf_create_contents_shared)}) {
  FakeBackend& backend = connect();
  guest.open();
  Cursor requests = backend.request_cursor();
  for (const std::string name : {"first", "second"}) guest.create_dumb(name, 200, 150);
  const auto first =
      expect_request(req::dbuf_create_contents_shared, backend, Operation::dbuf_create, requests);
  const auto second =
      expect_request(req::dbuf_create_contents_shared, backend, Operation::dbuf_create, requests);
  for (std::uint64_t seed = 1; seed <= 16; ++seed) {
    const bool odd = seed % 2 == 1;
    guest.fill({odd ? "first" : "second", 200, 150, 32, 0, 0}, seed);
    const auto& drawn = odd ? first : second;
    const auto pixels = backend.pixels(drawn.request.as<DbufCreate>()->dbuf_cookie);
    const std::string seen = pixels ? difference_text(*pixels, seed) : "not mapped";
    check(req::dbuf_create_contents_shared, seen.starts_with("all "), {"all octets as drawn"},
          seen);
  }
}

FRONTEND_CASE(OutOfGrants,
              {.id = "frontend.dbuf-create.out-of-grants",
               .title = "A client that asks for more buffers than the guest has grants for is "
                        "refused, and the guest goes on.",
               .requirements = of(req::dbuf_create_out_of_grants_survived),
               .timeout = seconds(60)}) {
  FakeBackend& backend = connect();
  guest.open();
  bool refused = false;
  constexpr int kMost = 8;  // of 8,192 grants each
  for (int number = 0; number < kMost && !refused; ++number)
    refused =
        !guest
             .call("create-dumb", create_args("buffer" + std::to_string(number), {4096, 2048, 32}),
                   seconds(30))
             .ok;
  require(check_timed(req::dbuf_create_out_of_grants_survived, guest_answers(),
                      {"the guest answers"}, "the guest is silent"));
  ASSERT_TRUE(refused) << "the guest has grants for more buffers than the case asks for";
  guest.close();
  check_usable(req::dbuf_create_out_of_grants_survived, backend);
}

// --- cookies and errors --------------------------------------------------------------------------

FRONTEND_CASE(Cookies,
              {.id = "frontend.dbuf-create.cookies",
               .title = "Buffers that live together have cookies of their own, none 0, "
                        "also after some went.",
               .requirements = of(req::dbuf_create_cookie_unique, req::packet_dbuf_cookie_valid)}) {
  FakeBackend& backend = connect();
  guest.open();
  std::set<std::uint64_t> live;
  const auto create = [&](const std::string& name) {
    Cursor requests = backend.request_cursor();
    guest.call("create-dumb", create_args(name, {64, 64, 32}));
    const auto request =
        expect_request(req::dbuf_create_cookie_unique, backend, Operation::dbuf_create, requests);
    const std::uint64_t cookie = raw(request.request.as<DbufCreate>()->dbuf_cookie);
    check(req::packet_dbuf_cookie_valid, cookie != 0, {"a cookie other than 0"}, hex_text(cookie));
    check(req::dbuf_create_cookie_unique, live.insert(cookie).second,
          {"a cookie of no living buffer"}, hex_text(cookie));
    return cookie;
  };
  constexpr int kBuffers = 16;
  std::vector<std::uint64_t> cookies;
  cookies.reserve(kBuffers);
  for (int i = 0; i < kBuffers; ++i) cookies.push_back(create("buffer" + std::to_string(i)));
  for (int i = 0; i < kBuffers; i += 2) {
    guest.destroy_dumb("buffer" + std::to_string(i));
    live.erase(cookies[static_cast<std::size_t>(i)]);
  }
  for (int i = 0; i < kBuffers; i += 2) create("again" + std::to_string(i));
}

FRONTEND_CASE(ErrorStatus,
              {.id = "frontend.dbuf-create.error-status",
               .title = "A buffer that the backend refuses is refused to the guest, which goes on.",
               .requirements = of(req::dbuf_create_error_reported)}) {
  FakeBackend& backend = connect();
  guest.open();
  for (const std::int32_t status : {-12, -22, -5, -1}) {  // ENOMEM, EINVAL, EIO, EPERM
    backend.set_faults([status](BackendFaults& faults) {
      faults.error_status = {
          .times = 1, .operations = only(Operation::dbuf_create), .status = status};
    });
    const Result made = guest.call("create-dumb", create_args("refused", {64, 64, 32}));
    check(req::dbuf_create_error_reported, !made.ok, {"the call fails"}, made.text());
  }
  const Result made = guest.call("create-dumb", create_args("taken", {64, 64, 32}));
  check(req::dbuf_create_error_reported, made.ok, {"the next call succeeds"}, made.text());
  guest.close();
  check_usable(req::dbuf_create_error_reported, backend);
}

FRONTEND_CASE(ErrorLeaksNothing,
              {.id = "frontend.dbuf-create.error-status-leaks-nothing",
               .title = "Buffers that the backend refused leave no grants behind.",
               .requirements = of(req::health_grants_released)}) {
  FakeBackend& backend = connect();
  guest.open();
  const std::uint64_t before = guest_grants();
  constexpr int kTimes = 10;
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {
        .times = kTimes, .operations = only(Operation::dbuf_create), .status = -12};
  });
  for (int time = 0; time < kTimes; ++time)
    guest.call("create-dumb", create_args("refused", {256, 256, 32}));
  const std::uint64_t after =
      settle([this] { return guest_grants(); }, before, after_removal_limit());
  check_timed(req::health_grants_released, after <= before,
              {fmt::format("at most {} grants in use", before)}, std::to_string(after));
}

FRONTEND_CASE(ErrorNotDestroyed,
              {.id = "frontend.dbuf-create.error-status-not-destroyed",
               .title = "A buffer that the backend refused is not destroyed afterwards.",
               .requirements = of(req::dbuf_destroy_only_existing)}) {
  FakeBackend& backend = connect();
  guest.open();
  backend.set_faults([](BackendFaults& faults) {
    faults.error_status = {.times = 1, .operations = only(Operation::dbuf_create), .status = -12};
  });
  Cursor requests = backend.request_cursor();
  guest.call("create-dumb", create_args("refused", {64, 64, 32}));
  expect_request(req::dbuf_destroy_only_existing, backend, Operation::dbuf_create, requests);
  const auto destroyed =
      backend.none_until(RequestFilter::op(Operation::dbuf_destroy), xen::in(quiet()), requests);
  check(req::dbuf_destroy_only_existing, !destroyed, {"no DBUF_DESTROY"},
        destroyed ? "DBUF_DESTROY of the refused cookie" : "no DBUF_DESTROY");
}

// --- geometry that no buffer can have ------------------------------------------------------------

struct Extreme {
  std::string name;
  Geometry geometry;
};

std::vector<std::pair<CaseSpec, Extreme>> extreme_specs() {
  std::vector<std::pair<CaseSpec, Extreme>> list;
  // A row's bits are 2^32 + 32768 and 2^32, which 32 bits hold as 32768 and as 0.
  for (const Extreme& extreme :
       {Extreme{"overflow-to-small", {0x08000000U + 1024U, 1, 32}},
        Extreme{"overflow-to-zero", {0x08000000U, 1, 32}},
        Extreme{"largest", {0xffffffffU, 0xffffffffU, 32}}, Extreme{"odd-depth", {64, 64, 7}}}) {
    CaseSpec spec;
    spec.id = "frontend.dbuf-create.extreme-geometry." + extreme.name;
    spec.title = fmt::format(
        "A buffer of {}x{} at {} bits is refused to the guest's program, or asked for in "
        "consistent words, and harms nothing.",
        extreme.geometry.width, extreme.geometry.height, extreme.geometry.bpp);
    spec.requirements = of(req::dbuf_create_extreme_geometry_survived);
    list.emplace_back(std::move(spec), extreme);
  }
  return list;
}

FRONTEND_CASES(ExtremeGeometry, Extreme, extreme_specs()) {
  const Requirement& survived = req::dbuf_create_extreme_geometry_survived;
  FakeBackend& backend = connect();
  guest.open();
  Cursor requests = backend.request_cursor();
  guest.call("create-dumb", create_args("buffer", param.geometry));
  if (const auto sent = backend.none_until(RequestFilter::op(Operation::dbuf_create),
                                           xen::in(milliseconds(300)), requests)) {
    const DbufCreate& create = *sent->request.as<DbufCreate>();
    const std::uint64_t bits = std::uint64_t{create.width} * create.bpp;
    const bool holds = std::uint64_t{create.buffer_sz} * 8 >= bits * create.height;
    check(survived, holds, {"a buffer_sz that holds width x height x bpp"},
          fmt::format("{}x{}x{} in {} octets", create.width, create.height, create.bpp,
                      create.buffer_sz));
  }
  guest.close();
  check_usable(survived, backend);
}

}  // namespace
}  // namespace displif_cts::cases
