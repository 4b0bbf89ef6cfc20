#include "harness/runner/program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <regex>
#include <string_view>

#include "harness/runner/case_process.h"
#include "harness/runner/elsewhere.h"
#include "harness/runner/past.h"
#include "harness/runner/printers.h"
#include "harness/runner/stream_writer.h"

namespace displif_cts::runner {
namespace {

// More than any case creates.
constexpr std::uint16_t kDevicesPerCase = 16;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInfrastructure = 3;

struct Options {
  std::string role = "frontend";
  std::string bed = "host";
  std::string agent = "/run/displif-cts/agent.sock";
  unsigned domain = 0;
  std::vector<std::string> globs;
  std::vector<std::string> excludes;
  std::string peer;
  std::string format = "human";
  std::string out;
  std::uint64_t seed = 1;
  unsigned attempt = 1;
  bool part = false;
  bool while_clean = false;
  bool full = false;
  bool resume = false;
  std::uint16_t first_device = 0;
  bool leaks = false;
  // The runner in another domain, and the backend beside this one (elsewhere.h).
  std::vector<std::string> there;
  std::optional<std::string> backend;
  std::string ready;
};

Role role_of(const std::string& word) { return word == "backend" ? Role::backend : Role::frontend; }

Json case_json(const CaseInfo& info) {
  Json ids = Json::array();
  for (const auto* requirement : info.requirements) ids.push_back(requirement->id);
  return Json{{"id", info.id},           {"title", info.title},
              {"role", name(info.role)}, {"group", info.group()},
              {"requirements", ids},     {"timeout_ms", info.timeout.count()},
              {"needs", info.needs},     {"monitor", info.monitor}};
}

Json requirement_json(const Requirement& requirement) {
  return Json{{"requirement", requirement.id},
              {"role", name(requirement.role)},
              {"level", name(requirement.level)},
              {"text", requirement.text},
              {"source", {{"file", requirement.file}, {"section", requirement.section}}},
              {"reading", requirement.reading}};
}

int list(const Options& options, const std::vector<const Requirement*>& requirements) {
  const auto selected =
      Registry::instance().select(role_of(options.role), options.globs, options.excludes);
  for (const CaseInfo* info : selected) {
    if (options.format == "jsonl") {
      fmt::print("{}\n", case_json(*info).dump());
    } else {
      fmt::print("{:<60} {}\n", info->id, info->title);
    }
  }
  if (options.format == "jsonl")
    for (const Requirement* requirement : requirements)
      fmt::print("{}\n", requirement_json(*requirement).dump());
  return selected.empty() ? kExitInfrastructure : 0;
}

Peer read_peer(const std::string& path) {
  std::ifstream file(path);
  if (!file) throw std::runtime_error(fmt::format("{}: {}", path, std::strerror(errno)));
  const Json descriptor = Json::parse(file, nullptr, false);
  if (descriptor.is_discarded())
    throw std::runtime_error(fmt::format("{}: not a peer descriptor in JSON", path));
  return Peer::from_json(descriptor);
}

// A whole run: the records' way to the stream and the printer, and the counts.
class Run {
 public:
  Run(const Options& options, const Hooks& hooks)
      : options_(options),
        hooks_(hooks),
        printer_(make_printer(options.format == "jsonl" ? "none" : options.format, stdout)),
        writer_([this](std::string_view line) { write_line(line); }) {
    context_.role = role_of(options.role);
    context_.bed = options.bed;
    context_.agent_socket = options.agent;
    context_.domain = static_cast<std::uint16_t>(options.domain);
    context_.peer = read_peer(options.peer);
    context_.seed = options.seed;
    context_.first_device = options.first_device;
    context_.leaks = options.leaks;
    if (!options.there.empty()) elsewhere_.emplace(options.there, options.backend, options.ready);
    if (!options.out.empty()) open_stream(options.out + "/stream.jsonl");
  }
  ~Run() {
    if (sync_ >= 0) close(sync_);
  }
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;

