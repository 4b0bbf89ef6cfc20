#include "lab/guest/drm_verbs.h"

#include <fcntl.h>
#include <libdrm/drm.h>
#include <libdrm/drm_fourcc.h>
#include <libdrm/drm_mode.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstring>
#include <optional>
#include <thread>

#include "lab/guest/fail_nth.h"
#include "lab/guest/objects.h"
#include "lab/guest/pattern.h"

namespace displif_cts::exerciser {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::size_t kMaxIds = 64;     // connectors, encoders, crtcs, planes
constexpr std::size_t kMaxModes = 128;  // of one connector
constexpr std::size_t kMaxFormats = 128;
constexpr std::uint64_t kMaxTimeoutMs = 86'400'000;
constexpr const char* kDefaultDriver = "xendrm-du";  // Linux's drm_xen_front

template <typename T>
std::uint64_t user_pointer(T* pointer) {
  return reinterpret_cast<std::uint64_t>(pointer);
}

// Throws VerbError with the call's errno. Not repeated after EINTR or EAGAIN as libdrm does: no
// signal comes here, so that these too are the driver's own answer, perhaps its backend's.
void drm_ioctl(const Card& card, unsigned long request, void* argument, const char* what) {
  if (injected_ioctl(card.fd.get(), request, argument) != 0) throw VerbError(errno, what);
}

// --- memory that may not be there -------------------------------------------------------------

thread_local sigjmp_buf* bus_error_escape = nullptr;

void on_bus_error(int signal) {
  if (bus_error_escape != nullptr) siglongjmp(*bus_error_escape, 1);
  std::signal(signal, SIG_DFL);
  raise(signal);
}

void install_bus_error_handler() {
  struct sigaction action {};
  action.sa_handler = on_bus_error;
  action.sa_flags = SA_NODEFER;  // the handler does not return
  sigaction(SIGBUS, &action, nullptr);
}

// False: a page of `to` or `from` could not be had.
bool guarded_copy(void* to, const void* from, std::size_t size) {
  sigjmp_buf escape;
  if (sigsetjmp(escape, 0) != 0) {
    bus_error_escape = nullptr;
    return false;
  }
  bus_error_escape = &escape;
  std::memcpy(to, from, size);
  bus_error_escape = nullptr;
  return true;
}

[[noreturn]] void throw_bus_error(std::uint64_t offset) {
  VerbError error(EFAULT, "SIGBUS at offset " + std::to_string(offset) + " of the mapping");
  error.fields["sigbus"] = true;
  error.fields["offset"] = offset;
  throw error;
}

// --- looking up -------------------------------------------------------------------------------

std::string driver_name(int fd) {
  std::array<char, 64> name{};
  drm_version version{};
  version.name_len = name.size() - 1;
  version.name = name.data();
  if (ioctl(fd, DRM_IOCTL_VERSION, &version) != 0) return {};
  return {name.data(), strnlen(name.data(), std::min<std::size_t>(version.name_len, name.size()))};
}

// The first /dev/dri/cardN of a driver ("" = any); null if there is none. `tried` counts cards.
std::shared_ptr<Card> open_card(const std::string& driver, std::string& seen, int& open_error) {
  seen.clear();
  open_error = 0;
  for (int minor = 0; minor < 64; ++minor) {
    const std::string path = "/dev/dri/card" + std::to_string(minor);
    UniqueFd fd(open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK));
    if (!fd) {
      if (errno != ENOENT && errno != ENXIO && errno != ENODEV) open_error = errno;
      continue;
    }
    std::string name = driver_name(fd.get());
    if (!driver.empty() && name != driver) {
      seen.append(seen.empty() ? "" : ", ").append(path).append(" is ").append(name);
      continue;
    }
    // Otherwise primary planes are not listed.
    drm_set_client_cap capability{DRM_CLIENT_CAP_UNIVERSAL_PLANES, 1};
    ioctl(fd.get(), DRM_IOCTL_SET_CLIENT_CAP, &capability);
    auto card = std::make_shared<Card>();
    card->fd = std::move(fd);
    card->driver = std::move(name);
    card->path = path;
    return card;
  }
  return nullptr;
}

struct Connector {
  drm_mode_get_connector info{};
  std::vector<drm_mode_modeinfo> modes;
  std::vector<std::uint32_t> encoders;
};

Connector get_connector(const Card& card, std::uint32_t id, bool probe) {
  Connector out;
  if (probe) {  // no room for modes: the kernel asks the driver for them anew
    out.info.connector_id = id;
    drm_ioctl(card, DRM_IOCTL_MODE_GETCONNECTOR, &out.info, "MODE_GETCONNECTOR");
  }
  out.modes.resize(kMaxModes);
  out.encoders.resize(kMaxIds);
  out.info = {};
  out.info.connector_id = id;
  out.info.modes_ptr = user_pointer(out.modes.data());
  out.info.count_modes = kMaxModes;
  out.info.encoders_ptr = user_pointer(out.encoders.data());
  out.info.count_encoders = kMaxIds;
  drm_ioctl(card, DRM_IOCTL_MODE_GETCONNECTOR, &out.info, "MODE_GETCONNECTOR");
  // Too many to fit: the kernel copied none.
  out.modes.resize(out.info.count_modes <= kMaxModes ? out.info.count_modes : 0);
  out.encoders.resize(out.info.count_encoders <= kMaxIds ? out.info.count_encoders : 0);
  return out;
}

