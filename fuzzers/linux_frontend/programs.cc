#include "fuzzers/linux_frontend/programs.h"

#include <array>

#include "fuzzers/linux_frontend/shim/drm_model.h"
#include "fuzzers/linux_frontend/shim/findings.h"
#include "fuzzers/linux_frontend/shim/kernel_model.h"

namespace displif_cts::linux_frontend {
namespace {

using F = fuzz::Client;

struct Program {
  struct drm_file* file = nullptr;
  const fuzz::Action* action = nullptr;
  std::size_t exported = 0;
};

std::array<Program, shim::kClients> g_programs;

const fuzz::Action kClose = [] {
  fuzz::Action action = fuzz::make(fuzz::Kind::client);
  action.values[F::call] = static_cast<std::uint64_t>(fuzz::Call::close);
  return action;
}();

std::uint32_t bits(std::uint64_t depth) {
  return depth > 64 ? 32 : static_cast<std::uint32_t>(depth);
}

std::uint32_t fourcc(std::uint64_t depth) {
  if (depth > 64) return static_cast<std::uint32_t>(depth);
  return depth == 16   ? DRM_FORMAT_RGB565
         : depth == 24 ? DRM_FORMAT_RGB888
         : depth == 15 ? DRM_FORMAT_XRGB1555
                       : DRM_FORMAT_XRGB8888;
}

int perform(Program& program) {
  const auto& values = program.action->values;
  const auto which = static_cast<fuzz::Call>(values[F::call] % 17);
  const auto width = static_cast<std::uint32_t>(values[F::width]);
  const auto height = static_cast<std::uint32_t>(values[F::height]);
  const auto object = static_cast<std::size_t>(values[F::object]);
  const auto connector = static_cast<std::size_t>(values[F::connector]);
  const auto flags = static_cast<std::uint32_t>(values[F::flags]);
  switch (which) {
    case fuzz::Call::open:
      if (program.file != nullptr && program.file->dev->unplugged) {
        shim::file_close(program.file);
        program.file = nullptr;
      }
      if (program.file == nullptr) program.file = shim::file_open();
      return program.file == nullptr ? -ENODEV : 0;
    default:
      break;
  }
  if (which == fuzz::Call::export_map) return shim::map_exported(object, false);
  if (which == fuzz::Call::export_vmap) return shim::map_exported(object, true);
  if (which == fuzz::Call::drop_fd) return shim::drop_exported(object);
  struct drm_file* file = program.file;
  if (file == nullptr) return -EBADF;
  switch (which) {
    case fuzz::Call::close:
      program.file = nullptr;
      shim::file_close(file);
      return 0;
    case fuzz::Call::create:
      return shim::create_dumb(file, width, height, bits(values[F::depth]));
    case fuzz::Call::destroy:
      return shim::destroy_dumb(file, object);
    case fuzz::Call::attach:
      return shim::add_framebuffer(file, object, width, height, fourcc(values[F::depth]));
    case fuzz::Call::detach:
      return shim::remove_framebuffer(file, object);
    case fuzz::Call::configure: {
      const shim::Mode mode = (flags & 1) != 0
                                  ? shim::Mode{static_cast<int>(width), static_cast<int>(height)}
                                  : shim::Mode{};
      return shim::set_crtc(file, connector, object, mode, static_cast<int>(flags >> 1 & 1),
                            static_cast<int>(flags >> 2 & 1));
    }
    case fuzz::Call::off:
      return shim::crtc_off(file, connector);
    case fuzz::Call::flip:
      return shim::page_flip(file, connector, object, (flags & 1) != 0);
    case fuzz::Call::probe:
      return shim::probe_connector(file, connector);
    case fuzz::Call::map:
      return shim::map_dumb(file, object, (flags & 1) == 0);
    case fuzz::Call::export_buffer:
      return shim::export_buffer(file, object);
    case fuzz::Call::import_own:
      return shim::import_own(file, object);
    case fuzz::Call::import_foreign:
      return shim::import_foreign(file, (static_cast<std::size_t>(width) * height * 4) & ~0xfffULL,
                                  flags);
    default:
      return 0;
  }
}

void run(void* argument) {
  auto& program = *static_cast<Program*>(argument);
  const int result = perform(program);
  shim::say("[%s] call %d returns %d", shim::running(),
            static_cast<int>(program.action->values[F::call]), result);
  // What is no error number must not reach a program as one.
  if (result > 0 || result < -MAX_ERRNO)
    shim::finding("odd-result", "call %d returns %d to the program",
                  static_cast<int>(program.action->values[F::call]), result);
}

void drop_all(void* /*unused*/) { shim::drop_all_exported(); }

}  // namespace

void programs_begin() {
  for (Program& program : g_programs) program.file = nullptr;
}

void call(const fuzz::Action& action) {
  const std::size_t who = action.values[F::who] % shim::kClients;
  const auto thread = static_cast<shim::Thread>(who);
  if (!shim::is_idle(thread)) return;
  g_programs[who].action = &action;
  shim::start(thread, run, &g_programs[who]);
}

void close_files() {
  for (std::size_t i = 0; i < shim::kClients; ++i) {
    const auto thread = static_cast<shim::Thread>(i);
    if (g_programs[i].file == nullptr || !shim::is_idle(thread)) continue;
    g_programs[i].action = &kClose;
    shim::start(thread, run, &g_programs[i]);
  }
}

void drop_exported() {
  if (shim::is_idle(shim::Thread::client0)) shim::start(shim::Thread::client0, drop_all, nullptr);
}

bool anything_held() {
  for (const Program& program : g_programs) {
    if (program.file != nullptr) return true;
  }
  return false;
}

}  // namespace displif_cts::linux_frontend
