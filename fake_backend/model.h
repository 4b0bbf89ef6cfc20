// What a conformant display backend knows and answers, without any I/O: display buffers,
// framebuffers, and what each connector shows. The live backend asks it for every request.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

#include "fake_backend/faults.h"
#include "fake_backend/reason.h"
#include "harness/displif/nodes.h"
#include "harness/displif/wire.h"

namespace displif_cts::fake_backend {

using displif::DbufCookie;
using displif::FbCookie;

// A buffer as the accepted DBUF_CREATE described it.
struct DisplayBuffer {
  DbufCookie cookie{};
  std::uint32_t width = 0;        // pixels; 0 when the frontend left it open (an imported buffer)
  std::uint32_t height = 0;       // pixels; 0 likewise
  std::uint32_t bpp = 0;          // bits per pixel; 0 likewise
  std::uint32_t size = 0;         // octets, never 0
  xen::GrantRef directory{};      // first page of the page directory
  std::uint32_t data_offset = 0;  // octets
  bool backend_allocated = false;
  bool operator==(const DisplayBuffer&) const = default;

  // Pages that hold `size` octets: displif.h's num_grefs_total.
  std::uint32_t pages() const;
};

struct Framebuffer {
  FbCookie cookie{};
  DbufCookie dbuf_cookie{};
  std::uint32_t width = 0;         // pixels
  std::uint32_t height = 0;        // pixels
  std::uint32_t pixel_format = 0;  // FourCC
  bool operator==(const Framebuffer&) const = default;
};

// What the last accepted SET_CONFIG asked for.
using Configuration = displif::SetConfig;

struct ConnectorState {
  displif::Resolution resolution;
  std::optional<Configuration> configuration{};  // none: the display is off
  FbCookie shown_fb{};                           // the framebuffer on screen now; 0: nothing
  std::uint64_t flips = 0;                       // accepted PG_FLIPs since the connection
};

struct ModelOptions {
  std::vector<displif::Resolution> connectors;
  std::vector<bool> has_edid;  // by connector; missing ones have none
  bool be_alloc = false;       // backend allocation is offered
  unsigned protocol = 2;       // negotiated version
  // Limits of this backend. A request beyond them is refused with -XEN_ENOMEM.
  std::uint32_t max_buffer_size = 128U << 20U;    // octets; what 32,768 references can describe
  std::uint64_t max_total_size = 1024ULL << 20U;  // octets of all buffers together
  std::size_t max_buffers = 1024;
  std::size_t max_framebuffers = 4096;
};

// What an accepted request does.
struct CreateBuffer {
  DisplayBuffer buffer;
};
struct DestroyBuffer {
  DbufCookie cookie;
};
struct AttachFramebuffer {
  Framebuffer framebuffer;
};
struct DetachFramebuffer {
  FbCookie cookie;
};
struct Configure {
  Configuration configuration;
};
struct ResetConnector {};
struct Flip {
  FbCookie fb_cookie;
};
struct ReadEdid {
  std::uint32_t size;       // octets of the frontend's buffer
  xen::GrantRef directory;  // first page of its page directory
};
struct NoEffect {};
using Effect = std::variant<NoEffect, CreateBuffer, DestroyBuffer, AttachFramebuffer,
                            DetachFramebuffer, Configure, ResetConnector, Flip, ReadEdid>;

struct Answer {
  std::int32_t status = 0;  // 0 or -XEN_E...
  Reason reason;            // why it was refused, in words; empty on success
  Effect effect;            // NoEffect when refused
};

// Readings where displif.h leaves the answer open:
// - An operation that belongs on connector 0's ring is refused elsewhere (-XEN_EINVAL).
// - GET_EDID under version 1 and codes the header does not define are answered -XEN_EOPNOTSUPP:
//   the ring owes every request a response.
// - Reserved octets do not make a request fail; judging them is the monitors' task.
// - Destroying a buffer takes its framebuffers along, and what shows them goes dark.
// - Width, height and bpp of a buffer may be 0: Linux creates imported buffers so.
// - A flip on a connector that has no configuration is refused.
class Model {
 public:
  explicit Model(ModelOptions options);

  // The conformant answer to a request of connector `connector`'s ring, changing nothing. Checks
  // that `faults` leaves out are left out (and counted down there).
  Answer decide(std::size_t connector, const displif::Request& request,
                BackendFaults& faults) const;
  // The same of the polite reference.
  Answer decide(std::size_t connector, const displif::Request& request) const;

  // Carries an accepted effect out. Effects on objects that do not exist (a left-out check) do what
  // is left to do.
  void apply(std::size_t connector, const Effect& effect);

  // What a DBUF_DESTROY or FB_DETACH would do, whatever the answer to it: for a backend that
  // reports an error and gives the object up all the same.
  Effect release_effect(const displif::Request& request) const;

  // Forgets everything but the options: the connection is over.
  void clear();
  void set_protocol(unsigned protocol) { options_.protocol = protocol; }

  const ModelOptions& options() const { return options_; }
  const std::map<DbufCookie, DisplayBuffer>& buffers() const { return buffers_; }
  const std::map<FbCookie, Framebuffer>& framebuffers() const { return framebuffers_; }
  const std::vector<ConnectorState>& connectors() const { return connectors_; }
  const DisplayBuffer* buffer(DbufCookie cookie) const;
  const Framebuffer* framebuffer(FbCookie cookie) const;
  std::uint64_t total_size() const { return total_size_; }  // octets of all buffers

 private:
  // A refusal that only a fault makes.
  std::optional<Answer> refuse_wrongly(std::size_t connector, const displif::Request& request,
                                       BackendFaults& faults) const;
  Answer decide_create(const displif::DbufCreate& request, BackendFaults& faults) const;
  Answer decide_destroy(const displif::DbufDestroy& request, BackendFaults& faults) const;
  Answer decide_attach(const displif::FbAttach& request, BackendFaults& faults) const;
  Answer decide_detach(const displif::FbDetach& request, BackendFaults& faults) const;
  Answer decide_config(std::size_t connector, const displif::SetConfig& request,
                       BackendFaults& faults) const;
  Answer decide_flip(std::size_t connector, const displif::PgFlip& request,
                     BackendFaults& faults) const;
  Answer decide_edid(std::size_t connector, const displif::GetEdid& request,
                     BackendFaults& faults) const;
  void hide(FbCookie cookie);
  void detach(FbCookie cookie);
  void destroy(DbufCookie cookie);

  ModelOptions options_;
  std::map<DbufCookie, DisplayBuffer> buffers_;
  std::map<FbCookie, Framebuffer> framebuffers_;
  std::vector<ConnectorState> connectors_;
  std::uint64_t total_size_ = 0;
  // Cookies of objects that are gone, for faults.
  std::set<DbufCookie> spent_dbufs_;
  std::set<FbCookie> spent_fbs_;
};

}  // namespace displif_cts::fake_backend