struct Resources {
  std::vector<std::uint32_t> connectors = std::vector<std::uint32_t>(kMaxIds);
  std::vector<std::uint32_t> crtcs = std::vector<std::uint32_t>(kMaxIds);
  std::vector<std::uint32_t> encoders = std::vector<std::uint32_t>(kMaxIds);
  drm_mode_card_res info{};
};

Resources get_resources(const Card& card) {
  Resources out;
  out.info.connector_id_ptr = user_pointer(out.connectors.data());
  out.info.count_connectors = kMaxIds;
  out.info.crtc_id_ptr = user_pointer(out.crtcs.data());
  out.info.count_crtcs = kMaxIds;
  out.info.encoder_id_ptr = user_pointer(out.encoders.data());
  out.info.count_encoders = kMaxIds;
  drm_ioctl(card, DRM_IOCTL_MODE_GETRESOURCES, &out.info, "MODE_GETRESOURCES");
  out.connectors.resize(std::min<std::size_t>(out.info.count_connectors, kMaxIds));
  out.crtcs.resize(std::min<std::size_t>(out.info.count_crtcs, kMaxIds));
  out.encoders.resize(std::min<std::size_t>(out.info.count_encoders, kMaxIds));
  return out;
}

drm_mode_get_encoder get_encoder(const Card& card, std::uint32_t id) {
  drm_mode_get_encoder encoder{};
  encoder.encoder_id = id;
  drm_ioctl(card, DRM_IOCTL_MODE_GETENCODER, &encoder, "MODE_GETENCODER");
  return encoder;
}

Json mode_json(const drm_mode_modeinfo& mode) {
  return {{"hdisplay", mode.hdisplay},
          {"vdisplay", mode.vdisplay},
          {"vrefresh", mode.vrefresh},
          {"clock", mode.clock},
          {"type", mode.type},
          {"name", std::string(mode.name, strnlen(mode.name, sizeof mode.name))}};
}

std::string fourcc_text(std::uint32_t fourcc) {
  std::string out;
  for (unsigned shift = 0; shift < 32; shift += 8) out += static_cast<char>(fourcc >> shift & 0x7f);
  return out;
}

std::uint32_t parse_fourcc(const std::string& text) {
  if (text.size() != 4) throw VerbError(EINVAL, "argument format= is four characters, as XR24");
  std::uint32_t fourcc = 0;
  for (unsigned i = 0; i < 4; ++i)
    fourcc |= static_cast<std::uint32_t>(static_cast<unsigned char>(text[i])) << (8 * i);
  return fourcc;
}

// A mode of that size for a connector that offers none: 60 Hz, with small blanking.
drm_mode_modeinfo make_mode(std::uint32_t width, std::uint32_t height) {
  const auto u16 = [](std::uint32_t value) {
    return static_cast<__u16>(std::min<std::uint32_t>(value, 65535));
  };
  drm_mode_modeinfo mode{};
  mode.hdisplay = u16(width);
  mode.hsync_start = u16(width + 8);
  mode.hsync_end = u16(width + 16);
  mode.htotal = u16(width + 24);
  mode.vdisplay = u16(height);
  mode.vsync_start = u16(height + 2);
  mode.vsync_end = u16(height + 4);
  mode.vtotal = u16(height + 6);
  mode.vrefresh = 60;
  mode.clock = static_cast<__u32>(std::uint64_t{mode.htotal} * mode.vtotal * 60 / 1000);
  mode.type = DRM_MODE_TYPE_USERDEF;
  std::snprintf(mode.name, sizeof mode.name, "%ux%u", width, height);
  return mode;
}

std::uint32_t u32(const Arguments& args, const char* key) {
  return static_cast<std::uint32_t>(args.number(key, UINT32_MAX));
}

std::uint32_t u32_or(const Arguments& args, const char* key, std::uint32_t fallback) {
  return static_cast<std::uint32_t>(args.number_or(key, fallback, UINT32_MAX));
}

// --- the verbs --------------------------------------------------------------------------------

