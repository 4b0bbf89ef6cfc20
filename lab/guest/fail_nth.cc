#include "lab/guest/fail_nth.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>

#include "harness/agent/files.h"
#include "harness/agent/unique_fd.h"

namespace displif_cts::exerciser {
namespace {

constexpr const char* kFailNth = "/proc/thread-self/fail-nth";
constexpr const char* kDebugFs = "/sys/kernel/debug/";

struct Armed {
  agent::UniqueFd file;
  std::uint64_t left = 0;  // allocations until the one that fails; 0: it has, or none is to
};
thread_local std::unique_ptr<Armed> armed;

// Allocations that may wait fail too, small ones too, and nothing is logged of it, since a trace
// would be taken for a complaint (Documentation/fault-injection/fault-injection.rst).
void configure() {
  const auto set = [](const std::string& name, std::string_view value) {
    agent::write_existing(kDebugFs + name, value);
  };
  for (const std::string& kind : {std::string("failslab/"), std::string("fail_page_alloc/")}) {
    set(kind + "ignore-gfp-wait", "N");
    set(kind + "verbose", "0");
  }
  set("fail_page_alloc/ignore-gfp-highmem", "N");
  set("fail_page_alloc/min-order", "0");
}

void write_number(int file, std::uint64_t number) {
  const std::string text = std::to_string(number);
  if (pwrite(file, text.data(), text.size(), 0) < 0) throw agent::VerbError(errno, kFailNth);
}

std::uint64_t read_number(int file) {
  std::array<char, 24> text{};
  if (pread(file, text.data(), text.size() - 1, 0) < 0) throw agent::VerbError(errno, kFailNth);
  return std::strtoull(text.data(), nullptr, 10);
}

}  // namespace

FailNth::FailNth(const agent::Arguments& args) {
  const std::uint64_t nth = args.number_or("fail-nth", 0, 1'000'000);
  if (nth == 0) return;
  agent::UniqueFd file(open(kFailNth, O_RDWR | O_CLOEXEC));
  if (!file) throw agent::VerbError(errno, std::string("open ") + kFailNth);
  configure();
  armed = std::make_unique<Armed>(Armed{std::move(file), nth});
}

FailNth::~FailNth() { armed.reset(); }

void FailNth::report(Json& fields) const {
  if (armed != nullptr) fields["injected"] = armed->left == 0;
}

int injected_ioctl(int fd, unsigned long request, void* argument) {
  if (armed == nullptr || armed->left == 0) return ioctl(fd, request, argument);
  write_number(armed->file.get(), armed->left);
  const int result = ioctl(fd, request, argument);
  const int error = errno;
  armed->left = read_number(armed->file.get());
  write_number(armed->file.get(), 0);
  errno = error;
  return result;
}

}  // namespace displif_cts::exerciser
