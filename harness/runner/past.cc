#include "harness/runner/past.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <stdexcept>

namespace displif_cts::runner {
namespace {

// The recorder writes version and type first (harness/trace/recorder.cc); most lines are messages.
bool is_message(std::string_view line) { return line.starts_with(R"({"v":1,"t":"msg")"); }

void add(Past& past, const Json& record) {
  const std::string type = record.value("t", "");
  const std::string id = record.value("case", "");
  if (type == "run" || type == "resume") past.boot = record.value("boot", "");
  if (type == "plan") past.plan = record.value("sha256", "");
  if (type == "end") past.sealed = true;
  if (type == "begin") {
    past.interrupted = id;
    past.seen_of_it = Fold();
  }
  if (past.interrupted && *past.interrupted == id && type != "verdict") past.seen_of_it.add(record);
  if (type == "verdict") {
    past.judged.insert(id);
    past.interrupted.reset();
  }
}

}  // namespace

Past read_past(const std::filesystem::path& stream, const TakeLine& take) {
  Past past;
  std::ifstream file(stream);
  if (!file) throw std::runtime_error(fmt::format("{}: {}", stream.string(), std::strerror(errno)));
  std::uintmax_t whole = 0;
  // getline sets eof where the last line has no newline: that one was being written.
  for (std::string line; std::getline(file, line) && !file.eof();) {
    line += '\n';
    whole += line.size();
    if (is_message(line)) {
      take(line, nullptr);
      continue;
    }
    const Json record = Json::parse(line, nullptr, false);
    if (!record.is_object())
      throw std::runtime_error(
          fmt::format("{}: what ends at byte {} is no record", stream.string(), whole));
    add(past, record);
    take(line, &record);
  }
  file.close();
  std::filesystem::resize_file(stream, whole);
  return past;
}

std::string boot_id() {
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  std::string id;
  std::getline(file, id);
  return id;
}

}  // namespace displif_cts::runner