class DrmVerbs {
 public:
  Json open(const Arguments& args);
  Json close(const Arguments& args);
  Json close_all();
  Json devices();
  Json connectors(const Arguments& args);
  Json master(const Arguments& args, bool take);
  Json create_dumb(const Arguments& args);
  Json vgem_create(const Arguments& args);
  Json destroy_dumb(const Arguments& args);
  Json map(const Arguments& args);
  Json unmap(const Arguments& args);
  Json fill(const Arguments& args);
  Json read(const Arguments& args);
  Json add_fb(const Arguments& args);
  Json rm_fb(const Arguments& args);
  Json dirty_fb(const Arguments& args);
  Json set_crtc(const Arguments& args);
  Json crtc_off(const Arguments& args);
  Json get_crtc(const Arguments& args);
  Json page_flip(const Arguments& args);
  Json wait_event(const Arguments& args);
  Json flips(const Arguments& args);
  Json prime_export(const Arguments& args);
  Json prime_import(const Arguments& args);
  Json close_dmabuf(const Arguments& args);
  Json list() { return {{"objects", objects_.list()}}; }

 private:
  std::shared_ptr<Card> card(const Arguments& args) {
    return objects_.get<Card>(args.text("fd"), "open file");
  }
  // A buffer or framebuffer, and that it belongs to `fd=`.
  template <typename T>
  std::shared_ptr<T> owned(const Arguments& args, const char* key, const char* kind) {
    const auto file = card(args);
    auto object = objects_.get<T>(args.text(key), kind);
    if (object->card != file)
      throw VerbError(EXDEV, args.text(key) + " belongs to another open file");
    return object;
  }
  std::shared_ptr<Mapping> map_buffer(Buffer& buffer);
  void flip(Card& file, std::uint32_t crtc, std::uint32_t fb, std::uint32_t flags,
            std::uint64_t user_data);
  // nullopt: none came in time.
  std::optional<DrmEvent> next_event(Card& file, milliseconds limit);

  Objects objects_;
};

Json DrmVerbs::open(const Arguments& args) {
  const std::string name = args.text("name");
  const std::string driver = args.text("driver", kDefaultDriver);
  const auto deadline = Clock::now() + milliseconds(args.number_or("timeout_ms", 0, kMaxTimeoutMs));
  objects_.expect_free(name);
  for (;;) {
    std::string seen;
    int open_error = 0;
    if (auto file = open_card(driver, seen, open_error)) {
      Json fields{{"path", file->path}, {"driver", file->driver}};
      objects_.add(name, std::move(file));
      return fields;
    }
    if (Clock::now() >= deadline)
      throw VerbError(open_error != 0 ? open_error : ENODEV,
                      "no card of driver " + driver + (seen.empty() ? "" : "; " + seen));
    std::this_thread::sleep_for(milliseconds(5));
  }
}

Json DrmVerbs::close(const Arguments& args) {
  const std::string name = args.text("name");
  auto file = objects_.get<Card>(name, "open file");
  objects_.remove_of(*file);
  objects_.remove(name);
  // A call that is under way in the file keeps it open until it returns, as in the kernel.
  const bool deferred = file.use_count() > 1;
  file.reset();
  return {{"deferred", deferred}};
}

Json DrmVerbs::close_all() {
  const Objects::Cleared cleared = objects_.clear();
  return {{"closed", cleared.closed}, {"deferred", cleared.deferred}};
}

Json DrmVerbs::devices() {
  Json out = Json::array();
  for (int minor = 0; minor < 64; ++minor) {
    const std::string path = "/dev/dri/card" + std::to_string(minor);
    const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    if (!fd && errno == ENOENT) continue;
    Json entry{{"path", path}};
    if (fd)
      entry["driver"] = driver_name(fd.get());
    else
      entry["errno"] = agent::errno_name(errno);
    out.push_back(std::move(entry));
  }
  return {{"devices", std::move(out)}};
}

Json DrmVerbs::master(const Arguments& args, bool take) {
  drm_ioctl(*card(args), take ? DRM_IOCTL_SET_MASTER : DRM_IOCTL_DROP_MASTER, nullptr,
            take ? "SET_MASTER" : "DROP_MASTER");
  return nullptr;
}

Json planes_of(const Card& file) {
  std::vector<std::uint32_t> ids(kMaxIds);
  drm_mode_get_plane_res resources{};
  resources.plane_id_ptr = user_pointer(ids.data());
  resources.count_planes = kMaxIds;
  drm_ioctl(file, DRM_IOCTL_MODE_GETPLANERESOURCES, &resources, "MODE_GETPLANERESOURCES");
  ids.resize(std::min<std::size_t>(resources.count_planes, kMaxIds));
  Json out = Json::array();
  for (const std::uint32_t id : ids) {
    std::vector<std::uint32_t> formats(kMaxFormats);
    drm_mode_get_plane plane{};
    plane.plane_id = id;
    plane.format_type_ptr = user_pointer(formats.data());
    plane.count_format_types = kMaxFormats;
    drm_ioctl(file, DRM_IOCTL_MODE_GETPLANE, &plane, "MODE_GETPLANE");
    formats.resize(std::min<std::size_t>(plane.count_format_types, kMaxFormats));
    Json names = Json::array();
    for (const std::uint32_t format : formats) names.push_back(fourcc_text(format));
    out.push_back({{"id", id},
                   {"crtc", plane.crtc_id},
                   {"fb", plane.fb_id},
                   {"possible_crtcs", plane.possible_crtcs},
                   {"formats", std::move(names)}});
  }
  return out;
}

