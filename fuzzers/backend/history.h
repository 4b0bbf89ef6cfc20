// What one program of somebody's has been given, in order: an end, or a broken requirement, may
// need more than the last of it. As text in a file, each input under its header;
// DISPLIF_FUZZ_HISTORY names it. A comment at its head says what was passed over.
#pragma once

#include <cstdio>
#include <memory>
#include <string>

#include "fuzzers/input/action.h"

namespace displif_cts::fuzz_backend {

class History {
 public:
  // An empty path: nothing is kept.
  explicit History(std::string path);

  void begin();  // another program: nothing yet
  // Before it is played: what it leads to may end this process.
  void add(const fuzz::Input& input);

 private:
  struct Close {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  void put(const std::string& text);

  std::string path_;
  std::unique_ptr<std::FILE, Close> file_;
};

}  // namespace displif_cts::fuzz_backend
