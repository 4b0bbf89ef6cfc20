// displif.h, "Request EDID" and "Get EDID response".
#include <fmt/format.h>

#include <algorithm>

#include "cases/backend/raw_calls.h"
#include "cases/support/backend_case.h"
#include "harness/displif/edid.h"

namespace displif_cts::cases::backend_get_edid {
namespace {

using displif::edid_trouble;
using displif::GetEdid;
using fake_frontend::AtOperations;
using fake_frontend::EdidReply;
using fake_frontend::Operations;

constexpr std::byte kUnwritten{0xee};  // what get_edid() fills the buffer with

BACKEND_CASE(Given,
             {.id = "backend.get-edid.given",
              .title = "The EDID stands in the buffer, as long as the response says, of "
                       "whole blocks.",
              .requirements = of(req::get_edid_buffer_filled, req::get_edid_size_within_buffer,
                                 req::get_edid_whole_blocks),
              .needs = {kEdid}}) {
  FakeFrontend& frontend = connect();
  if (frontend.protocol() < 2) GTEST_SKIP() << "version 1 has no GET_EDID";
  for (const std::uint32_t size : {XENDISPL_EDID_MAX_SIZE, XENDISPL_EDID_MAX_SIZE + 5000}) {
    const EdidReply reply = frontend.get_edid(0, size);
    require(check_done(req::get_edid_buffer_filled, reply, "GET_EDID"));
    const std::uint32_t edid_sz = reply.response->edid_sz;
    check(req::get_edid_size_within_buffer, edid_sz > 0 && edid_sz <= XENDISPL_EDID_MAX_SIZE,
          {fmt::format("edid_sz from 1 to {}", XENDISPL_EDID_MAX_SIZE)},
          fmt::format("edid_sz {}", edid_sz));
    const bool written =
        std::ranges::any_of(reply.edid, [](std::byte octet) { return octet != kUnwritten; });
    require(check(req::get_edid_buffer_filled, written, {"an EDID in the buffer"},
                  written ? "it is written" : "the buffer is as it was"));
    const std::string trouble = edid_trouble(reply.edid);
    check(req::get_edid_whole_blocks, trouble.empty(), {"whole blocks with right checksums"},
          trouble.empty() ? "whole blocks with right checksums" : trouble);
  }
}

BACKEND_CASE(EveryConnector,
             {.id = "backend.get-edid.every-connector",
              .title = "The EDID is asked for on each connector's own ring.",
              .requirements = of(req::ring_connector_of_ring, req::get_edid_buffer_filled),
              .needs = {kEdid}}) {
  SKIP_IF(lacks_connectors(2));
  FakeFrontend& frontend = connect(with_connectors(2));
  if (frontend.protocol() < 2) GTEST_SKIP() << "version 1 has no GET_EDID";
  for (const std::size_t connector : {0U, 1U}) {
    const EdidReply reply = frontend.get_edid(connector);
    check_answered(req::ring_connector_of_ring, reply,
                   fmt::format("GET_EDID on connector {}", connector));
    check(req::get_edid_buffer_filled, !reply.ok() || edid_trouble(reply.edid) != "0 octets",
          {"an EDID, or an error"}, reply.text());
  }
}

BACKEND_CASE(ShortBuffer, {.id = "backend.get-edid.short-buffer",
                           .title = "A buffer that is smaller than the largest EDID is refused.",
                           .requirements = of(req::get_edid_buffer_at_least_maximum,
                                              req::get_edid_size_within_buffer),
                           .needs = {kEdid}}) {
  FakeFrontend& frontend = connect();
  if (frontend.protocol() < 2) GTEST_SKIP() << "version 1 has no GET_EDID";
  for (const std::uint32_t size : {0U, 1U, 127U, 128U, XENDISPL_EDID_MAX_SIZE - 1U}) {
    const auto pages = frontend.share_pages(xen::kPageSize);
    const Reply reply = frontend.send(0, GetEdid{size, pages.directory.at(0)});
    check_refused(req::get_edid_buffer_at_least_maximum, reply,
                  fmt::format("a buffer of {} octets", size));
    check(req::get_edid_size_within_buffer, !reply.ok() || reply.response->edid_sz <= size,
          {fmt::format("an error, or edid_sz up to {}", size)},
          reply.ok() ? fmt::format("edid_sz {}", reply.response->edid_sz) : reply.text());
  }
}

BACKEND_CASE(Version1, {.id = "backend.get-edid.version-1",
                        .title = "On a connection of version 1 GET_EDID is not carried out, and "
                                 "does no harm.",
                        .requirements = of(req::get_edid_ignored_in_version_1,
                                           req::backend_stays_responsive)}) {
  DeviceSpec device;
  device.frontend.versions = {1};
  FakeFrontend& frontend = connect(std::move(device));
  const auto pages = frontend.share_pages(XENDISPL_EDID_MAX_SIZE);
  const Reply reply = frontend.send(0, GetEdid{XENDISPL_EDID_MAX_SIZE, pages.directory.at(0)});
  check(req::get_edid_ignored_in_version_1, !reply.ok(), {"an error", "no response"}, reply.text());
  check_recovers(req::backend_stays_responsive, frontend);
}

// --- directories ---------------------------------------------------------------------------------

struct Directory {
  std::string name;
  AtOperations FrontendFaults::*fault;
  bool invalid;  // else only hostile: answered either way
};

std::vector<std::pair<CaseSpec, Directory>> directories() {
  const std::vector<Directory> all{
      {"short", &FrontendFaults::directory_short, true},
      {"reference-zero", &FrontendFaults::entry_zero, true},
      {"reference-invalid", &FrontendFaults::reference_invalid, true},
      {"reference-foreign", &FrontendFaults::reference_foreign, true},
      {"reference-revoked", &FrontendFaults::reference_revoked, true},
      {"directory-zero", &FrontendFaults::directory_reference_zero, true},
      {"directory-invalid", &FrontendFaults::directory_reference_invalid, true},
      {"directory-foreign", &FrontendFaults::directory_reference_foreign, true},
      {"directory-revoked", &FrontendFaults::directory_reference_revoked, true},
      {"pages-read-only", &FrontendFaults::pages_read_only, true},
      {"long", &FrontendFaults::directory_long, false},
      {"cyclic", &FrontendFaults::directory_cyclic, false},
      {"references-duplicated", &FrontendFaults::references_duplicated, false},
      {"directory-read-only", &FrontendFaults::directory_read_only, false},
      {"changing", &FrontendFaults::directory_changing, false},
  };
  std::vector<std::pair<CaseSpec, Directory>> list;
  for (const Directory& directory : all) {
    CaseSpec spec;
    spec.id = "backend.get-edid.directory." + directory.name;
    spec.title = fmt::format("An EDID buffer with such a directory ({}) is {}.", directory.name,
                             directory.invalid ? "refused, and does no harm" : "no harm");
    spec.requirements = of(req::get_edid_invalid_directory_rejected);
    spec.needs = {kEdid};
    list.emplace_back(std::move(spec), directory);
  }
  return list;
}

BACKEND_CASES(Directories, Directory, directories()) {
  FakeFrontend& frontend = connect();
  if (frontend.protocol() < 2) GTEST_SKIP() << "version 1 has no GET_EDID";
  frontend.set_faults([this](FrontendFaults& faults) {
    faults.*param.fault = {1, Operations::only(XENDISPL_OP_GET_EDID)};
  });
  const EdidReply reply = frontend.get_edid(0);
  // A backend may map and write no more than the EDID needs; then the last page may be anything.
  const bool partly = reply.ok() && param.name.starts_with("reference");
  if (param.invalid && !partly && param.name != "short") {
    check_refused(req::get_edid_invalid_directory_rejected, reply, "GET_EDID");
  } else {
    check_answered(req::get_edid_invalid_directory_rejected, reply, "GET_EDID");
  }
  check_recovers(req::get_edid_invalid_directory_rejected, frontend);
}

BACKEND_CASE(Sizes, {.id = "backend.get-edid.size-without-pages",
                     .title = "A buffer_sz that the directory does not cover does no harm.",
                     .requirements = of(req::get_edid_invalid_directory_rejected),
                     .needs = {kEdid}}) {
  FakeFrontend& frontend = connect();
  if (frontend.protocol() < 2) GTEST_SKIP() << "version 1 has no GET_EDID";
  for (const std::uint32_t size : {0x0010'0000U, 0x7FFF'FFFFU, 0xFFFF'F001U, 0xFFFF'FFFFU}) {
    const auto pages = frontend.share_pages(xen::kPageSize);
    check_answered(req::get_edid_invalid_directory_rejected,
                   frontend.send(0, GetEdid{size, pages.directory.at(0)}),
                   fmt::format("a buffer of {} octets", size));
  }
  check_recovers(req::get_edid_invalid_directory_rejected, frontend);
}

BACKEND_CASE(Unmapped, {.id = "backend.get-edid.unmapped",
                        .title = "When GET_EDID was answered nothing of its buffer stays mapped.",
                        .requirements = of(req::get_edid_buffer_unmapped),
                        .needs = {kEdid}}) {
  SKIP_IF(lacks_mappings());
  FakeFrontend& frontend = connect();
  if (frontend.protocol() < 2) GTEST_SKIP() << "version 1 has no GET_EDID";
  const std::uint64_t before = mapped_pages().value_or(0);
  for (int round = 0; round < 3; ++round) {
    const auto pages = frontend.share_pages(XENDISPL_EDID_MAX_SIZE);
    frontend.send(0, GetEdid{XENDISPL_EDID_MAX_SIZE, pages.directory.at(0)});
    check_mapped_at_most(req::get_edid_buffer_unmapped, before, "GET_EDID was answered");
  }
}

}  // namespace
}  // namespace displif_cts::cases::backend_get_edid