Json DrmVerbs::connectors(const Arguments& args) {
  const auto file = card(args);
  const bool probe = args.number_or("probe", 1, 1) == 1;
  const Resources resources = get_resources(*file);
  Json connectors = Json::array();
  for (const std::uint32_t id : resources.connectors) {
    const Connector connector = get_connector(*file, id, probe);
    std::uint32_t encoder = connector.info.encoder_id;
    if (encoder == 0 && !connector.encoders.empty()) encoder = connector.encoders.front();
    std::uint32_t crtc = 0;
    if (encoder != 0) {
      const drm_mode_get_encoder info = get_encoder(*file, encoder);
      crtc = info.crtc_id;
      for (std::size_t i = 0; crtc == 0 && i < resources.crtcs.size() && i < 32; ++i)
        if ((info.possible_crtcs >> i & 1) != 0) crtc = resources.crtcs[i];
    }
    Json modes = Json::array();
    for (const drm_mode_modeinfo& mode : connector.modes) modes.push_back(mode_json(mode));
    static constexpr const char* kStatus[] = {"?", "connected", "disconnected", "unknown"};
    connectors.push_back({{"id", id},
                          {"connected", connector.info.connection == 1},
                          {"status", kStatus[connector.info.connection & 3]},
                          {"type", connector.info.connector_type},
                          {"modes", std::move(modes)},
                          {"encoder", encoder},
                          {"crtc", crtc}});
  }
  return {{"connectors", std::move(connectors)},
          {"crtcs", resources.crtcs},
          {"planes", planes_of(*file)},
          {"min_width", resources.info.min_width},
          {"max_width", resources.info.max_width},
          {"min_height", resources.info.min_height},
          {"max_height", resources.info.max_height}};
}

Json buffer_json(const Buffer& buffer) {
  return {{"handle", buffer.handle}, {"pitch", buffer.pitch}, {"size", buffer.size}};
}

std::shared_ptr<Buffer> make_dumb(std::shared_ptr<Card> file, std::uint32_t width,
                                  std::uint32_t height, std::uint32_t bpp, std::uint32_t flags) {
  drm_mode_create_dumb request{};
  request.width = width;
  request.height = height;
  request.bpp = bpp;
  request.flags = flags;
  drm_ioctl(*file, DRM_IOCTL_MODE_CREATE_DUMB, &request, "MODE_CREATE_DUMB");
  auto buffer = std::make_shared<Buffer>();
  buffer->card = std::move(file);
  buffer->handle = request.handle;
  buffer->width = width;
  buffer->height = height;
  buffer->bpp = bpp;
  buffer->pitch = request.pitch;
  buffer->size = request.size;
  return buffer;
}

Json DrmVerbs::create_dumb(const Arguments& args) {
  const std::string name = args.text("name");
  objects_.expect_free(name);
  auto buffer = make_dumb(card(args), u32(args, "width"), u32(args, "height"),
                          u32_or(args, "bpp", 32), u32_or(args, "flags", 0));
  Json fields = buffer_json(*buffer);
  objects_.add(name, std::move(buffer));
  return fields;
}

Json DrmVerbs::vgem_create(const Arguments& args) {
  const std::string name = args.text("name");
  const auto size = static_cast<std::uint32_t>(args.number("size", UINT32_MAX - 4095));
  objects_.expect_free(name);
  std::string seen;
  int open_error = 0;
  auto file = open_card("vgem", seen, open_error);
  if (!file) throw VerbError(ENODEV, "no card of driver vgem; is its module loaded?");
  const std::uint32_t pages = std::max<std::uint32_t>((size + 4095) / 4096, 1);
  auto buffer = make_dumb(std::move(file), 1024, pages, 32, 0);
  Json fields = buffer_json(*buffer);
  objects_.add(name, std::move(buffer));
  return fields;
}

Json DrmVerbs::destroy_dumb(const Arguments& args) {
  const auto buffer = owned<Buffer>(args, "name", "buffer");
  // A mapping of ours would keep the buffer in the kernel after its handle has gone.
  if (!args.flag("keep-map")) objects_.set_mapping(*buffer, nullptr);
  drm_mode_destroy_dumb request{buffer->handle};
  drm_ioctl(*buffer->card, DRM_IOCTL_MODE_DESTROY_DUMB, &request, "MODE_DESTROY_DUMB");
  objects_.remove(args.text("name"));
  return nullptr;
}

