// One end of a libxenvchan connection that never blocks. The agent in dom0 is the server, so that
// the ring's pages are dom0's: the guest's grant table stays as its driver made it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct libxenvchan;
struct xs_handle;

namespace displif_cts::agent {

// Where server and client meet: dom0's node for this guest.
std::string vchan_path(std::uint16_t guest_domid);

class Vchan {
 public:
  // Null and errno when it cannot be had (now). The domain must have been introduced to xenstored:
  // permissions for one that it does not know are dropped.
  static std::unique_ptr<Vchan> serve(std::uint16_t client_domid, const std::string& path);
  static std::unique_ptr<Vchan> connect(std::uint16_t server_domid, const std::string& path);
  ~Vchan();
  Vchan(const Vchan&) = delete;
  Vchan& operator=(const Vchan&) = delete;

  // Readable when something has changed; then call acknowledge() before reading on.
  int fd() const;
  void acknowledge();

  enum class State { closed, open, waiting };  // waiting: no client has been here yet
  State state() const;

  // Octets moved; 0 for none at present; -1 when the other side has gone.
  long read(char* data, std::size_t size);
  long write(std::string_view data);

 private:
  explicit Vchan(libxenvchan* channel) : channel_(channel) {}
  libxenvchan* channel_;
};

}  // namespace displif_cts::agent