  int execute(const std::vector<const CaseInfo*>& cases) {
    if (past_.sealed) return exit_status();
    if (resumed_) {
      take_up(cases);
    } else if (!options_.part) {
      write_head(cases);
    }
    const bool all = run_cases(cases);
    if (!options_.part && all) {
      for (const CaseInfo* info : cases)
        if (info->monitor && !past_.judged.contains(info->id)) judge_monitor(*info);
      writer_.seal(Json(counts_));
      sync();
      printer_->take(Json{{"t", "end"}, {"counts", counts_}});
    }
    return options_.part || all ? exit_status() : kExitInfrastructure;
  }

 private:
  void open_stream(const std::filesystem::path& path) {
    resumed_ = options_.resume && std::filesystem::exists(path) && std::filesystem::file_size(path);
    if (resumed_) read_earlier(path);
    file_.open(path, resumed_ ? std::ios::app : std::ios::trunc);
    if (!file_)
      throw std::runtime_error(fmt::format("{}: {}", path.string(), std::strerror(errno)));
    if (!options_.part) sync_ = open(path.c_str(), O_WRONLY | O_CLOEXEC);
  }

  void read_earlier(const std::filesystem::path& path) {
    past_ = read_past(path, [this](std::string_view line, const Json* record) {
      writer_.went_before(line);
      if (record == nullptr) return;
      printer_->went_before(*record);
      watch(*record);
      if (record->value("t", "") == "verdict") ++counts_[record->value("verdict", "")];
    });
  }

  // False if the peer was not left as it was found and there are cases left that want it so.
  bool run_cases(const std::vector<const CaseInfo*>& cases) {
    bool clean = true;
    for (const CaseInfo* info : cases) {
      if (info->monitor) continue;
      if (!past_.judged.contains(info->id)) {
        if (!clean && options_.while_clean) return false;
        const CaseEnd end = elsewhere_
                                ? elsewhere_->run_case(context_, *info, outlet(), options_.attempt)
                                : run_case(context_, *info, hooks_, outlet(), options_.attempt);
        count(end.judgement);
        clean = end.clean;
      }
      context_.first_device = static_cast<std::uint16_t>(context_.first_device + kDevicesPerCase);
    }
    return true;
  }

  // Goes on behind what an earlier runner wrote; the case that it was at gets its verdict.
  void take_up(const std::vector<const CaseInfo*>& cases) {
    if (past_.plan.empty())
      throw std::runtime_error(
          fmt::format("{}/stream.jsonl ends before its plan: remove it", options_.out));
    if (past_.plan != hash_of(cases))
      throw std::runtime_error(fmt::format(
          "{}/stream.jsonl is of another selection of cases: it cannot be resumed", options_.out));
    const bool rebooted = past_.boot != boot_id();
    take(Json{{"v", 1}, {"t", "resume"}, {"ns", trace::now_ns()}, {"boot", boot_id()}});
    if (!past_.interrupted) return;
    const std::string id = *past_.interrupted;
    const Json error{{"v", 1},
                     {"t", "error"},
                     {"ns", trace::now_ns()},
                     {"case", id},
                     {"text", rebooted ? "the board rebooted under the case"
                                       : "the runner ended under the case"}};
    past_.seen_of_it.add(error);
    take(error);
    const Judgement judgement = past_.seen_of_it.judge();
    take_verdict(id, judgement);
    past_.judged.insert(id);
  }

  // A board that reboots loses what was not on its disk yet, and with it whose doing it was.
  void sync() {
    flush();
    if (sync_ >= 0 && fdatasync(sync_) != 0 && errno != EINVAL)
      throw std::runtime_error("the stream does not reach the disk");
  }

  // A part of somebody else's stream is numbered, printed and summed up there.
  Outlet outlet() {
    Outlet outlet{.records = [this](const Json& record) { take(record); }};
    if (options_.part && options_.format == "jsonl")
      outlet.lines = [this](std::string_view lines) {
        write_line(lines);
        flush();
      };
    return outlet;
  }

  void flush() {
    std::ostream& to = file_.is_open() ? static_cast<std::ostream&>(file_) : std::cout;
    if (!to.flush()) throw std::runtime_error("the stream cannot be written");
  }

  // What health finds goes out with the verdict, a moment later, in one piece.
  static bool has_followers(const Json& record) {
    const std::string type = record.value("t", "");
    return type == "process" || type == "check" || type == "msg" || type == "health";
  }

