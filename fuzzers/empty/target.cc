// Reads its input, as every target does, and plays nothing.
#include "fuzzers/input/codec.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static displif_cts::fuzz::Input input;
  return size > 1 && displif_cts::fuzz::decode_into({data, size}, input) != nullptr ? -1 : 0;
}
