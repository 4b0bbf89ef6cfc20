#include "cases/monitor/rule.h"

#include <fmt/format.h>

namespace displif_cts::cases::monitor {

void Tally::judge(bool ok, std::string_view seen) {
  ++judged_;
  if (ok) return;
  ++wrong_;
  if (faults_.size() < kFaultsKept) faults_.emplace_back(seen);
}

void Tally::report(trace::Recorder& recorder, std::string_view monitor_id) const {
  if (judged_ == 0) return;
  std::string seen = fmt::format("{} of {} judged do not", wrong_, judged_);
  if (wrong_ == 0) {
    seen = fmt::format("all {} judged do", judged_);
  } else {
    for (const auto& fault : faults_) seen += "; " + fault;
    if (wrong_ > faults_.size()) seen += "; ...";
  }
  recorder.check_for(monitor_id, requirement_, wrong_ == 0, {expected_}, seen);
}

std::string describe(const RequestSeen& request) {
  return fmt::format("{} id {}, connector {}, index {}",
                     displif::operation_name(request.request.operation), request.request.id,
                     request.connector, request.index);
}

}  // namespace displif_cts::cases::monitor