  void write_line(std::string_view line) {
    std::ostream& to = file_.is_open() ? static_cast<std::ostream&>(file_) : std::cout;
    if (file_.is_open() || options_.format == "jsonl") {
      to.write(line.data(), static_cast<std::streamsize>(line.size()));
      if (!to) throw std::runtime_error("the stream cannot be written");
    }
  }

  void take(const Json& record) {
    writer_.write(record);
    if (!has_followers(record)) sync();
    printer_->take(record);
    watch(record);
  }

  void watch(const Json& record) {
    const std::string type = record.value("t", "");
    if ((type == "check" || type == "skip") && record.contains("during"))
      monitors_[record["case"].get<std::string>()].add(record);
  }

  static std::string hash_of(const std::vector<const CaseInfo*>& cases) {
    Sha256 hash;
    for (const CaseInfo* info : cases) hash.update(info->id + "\n");
    return hash.hex();
  }

  void write_head(const std::vector<const CaseInfo*>& cases) {
    Json planned = Json::array();
    for (const CaseInfo* info : cases) planned.push_back(case_json(*info));
    take(Json{{"v", 1},
              {"t", "run"},
              {"ns", trace::now_ns()},
              {"suite", "displif-cts"},
              {"bed", options_.bed},
              {"role", options_.role},
              {"boot", boot_id()},
              {"peer", Json{{"name", context_.peer.name}, {"version", context_.peer.version}}},
              {"seed", options_.seed}});
    take(Json{{"v", 1},
              {"t", "plan"},
              {"ns", trace::now_ns()},
              {"cases", planned},
              {"count", cases.size()},
              {"sha256", hash_of(cases)}});
  }

  void judge_monitor(const CaseInfo& info) {
    take_verdict(info.id, monitors_[info.id].judge_monitor());
  }

  void take_verdict(const std::string& id, const Judgement& judgement) {
    take(Json{{"v", 1},
              {"t", "verdict"},
              {"ns", trace::now_ns()},
              {"case", id},
              {"verdict", name(judgement.verdict)},
              {"reason", judgement.reason},
              {"attempt", 1},
              {"ns_spent", 0}});
    count(judgement);
  }

  void count(const Judgement& judgement) { ++counts_[std::string(name(judgement.verdict))]; }

  int exit_status() const {
    if (counts_.empty() || counts_.contains("infra-error")) return kExitInfrastructure;
    for (const char* bad : {"fail", "hang", "crash"})
      if (counts_.contains(bad)) return kExitFailed;
    return 0;
  }

