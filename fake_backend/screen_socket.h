// Tells what a connector really displays: where a bed cannot look at a screen, a backend that has
// none answers for itself. One line of the agent's protocol per connection:
//   SEQ screen connector=N   {width, height, data: base64 of XRGB8888, rows without padding}
// Nothing shown: width and height 0.
#pragma once

#include <filesystem>

#include "fake_backend/follower.h"

namespace displif_cts::fake_backend {

class ScreenSocket {
 public:
  // Listens at `path`, which must not exist. Throws std::system_error.
  explicit ScreenSocket(std::filesystem::path path);
  ~ScreenSocket();  // removes the socket
  ScreenSocket(const ScreenSocket&) = delete;
  ScreenSocket& operator=(const ScreenSocket&) = delete;

  // Answers whoever is waiting, in the thread that drives `follower`.
  void serve(Follower& follower);

 private:
  std::filesystem::path path_;
  int listener_ = -1;
};

}  // namespace displif_cts::fake_backend
