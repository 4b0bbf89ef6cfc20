// Files by verb: what `put`, `get` and `guest-log` have in common. All throw VerbError that names
// the path.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>

#include "harness/agent/line_protocol.h"
#include "harness/trace/json.h"

namespace displif_cts::agent {

inline constexpr std::size_t kMaxGet = 4u << 20;  // octets at once

// A whole file, for procfs and sysfs; at most `max` octets of it.
std::string read_file(const std::string& path, std::size_t max = 65536);
// Without the white space at its end; empty when it cannot be read.
std::string read_optional(const std::string& path);
void write_existing(const std::string& path, std::string_view text);

struct Piece {
  std::string octets;
  std::uint64_t size = 0;  // of the file now
  bool eof = false;
};
Piece read_piece(const std::string& path, std::uint64_t offset, std::size_t max);

// The verbs. `put path= size= mode=` writes beside and renames, so that a running program can be
// replaced and nobody sees half a file.
// Whether `offset=end` is asked for: only where a log ends now.
bool offset_is_end(const Arguments& args);
class KernelLog;
Json klog_verb(KernelLog& log, const Arguments& args);
Json put_verb(const Request& request);
Json get_verb(const Arguments& args);
// The hypervisor under this domain, out of /sys/hypervisor: {"buildid", "version", "guest_type",
// "uuid"}. Linux gives the build id as raw octets, up to the first that is 0. Xen tells its build
// id to privileged domains only: "" and "denied":true elsewhere.
Json describe_xen();
extern const VerbSpec kPutSpec;
extern const VerbSpec kGetSpec;

}  // namespace displif_cts::agent