  const Options& options_;
  const Hooks& hooks_;
  RunContext context_;
  std::optional<Elsewhere> elsewhere_;
  std::unique_ptr<Printer> printer_;
  std::ofstream file_;
  int sync_ = -1;  // the same file, by its descriptor
  bool resumed_ = false;
  Past past_;
  StreamWriter writer_;
  std::map<std::string, Fold> monitors_;
  std::map<std::string, unsigned> counts_;
};

// Cases that take minutes run when they are asked for.
bool wanted(const CaseInfo& info, const Options& options) {
  return info.group() != "long" || options.full ||
         std::ranges::any_of(options.globs, [](const std::string& glob) {
           return glob.find(".long.") != std::string::npos;
         });
}

int run(const Options& options, const Hooks& hooks) {
  auto cases = Registry::instance().select(role_of(options.role), options.globs, options.excludes);
  std::erase_if(cases, [&](const CaseInfo* info) { return !wanted(*info, options); });
  if (cases.empty()) {
    fmt::print(stderr, "displif-cts-runner: no case matches; `list` prints their ids\n");
    return kExitInfrastructure;
  }
  if (options.resume && (options.out.empty() || options.part)) {
    fmt::print(stderr, "displif-cts-runner: --resume goes on with the stream in --out\n");
    return kExitUsage;
  }
  if (options.backend && options.there.empty()) {
    fmt::print(stderr, "displif-cts-runner: --backend wants the way to the runner after --\n");
    return kExitUsage;
  }
  try {
    return Run(options, hooks).execute(cases);
  } catch (const std::regex_error& error) {
    fmt::print(stderr, "displif-cts-runner: --ready {}: {}\n", options.ready, error.what());
    return kExitUsage;
  } catch (const std::runtime_error& error) {
    fmt::print(stderr, "displif-cts-runner: {}\n", error.what());
    return kExitUsage;
  }
}

int replay_file(const std::string& path, const AttachMonitors& monitors) {
  std::ifstream stream(path);
  if (!stream || !monitors) {
    fmt::print(stderr, "displif-cts-runner: {}\n",
               stream ? "this runner has no monitors" : path + ": " + std::strerror(errno));
    return kExitUsage;
  }
  try {
    replay(stream, monitors, stdout);
    return 0;
  } catch (const std::exception& error) {
    fmt::print(stderr, "displif-cts-runner: {}: {}\n", path, error.what());
    return kExitInfrastructure;
  }
}

void add_selection(CLI::App& app, Options& options) {
  app.add_option("--role", options.role, "the peer's role")
      ->check(CLI::IsMember({"frontend", "backend"}));
  app.add_option("--case", options.globs, "only cases that match this glob (repeatable)");
  app.add_option("--exclude", options.excludes, "not the cases that match (repeatable)");
}

}  // namespace

int program(int argc, char** argv, const std::vector<const Requirement*>& requirements,
            const Hooks& hooks, const AttachMonitors& monitors) {
  Options options;
  CLI::App app{"displif-cts-runner: runs conformance cases against a displif peer"};
  app.require_subcommand(1);
  auto* list_command = app.add_subcommand("list", "print the cases");
  add_selection(*list_command, options);
  list_command->add_option("--format", options.format)->check(CLI::IsMember({"human", "jsonl"}));
  auto* run_command = app.add_subcommand("run", "run cases, from the domain of the fake");
  add_selection(*run_command, options);
  run_command->add_option("--format", options.format)
      ->check(CLI::IsMember({"human", "jsonl", "ktap", "lava"}));
  run_command->add_option("--bed", options.bed)->check(CLI::IsMember({"qemu", "loopback", "host"}));
  run_command->add_flag("--full", options.full, "the group `long`, too");
  run_command->add_option("--agent", options.agent, "socket of displif-cts-agent");
  run_command->add_option("--domain", options.domain, "the peer's domain id")->required();
  run_command->add_option("--peer", options.peer, "peer descriptor (JSON)")->required();
  run_command->add_option("--out", options.out, "folder for stream.jsonl");
  run_command->add_option("--seed", options.seed);
  run_command->add_option("--attempt", options.attempt);
  run_command->add_flag("--part", options.part,
                        "only the cases' own records: another scheduler "
                        "writes the stream's head and end");
  run_command->add_flag("--while-clean", options.while_clean,
                        "stop after the first case that did not leave the peer as it was");
  run_command->add_flag("--resume", options.resume,
                        "go on with the run in --out, if there is one: the case that was running "
                        "is judged, those that have their verdict do not run again");
  run_command->add_flag("--leaks", options.leaks,
                        "scan the guest's kernel for lost memory behind each case "
                        "(kmemleak; seven seconds more for each)");
  run_command->add_option("--first-device", options.first_device, "the first case's device id");
  run_command->add_option("--backend", options.backend,
                          "with a command after --: starts the backend, anew for each case");
  run_command->add_option("--ready", options.ready,
                          "what a line of its output says when it is ready (regular expression)");
  run_command->footer(
      "-- COMMAND...: leads to a runner in another domain, which runs each case: --case and such\n"
      "are added to its words. This one keeps the stream.");
  auto* replay_command =
      app.add_subcommand("replay", "judge a frontend's recorded messages once more");
  std::string recorded;
  replay_command->add_option("STREAM", recorded, "a stream.jsonl")->required();
  char** const mark = std::find(argv, argv + argc, std::string_view("--"));
  if (mark != argv + argc) options.there.assign(mark + 1, argv + argc);
  try {
    app.parse(static_cast<int>(mark - argv), argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  if (replay_command->parsed()) return replay_file(recorded, monitors);
  return list_command->parsed() ? list(options, requirements) : run(options, hooks);
}

}  // namespace displif_cts::runner
