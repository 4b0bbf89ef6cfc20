// A program under attack as a process of its own, with all that it starts in one process group,
// which ends with this process however that ends: an engine kills without a word.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "harness/loopback/fd.h"

namespace displif_cts::fuzz_backend {

class Program {
 public:
  using Environment = std::vector<std::pair<std::string, std::string>>;

  // `command` is the shell's; `added` goes before the environment that this process has. What it
  // says goes into the file `output`. Throws std::system_error.
  Program(const std::string& command, const Environment& added, std::filesystem::path output);
  ~Program();
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  // "sigabrt", "status-1"; nullopt: it runs.
  std::optional<std::string> ended();
  // The last of what it has said, at most 64 KiB.
  std::string output() const;
  // Drops what it has said, where that is much.
  void trim_output() const;

 private:
  std::filesystem::path output_;
  pid_t minder_ = -1;
  loopback::Fd life_;    // closed: the minder ends the program
  loopback::Fd status_;  // how it has ended, from the minder
  std::optional<int> how_;
};

}  // namespace displif_cts::fuzz_backend
