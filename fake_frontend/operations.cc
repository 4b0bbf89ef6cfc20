// What the frontend's operations are about: buffers, framebuffers, what connectors show. Each has a
// step before its request and one after the response; in between the caller waits.
#include <drm_fourcc.h>
#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>

#include "fake_frontend/service.h"
#include "harness/displif/fourcc.h"

namespace displif_cts::fake_frontend {
namespace {

using displif::raw;

// Cookies that no buffer and no framebuffer of this frontend ever has.
constexpr std::uint64_t kNoSuchCookie = 0x5a5a'0000'0000'0001;
// Below it a negative status is no error code that Linux's ERR_PTR could carry.
constexpr std::int32_t kLowestErrno = -4095;

// Rows without padding; nullopt where they do not fit into 32 bits.
std::optional<std::uint32_t> picture_size(const BufferSpec& spec) {
  const std::uint64_t row = (static_cast<std::uint64_t>(spec.width) * spec.bpp + 7) / 8;
  std::uint64_t size = 0;
  if (__builtin_mul_overflow(row, static_cast<std::uint64_t>(spec.height), &size) ||
      __builtin_add_overflow(size, std::uint64_t{spec.data_offset}, &size) || size > UINT32_MAX) {
    return std::nullopt;
  }
  return static_cast<std::uint32_t>(size);
}

}  // namespace

// --- faults --------------------------------------------------------------------------------------

MemoryFaults FakeFrontend::Service::memory_faults(std::uint8_t operation) {
  const auto at_operation = [&](AtOperations FrontendFaults::*fault, std::string_view name) {
    return strikes_at(fault, operation, name);
  };
  using Faults = FrontendFaults;
  MemoryFaults faults;
  faults.directory_short = at_operation(&Faults::directory_short, "directory-short");
  faults.chain_short = at_operation(&Faults::directory_chain_short, "directory-chain-short");
  faults.directory_long = at_operation(&Faults::directory_long, "directory-long");
  faults.cyclic = at_operation(&Faults::directory_cyclic, "directory-cyclic");
  faults.duplicated = at_operation(&Faults::references_duplicated, "references-duplicated");
  faults.foreign = at_operation(&Faults::reference_foreign, "reference-foreign");
  faults.revoked = at_operation(&Faults::reference_revoked, "reference-revoked");
  faults.invalid = at_operation(&Faults::reference_invalid, "reference-invalid");
  faults.zero = at_operation(&Faults::entry_zero, "reference-zero");
  faults.pages_read_only = at_operation(&Faults::pages_read_only, "pages-read-only");
  faults.directory_zero =
      at_operation(&Faults::directory_reference_zero, "directory-reference-zero");
  faults.directory_invalid =
      at_operation(&Faults::directory_reference_invalid, "directory-reference-invalid");
  faults.directory_foreign =
      at_operation(&Faults::directory_reference_foreign, "directory-reference-foreign");
  faults.directory_revoked =
      at_operation(&Faults::directory_reference_revoked, "directory-reference-revoked");
  faults.directory_read_only = at_operation(&Faults::directory_read_only, "directory-read-only");
  if (operation == XENDISPL_OP_DBUF_CREATE) {
    faults.reversed = strikes(&Faults::contents_elsewhere, "contents-elsewhere");
  }
  return faults;
}

void FakeFrontend::Service::number(NumberFault FrontendFaults::*fault, std::uint32_t& value,
                                   std::string_view name) {
  if (const auto wrong = strikes_with(fault, name)) value = wrong->of(value);
}

// The calls that need a backend, where there is none; displif.h, "Recovery flow". Old rings, and
// calls that are to pass for done, are for send() to see to.
std::optional<FakeFrontend::Service::Prepared> FakeFrontend::Service::out_of_service() {
  if (phase_ == Phase::connected || !old_links_.empty()) return std::nullopt;
  {
    const std::lock_guard lock(journal.mutex);
    if (journal.faults.clients_not_told != 0) return std::nullopt;
  }
  return refuse(ENODEV, "the frontend is not connected");
}

// --- accounts ------------------------------------------------------------------------------------

FakeFrontend::Service::DisplayBuffer* FakeFrontend::Service::buffer(DbufCookie cookie) {
  for (auto& [handle, entry] : buffers_) {
    if (entry.live && entry.cookie == cookie) return &entry;
  }
  return nullptr;
}

const FakeFrontend::Service::DisplayBuffer* FakeFrontend::Service::buffer(DbufCookie cookie) const {
  return const_cast<Service*>(this)->buffer(cookie);
}

std::vector<FbCookie> FakeFrontend::Service::framebuffers_of(DbufCookie cookie) const {
  std::vector<FbCookie> found;
  for (const auto& [fb, entry] : framebuffers_) {
    if (entry.buffer == cookie) found.push_back(fb);
  }
  return found;
}

std::vector<std::size_t> FakeFrontend::Service::showing(FbCookie cookie) const {
  std::vector<std::size_t> found;
  for (std::size_t i = 0; i < links_.size(); ++i) {
    if (links_[i].shown == cookie) found.push_back(i);
  }
  return found;
}

displif::Resolution FakeFrontend::Service::resolution(std::size_t connector) const {
  return connector < journal.connectors.size() ? journal.connectors[connector]
                                               : displif::Resolution{};
}

Memory& FakeFrontend::Service::memory(std::size_t handle) {
  const auto found = buffers_.find(handle);
  return found != buffers_.end() ? found->second.memory : shared_.at(handle);
}

Memory* FakeFrontend::Service::memory_of(DbufCookie cookie) {
  DisplayBuffer* found = buffer(cookie);
  return found == nullptr ? nullptr : &found->memory;
}

std::size_t FakeFrontend::Service::share(std::uint32_t size, xen::Access access) {
  const std::size_t handle = next_handle_++;
  shared_.emplace(handle, Memory::allocate({backend_, options_.stranger}, size, Owner::frontend,
                                           access, MemoryFaults{}));
  return handle;
}

xen::GrantRef FakeFrontend::Service::grant(xen::DomId to, xen::Access access) {
  granted_.push_back(xen::SharedPages::share(to, 1, access));
  return granted_.back().refs().front();
}

bool FakeFrontend::Service::draw(DbufCookie cookie, std::span<const std::byte> octets,
                                 std::size_t offset) {
  DisplayBuffer* to = buffer(cookie);
  if (to == nullptr) return false;
  bool late = false;
  {
    const std::lock_guard lock(journal.mutex);
    late = journal.faults.flip_before_contents != 0;
  }
  if (!late) return to->memory.write(offset, octets);
  late_draws_.push_back({cookie, {octets.begin(), octets.end()}, offset});
  return true;
}

// --- display buffers -----------------------------------------------------------------------------

// Memory that is out of the domain's limits is the client's failure and nobody else's.
FakeFrontend::Service::Prepared FakeFrontend::Service::allocate(std::uint32_t size, Owner owner,
                                                                std::uint8_t operation) {
  try {
    if (displif::buffer_pages(size) > options_.max_buffer_pages) {
      throw xen::Error("share", fmt::format("{} octets", size), ENOSPC);
    }
    const std::size_t handle = next_handle_++;
    const MemoryFaults faults = memory_faults(operation);
    Memory made = Memory::allocate({backend_, options_.stranger}, size, owner,
                                   xen::Access::read_write, faults);
    if (operation == XENDISPL_OP_GET_EDID) {
      shared_.emplace(handle, std::move(made));
    } else {
      buffers_.emplace(handle, DisplayBuffer{{}, {}, std::move(made), false});
    }
    return {.handle = handle};
  } catch (const xen::Error& error) {
    trouble(error.what());
    fatal(&FrontendFaults::out_of_grants_fatal, "out-of-grants-fatal");
    return refuse(error.number(), error.what());
  }
}

FakeFrontend::Service::Prepared FakeFrontend::Service::prepare_create(const BufferSpec& spec,
                                                                      DbufCookie& cookie) {
  if (const auto refusal = out_of_service()) return *refusal;
  const auto exact = picture_size(spec);
  const std::uint32_t size = spec.size != 0 ? spec.size : exact.value_or(0);
  if (size == 0) return refuse(EINVAL, "a buffer of no size, or of more than 32 bits can hold");
  const displif::Resolution visible = resolution(0);
  if ((spec.width < visible.width || spec.height < visible.height) &&
      strikes(&FrontendFaults::small_buffer_refused, "small-buffer-refused")) {
    return refuse(EINVAL, "the buffer is smaller than the connector");
  }
  if ((spec.width > visible.width || spec.height > visible.height) &&
      strikes(&FrontendFaults::large_buffer_refused, "large-buffer-refused")) {
    return refuse(EINVAL, "the buffer is bigger than the connector");
  }
  if (spec.backend_allocated && !journal.be_alloc) {
    return refuse(EOPNOTSUPP, "backend allocation is not offered");
  }
  const bool unoffered = !spec.backend_allocated && !journal.be_alloc &&
                         strikes(&FrontendFaults::allocation_unoffered, "allocation-unoffered");
  const bool of_backend = spec.backend_allocated || unoffered;
  Prepared prepared =
      allocate(size, of_backend ? Owner::backend : Owner::frontend, XENDISPL_OP_DBUF_CREATE);
  if (prepared.handle == 0) return prepared;
  DisplayBuffer& made = buffers_.at(prepared.handle);
  cookie = spec.cookie.value_or(DbufCookie{next_dbuf_});
  if (!spec.cookie) ++next_dbuf_;
  made.cookie = cookie;
  made.spec = spec;
  made.spec.size = size;
  displif::DbufCreate body{.dbuf_cookie = cookie,
                           .width = spec.width,
                           .height = spec.height,
                           .bpp = spec.bpp,
                           .buffer_sz = size,
                           .flags = of_backend ? displif::kDbufFlags : 0U,
                           .gref_directory = made.memory.first(),
                           .data_ofs = spec.data_offset};
  const auto living =
      std::ranges::find_if(buffers_, [](const auto& entry) { return entry.second.live; });
  if (living != buffers_.end() &&
      strikes(&FrontendFaults::dbuf_cookie_repeated, "dbuf-cookie-repeated")) {
    body.dbuf_cookie = living->second.cookie;
  }
  if (strikes_at(&FrontendFaults::dbuf_cookie_zero, XENDISPL_OP_DBUF_CREATE, "dbuf-cookie-zero")) {
    body.dbuf_cookie = {};
  }
  number(&FrontendFaults::dbuf_width, body.width, "dbuf-width");
  number(&FrontendFaults::dbuf_height, body.height, "dbuf-height");
  number(&FrontendFaults::dbuf_bpp, body.bpp, "dbuf-bpp");
  number(&FrontendFaults::dbuf_size, body.buffer_sz, "dbuf-size");
  number(&FrontendFaults::dbuf_flags, body.flags, "dbuf-flags");
  number(&FrontendFaults::dbuf_data_offset, body.data_ofs, "data-offset");
  tracer_.directory(From::frontend, cookie, made.memory.directory(), made.memory.references());
  prepared.body = body;
  return prepared;
}

void FakeFrontend::Service::finish_create(std::size_t handle, Reply& reply) {
  const auto found = buffers_.find(handle);
  if (found == buffers_.end()) return;  // gone with the connection
  DisplayBuffer& made = found->second;
  if (reply.refused() && strikes(&FrontendFaults::create_error_hidden, "create-error-hidden")) {
    reply.error = 0;
  }
  if (!reply.ok() && reply.error != 0) {
    buffers_.erase(found);
    return;
  }
  made.live = true;
  if (!reply.ok() || !made.spec.backend_allocated) return;
  try {
    made.memory.map_backend_pages(*grants_, backend_);
  } catch (const xen::Error& error) {
    trouble(fmt::format("the backend's buffer {:#x}: {}", raw(made.cookie), error.what()));
    reply.error = error.number();
    reply.failure = error.what();
  }
  tracer_.directory(From::backend, made.cookie, made.memory.directory(), made.memory.references());
}

FakeFrontend::Service::Prepared FakeFrontend::Service::prepare_destroy(DbufCookie cookie) {
  if (const auto refusal = out_of_service()) return *refusal;
  displif::DbufDestroy body{cookie};
  Prepared prepared;
  for (auto& [handle, entry] : buffers_) {
    if (entry.live && entry.cookie == cookie) prepared.handle = handle;
  }
  if (prepared.handle == 0) {
    return refuse(ENOENT, fmt::format("there is no buffer {:#x}", raw(cookie)));
  }
  if (strikes(&FrontendFaults::grants_ended_before_destroy, "grants-ended-before-destroy")) {
    Memory& of = buffers_.at(prepared.handle).memory;
    of.end_pages();
    of.end_directory();
  }
  if (strikes(&FrontendFaults::destroy_other_cookie, "destroy-other-cookie")) {
    body.dbuf_cookie = DbufCookie{raw(cookie) ^ kNoSuchCookie};
  }
  if (strikes_at(&FrontendFaults::dbuf_cookie_zero, XENDISPL_OP_DBUF_DESTROY, "dbuf-cookie-zero")) {
    body.dbuf_cookie = {};
  }
  prepared.body = body;
  return prepared;
}

// The client has given the buffer up, whatever the backend says.
void FakeFrontend::Service::finish_destroy(std::size_t handle, Reply& reply) {
  if (reply.refused()) fatal(&FrontendFaults::destroy_error_fatal, "destroy-error-fatal");
  const auto found = buffers_.find(handle);
  if (found == buffers_.end()) return;
  const bool of_backend = found->second.spec.backend_allocated;
  if ((of_backend && strikes(&FrontendFaults::backend_pages_kept, "backend-pages-kept")) ||
      strikes(&FrontendFaults::grants_kept_after_destroy, "grants-kept-after-destroy")) {
    kept_memory_.push_back(std::move(found->second.memory));
  }
  buffers_.erase(found);
}

// --- framebuffers --------------------------------------------------------------------------------

FakeFrontend::Service::Prepared FakeFrontend::Service::prepare_attach(DbufCookie of,
                                                                      const FramebufferSpec& spec,
                                                                      FbCookie& cookie) {
  if (const auto refusal = out_of_service()) return *refusal;
  const DisplayBuffer* from = buffer(of);
  if (from == nullptr) {
    return refuse(ENOENT, fmt::format("there is no buffer {:#x}", raw(of)));
  }
  cookie = spec.cookie.value_or(FbCookie{next_fb_});
  if (!spec.cookie) ++next_fb_;
  displif::FbAttach body{
      .dbuf_cookie = of,
      .fb_cookie = cookie,
      .width = spec.width != 0 ? spec.width : from->spec.width,
      .height = spec.height != 0 ? spec.height : from->spec.height,
      .pixel_format = spec.format != 0 ? spec.format : std::uint32_t{DRM_FORMAT_XRGB8888}};
  if (strikes(&FrontendFaults::attach_unknown_dbuf, "attach-unknown-dbuf")) {
    body.dbuf_cookie = DbufCookie{raw(of) ^ kNoSuchCookie};
  }
  if (!framebuffers_.empty() &&
      strikes(&FrontendFaults::fb_cookie_repeated, "fb-cookie-repeated")) {
    body.fb_cookie = framebuffers_.begin()->first;
  }
  if (strikes_at(&FrontendFaults::dbuf_cookie_zero, XENDISPL_OP_FB_ATTACH, "dbuf-cookie-zero")) {
    body.dbuf_cookie = {};
  }
  if (strikes_at(&FrontendFaults::fb_cookie_zero, XENDISPL_OP_FB_ATTACH, "fb-cookie-zero")) {
    body.fb_cookie = {};
  }
  number(&FrontendFaults::fb_width, body.width, "fb-width");
  number(&FrontendFaults::fb_height, body.height, "fb-height");
  number(&FrontendFaults::pixel_format, body.pixel_format, "pixel-format");
  return {.body = body};
}

void FakeFrontend::Service::finish_attach(const displif::RequestBody& body, DbufCookie of,
                                          FbCookie cookie, Reply& reply) {
  if (reply.refused() && *reply.status() < kLowestErrno) {
    fatal(&FrontendFaults::attach_unknown_error_fatal, "attach-unknown-error-fatal");
  }
  if (reply.refused() && strikes(&FrontendFaults::attach_error_hidden, "attach-error-hidden")) {
    reply.error = 0;
  }
  if (phase_ != Phase::connected || reply.error != 0) return;
  const auto* attach = std::get_if<displif::FbAttach>(&body);
  framebuffers_.insert_or_assign(
      cookie, Framebuffer{of, attach->width, attach->height, attach->pixel_format});
}

FakeFrontend::Service::Prepared FakeFrontend::Service::prepare_detach(FbCookie cookie) {
  if (const auto refusal = out_of_service()) return *refusal;
  if (!framebuffers_.contains(cookie)) {
    return refuse(ENOENT, fmt::format("there is no framebuffer {:#x}", raw(cookie)));
  }
  displif::FbDetach body{cookie};
  if (strikes(&FrontendFaults::detach_other_cookie, "detach-other-cookie")) {
    body.fb_cookie = FbCookie{raw(cookie) ^ kNoSuchCookie};
  }
  if (strikes_at(&FrontendFaults::fb_cookie_zero, XENDISPL_OP_FB_DETACH, "fb-cookie-zero")) {
    body.fb_cookie = {};
  }
  return {.body = body};
}

void FakeFrontend::Service::finish_detach(FbCookie cookie, Reply& reply) {
  if (reply.refused()) fatal(&FrontendFaults::detach_error_fatal, "detach-error-fatal");
  framebuffers_.erase(cookie);
}

// --- configuration -------------------------------------------------------------------------------

FakeFrontend::Service::Prepared FakeFrontend::Service::prepare_config(std::size_t connector,
                                                                      FbCookie cookie) {
  if (const auto refusal = out_of_service()) return *refusal;
  const auto found = framebuffers_.find(cookie);
  if (found == framebuffers_.end()) {
    return refuse(ENOENT, fmt::format("there is no framebuffer {:#x}", raw(cookie)));
  }
  if (config_final_) return refuse(EIO, "an earlier configuration was refused");
  const displif::Resolution visible = resolution(connector);
  return {.body = displif::SetConfig{
              .fb_cookie = cookie,
              .width = visible.width,
              .height = visible.height,
              .bpp = displif::bits_per_pixel(found->second.format).value_or(32)}};
}

void FakeFrontend::Service::fault_config(displif::SetConfig& config) {
  if (strikes(&FrontendFaults::config_unknown_fb, "config-unknown-fb")) {
    config.fb_cookie = FbCookie{raw(config.fb_cookie) ^ kNoSuchCookie};
  }
  if (strikes_at(&FrontendFaults::fb_cookie_zero, XENDISPL_OP_SET_CONFIG, "fb-cookie-zero")) {
    config.fb_cookie = {};
  }
  number(&FrontendFaults::config_x, config.x, "config-x");
  number(&FrontendFaults::config_y, config.y, "config-y");
  number(&FrontendFaults::config_width, config.width, "config-width");
  number(&FrontendFaults::config_height, config.height, "config-height");
  number(&FrontendFaults::config_bpp, config.bpp, "config-bpp");
}

void FakeFrontend::Service::finish_config(std::size_t connector, const displif::SetConfig& config,
                                          Reply& reply) {
  if (reply.refused()) {
    if (strikes(&FrontendFaults::config_error_final, "config-error-final")) config_final_ = true;
    if (strikes(&FrontendFaults::config_error_hidden, "config-error-hidden")) reply.error = 0;
  }
  Link* shows = find_link(connector);
  if (shows != nullptr && reply.error == 0) shows->shown = config.fb_cookie;
}

FakeFrontend::Service::Prepared FakeFrontend::Service::prepare_reset(std::size_t connector) {
  if (const auto refusal = out_of_service()) return *refusal;
  displif::SetConfig reset;
  const Link* shows = find_link(connector);
  if (shows != nullptr && shows->shown &&
      strikes(&FrontendFaults::reset_nonzero, "reset-nonzero")) {
    reset.fb_cookie = *shows->shown;
  }
  return {.body = reset};
}

void FakeFrontend::Service::finish_reset(std::size_t connector, Reply& reply) {
  if (reply.refused()) fatal(&FrontendFaults::reset_error_fatal, "reset-error-fatal");
  Link* shows = find_link(connector);
  if (shows != nullptr) shows->shown.reset();
}

// --- flips ---------------------------------------------------------------------------------------

FakeFrontend::Service::Prepared FakeFrontend::Service::prepare_flip(std::size_t connector,
                                                                    FbCookie cookie) {
  if (const auto refusal = out_of_service()) return *refusal;
  if (!framebuffers_.contains(cookie)) {
    return refuse(ENOENT, fmt::format("there is no framebuffer {:#x}", raw(cookie)));
  }
  if (flip_final_) return refuse(EIO, "an earlier flip was refused");
  const Link* shows = find_link(connector);
  if (shows == nullptr && phase_ == Phase::connected) {
    return refuse(ENODEV, fmt::format("there is no connector {}", connector));
  }
  if (shows != nullptr && !shows->shown &&
      !strikes(&FrontendFaults::flip_unconfigured, "flip-unconfigured")) {
    return refuse(EINVAL, fmt::format("connector {} is off", connector));
  }
  displif::PgFlip body{cookie};
  if (strikes(&FrontendFaults::flip_unknown_fb, "flip-unknown-fb")) {
    body.fb_cookie = FbCookie{raw(cookie) ^ kNoSuchCookie};
  }
  if (strikes_at(&FrontendFaults::fb_cookie_zero, XENDISPL_OP_PG_FLIP, "fb-cookie-zero")) {
    body.fb_cookie = {};
  }
  // Before the request goes: its event may come before its response.
  bool busy = false;
  const std::uint64_t serial = next_flip_++;
  update([&](Journal& j) {
    if (connector >= j.flips.size()) return;
    FlipState& flip = j.flips[connector];
    busy = flip.pending.has_value();
    if (busy) return;
    flip = {};
    flip.pending = FlipState::Pending{body.fb_cookie, serial};
  });
  if (busy) return refuse(EBUSY, fmt::format("a flip is pending on connector {}", connector));
  after(options_.flip_limit + lateness(), [this, connector, serial] {
    {
      const std::lock_guard lock(journal.mutex);
      const FlipState& flip = journal.flips[connector];
      if (!flip.pending || flip.pending->serial != serial) return;
    }
    if (strikes(&FrontendFaults::lost_event_final, "lost-event-final")) return;
    update([&](Journal& j) {
      j.flips[connector].pending.reset();
      j.flips[connector].lost =
          fmt::format("released without event after {} ms", options_.flip_limit.count());
    });
  });
  return {.body = body};
}

// How much later than it is prepared the next request goes.
std::chrono::milliseconds FakeFrontend::Service::lateness() {
  const std::lock_guard lock(journal.mutex);
  const DelayFault& late = journal.faults.request_late;
  return late.times == 0 ? std::chrono::milliseconds(0) : late.delay;
}

void FakeFrontend::Service::finish_flip(std::size_t connector, Reply& reply) {
  // What a client drew before the flip, shared only now.
  if (!late_draws_.empty()) {
    (void)strikes(&FrontendFaults::flip_before_contents, "flip-before-contents");
    for (const LateDraw& late : std::exchange(late_draws_, {})) {
      if (DisplayBuffer* to = buffer(late.cookie)) to->memory.write(late.offset, late.octets);
    }
  }
  if (reply.refused()) {
    if (strikes(&FrontendFaults::flip_error_final, "flip-error-final")) flip_final_ = true;
    if (strikes(&FrontendFaults::flip_error_hidden, "flip-error-hidden")) reply.error = 0;
  }
  const bool at_once = reply.ok() && strikes(&FrontendFaults::flip_completed_by_response,
                                             "flip-completed-by-response");
  update([&](Journal& j) {
    if (connector >= j.flips.size()) return;
    FlipState& flip = j.flips[connector];
    if (!flip.pending) return;
    if (at_once) {
      ReceivedEvent none;
      none.number = kNoEvent;
      none.connector = connector;
      none.connection = j.connections;
      none.event.body = displif::PgFlipEvent{flip.pending->cookie};
      none.ns = now_ns();
      flip.completed = none;
      flip.pending.reset();
    } else if (!reply.ok()) {
      flip.pending.reset();
      flip.lost = "the flip came to " + reply.text();
    }
  });
  // A flip does not change what a connector is configured to; it shows another framebuffer.
  const auto number = reply.request;
  Link* shows = find_link(connector);
  if (!number || shows == nullptr || !reply.ok()) return;
  const std::lock_guard lock(journal.mutex);
  const auto* body = journal.requests[*number].request.as<displif::PgFlip>();
  if (body != nullptr) shows->shown = body->fb_cookie;
}

// --- EDID ----------------------------------------------------------------------------------------

FakeFrontend::Service::Prepared FakeFrontend::Service::prepare_edid(std::size_t connector,
                                                                    std::uint32_t size) {
  if (const auto refusal = out_of_service()) return *refusal;
  if (find_link(connector) == nullptr && phase_ == Phase::connected) {
    return refuse(ENODEV, fmt::format("there is no connector {}", connector));
  }
  if (journal.protocol < 2 && !strikes(&FrontendFaults::edid_in_version_1, "edid-in-version-1")) {
    return refuse(EOPNOTSUPP, "version 1 has no GET_EDID");
  }
  if (size == 0) return refuse(EINVAL, "an EDID buffer of no size");
  Prepared prepared = allocate(size, Owner::frontend, XENDISPL_OP_GET_EDID);
  if (prepared.handle == 0) return prepared;
  Memory& made = shared_.at(prepared.handle);
  made.fill(std::byte{0xee});
  displif::GetEdid body{.buffer_sz = size, .gref_directory = made.first()};
  number(&FrontendFaults::edid_buffer_size, body.buffer_sz, "edid-buffer-size");
  prepared.body = body;
  return prepared;
}

void FakeFrontend::Service::finish_edid(std::size_t handle, EdidReply& reply) {
  const auto found = shared_.find(handle);
  if (found == shared_.end()) return;
  reply.buffer = found->second.read().value_or(std::vector<std::byte>());
  if (reply.ok() && reply.response->edid_sz <= reply.buffer.size()) {
    reply.edid.assign(reply.buffer.begin(),
                      reply.buffer.begin() + static_cast<std::ptrdiff_t>(reply.response->edid_sz));
  }
  shared_.erase(found);
}

}  // namespace displif_cts::fake_frontend
