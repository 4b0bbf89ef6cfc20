// Reads its input, as every target does, and plays nothing.
#include "fuzzers/input/codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static displif_cts::fuzz::Input input;
  return displif_cts::fuzz::take_octets({data, size}, input) ? 0 : -1;
}
