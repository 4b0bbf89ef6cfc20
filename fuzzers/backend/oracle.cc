#include "fuzzers/backend/oracle.h"

#include <drm_fourcc.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <utility>
#include <variant>
#include <vector>

#include "fuzzers/backend/finding.h"
#include "harness/displif/describe.h"

namespace displif_cts::fuzz_backend {
namespace {

using displif::Operation;
using fake_backend::Answer;
using fake_backend::ReadEdid;

constexpr std::int32_t kLowestError = -4095;

// Why the model refuses (model.cc), and the requirement that wants it refused. "-survived" only
// asks for the backend to live on: there both outcomes are legal, except for the reference itself.
struct Refusal {
  std::string_view because;
  std::string_view requirement;
};
constexpr Refusal kCreate[] = {{"dbuf_cookie is 0", "dbuf-create.zero-cookie-rejected"},
                               {"is in use", "dbuf-create.duplicate-cookie-rejected"},
                               {"flags", "dbuf-create.unknown-flags-rejected"},
                               {"backend allocation", "be-alloc.not-offered-refused"},
                               {"limit", "dbuf-create.geometry-survived"},
                               {"already", "dbuf-create.geometry-survived"},
                               {"gref_directory", "dbuf-create.invalid-directory-rejected"},
                               {"", "dbuf-create.buffer-holds-picture"}};
constexpr Refusal kAttach[] = {{"there is no buffer", "fb-attach.unknown-dbuf-rejected"},
                               {"fb_cookie is 0", "fb-attach.zero-cookie-rejected"},
                               {"is in use", "fb-attach.duplicate-cookie-rejected"},
                               {"pixel format", "fb-attach.unusual-format-survived"},
                               {"do not fit", "fb-attach.fits-in-buffer"},
                               {"", "fb-attach.geometry-survived"}};
constexpr Refusal kConfig[] = {{"there is no framebuffer", "set-config.unknown-fb-rejected"},
                               {"exceed the resolution", "set-config.beyond-resolution-rejected"},
                               {"", "set-config.geometry-survived"}};
constexpr Refusal kFlip[] = {{"there is no framebuffer", "pg-flip.unknown-fb-rejected"},
                             {"", "pg-flip.unconfigured-survived"}};
constexpr Refusal kEdid[] = {{"version 1", "get-edid.ignored-in-version-1"},
                             {"is below", "get-edid.buffer-at-least-maximum"},
                             {"gref_directory", "get-edid.invalid-directory-rejected"},
                             {"", "get-edid.optional"}};

std::string_view requirement_of(std::span<const Refusal> refusals, std::string_view reason) {
  for (const Refusal& each : refusals) {
    if (reason.find(each.because) != std::string_view::npos) return each.requirement;
  }
  return "request.undefined-operation-refused";
}

std::string_view must_refuse(std::uint8_t operation, std::string_view reason) {
  if (reason.find("belongs on connector") != std::string_view::npos)
    return "ring.generic-operations-on-connector-zero";
  switch (static_cast<Operation>(operation)) {
    case Operation::dbuf_create:
      return requirement_of(kCreate, reason);
    case Operation::dbuf_destroy:
      return "dbuf-destroy.unknown-cookie-rejected";
    case Operation::fb_attach:
      return requirement_of(kAttach, reason);
    case Operation::fb_detach:
      return "fb-detach.unknown-cookie-rejected";
    case Operation::set_config:
      return requirement_of(kConfig, reason);
    case Operation::pg_flip:
      return requirement_of(kFlip, reason);
    case Operation::get_edid:
      return requirement_of(kEdid, reason);
  }
  return "request.undefined-operation-refused";
}

// Asks for survival, or for nothing: both answers are legal.
bool left_open(std::string_view requirement) {
  return requirement.ends_with("-survived") || requirement == "get-edid.optional";
}

// requirements.yaml, fb-attach.accepted: the header names no format that a backend has to know.
bool may_refuse(const displif::Request& request) {
  const auto* attach = request.as<displif::FbAttach>();
  return attach != nullptr && attach->pixel_format != DRM_FORMAT_XRGB8888;
}

std::string_view must_accept(const displif::Request& request) {
  switch (static_cast<Operation>(request.operation)) {
    case Operation::dbuf_create:
      return "dbuf-create.accepted";
    case Operation::dbuf_destroy:
      return "dbuf-destroy.accepted";
    case Operation::fb_attach:
      return "fb-attach.accepted";
    case Operation::fb_detach:
      return "fb-detach.accepted";
    case Operation::set_config:
      return request.as<displif::SetConfig>()->is_reset() ? "set-config.reset-accepted"
                                                          : "set-config.accepted";
    case Operation::pg_flip:
      return "pg-flip.accepted";
    case Operation::get_edid:
      return "get-edid.buffer-filled";
  }
  return "response.success-is-zero";
}

// What must be 0 in a response to the operation.
std::span<const displif::ByteRange> reserved_in_response(std::uint8_t operation,
                                                         unsigned protocol) {
  static std::array<std::array<std::vector<displif::ByteRange>, 256>, 2> tables;
  std::vector<displif::ByteRange>& ranges = tables[protocol >= 2 ? 1 : 0][operation];
  if (ranges.empty()) ranges = displif::reserved_response_bytes(operation, protocol);
  return ranges;
}

bool all_zero(const displif::Packet& packet, std::span<const displif::ByteRange> ranges) {
  return std::ranges::all_of(ranges, [&](const displif::ByteRange& range) {
    const auto octets = std::span(packet).subspan(range.offset, range.size);
    return std::ranges::all_of(octets, [](std::byte octet) { return octet == std::byte{0}; });
  });
}

std::string text_of(const displif::Request& request, const displif::Response& response) {
  return fmt::format("{} answered {}", displif::operation_name(request.operation),
                     displif::status_name(response.status));
}

}  // namespace

Oracle::Oracle(fake_backend::ModelOptions options, bool strict)
    : model_(std::move(options)), strict_(strict) {}

Directory Oracle::directory_of(const displif::Request& request, const GuestMemory& memory) {
  bool usable = true, read_only = false;
  if (const auto* create = request.as<displif::DbufCreate>()) {
    const bool allocate = (create->flags & XENDISPL_DBUF_FLG_REQ_ALLOC) != 0;
    usable = memory.sound(create->gref_directory, create->buffer_sz, allocate);
    read_only = !allocate && !memory.writable(create->gref_directory, create->buffer_sz);
  } else if (const auto* edid = request.as<displif::GetEdid>()) {
    usable = memory.sound(edid->gref_directory, edid->buffer_sz, false) &&
             memory.writable(edid->gref_directory, edid->buffer_sz);
  }
  if (!usable) return Directory::unusable;
  return read_only ? Directory::read_only : Directory::usable;
}

void Oracle::judge_packet(const displif::Request& request,
                          const displif::Response& response) const {
  if (response.id != request.id)
    finding("response.id-echoed",
            fmt::format("{} has id {}, its response {}", displif::operation_name(request.operation),
                        request.id, response.id));
  if (response.operation != request.operation)
    finding("response.operation-echoed",
            fmt::format("{} is answered as {}", displif::operation_name(request.operation),
                        displif::operation_name(response.operation)));
  if (response.status > 0 || response.status < kLowestError)
    finding("response.status-zero-or-negative", text_of(request, response));
  // Version 1 has no GET_EDID: what is reserved in an answer to it nobody says.
  const bool undefined = request.operation == XENDISPL_OP_GET_EDID && model_.options().protocol < 2;
  if (!undefined && !all_zero(response.packet,
                              reserved_in_response(request.operation, model_.options().protocol)))
    finding("response.reserved-zero", text_of(request, response));
}

// The connection goes on where that is known of the backend.
void Oracle::broken(std::string_view requirement, const std::string& text) {
  if (!passed_over(requirement)) finding(requirement, text);
  unsure_ = true;
}

bool Oracle::judge(std::size_t connector, const displif::Request& request,
                   const displif::Response& response, Directory directory) {
  judge_packet(request, response);
  const Answer answer = model_.decide(connector, request, none_);
  const bool success = response.status == 0;
  const auto* create = request.as<displif::DbufCreate>();
  // Also where it should have refused.
  const bool fills =
      success && create != nullptr && (create->flags & XENDISPL_DBUF_FLG_REQ_ALLOC) != 0;
  if (unsure_) return fills;
  if (answer.status != 0) {
    if (!success) return false;
    const std::string_view requirement = must_refuse(request.operation, answer.reason.text());
    if (strict_ || !left_open(requirement))
      broken(requirement, fmt::format("{}: {}", text_of(request, response), answer.reason.text()));
    unsure_ = unsure_ || !strict_;
    return fills;
  }
  if (success && directory == Directory::unusable)
    broken(request.operation == XENDISPL_OP_GET_EDID ? "get-edid.invalid-directory-rejected"
                                                     : "dbuf-create.invalid-directory-rejected",
           text_of(request, response));
  const bool owed = directory == Directory::usable && !may_refuse(request);
  const bool reference_owes = directory == Directory::usable || directory == Directory::read_only;
  if (!success && (strict_ ? reference_owes : owed))
    broken(must_accept(request), text_of(request, response));
  if (!success) return false;
  const auto* read = std::get_if<ReadEdid>(&answer.effect);
  if (read != nullptr && response.edid_sz > read->size)
    broken("get-edid.size-within-buffer", fmt::format("edid_sz {}", response.edid_sz));
  model_.apply(connector, answer.effect);
  return fills;
}

}  // namespace displif_cts::fuzz_backend