std::shared_ptr<Mapping> DrmVerbs::map_buffer(Buffer& buffer) {
  if (auto mapping = objects_.mapping(buffer)) return mapping;
  drm_mode_map_dumb request{};
  request.handle = buffer.handle;
  drm_ioctl(*buffer.card, DRM_IOCTL_MODE_MAP_DUMB, &request, "MODE_MAP_DUMB");
  void* address = mmap(nullptr, buffer.size, PROT_READ | PROT_WRITE, MAP_SHARED,
                       buffer.card->fd.get(), static_cast<off_t>(request.offset));
  if (address == MAP_FAILED) throw VerbError(errno, "mmap");
  auto mapping = std::make_shared<Mapping>(address, buffer.size);
  objects_.set_mapping(buffer, mapping);
  return mapping;
}

Json DrmVerbs::map(const Arguments& args) {
  const auto mapping = map_buffer(*objects_.get<Buffer>(args.text("name"), "buffer"));
  return {{"size", mapping->size}};
}

Json DrmVerbs::unmap(const Arguments& args) {
  const auto buffer = objects_.get<Buffer>(args.text("name"), "buffer");
  if (!objects_.mapping(*buffer)) throw VerbError(EINVAL, "the buffer is not mapped");
  objects_.set_mapping(*buffer, nullptr);
  return nullptr;
}

// The part of a buffer that `offset=` and `length=` name; all of it by default.
struct Span {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

Span span_of(const Arguments& args, const Mapping& mapping) {
  Span span;
  span.begin = args.number_or("offset", 0, mapping.size);
  span.end =
      span.begin + args.number_or("length", mapping.size - span.begin, mapping.size - span.begin);
  return span;
}

using Octets = std::span<std::uint8_t>;

// Puts what a pattern wants at `offset` of the buffer into `out`.
using Painter = std::function<void(std::uint64_t offset, Octets out)>;

Painter make_painter(const Arguments& args, const Buffer& buffer) {
  const std::string pattern = args.text("pattern", "xorshift");
  if (pattern == "xorshift") {
    const std::uint64_t seed = args.number("seed", UINT64_MAX);
    return [seed](std::uint64_t offset, Octets out) { pattern::octets(seed, offset, out); };
  }
  if (pattern == "color") {
    const std::uint32_t color = u32(args, "color");
    const unsigned octets = buffer.bpp == 0 ? 4 : buffer.bpp / 8;
    if (octets == 0 || octets > 4) throw VerbError(EINVAL, "color is for 8 to 32 bits a pixel");
    return [=, pitch = buffer.pitch](std::uint64_t offset, Octets out) {
      for (std::size_t i = 0; i < out.size(); ++i) {
        const std::uint64_t in_line = pitch == 0 ? offset + i : (offset + i) % pitch;
        out[i] = static_cast<std::uint8_t>(color >> (in_line % octets * 8));
      }
    };
  }
  if (pattern == "bars") {
    if (buffer.bpp != 32 || buffer.width == 0 || buffer.pitch == 0)
      throw VerbError(EINVAL, "bars are for 32 bits a pixel");
    return [width = buffer.width, pitch = buffer.pitch](std::uint64_t offset, Octets out) {
      for (std::size_t i = 0; i < out.size(); ++i) {
        const auto in_line = static_cast<std::uint32_t>((offset + i) % pitch);
        out[i] = static_cast<std::uint8_t>(pattern::bar(in_line / 4, width) >> (in_line % 4 * 8));
      }
    };
  }
  throw VerbError(EINVAL, "argument pattern= is xorshift, bars or color");
}

Json DrmVerbs::fill(const Arguments& args) {
  const auto buffer = objects_.get<Buffer>(args.text("name"), "buffer");
  const Painter paint = make_painter(args, *buffer);
  const auto mapping = map_buffer(*buffer);
  const Span span = span_of(args, *mapping);
  std::array<std::uint8_t, 4096> block;
  for (std::uint64_t at = span.begin; at < span.end;) {
    const std::size_t count =
        static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), span.end - at));
    paint(at, Octets(block.data(), count));
    if (!guarded_copy(static_cast<char*>(mapping->address) + at, block.data(), count))
      throw_bus_error(at);
    at += count;
  }
  return {{"size", span.end - span.begin}};
}

Json DrmVerbs::read(const Arguments& args) {
  const auto buffer = objects_.get<Buffer>(args.text("name"), "buffer");
  const auto mapping = map_buffer(*buffer);
  Arguments bounded = args;
  if (!bounded.has("length"))
    bounded.set_encoded("length",
                        std::to_string(std::min<std::uint64_t>(
                            65536, mapping->size - args.number_or("offset", 0, mapping->size))));
  const Span span = span_of(bounded, *mapping);
  if (span.end - span.begin > (1u << 20)) throw VerbError(EINVAL, "at most 1 MiB a read");
  std::string octets(span.end - span.begin, '\0');
  if (!guarded_copy(octets.data(), static_cast<char*>(mapping->address) + span.begin,
                    octets.size()))
    throw_bus_error(span.begin);
  return {{"data", agent::base64(octets)}};
}

