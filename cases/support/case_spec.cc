#include "cases/support/case_spec.h"

namespace displif_cts::cases {

bool register_case(CaseSpec spec, std::function<testing::Test*()> make) {
  runner::CaseInfo info;
  info.role = spec.id.starts_with("backend.") ? Role::backend : Role::frontend;
  info.id = std::move(spec.id);
  info.title = std::move(spec.title);
  info.requirements = std::move(spec.requirements);
  info.needs = std::move(spec.needs);
  info.timeout = spec.timeout;
  info.make = std::move(make);
  return runner::Registry::instance().add(std::move(info));
}

}  // namespace displif_cts::cases
