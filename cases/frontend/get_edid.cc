// displif.h, "Request EDID": what a frontend sends when a program of the guest has it look at a
// connector anew.
#include <fmt/format.h>

#include <vector>

#include "cases/support/frontend_case.h"
#include "fake_backend/edid.h"

namespace displif_cts::cases::get_edid {
namespace {

// The frontend asks for the EDID of each connector that a program probes.
constexpr const char* kAsksForEdid = "edid";

fake_backend::Options with_edid(std::vector<unsigned> versions) {
  fake_backend::Options options;
  options.versions = std::move(versions);
  options.connectors.at(0).resolution = {320, 240};
  options.connectors.at(0).edid = fake_backend::smallest_edid();
  return options;
}

FRONTEND_CASE(Asked, {.id = "frontend.get-edid.fields",
                      .title = "The request has room for the largest EDID, in a buffer whose "
                               "directory lists all of it.",
                      .requirements = of(req::get_edid_buffer_size, req::get_edid_directory),
                      .needs = {kAsksForEdid}}) {
  FakeBackend& backend = connect(with_edid({1, 2}));
  guest.open();
  auto cursor = backend.request_cursor();
  guest.must("connectors", {{"fd", "card"}, {"probe", "1"}});
  const auto asked = backend.await_answered(RequestFilter::op(displif::Operation::get_edid),
                                            after_response_limit(), cursor);
  require(check_awaited(req::get_edid_directory, asked, "GET_EDID"));
  const auto* fields = asked->request.as<displif::GetEdid>();
  check(req::get_edid_buffer_size, fields != nullptr && fields->buffer_sz >= XENDISPL_EDID_MAX_SIZE,
        {fmt::format("buffer_sz of at least {}", XENDISPL_EDID_MAX_SIZE)},
        fmt::format("{}", fields == nullptr ? 0 : fields->buffer_sz));
  // The model refuses a directory that ends before the buffer does, as any backend has to.
  const bool listed = asked->answer.status == 0 && asked->status == 0;
  check(req::get_edid_buffer_size, listed, {"a directory that lists buffer_sz octets"},
        listed ? "it does" : asked->answer.reason.text());
}

FRONTEND_CASE(NotInVersion1, {.id = "frontend.get-edid.not-in-version-1",
                              .title = "On a connection of version 1 no EDID is asked for.",
                              .requirements = of(req::packet_operation_in_version),
                              .needs = {kAsksForEdid}}) {
  FakeBackend& backend = connect(with_edid({1}));
  guest.open();
  auto cursor = backend.request_cursor();
  guest.must("connectors", {{"fd", "card"}, {"probe", "1"}});
  const auto asked =
      backend.none_until(RequestFilter::op(displif::Operation::get_edid), xen::in(quiet()), cursor);
  check(req::packet_operation_in_version, !asked, {"no GET_EDID"}, asked ? "GET_EDID" : "none");
  check_usable(req::packet_operation_in_version, backend);
}

}  // namespace
}  // namespace displif_cts::cases::get_edid