Json DrmVerbs::add_fb(const Arguments& args) {
  const std::string name = args.text("name");
  const auto buffer = owned<Buffer>(args, "buffer", "buffer");
  objects_.expect_free(name);
  drm_mode_fb_cmd2 request{};
  request.width = u32_or(args, "width", buffer->width);
  request.height = u32_or(args, "height", buffer->height);
  request.pixel_format = parse_fourcc(args.text("format", "XR24"));
  request.handles[0] = buffer->handle;
  request.pitches[0] = u32_or(args, "pitch", buffer->pitch);
  request.offsets[0] = u32_or(args, "offset", 0);
  drm_ioctl(*buffer->card, DRM_IOCTL_MODE_ADDFB2, &request, "MODE_ADDFB2");
  auto framebuffer = std::make_shared<Framebuffer>();
  framebuffer->card = buffer->card;
  framebuffer->id = request.fb_id;
  objects_.add(name, std::move(framebuffer));
  return {{"id", request.fb_id}};
}

Json DrmVerbs::rm_fb(const Arguments& args) {
  const auto framebuffer = owned<Framebuffer>(args, "name", "framebuffer");
  unsigned id = framebuffer->id;
  drm_ioctl(*framebuffer->card, DRM_IOCTL_MODE_RMFB, &id, "MODE_RMFB");
  objects_.remove(args.text("name"));
  return nullptr;
}

Json DrmVerbs::dirty_fb(const Arguments& args) {
  const auto framebuffer = owned<Framebuffer>(args, "fb", "framebuffer");
  const auto u16 = [&](const char* key) {
    return static_cast<unsigned short>(args.number(key, 65535));
  };
  drm_clip_rect clip{};
  drm_mode_fb_dirty_cmd request{};
  request.fb_id = framebuffer->id;
  if (args.has("x2")) {
    clip = {u16("x1"), u16("y1"), u16("x2"), u16("y2")};
    request.num_clips = 1;
    request.clips_ptr = user_pointer(&clip);
  }
  drm_ioctl(*framebuffer->card, DRM_IOCTL_MODE_DIRTYFB, &request, "MODE_DIRTYFB");
  return nullptr;
}

Json DrmVerbs::set_crtc(const Arguments& args) {
  const auto framebuffer = owned<Framebuffer>(args, "fb", "framebuffer");
  const Card& file = *framebuffer->card;
  std::uint32_t connector = u32(args, "connector");
  const std::uint32_t width = u32(args, "width");
  const std::uint32_t height = u32(args, "height");
  Connector info = get_connector(file, connector, false);
  if (info.modes.empty()) info = get_connector(file, connector, true);
  const auto fits = [&](const drm_mode_modeinfo& mode) {
    return mode.hdisplay == width && mode.vdisplay == height;
  };
  const auto mode = std::find_if(info.modes.begin(), info.modes.end(), fits);
  drm_mode_crtc request{};
  request.crtc_id = u32(args, "crtc");
  request.fb_id = framebuffer->id;
  request.x = u32_or(args, "x", 0);
  request.y = u32_or(args, "y", 0);
  request.set_connectors_ptr = user_pointer(&connector);
  request.count_connectors = 1;
  request.mode_valid = 1;
  request.mode = mode != info.modes.end() ? *mode : make_mode(width, height);
  drm_ioctl(file, DRM_IOCTL_MODE_SETCRTC, &request, "MODE_SETCRTC");
  return {{"mode_offered", mode != info.modes.end()}};
}

Json DrmVerbs::crtc_off(const Arguments& args) {
  drm_mode_crtc request{};
  request.crtc_id = u32(args, "crtc");
  drm_ioctl(*card(args), DRM_IOCTL_MODE_SETCRTC, &request, "MODE_SETCRTC");
  return nullptr;
}

Json DrmVerbs::get_crtc(const Arguments& args) {
  drm_mode_crtc request{};
  request.crtc_id = u32(args, "crtc");
  drm_ioctl(*card(args), DRM_IOCTL_MODE_GETCRTC, &request, "MODE_GETCRTC");
  Json fields{{"crtc", request.crtc_id},
              {"fb", request.fb_id},
              {"x", request.x},
              {"y", request.y},
              {"active", request.mode_valid != 0}};
  if (request.mode_valid != 0) fields["mode"] = mode_json(request.mode);
  return fields;
}

void DrmVerbs::flip(Card& file, std::uint32_t crtc, std::uint32_t fb, std::uint32_t flags,
                    std::uint64_t user_data) {
  drm_mode_crtc_page_flip request{};
  request.crtc_id = crtc;
  request.fb_id = fb;
  request.flags = flags;
  request.user_data = user_data;
  {
    const std::lock_guard lock(file.events_mutex);
    file.flip_called_ns[crtc] = agent::monotonic_ns();
  }
  drm_ioctl(file, DRM_IOCTL_MODE_PAGE_FLIP, &request, "MODE_PAGE_FLIP");
}

