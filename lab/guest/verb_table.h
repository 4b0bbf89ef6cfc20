// The exerciser's verbs: what each takes and what it does. `hello` lists this table, PROTOCOL.md
// describes it, and a test compares the two.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "harness/agent/line_protocol.h"

namespace displif_cts::exerciser {

using agent::Arguments;
using agent::Request;
using agent::VerbError;
using agent::VerbSpec;

struct Verb {
  enum class Kind {
    plain,
    immediate,      // by the thread that reads requests, even when everything else is stuck
    relays_answer,  // `run` gives a whole answer, of which only `seq` is replaced
  };
  VerbSpec spec;
  // The answer's own fields; throws VerbError. Several run at once, each on its own thread.
  std::function<Json(const Request&)> run;
  Kind kind = Kind::plain;
};

class VerbTable {
 public:
  void add(VerbSpec spec, std::function<Json(const Request&)> run,
           Verb::Kind kind = Verb::Kind::plain);
  const Verb* find(std::string_view name) const;
  std::vector<std::string> names() const;  // sorted

 private:
  std::map<std::string, Verb, std::less<>> verbs_;
};

}  // namespace displif_cts::exerciser
