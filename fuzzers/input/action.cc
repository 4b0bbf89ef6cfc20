#include "fuzzers/input/action.h"

namespace displif_cts::fuzz {
namespace {

constexpr std::string_view kStates[] = {"unknown",     "initialising",  "init-wait",
                                        "initialised", "connected",     "closing",
                                        "closed",      "reconfiguring", "reconfigured"};
constexpr std::string_view kFills[] = {"zero", "keep", "ones"};
constexpr std::string_view kCookies[] = {"shown", "other", "zero", "garbage"};
constexpr std::string_view kIndices[] = {"req-prod",  "req-event", "rsp-prod",
                                         "rsp-event", "in-cons",   "in-prod"};
constexpr std::string_view kPages[] = {"ring", "event-page"};
constexpr std::string_view kGrefs[] = {"valid",     "zero",    "directory", "revoked",
                                       "duplicate", "foreign", "absolute"};
constexpr std::string_view kNodes[] = {
    "resolution",   "be-alloc",          "versions",     "backend-state",
    "unique-id",    "backend-id",        "edid",         "connector",
    "req-ring-ref", "req-event-channel", "evt-ring-ref", "evt-event-channel",
    "version",      "frontend-state"};
static_assert(std::size(kNodes) == kNodeNames);
constexpr std::string_view kCalls[] = {
    "open",        "close",         "create",     "destroy",        "attach",
    "detach",      "configure",     "off",        "flip",           "probe",
    "map",         "export-buffer", "import-own", "import-foreign", "export-map",
    "export-vmap", "drop-fd"};
constexpr std::string_view kFails[] = {"memory", "grants", "channels", "store", "conflict", "drm"};
constexpr std::string_view kDevice[] = {"remove", "probe", "module"};
constexpr std::string_view kHolds[] = {"buffer", "directory", "ring"};
constexpr std::string_view kOperations[] = {"",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "",
                                            "dbuf-create",
                                            "dbuf-destroy",
                                            "fb-attach",
                                            "fb-detach",
                                            "set-config",
                                            "pg-flip",
                                            "get-edid"};

constexpr Field kConnector{"connector", 1, false, 0, Bias::small, {}};
constexpr Field kNotify{"notify", 1, false, 1, Bias::flag, {}};
constexpr Field kCount{"count", 1, false, 1, Bias::small, {}};
constexpr Field kPush{"push", 4, true, 1, Bias::index, {}};
constexpr Field kId{"id", 2, true, 0, Bias::delta, {}};
constexpr Field kWidth{"width", 4, false, 64, Bias::extent, {}};
constexpr Field kHeight{"height", 4, false, 16, Bias::extent, {}};

constexpr Field kBus[] = {{"state", 4, false, 2, Bias::name, kStates}};
constexpr Field kResponse[] = {kConnector,
                               kId,
                               {"operation", 1, false, 0, Bias::small, {}},
                               {"status", 4, true, 0, Bias::status, {}},
                               {"fill", 1, false, 0, Bias::name, kFills},
                               {"slot", 1, true, 0, Bias::delta, {}},
                               kPush,
                               kNotify,
                               kCount};
constexpr Field kEvent[] = {kConnector,
                            kId,
                            {"type", 1, false, 0, Bias::small, {}},
                            {"cookie", 1, false, 0, Bias::name, kCookies},
                            kPush,
                            kNotify,
                            kCount};
constexpr Field kIndex[] = {kConnector,
                            {"which", 1, false, 2, Bias::name, kIndices},
                            {"relative", 1, false, 1, Bias::flag, {}},
                            {"value", 4, false, 1, Bias::index, {}},
                            kNotify};
constexpr Field kPoke[] = {kConnector,
                           {"page", 1, false, 0, Bias::name, kPages},
                           {"offset", 2, false, 64, Bias::octets, {}},
                           {"value", 4, false, 0, Bias::octets, {}}};
constexpr Field kDirectory[] = {{"buffer", 1, false, 0, Bias::small, {}},
                                {"entry", 2, false, 0, Bias::small, {}},
                                {"count", 2, false, 1, Bias::small, {}},
                                {"gref", 1, false, 0, Bias::name, kGrefs},
                                {"value", 4, false, 0, Bias::gref, {}}};
constexpr Field kStore[] = {
    {"node", 1, false, 0, Bias::name, kNodes}, kConnector, {"remove", 1, false, 0, Bias::flag, {}}};
constexpr Field kEdid[] = {kConnector, {"size", 4, false, 128, Bias::size, {}}};
constexpr Field kTime[] = {{"ms", 4, false, 1000, Bias::time, {}}};
constexpr Field kInterleave[] = {{"points", 2, false, 1, Bias::points, {}}};
constexpr Field kServe[] = {{"on", 1, false, 1, Bias::flag, {}},
                            {"events", 1, false, 1, Bias::flag, {}}};
constexpr Field kFault[] = {{"times", 1, false, 1, Bias::small, {}}};
constexpr Field kClient[] = {{"who", 1, false, 0, Bias::small, {}},
                             {"call", 1, false, 0, Bias::name, kCalls},
                             {"object", 1, false, 0, Bias::small, {}},
                             kConnector,
                             kWidth,
                             kHeight,
                             {"depth", 4, false, 32, Bias::depth, {}},
                             {"flags", 1, false, 0, Bias::small, {}}};
constexpr Field kFail[] = {
    {"what", 1, false, 0, Bias::name, kFails}, {"after", 2, false, 0, Bias::points, {}}, kCount};
constexpr Field kDeviceFields[] = {{"what", 1, false, 0, Bias::name, kDevice}};
constexpr Field kHold[] = {{"what", 1, false, 0, Bias::name, kHolds},
                           {"buffer", 1, false, 0, Bias::small, {}},
                           {"release", 1, false, 0, Bias::flag, {}}};
constexpr Field kRequest[] = {kConnector,
                              {"operation", 1, false, 16, Bias::name, kOperations},
                              kId,
                              {"dbuf", 8, false, 1, Bias::cookie, {}},
                              {"fb", 8, false, 1, Bias::cookie, {}},
                              kWidth,
                              kHeight,
                              {"depth", 4, false, 32, Bias::depth, {}},
                              {"size", 4, false, 0, Bias::size, {}},
                              {"gref", 4, false, 0, Bias::gref, {}},
                              {"flags", 4, false, 0, Bias::small, {}},
                              {"offset", 4, false, 0, Bias::size, {}},
                              {"x", 4, false, 0, Bias::extent, {}},
                              {"y", 4, false, 0, Bias::extent, {}},
                              kPush,
                              kNotify};

constexpr unsigned kBoth = kBackendAttacks | kFrontendAttacks;
constexpr unsigned kBuses = kBackendAttacks | kFrontendBus;
constexpr KindSpec kSpecs[kKinds] = {
    {Kind::bus, "bus", kBuses, kBus, {}},
    {Kind::response, "response", kBackendAttacks, kResponse, {}},
    {Kind::event, "event", kBackendAttacks, kEvent, {}},
    {Kind::index, "index", kBoth, kIndex, {}},
    {Kind::poke, "poke", kBoth, kPoke, {}},
    {Kind::directory, "directory", kBoth, kDirectory, {}},
    {Kind::store, "store", kBuses, kStore, "value"},
    {Kind::edid, "edid", kEdids, kEdid, "octets"},
    {Kind::time, "time", kWorld, kTime, {}},
    {Kind::interleave, "interleave", kWorld, kInterleave, {}},
    {Kind::serve, "serve", kBackendAttacks, kServe, {}},
    {Kind::fault, "fault", kNamedFaults, kFault, "name"},
    {Kind::client, "client", kGuestPrograms, kClient, {}},
    {Kind::fail, "fail", kGuestPrograms, kFail, {}},
    {Kind::device, "device", kGuestPrograms, kDeviceFields, {}},
    {Kind::hold, "hold", kBackendAttacks, kHold, {}},
    {Kind::request, "request", kFrontendAttacks, kRequest, {}},
};

constexpr bool in_order() {
  for (std::size_t i = 0; i < kKinds; ++i) {
    if (static_cast<std::size_t>(kSpecs[i].kind) != i + 1 || kSpecs[i].fields.size() > kMaxFields)
      return false;
  }
  return true;
}
static_assert(in_order());

}  // namespace

std::span<const KindSpec> kinds() { return kSpecs; }

const KindSpec* spec_of(std::uint8_t kind) {
  return kind >= 1 && kind <= kKinds ? &kSpecs[kind - 1] : nullptr;
}

const KindSpec* spec_named(std::string_view name) {
  for (const KindSpec& spec : kSpecs) {
    if (spec.name == name) return &spec;
  }
  return nullptr;
}

Action make(Kind kind) {
  Action action;
  action.kind = kind;
  std::size_t at = 0;
  for (const Field& field : spec_of(kind).fields) action.values[at++] = field.polite;
  return action;
}

std::uint64_t fit(const Field& field, std::uint64_t value) {
  if (field.octets == 8) return value;
  const unsigned bits = field.octets * 8U;
  const std::uint64_t cut = value & ((1ULL << bits) - 1);
  const bool negative = field.is_signed && (cut >> (bits - 1)) != 0;
  return negative ? cut | ~((1ULL << bits) - 1) : cut;
}

}  // namespace displif_cts::fuzz