Json DrmVerbs::page_flip(const Arguments& args) {
  const auto framebuffer = owned<Framebuffer>(args, "fb", "framebuffer");
  std::uint32_t flags = args.flag("event") ? DRM_MODE_PAGE_FLIP_EVENT : 0;
  flags = u32_or(args, "flags", flags);
  flip(*framebuffer->card, u32(args, "crtc"), framebuffer->id, flags,
       args.number_or("user_data", 0, UINT64_MAX));
  return nullptr;
}

// All events that the kernel has now.
void read_events(Card& file) {
  alignas(8) std::array<char, 4096> chunk;
  const ssize_t count = ::read(file.fd.get(), chunk.data(), chunk.size());
  if (count < 0) {
    if (errno == EAGAIN || errno == EINTR) return;
    throw VerbError(errno, "read events");
  }
  std::size_t at = 0;
  while (at + sizeof(drm_event) <= static_cast<std::size_t>(count)) {
    drm_event head{};
    std::memcpy(&head, chunk.data() + at, sizeof head);
    if (head.length < sizeof head || at + head.length > static_cast<std::size_t>(count)) return;
    DrmEvent event;
    event.type = head.type;
    if ((head.type == DRM_EVENT_VBLANK || head.type == DRM_EVENT_FLIP_COMPLETE) &&
        head.length >= sizeof(drm_event_vblank)) {
      drm_event_vblank body{};
      std::memcpy(&body, chunk.data() + at, sizeof body);
      event.user_data = body.user_data;
      event.sequence = body.sequence;
      event.crtc = body.crtc_id;
      event.ns = std::uint64_t{body.tv_sec} * 1'000'000'000u + std::uint64_t{body.tv_usec} * 1000u;
    }
    file.events.push_back(event);
    at += head.length;
  }
}

std::optional<DrmEvent> DrmVerbs::next_event(Card& file, milliseconds limit) {
  const auto deadline = Clock::now() + limit;
  for (;;) {
    {
      const std::lock_guard lock(file.events_mutex);
      if (file.events.empty()) read_events(file);
      if (!file.events.empty()) {
        const DrmEvent event = file.events.front();
        file.events.pop_front();
        return event;
      }
    }
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return std::nullopt;
    pollfd wanted{file.fd.get(), POLLIN, 0};
    if (poll(&wanted, 1, static_cast<int>(left.count())) > 0 && (wanted.revents & POLLIN) == 0)
      throw VerbError(ENODEV, "the open file reports no events any more");
  }
}

Json DrmVerbs::wait_event(const Arguments& args) {
  const auto file = card(args);
  const milliseconds limit(args.number_or("timeout_ms", 1000, kMaxTimeoutMs));
  const std::optional<DrmEvent> event = next_event(*file, limit);
  if (!event)
    throw VerbError(ETIMEDOUT, "no event within " + std::to_string(limit.count()) + " ms");
  std::string type = "type-" + std::to_string(event->type);
  if (event->type == DRM_EVENT_FLIP_COMPLETE) type = "flip-complete";
  if (event->type == DRM_EVENT_VBLANK) type = "vblank";
  Json fields{{"type", type},
              {"user_data", event->user_data},
              {"sequence", event->sequence},
              {"crtc", event->crtc},
              {"tv_ns", event->ns}};
  const std::lock_guard lock(file->events_mutex);
  const auto called = file->flip_called_ns.find(event->crtc);
  if (event->type == DRM_EVENT_FLIP_COMPLETE && called != file->flip_called_ns.end())
    fields["after_ns"] = event->ns > called->second ? event->ns - called->second : 0;
  return fields;
}

Json DrmVerbs::flips(const Arguments& args) {
  const auto file = card(args);
  const std::uint32_t crtc = u32(args, "crtc");
  const std::uint64_t count = args.number("count", 10'000'000);
  const milliseconds limit(args.number_or("timeout_ms", 5000, kMaxTimeoutMs));
  std::vector<std::uint32_t> ids;
  for (const std::string& name : args.list("fbs"))
    ids.push_back(objects_.get<Framebuffer>(name, "framebuffer")->id);
  if (ids.empty()) throw VerbError(EINVAL, "argument fbs= is empty");
  const std::uint64_t began = agent::monotonic_ns();
  std::uint64_t done = 0;
  const auto fields = [&](std::uint64_t failed) -> Json {
    return {{"done", done}, {"failed", failed}, {"flips_ns", agent::monotonic_ns() - began}};
  };
  try {
    for (; done < count; ++done) {
      flip(*file, crtc, ids[done % ids.size()], DRM_MODE_PAGE_FLIP_EVENT, done);
      if (!next_event(*file, limit)) throw VerbError(ETIMEDOUT, "no event of a flip");
    }
  } catch (VerbError& error) {
    error.fields = fields(1);
    throw;
  }
  return fields(0);
}

