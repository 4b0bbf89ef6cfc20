#include "fuzzers/backend/history.h"

#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <utility>

#include "fuzzers/input/codec.h"

namespace displif_cts::fuzz_backend {
namespace {

// Some ten thousand inputs; what is further back is forgotten.
constexpr long kMost = 8L * 1024 * 1024;

// Not the fault of what is attacked, so no finding.
[[noreturn]] void fail(const std::string& path) {
  std::fprintf(stderr, "displif-fuzz: %s cannot be written: %s\n", path.c_str(),
               std::strerror(errno));
  std::_Exit(3);
}

}  // namespace

History::History(std::string path) : path_(std::move(path)) {
  if (std::filesystem::is_directory(path_)) path_ += "/" + std::to_string(getpid()) + ".txt";
}

void History::put(const std::string& text) {
  if (std::fputs(text.c_str(), file_.get()) == EOF || std::fflush(file_.get()) == EOF) fail(path_);
}

void History::begin() {
  if (path_.empty()) return;
  file_.reset(std::fopen(path_.c_str(), "we"));
  if (file_ == nullptr) fail(path_);
  const char* passed_over = std::getenv("DISPLIF_FUZZ_PASS_OVER");
  put(std::string("# passed over: ") + (passed_over == nullptr ? "" : passed_over) + "\n");
}

void History::add(const fuzz::Input& input) {
  if (path_.empty()) return;
  if (file_ == nullptr || std::ftell(file_.get()) > kMost) begin();
  put(fuzz::print(input));
}

}  // namespace displif_cts::fuzz_backend
