#include "harness/agent/kernel_log.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "harness/agent/line_protocol.h"

namespace displif_cts::agent {
namespace {

// A decimal number up to `end`, which is taken too.
bool take_number(std::string_view& text, char end, std::uint64_t& value) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || stop == text.data() + text.size() || *stop != end) return false;
  text.remove_prefix(static_cast<std::size_t>(stop - text.data()) + 1);
  return true;
}

}  // namespace

bool parse_kmsg_record(std::string_view record, KernelLogLine& line) {
  std::uint64_t priority = 0;
  if (!take_number(record, ',', priority) || !take_number(record, ',', line.seq) ||
      !take_number(record, ',', line.us))
    return false;
  const std::size_t text = record.find(';');
  if (text == std::string_view::npos) return false;
  record.remove_prefix(text + 1);
  // What follows the first newline is the record's dictionary.
  line.text = record.substr(0, record.find('\n'));
  line.level = static_cast<unsigned>(priority & 7);
  line.facility = static_cast<unsigned>(priority >> 3);
  return true;
}

void KernelLog::read_new() {
  if (!fd_) {
    fd_.reset(open(path_.c_str(), O_RDONLY | O_NONBLOCK | O_CLOEXEC));
    if (!fd_) throw VerbError(errno, "open " + path_);
  }
  char record[8192];  // the kernel's own limit of one record is below that
  for (;;) {
    const ssize_t count = read(fd_.get(), record, sizeof record);
    if (count == 0 || (count < 0 && errno == EAGAIN)) return;
    if (count < 0 && (errno == EPIPE || errno == EINTR)) continue;  // EPIPE: overwritten meanwhile
    if (count < 0) throw VerbError(errno, "read " + path_);
    KernelLogLine line;
    if (!parse_kmsg_record({record, static_cast<std::size_t>(count)}, line)) continue;
    next_ = line.seq + 1;
    lines_.push_back(std::move(line));
    if (lines_.size() > kKept) lines_.pop_front();
  }
}

Json KernelLog::end() {
  const std::lock_guard lock(mutex_);
  read_new();
  return {{"lines", Json::array()}, {"next", next_}, {"more", false}};
}

Json KernelLog::since(std::uint64_t offset) {
  const std::lock_guard lock(mutex_);
  read_new();
  Json lines = Json::array();
  auto from =
      std::lower_bound(lines_.begin(), lines_.end(), offset,
                       [](const KernelLogLine& line, std::uint64_t seq) { return line.seq < seq; });
  std::uint64_t next = std::max(next_, offset);
  bool more = false;
  const bool lost = from != lines_.end() && from == lines_.begin() && from->seq > offset;
  const std::uint64_t first_left = lost ? from->seq : 0;
  for (; from != lines_.end(); ++from) {
    if (lines.size() == kMaxAnswer) {
      next = from->seq;
      more = true;
      break;
    }
    Json entry{{"level", from->level}, {"text", from->text}, {"seq", from->seq}, {"us", from->us}};
    if (from->facility != 0) entry["facility"] = from->facility;
    lines.push_back(std::move(entry));
  }
  Json fields{{"lines", std::move(lines)}, {"next", next}, {"more", more}};
  if (lost) fields["lost"] = first_left - offset;
  return fields;
}

}  // namespace displif_cts::agent