Json DrmVerbs::prime_export(const Arguments& args) {
  const auto buffer = args.has("fd") ? owned<Buffer>(args, "name", "buffer")
                                     : objects_.get<Buffer>(args.text("name"), "buffer");
  const std::string out = args.text("out");
  objects_.expect_free(out);
  drm_prime_handle request{};
  request.handle = buffer->handle;
  request.flags = DRM_CLOEXEC | DRM_RDWR;
  drm_ioctl(*buffer->card, DRM_IOCTL_PRIME_HANDLE_TO_FD, &request, "PRIME_HANDLE_TO_FD");
  auto exported = std::make_shared<Exported>();
  exported->fd.reset(request.fd);
  objects_.add(out, std::move(exported));
  return {{"size", buffer->size}};
}

Json DrmVerbs::prime_import(const Arguments& args) {
  auto file = card(args);
  const std::string name = args.text("name");
  const auto exported = objects_.get<Exported>(args.text("in"), "dma-buf");
  objects_.expect_free(name);
  drm_prime_handle request{};
  request.fd = exported->fd.get();
  drm_ioctl(*file, DRM_IOCTL_PRIME_FD_TO_HANDLE, &request, "PRIME_FD_TO_HANDLE");
  auto buffer = std::make_shared<Buffer>();
  buffer->card = std::move(file);
  buffer->handle = request.handle;
  const off_t size = lseek(exported->fd.get(), 0, SEEK_END);
  buffer->size = size > 0 ? static_cast<std::uint64_t>(size) : 0;
  Json fields = buffer_json(*buffer);
  objects_.add(name, std::move(buffer));
  return fields;
}

Json DrmVerbs::close_dmabuf(const Arguments& args) {
  const std::string name = args.text("name");
  objects_.get<Exported>(name, "dma-buf");
  objects_.remove(name);
  return nullptr;
}

}  // namespace

void add_drm_verbs(VerbTable& table) {
  install_bus_error_handler();
  const auto verbs = std::make_shared<DrmVerbs>();
  const auto add = [&](VerbSpec spec, Json (DrmVerbs::*method)(const Arguments&)) {
    table.add(std::move(spec),
              [verbs, method](const Request& request) { return ((*verbs).*method)(request.args); });
  };
  add({"open", {"name"}, {"driver"}}, &DrmVerbs::open);
  add({"close", {"name"}, {}}, &DrmVerbs::close);
  add({"connectors", {"fd"}, {"probe"}}, &DrmVerbs::connectors);
  add({"create-dumb", {"fd", "name", "width", "height"}, {"bpp", "flags"}}, &DrmVerbs::create_dumb);
  add({"vgem-create", {"name", "size"}, {}}, &DrmVerbs::vgem_create);
  add({"destroy-dumb", {"fd", "name"}, {"keep-map"}}, &DrmVerbs::destroy_dumb);
  add({"map", {"name"}, {}}, &DrmVerbs::map);
  add({"unmap", {"name"}, {}}, &DrmVerbs::unmap);
  add({"fill", {"name"}, {"pattern", "seed", "color", "offset", "length"}}, &DrmVerbs::fill);
  add({"read", {"name"}, {"offset", "length"}}, &DrmVerbs::read);
  add({"add-fb", {"fd", "name", "buffer"}, {"width", "height", "format", "pitch", "offset"}},
      &DrmVerbs::add_fb);
  add({"rm-fb", {"fd", "name"}, {}}, &DrmVerbs::rm_fb);
  add({"dirty-fb", {"fd", "fb"}, {"x1", "y1", "x2", "y2"}}, &DrmVerbs::dirty_fb);
  add({"set-crtc", {"fd", "crtc", "fb", "connector", "width", "height"}, {"x", "y"}},
      &DrmVerbs::set_crtc);
  add({"crtc-off", {"fd", "crtc"}, {}}, &DrmVerbs::crtc_off);
  add({"get-crtc", {"fd", "crtc"}, {}}, &DrmVerbs::get_crtc);
  add({"page-flip", {"fd", "crtc", "fb"}, {"event", "flags", "user_data"}}, &DrmVerbs::page_flip);
  add({"wait-event", {"fd"}, {}}, &DrmVerbs::wait_event);
  add({"flips", {"fd", "crtc", "fbs", "count"}, {}}, &DrmVerbs::flips);
  add({"prime-export", {"name", "out"}, {"fd"}}, &DrmVerbs::prime_export);
  add({"prime-import", {"fd", "in", "name"}, {}}, &DrmVerbs::prime_import);
  add({"close-dmabuf", {"name"}, {}}, &DrmVerbs::close_dmabuf);
  table.add({"set-master", {"fd"}, {}},
            [verbs](const Request& request) { return verbs->master(request.args, true); });
  table.add({"drop-master", {"fd"}, {}},
            [verbs](const Request& request) { return verbs->master(request.args, false); });
  table.add({"close-all", {}, {}}, [verbs](const Request&) { return verbs->close_all(); });
  table.add({"drm-devices", {}, {}}, [verbs](const Request&) { return verbs->devices(); });
  table.add(
      {"objects", {}, {}}, [verbs](const Request&) { return verbs->list(); },
      Verb::Kind::immediate);
}

}  // namespace displif_cts::exerciser
