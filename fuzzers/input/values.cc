#include <array>

#include "fuzzers/input/mutator.h"

namespace displif_cts::fuzz {
namespace {

using Values = std::span<const std::int64_t>;

constexpr std::int64_t kSmall[] = {0, 1, 2, 3, 4, 5, 7, 8, 15, 16, 31, 32, 63, 64, 127, 255};
constexpr std::int64_t kFlag[] = {0, 1};
constexpr std::int64_t kDelta[] = {0,   1,  -1,  2,    -2,  3,      31,     32,
                                   -32, 63, 127, -128, 255, 0x7fff, -0x8000};
// A ring has 32 slots, an event page 63; both run over 32 bits.
constexpr std::int64_t kIndex[] = {
    0,  1,  -1, 2,   -2,   16,         31,         32,         33,         62,
    63, 64, 65, 126, 1000, 0x7fffffff, 0x80000000, 0x80000001, 0xffffffff, 0xfffffff0};
// MAX_ERRNO is 4095: Linux takes what is below for a pointer.
constexpr std::int64_t kStatus[] = {0,     -1,    -2,    -5,        -12,          -16,   -22,
                                    -95,   -110,  1,     2,         0x7fffffff,   -4094, -4095,
                                    -4096, -4097, -5000, INT32_MIN, INT32_MIN + 1};
constexpr std::int64_t kExtent[] = {
    0,      1,      2,      16,      64,         640,        641,        480,        800,
    600,    1024,   768,    1920,    1080,       2047,       2048,       4095,       4096,
    0x7fff, 0x8000, 0xffff, 0x10000, 0x08000000, 0x08000400, 0x7fffffff, 0x80000000, 0xffffffff};
// A page directory's page holds 1023 references.
constexpr std::int64_t kSize[] = {0,
                                  1,
                                  127,
                                  128,
                                  129,
                                  4095,
                                  4096,
                                  4097,
                                  8192,
                                  4096LL * 1022,
                                  4096LL * 1023,
                                  4096LL * 1023 + 1,
                                  4096LL * 1023 - 1,
                                  4096LL * 1024,
                                  4096LL * 2046,
                                  4096LL * 2047,
                                  32768,
                                  0x7ffff000,
                                  0x7fffffff,
                                  0x80000000,
                                  0xfffff000,
                                  0xffffffff};
constexpr std::int64_t kCookie[] = {0,           1,           2,         3,         4, 0xffffffff,
                                    0x100000000, 0x100000001, INT64_MAX, INT64_MIN, -1};
// The first eight are reserved by the tool stack.
constexpr std::int64_t kGref[] = {0,   1,   7,     8,     9,          10,         16,
                                  511, 512, 32767, 32768, 0x7fffffff, 0x80000000, 0xffffffff};
constexpr std::int64_t kTime[] = {0,    1,    10,   100,  250,  999,  1000,  2999,
                                  3000, 3001, 3099, 3100, 3101, 6100, 10000, 65536};
constexpr std::int64_t kPoints[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 20, 24, 32, 48, 64, 100};
// Bits per pixel of dumb buffers; XR24, AR24, RG16, RG24, XR15, YUYV, NV12, YU12.
constexpr std::int64_t kDepth[] = {
    32,         24,         16,         15,         8,          1,          0,          64,
    0x34325258, 0x34325241, 0x36314752, 0x34324752, 0x35315258, 0x56595559, 0x3231564e, 0x32315559};

Values values_of(Bias bias) {
  switch (bias) {
    case Bias::small:
      return kSmall;
    case Bias::flag:
      return kFlag;
    case Bias::delta:
      return kDelta;
    case Bias::index:
      return kIndex;
    case Bias::status:
      return kStatus;
    case Bias::extent:
      return kExtent;
    case Bias::size:
      return kSize;
    case Bias::cookie:
      return kCookie;
    case Bias::gref:
      return kGref;
    case Bias::time:
      return kTime;
    case Bias::points:
      return kPoints;
    case Bias::depth:
      return kDepth;
    case Bias::name:
    case Bias::octets:
      break;
  }
  return {};
}

std::uint64_t near(std::uint64_t value, Random& random) {
  switch (random.below(4)) {
    case 0:
      return value + 1;
    case 1:
      return value - 1;
    case 2:
      return value ^ (1ULL << random.below(64));
    default:
      return value + random.below(33) - 16;
  }
}

}  // namespace

std::uint64_t interesting(const Field& field, std::uint64_t present, Random& random) {
  if (random.one_in(5)) return field.polite;
  if (field.bias == Bias::name) {
    const bool undefined = field.octets > 1 && random.one_in(12);
    return fit(field, undefined ? random.next()
                                : random.below(field.names.size() + (random.one_in(16) ? 1 : 0)));
  }
  // Small things index objects: mostly the first few.
  if (field.bias == Bias::small && !random.one_in(4)) return random.below(4);
  if (field.bias == Bias::points && !random.one_in(8)) return random.below(40);
  const Values values = values_of(field.bias);
  if (values.empty() || random.one_in(16)) return fit(field, random.next() >> random.below(64));
  if (random.one_in(6)) return fit(field, near(present, random));
  return fit(field, static_cast<std::uint64_t>(values[random.below(values.size())]));
}

}  // namespace displif_cts::fuzz
