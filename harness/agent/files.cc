#include "harness/agent/files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "harness/agent/kernel_log.h"
#include "harness/agent/unique_fd.h"

namespace displif_cts::agent {
namespace {

void write_all(int fd, std::string_view octets, const std::string& path) {
  while (!octets.empty()) {
    const ssize_t count = write(fd, octets.data(), octets.size());
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw VerbError(errno, "write " + path);
    octets.remove_prefix(static_cast<std::size_t>(count));
  }
}

mode_t parse_mode(const std::string& text) {
  const bool octal =
      !text.empty() && text.size() <= 5 && text.find_first_not_of("01234567") == std::string::npos;
  const unsigned long mode = octal ? std::stoul(text, nullptr, 8) : 0;
  if (!octal || mode > 07777) throw VerbError(EINVAL, "argument mode= is no octal file mode");
  return static_cast<mode_t>(mode);
}

}  // namespace

const VerbSpec kPutSpec{"put", {"path", "size"}, {"mode"}};
const VerbSpec kGetSpec{"get", {"path"}, {"offset", "max"}};

std::string read_file(const std::string& path, std::size_t max) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) throw VerbError(errno, "open " + path);
  std::string out;
  char chunk[4096];
  while (out.size() < max) {
    const ssize_t count = read(fd.get(), chunk, std::min(sizeof chunk, max - out.size()));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw VerbError(errno, "read " + path);
    if (count == 0) break;
    out.append(chunk, static_cast<std::size_t>(count));
  }
  return out;
}

std::string read_optional(const std::string& path) {
  std::string text;
  try {
    text = read_file(path);
  } catch (const VerbError&) {
    return {};
  }
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  return text;
}

void write_existing(const std::string& path, std::string_view text) {
  const UniqueFd fd(open(path.c_str(), O_WRONLY | O_CLOEXEC));
  if (!fd) throw VerbError(errno, "open " + path);
  // One call: procfs and sysfs take a value as a whole.
  if (write(fd.get(), text.data(), text.size()) < 0) throw VerbError(errno, "write " + path);
}

Piece read_piece(const std::string& path, std::uint64_t offset, std::size_t max) {
  const UniqueFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!fd) throw VerbError(errno, "open " + path);
  struct stat info {};
  if (fstat(fd.get(), &info) != 0) throw VerbError(errno, "stat " + path);
  Piece piece;
  piece.size = static_cast<std::uint64_t>(std::max<off_t>(info.st_size, 0));
  piece.octets.resize(max);
  std::size_t have = 0;
  while (have < max) {
    const ssize_t count =
        pread(fd.get(), piece.octets.data() + have, max - have, static_cast<off_t>(offset + have));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) throw VerbError(errno, "read " + path);
    if (count == 0) {
      piece.eof = true;
      break;
    }
    have += static_cast<std::size_t>(count);
  }
  piece.octets.resize(have);
  // procfs gives its files no size.
  if (S_ISREG(info.st_mode) && piece.size > 0 && offset + have >= piece.size) piece.eof = true;
  return piece;
}

bool offset_is_end(const Arguments& args) { return args.text("offset", "") == "end"; }

Json klog_verb(KernelLog& log, const Arguments& args) {
  return offset_is_end(args) ? log.end() : log.since(args.number_or("offset", 0, INT64_MAX));
}

Json put_verb(const Request& request) {
  const std::string path = request.args.text("path");
  const mode_t mode = parse_mode(request.args.text("mode", "644"));
  struct stat info {};
  // A device or a pipe is written in place.
  if (stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    write_existing(path, request.payload);
    return {{"size", request.payload.size()}};
  }
  const std::string part = path + ".part";
  {
    const UniqueFd fd(open(part.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) throw VerbError(errno, "create " + path);
    try {
      write_all(fd.get(), request.payload, path);
      if (fchmod(fd.get(), mode) != 0) throw VerbError(errno, "chmod " + path);
    } catch (const VerbError&) {
      unlink(part.c_str());
      throw;
    }
  }
  if (rename(part.c_str(), path.c_str()) != 0) {
    const int error = errno;
    unlink(part.c_str());
    throw VerbError(error, "rename to " + path);
  }
  return {{"size", request.payload.size()}};
}

Json get_verb(const Arguments& args) {
  const Piece piece = read_piece(args.text("path"), args.number_or("offset", 0, INT64_MAX),
                                 static_cast<std::size_t>(args.number_or("max", 65536, kMaxGet)));
  return {{"data", base64(piece.octets)}, {"size", piece.size}, {"eof", piece.eof}};
}

Json describe_xen() {
  const std::string root = "/sys/hypervisor/";
  if (read_optional(root + "type") != "xen") throw VerbError(ENODEV, "this is no domain of Xen");
  std::string build_id;
  try {
    build_id = read_file(root + "properties/buildid");
  } catch (const VerbError&) {  // a Xen without
  }
  const bool denied = build_id.starts_with("<denied>");
  Json fields{{"buildid", denied ? "" : hex(build_id)},
              {"version", read_optional(root + "version/major") + "." +
                              read_optional(root + "version/minor") +
                              read_optional(root + "version/extra")},
              {"guest_type", read_optional(root + "guest_type")},
              {"uuid", read_optional(root + "uuid")}};
  if (denied) fields["denied"] = true;
  return fields;
}

}  // namespace displif_cts::agent
