// This domain's kernel log, read from /dev/kmsg (Linux's Documentation/ABI/testing/dev-kmsg).
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <mutex>
#include <string>
#include <string_view>

#include "harness/agent/unique_fd.h"
#include "harness/trace/json.h"

namespace displif_cts::agent {

struct KernelLogLine {
  std::uint64_t seq = 0;
  unsigned level = 0;     // 0 emerg .. 7 debug
  unsigned facility = 0;  // 0 = the kernel itself
  std::uint64_t us = 0;   // since the kernel's boot
  std::string text;
};

// One record as /dev/kmsg gives it; false if it is none.
bool parse_kmsg_record(std::string_view record, KernelLogLine& line);

// Thread-safe. Keeps the newest kKept lines, so that a caller who comes late still gets them.
class KernelLog {
 public:
  static constexpr std::size_t kKept = 16384;
  static constexpr std::size_t kMaxAnswer = 4096;  // lines at once

  explicit KernelLog(std::string path = "/dev/kmsg") : path_(std::move(path)) {}

  // Lines whose sequence number is at least `offset`: {"lines":[{"level","text","seq","us"}],
  // "next":N, "more":bool}, `next` being the offset that continues. `lost` is there when lines from
  // `offset` on have been dropped. Throws VerbError when the log cannot be opened.
  Json since(std::uint64_t offset);
  // No lines, only `next`: the offset of what is written from now on.
  Json end();

 private:
  void read_new();

  std::mutex mutex_;
  std::string path_;
  UniqueFd fd_;
  std::deque<KernelLogLine> lines_;
  std::uint64_t next_ = 0;
};

}  // namespace displif_cts::agent
