#include "harness/trace/recorder.h"

#include <nettle/base64.h>

#include <ctime>
#include <utility>

namespace displif_cts::trace {

std::string_view name(Kind kind) {
  switch (kind) {
    case Kind::request:
      return "req";
    case Kind::response:
      return "resp";
    case Kind::event:
      return "evt";
    case Kind::index:
      return "index";
    case Kind::state:
      return "state";
    case Kind::xenstore:
      return "xs";
    case Kind::guest:
      return "guest";
    case Kind::log:
      return "log";
  }
  return "?";
}

std::string_view name(Direction direction) {
  switch (direction) {
    case Direction::front_to_back:
      return "f2b";
    case Direction::back_to_front:
      return "b2f";
    case Direction::none:
      return "-";
  }
  return "?";
}

std::uint64_t now_ns() {
  timespec ts{};
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000U +
         static_cast<std::uint64_t>(ts.tv_nsec);
}

std::string hex(std::span<const std::byte> bytes) {
  static constexpr char digits[] = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (std::byte byte : bytes) {
    const auto value = std::to_integer<unsigned>(byte);
    text.push_back(digits[value >> 4U]);
    text.push_back(digits[value & 15U]);
  }
  return text;
}

std::string base64(std::span<const std::byte> bytes) {
  std::string text(BASE64_ENCODE_RAW_LENGTH(bytes.size()), '\0');
  nettle_base64_encode_raw(text.data(), bytes.size(),
                           reinterpret_cast<const std::uint8_t*>(bytes.data()));
  return text;
}

Recorder::Recorder(Sink sink, std::string case_id)
    : heard_(static_cast<bool>(sink)), sink_(std::move(sink)), case_id_(std::move(case_id)) {}

void Recorder::message(Kind kind, Direction direction, std::span<const std::byte> raw,
                       Json fields) {
  if (!heard_) return;
  const std::lock_guard lock(mutex_);
  if (messages_stopped_ && (kind == Kind::request || kind == Kind::response ||
                            kind == Kind::event || kind == Kind::index))
    return;
  const std::uint64_t ns = now_ns();
  const Message seen{kind, direction, ns, raw, fields};
  for (const auto& observer : observers_) observer(seen);
  Json body{{"ns", ns}, {"kind", name(kind)}, {"dir", name(direction)}};
  if (!raw.empty()) body["hex"] = hex(raw);
  body["fields"] = std::move(fields);
  emit("msg", std::move(body));
}

void Recorder::stop_messages() {
  log("from here on messages are not recorded: they are too many");
  const std::lock_guard lock(mutex_);
  messages_stopped_ = true;
}

void Recorder::log(std::string text) {
  message(Kind::log, Direction::none, {}, [&] { return Json{{"text", std::move(text)}}; });
}

bool Recorder::check(const Requirement& requirement, bool ok, std::vector<std::string> expected,
                     std::string seen, bool timed) {
  return check_for({}, requirement, ok, std::move(expected), std::move(seen), timed);
}

bool Recorder::check_for(std::string_view case_id, const Requirement& requirement, bool ok,
                         std::vector<std::string> expected, std::string seen, bool timed) {
  const std::lock_guard lock(mutex_);
  Json body{{"requirement", requirement.id},
            {"level", name(requirement.level)},
            {"expected", std::move(expected)},
            {"seen", std::move(seen)},
            {"ok", ok}};
  if (timed) body["timed"] = true;
  if (!case_id.empty()) {
    body["case"] = case_id;
    body["during"] = case_id_;
  }
  emit("check", std::move(body));
  return ok;
}

void Recorder::skip_for(std::string_view case_id, std::string reason) {
  record("skip", Json{{"case", case_id}, {"during", case_id_}, {"reason", std::move(reason)}});
}

void Recorder::artifact(std::string_view artifact_name, std::string_view media,
                        std::span<const std::byte> data) {
  const std::lock_guard lock(mutex_);
  emit("artifact", Json{{"name", artifact_name}, {"media", media}, {"data", base64(data)}});
}

void Recorder::record(std::string_view type, Json body) {
  const std::lock_guard lock(mutex_);
  emit(type, std::move(body));
}

void Recorder::observe(std::function<void(const Message&)> observer) {
  const std::lock_guard lock(mutex_);
  observers_.push_back(std::move(observer));
  heard_ = true;
}

void Recorder::emit(std::string_view type, Json body) {
  if (!sink_) return;
  Json record{{"v", 1}, {"t", type}};
  record["ns"] = body.contains("ns") ? body["ns"] : Json(now_ns());
  if (body.contains("case")) {
    record["case"] = body["case"];
  } else if (!case_id_.empty()) {
    record["case"] = case_id_;
  }
  for (auto& [key, value] : body.items()) {
    if (key != "ns" && key != "case") record[key] = std::move(value);
  }
  sink_(record);
}

}  // namespace displif_cts::trace
