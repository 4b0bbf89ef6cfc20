// The one JSON type of the tree: ordered, so that records read the same on every run.
#pragma once

#include <nlohmann/json.hpp>

namespace displif_cts {
using Json = nlohmann::ordered_json;
}  // namespace displif_cts
