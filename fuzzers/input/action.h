// One fuzz input: a sequence of typed protocol actions. Every field at its default is what a polite
// peer would do; a field that is set is one departure. The same sequence drives every target; a
// target passes over the kinds that its role does not have.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace displif_cts::fuzz {

enum class Kind : std::uint8_t {
  bus = 1,
  response,
  event,
  index,
  poke,
  directory,
  store,
  edid,
  time,
  interleave,
  serve,
  fault,
  client,
  fail,
  device,
  hold,
  request,
};
inline constexpr std::size_t kKinds = 17;

// Who acts. A target takes the kinds of one attacker, of the world, and, where it has them, of the
// guest's programs.
enum Role : unsigned {
  kBackendAttacks = 1,
  kFrontendAttacks = 2,
  kGuestPrograms = 4,
  kWorld = 8,
  kEdids = 16,        // somebody reads EDIDs
  kNamedFaults = 32,  // a fake takes part, whose faults have names
  kFrontendBus = 64,  // the frontend also makes and breaks connections
};

// Where a field's interesting values come from; see values.h.
enum class Bias : std::uint8_t {
  small,   // 0 to a few
  flag,    // 0 or 1
  name,    // one of the field's names
  delta,   // around 0
  index,   // ring and page indices
  status,  // response statuses
  extent,  // pixels
  size,    // octets
  cookie,  // 64 bits
  gref,    // grant references
  octets,  // anything
  time,    // milliseconds
  points,  // calls of the shim
  depth,   // bits per pixel or FourCC
};

struct Field {
  std::string_view name;
  std::uint8_t octets = 1;  // on disk: 1, 2, 4 or 8
  bool is_signed = false;
  std::uint64_t polite = 0;  // the default
  Bias bias = Bias::small;
  std::span<const std::string_view> names{};  // of values 0, 1, ...; other values are numbers
};

struct KindSpec {
  Kind kind{};
  std::string_view name;
  unsigned roles = 0;
  std::span<const Field> fields;
  std::string_view text{};  // name of the free text or octets that the action carries, if any
};

inline constexpr std::size_t kMaxFields = 16;
inline constexpr std::size_t kMaxText = 256;      // octets of an action's text
inline constexpr std::size_t kMaxActions = 4096;  // of an input

struct Action {
  Kind kind{};
  // In the order of the kind's fields, cut to the field's width; signed ones sign-extended.
  std::array<std::uint64_t, kMaxFields> values{};
  std::string text;
  bool operator==(const Action&) const = default;
};

using Input = std::vector<Action>;

// All kinds, in the order of their codes.
std::span<const KindSpec> kinds();
// Null when the code is none.
const KindSpec* spec_of(std::uint8_t kind);
const KindSpec* spec_named(std::string_view name);
inline const KindSpec& spec_of(Kind kind) { return *spec_of(static_cast<std::uint8_t>(kind)); }

// Every field polite.
Action make(Kind kind);
// Cut to the field's width.
std::uint64_t fit(const Field& field, std::uint64_t value);

// ---- names of the fields, in the order of the table in action.cc

struct Bus {
  enum { state };
};
struct Respond {
  enum { connector, id, operation, status, fill, slot, push, notify, count };
};
struct Happen {
  enum { connector, id, type, cookie, push, notify, count };
};
struct Index {
  enum { connector, which, relative, value, notify };
};
struct Poke {
  enum { connector, page, offset, value };
};
struct Directory {
  enum { buffer, entry, count, gref, value };
};
struct Store {
  enum { node, connector, remove };
};
struct Edid {
  enum { connector, size };
};
struct Time {
  enum { ms };
};
struct Interleave {
  enum { points };
};
struct Serve {
  enum { on, events };
};
struct Fault {
  enum { times };
};
struct Client {
  enum { who, call, object, connector, width, height, depth, flags };
};
struct Fail {
  enum { what, after, count };
};
struct Device {
  enum { what };
};
struct Hold {
  enum { what, buffer, release };
};
struct Request {
  enum {
    connector,
    operation,
    id,
    dbuf,
    fb,
    width,
    height,
    depth,
    size,
    gref,
    flags,
    offset,
    x,
    y,
    push,
    notify
  };
};

enum class Call : std::uint8_t {
  open,
  close,
  create,
  destroy,
  attach,
  detach,
  configure,
  off,
  flip,
  probe,
  map,
  export_buffer,
  import_own,
  import_foreign,
  export_map,
  export_vmap,
  drop_fd,
};
enum class IndexName : std::uint8_t { req_prod, req_event, rsp_prod, rsp_event, in_cons, in_prod };
enum class GrefKind : std::uint8_t {
  valid,
  zero,
  directory,
  revoked,
  duplicate,
  foreign,
  absolute
};
enum class NodeName : std::uint8_t {
  resolution,
  be_alloc,
  versions,
  backend_state,
  unique_id,
  backend_id,
  edid,
  connector,
  // a frontend's
  req_ring_ref,
  req_event_channel,
  evt_ring_ref,
  evt_event_channel,
  version,
  frontend_state,
};
inline constexpr std::size_t kNodeNames = 14;
enum class FailKind : std::uint8_t { memory, grants, channels, store, conflict, drm };
enum class DeviceEvent : std::uint8_t { remove, probe, module };
enum class HoldKind : std::uint8_t { buffer, directory, ring };

}  // namespace displif_cts::fuzz
