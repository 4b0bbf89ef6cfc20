#include "fake_backend/model.h"

#include <xen/errno.h>

#include <algorithm>
#include <utility>

#include "harness/displif/fourcc.h"
#include "harness/displif/page_directory.h"

namespace displif_cts::fake_backend {
namespace {

using displif::raw;

template <typename... Numbers>
Answer refuse(int error, fmt::format_string<Numbers...> format, const Numbers&... numbers) {
  return {-error, Reason(format, numbers...), NoEffect{}};
}

Answer accept(const Effect& effect) { return {0, {}, effect}; }

// Octets that a picture needs at least: rows are not padded. Saturates.
std::uint64_t picture_size(std::uint32_t width, std::uint32_t height, std::uint32_t bpp) {
  const std::uint64_t row = (static_cast<std::uint64_t>(width) * bpp + 7) / 8;
  std::uint64_t size = 0;
  if (__builtin_mul_overflow(row, static_cast<std::uint64_t>(height), &size)) return UINT64_MAX;
  return size;
}

bool fits(std::uint64_t need, std::uint32_t offset, std::uint32_t size) {
  return offset <= size && need <= size - offset;
}

}  // namespace

std::uint32_t DisplayBuffer::pages() const { return displif::buffer_pages(size); }

Model::Model(ModelOptions options) : options_(std::move(options)) { clear(); }

void Model::clear() {
  buffers_.clear();
  framebuffers_.clear();
  total_size_ = 0;
  spent_dbufs_.clear();
  spent_fbs_.clear();
  connectors_.clear();
  for (const displif::Resolution& resolution : options_.connectors) {
    connectors_.push_back({.resolution = resolution});
  }
}

const DisplayBuffer* Model::buffer(DbufCookie cookie) const {
  const auto found = buffers_.find(cookie);
  return found == buffers_.end() ? nullptr : &found->second;
}

const Framebuffer* Model::framebuffer(FbCookie cookie) const {
  const auto found = framebuffers_.find(cookie);
  return found == framebuffers_.end() ? nullptr : &found->second;
}

Answer Model::decide(std::size_t connector, const displif::Request& request) const {
  BackendFaults none;
  return decide(connector, request, none);
}

Answer Model::decide(std::size_t connector, const displif::Request& request,
                     BackendFaults& faults) const {
  if (connector >= connectors_.size()) {
    return refuse(XEN_ENODEV, "there is no connector {}", connector);
  }
  if (connector != 0 && displif::is_connector_zero_only(request.operation) &&
      !strike(faults.accepts_other_ring)) {
    return refuse(XEN_EINVAL, "operation {:#x} belongs on connector 0's ring, not {}'s",
                  request.operation, connector);
  }
  if (auto refused = refuse_wrongly(connector, request, faults)) return *std::move(refused);
  if (const auto* body = request.as<displif::DbufCreate>()) return decide_create(*body, faults);
  if (const auto* body = request.as<displif::DbufDestroy>()) return decide_destroy(*body, faults);
  if (const auto* body = request.as<displif::FbAttach>()) return decide_attach(*body, faults);
  if (const auto* body = request.as<displif::FbDetach>()) return decide_detach(*body, faults);
  if (const auto* body = request.as<displif::SetConfig>()) {
    return decide_config(connector, *body, faults);
  }
  if (const auto* body = request.as<displif::PgFlip>())
    return decide_flip(connector, *body, faults);
  if (const auto* body = request.as<displif::GetEdid>()) {
    return decide_edid(connector, *body, faults);
  }
  if (strike(faults.accepts_undefined_operation)) return accept(NoEffect{});
  return refuse(XEN_EOPNOTSUPP, "operation {:#x} is not defined", request.operation);
}

// displif.h, "Request dbuf creation": cookie 0 is invalid, a cookie in use is an error, undefined
// flags are 0; buffer_sz is what the directory describes.
Answer Model::decide_create(const displif::DbufCreate& request, BackendFaults& faults) const {
  const DbufCookie cookie = request.dbuf_cookie;
  if (cookie == DbufCookie{} && !strike(faults.accepts_zero_dbuf_cookie)) {
    return refuse(XEN_EINVAL, "dbuf_cookie is 0");
  }
  if (buffers_.contains(cookie) && !strike(faults.accepts_duplicate_dbuf_cookie)) {
    return refuse(XEN_EEXIST, "dbuf_cookie {:#x} is in use", raw(cookie));
  }
  const std::uint32_t undefined = request.flags & ~displif::kDbufFlags;
  if (undefined != 0 && !strike(faults.accepts_unknown_flags)) {
    return refuse(XEN_EINVAL, "flags {:#x} are not defined", undefined);
  }
  const bool allocate = (request.flags & XENDISPL_DBUF_FLG_REQ_ALLOC) != 0;
  if (allocate && !options_.be_alloc) {
    return refuse(XEN_EINVAL, "backend allocation was not offered");
  }
  if (allocate && strike(faults.be_alloc_refused)) {
    return refuse(XEN_ENOMEM, "fault be-alloc-refused");
  }
  if (request.buffer_sz == 0) return refuse(XEN_EINVAL, "buffer_sz is 0");
  if (request.buffer_sz > options_.max_buffer_size) {
    return refuse(XEN_ENOMEM, "buffer_sz {} is above this backend's limit of {}", request.buffer_sz,
                  options_.max_buffer_size);
  }
  if (buffers_.size() >= options_.max_buffers ||
      request.buffer_sz > options_.max_total_size - total_size_) {
    return refuse(XEN_ENOMEM, "there are {} buffers of {} octets already", buffers_.size(),
                  total_size_);
  }
  const std::uint64_t need = picture_size(request.width, request.height, request.bpp);
  const bool fitting = fits(need, request.data_ofs, request.buffer_sz) ||
                       (fits(need, 0, request.buffer_sz) && strike(faults.data_offset_ignored));
  if (!fitting && !strike(faults.accepts_short_buffer)) {
    return refuse(XEN_EINVAL, "{}x{} of {} bits at offset {} do not fit into {} octets",
                  request.width, request.height, request.bpp, request.data_ofs, request.buffer_sz);
  }
  if (request.gref_directory == xen::GrantRef{}) return refuse(XEN_EINVAL, "gref_directory is 0");
  return accept(CreateBuffer{{.cookie = cookie,
                              .width = request.width,
                              .height = request.height,
                              .bpp = request.bpp,
                              .size = request.buffer_sz,
                              .directory = request.gref_directory,
                              .data_offset = request.data_ofs,
                              .backend_allocated = allocate}});
}

Answer Model::decide_destroy(const displif::DbufDestroy& request, BackendFaults& faults) const {
  if (!buffers_.contains(request.dbuf_cookie)) {
    if (strike(faults.accepts_unknown_dbuf_destroy)) return accept(NoEffect{});
    return refuse(XEN_ENOENT, "there is no buffer {:#x}", raw(request.dbuf_cookie));
  }
  return accept(DestroyBuffer{request.dbuf_cookie});
}

// displif.h, "Request framebuffer attachment": to a buffer that exists; cookie 0 is invalid, a
// cookie in use is an error. The row length is not on the wire: what is checked is the least that
// the picture needs.
Answer Model::decide_attach(const displif::FbAttach& request, BackendFaults& faults) const {
  const DisplayBuffer* dbuf = buffer(request.dbuf_cookie);
  if (dbuf == nullptr && !strike(faults.accepts_unknown_dbuf_attach)) {
    return refuse(XEN_ENOENT, "there is no buffer {:#x}", raw(request.dbuf_cookie));
  }
  if (request.fb_cookie == FbCookie{} && !strike(faults.accepts_zero_fb_cookie)) {
    return refuse(XEN_EINVAL, "fb_cookie is 0");
  }
  if (framebuffers_.contains(request.fb_cookie) && !strike(faults.accepts_duplicate_fb_cookie)) {
    return refuse(XEN_EEXIST, "fb_cookie {:#x} is in use", raw(request.fb_cookie));
  }
  if (framebuffers_.size() >= options_.max_framebuffers) {
    return refuse(XEN_ENOMEM, "there are {} framebuffers already", framebuffers_.size());
  }
  if (request.width == 0 || request.height == 0) {
    return refuse(XEN_EINVAL, "a framebuffer of {}x{}", request.width, request.height);
  }
  const auto format_bpp = displif::bits_per_pixel(request.pixel_format);
  if (!format_bpp) {
    return {-XEN_EINVAL, Reason::pixel_format(request.pixel_format), NoEffect{}};
  }
  const std::uint32_t bpp = *format_bpp;
  const std::uint64_t need = picture_size(request.width, request.height, bpp);
  const bool fitting = dbuf == nullptr || fits(need, dbuf->data_offset, dbuf->size) ||
                       (fits(need, 0, dbuf->size) && strike(faults.data_offset_ignored));
  if (!fitting && !strike(faults.accepts_large_framebuffer)) {
    return refuse(XEN_EINVAL, "{}x{} of {} bits do not fit into buffer {:#x} of {} octets",
                  request.width, request.height, bpp, raw(request.dbuf_cookie), dbuf->size);
  }
  return accept(AttachFramebuffer{{.cookie = request.fb_cookie,
                                   .dbuf_cookie = request.dbuf_cookie,
                                   .width = request.width,
                                   .height = request.height,
                                   .pixel_format = request.pixel_format}});
}

Answer Model::decide_detach(const displif::FbDetach& request, BackendFaults& faults) const {
  if (!framebuffers_.contains(request.fb_cookie)) {
    if (strike(faults.accepts_unknown_fb_detach)) return accept(NoEffect{});
    return refuse(XEN_ENOENT, "there is no framebuffer {:#x}", raw(request.fb_cookie));
  }
  return accept(DetachFramebuffer{request.fb_cookie});
}

// displif.h, "Request configuration set/reset": all zeros reset; x, y, width and height must not
// exceed the connector's resolution.
Answer Model::decide_config(std::size_t connector, const displif::SetConfig& request,
                            BackendFaults& faults) const {
  if (request.is_reset()) return accept(ResetConnector{});
  const Framebuffer* fb = framebuffer(request.fb_cookie);
  if (fb == nullptr && !strike(faults.accepts_unknown_fb_config)) {
    return refuse(request.fb_cookie == FbCookie{} ? XEN_EINVAL : XEN_ENOENT,
                  "there is no framebuffer {:#x}", raw(request.fb_cookie));
  }
  const displif::Resolution& resolution = connectors_[connector].resolution;
  // Each value by itself; the header does not bound their sums (requirement
  // set-config.within-resolution).
  if ((std::max(request.x, request.width) > resolution.width ||
       std::max(request.y, request.height) > resolution.height) &&
      !strike(faults.accepts_config_beyond_resolution)) {
    return refuse(XEN_EINVAL, "{}x{} at {},{} exceed the resolution {}x{}", request.width,
                  request.height, request.x, request.y, resolution.width, resolution.height);
  }
  if (request.width == 0 || request.height == 0) {
    return refuse(XEN_EINVAL, "a configuration of {}x{}", request.width, request.height);
  }
  if (fb == nullptr) return accept(Configure{request});
  const std::uint32_t bpp = displif::bits_per_pixel(fb->pixel_format).value_or(0);
  if (request.bpp != bpp) {
    return refuse(XEN_EINVAL, "bpp is {}, the framebuffer's format has {}", request.bpp, bpp);
  }
  return accept(Configure{request});
}

Answer Model::decide_flip(std::size_t connector, const displif::PgFlip& request,
                          BackendFaults& faults) const {
  if (!framebuffers_.contains(request.fb_cookie) && !strike(faults.accepts_unknown_fb_flip)) {
    return refuse(XEN_ENOENT, "there is no framebuffer {:#x}", raw(request.fb_cookie));
  }
  if (!connectors_[connector].configuration) {
    return refuse(XEN_EINVAL, "connector {} is off", connector);
  }
  return accept(Flip{request.fb_cookie});
}

// displif.h, "Request EDID": optional, not in version 1; the buffer is at least
// XENDISPL_EDID_MAX_SIZE octets.
Answer Model::decide_edid(std::size_t connector, const displif::GetEdid& request,
                          BackendFaults& faults) const {
  if (options_.protocol < 2 && !strike(faults.edid_in_version_1))
    return refuse(XEN_EOPNOTSUPP, "version 1 has no GET_EDID");
  if (connector >= options_.has_edid.size() || !options_.has_edid[connector]) {
    return refuse(XEN_EOPNOTSUPP, "connector {} has no EDID", connector);
  }
  if (request.buffer_sz < XENDISPL_EDID_MAX_SIZE && !strike(faults.accepts_short_edid_buffer)) {
    return refuse(XEN_EINVAL, "buffer_sz {} is below {}", request.buffer_sz,
                  XENDISPL_EDID_MAX_SIZE);
  }
  if (request.buffer_sz == 0) return refuse(XEN_EINVAL, "buffer_sz is 0");
  if (request.buffer_sz > options_.max_buffer_size) {
    return refuse(XEN_ENOMEM, "buffer_sz {} is above this backend's limit of {}", request.buffer_sz,
                  options_.max_buffer_size);
  }
  if (request.gref_directory == xen::GrantRef{}) return refuse(XEN_EINVAL, "gref_directory is 0");
  return accept(ReadEdid{.size = request.buffer_sz, .directory = request.gref_directory});
}

Effect Model::release_effect(const displif::Request& request) const {
  const auto* gone = request.as<displif::DbufDestroy>();
  if (gone != nullptr && buffers_.contains(gone->dbuf_cookie)) {
    return DestroyBuffer{gone->dbuf_cookie};
  }
  const auto* off = request.as<displif::FbDetach>();
  if (off != nullptr && framebuffers_.contains(off->fb_cookie)) {
    return DetachFramebuffer{off->fb_cookie};
  }
  return NoEffect{};
}

void Model::apply(std::size_t connector, const Effect& effect) {
  if (connector >= connectors_.size()) return;
  ConnectorState& state = connectors_[connector];
  if (const auto* create = std::get_if<CreateBuffer>(&effect)) {
    destroy(create->buffer.cookie);  // a duplicate cookie, let through
    total_size_ += create->buffer.size;
    buffers_.emplace(create->buffer.cookie, create->buffer);
  } else if (const auto* gone = std::get_if<DestroyBuffer>(&effect)) {
    destroy(gone->cookie);
  } else if (const auto* attach = std::get_if<AttachFramebuffer>(&effect)) {
    framebuffers_.insert_or_assign(attach->framebuffer.cookie, attach->framebuffer);
  } else if (const auto* off = std::get_if<DetachFramebuffer>(&effect)) {
    detach(off->cookie);
  } else if (const auto* configure = std::get_if<Configure>(&effect)) {
    state.configuration = configure->configuration;
    state.shown_fb = configure->configuration.fb_cookie;
  } else if (std::holds_alternative<ResetConnector>(effect)) {
    state.configuration.reset();
    state.shown_fb = {};
  } else if (const auto* flip = std::get_if<Flip>(&effect)) {
    state.shown_fb = flip->fb_cookie;
    ++state.flips;
  }
}

void Model::hide(FbCookie cookie) {
  for (ConnectorState& connector : connectors_) {
    if (connector.shown_fb == cookie) connector.shown_fb = {};
  }
}

void Model::detach(FbCookie cookie) {
  hide(cookie);
  spent_fbs_.insert(cookie);
  framebuffers_.erase(cookie);
}

void Model::destroy(DbufCookie cookie) {
  const auto found = buffers_.find(cookie);
  if (found == buffers_.end()) return;
  total_size_ -= found->second.size;
  spent_dbufs_.insert(cookie);
  buffers_.erase(found);
  std::erase_if(framebuffers_, [&](const auto& entry) {
    if (entry.second.dbuf_cookie != cookie) return false;
    hide(entry.first);
    return true;
  });
}

}  // namespace displif_cts::fake_backend
