// XS_CONTROL, what xenstore-control sends: xenstored_control.c. Commands that concern xenstored's
// own log and memory are accepted without effect; live-update is not known here.
#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include "harness/loopback/store/server.h"
#include "harness/loopback/store/state.h"

namespace displif_cts::loopback::store {
namespace {

struct NamedQuota {
  const char* name;
  int Quotas::*value;
};

constexpr NamedQuota kHard[] = {
    {"nodes", &Quotas::nodes},
    {"watches", &Quotas::watches},
    {"transactions", &Quotas::transactions},
    {"outstanding", &Quotas::outstanding},
    {"transaction-nodes", &Quotas::transaction_nodes},
    {"memory", &Quotas::memory},
    {"node-size", &Quotas::node_size},
    {"path-max", &Quotas::path_max},
    {"permissions", &Quotas::permissions},
};
constexpr NamedQuota kSoft[] = {{"memory", &Quotas::memory_soft}};

std::span<const NamedQuota> quotas_of(bool soft) {
  if (soft) return kSoft;
  return kHard;
}

std::string line(const char* format, const char* name, int value) {
  char text[64];
  std::snprintf(text, sizeof text, format, name, value);
  return text;
}

}  // namespace

int Server::control(Connection& c, std::string_view payload) {
  std::vector<std::string> arguments;
  for (const std::string_view argument : strings_of(payload)) arguments.emplace_back(argument);
  if (arguments.empty()) return EINVAL;
  const std::string command = arguments.front();
  arguments.erase(arguments.begin());
  const std::size_t count = arguments.size();
  if (command == "quota" || command == "quota-soft")
    return control_quota(c, arguments, command == "quota-soft");
  if (command == "help") {
    if (count != 0) return EINVAL;
    reply(
        c, MessageType::control,
        std::string("check\t\nlog\ton|off\nlogfile\t<file>\nmemreport\t[<file>]\nprint\t<string>\n"
                    "quota\t[set <name> <val>|<domid>]\nquota-soft\t[set <name> <val>]\nhelp\t\n") +
            '\0');
    return 0;
  }
  const bool accepted =
      (command == "check" && count == 0) || (command == "print" && count == 1) ||
      (command == "log" && count == 1 && (arguments[0] == "on" || arguments[0] == "off")) ||
      (command == "logfile" && count == 1) || (command == "memreport" && count <= 1);
  return accepted ? acknowledge(c, MessageType::control) : EINVAL;
}

int Server::control_quota(Connection& c, const std::vector<std::string>& arguments, bool soft) {
  if (arguments.empty()) {
    std::string answer = "Quota settings:\n";
    for (const NamedQuota& quota : quotas_of(soft))
      answer += line("%-17s: %8d\n", quota.name, options_.quotas.*quota.value);
    reply(c, MessageType::control, answer + '\0');
    return 0;
  }
  if (arguments[0] == "set") {
    const int value = arguments.size() == 3 ? std::atoi(arguments[2].c_str()) : 0;
    if (value < 1) return EINVAL;
    for (const NamedQuota& quota : quotas_of(soft)) {
      if (arguments[1] != quota.name) continue;
      options_.quotas.*quota.value = value;
      return acknowledge(c, MessageType::control);
    }
    return EINVAL;
  }
  if (soft || arguments.size() != 1) return EINVAL;
  const auto id = static_cast<DomainId>(std::atoi(arguments[0].c_str()));
  const auto used = usage(id);
  if (!used) return ENOENT;
  std::string answer = "Domain " + std::to_string(id) + ":\n";
  answer += line("%-16s: %8d\n", "nodes", used->nodes);
  answer += line("%-16s: %8d\n", "watches", used->watches);
  answer += line("%-16s: %8d\n", "transactions", used->transactions);
  answer += line("%-16s: %8d\n", "outstanding", used->outstanding);
  answer += line("%-16s: %8d\n", "memory", used->memory);
  reply(c, MessageType::control, answer + '\0');
  return 0;
}

}  // namespace displif_cts::loopback::store
