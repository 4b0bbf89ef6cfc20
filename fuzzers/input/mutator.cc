#include "fuzzers/input/mutator.h"

#include <algorithm>
#include <string>

#include "fuzzers/input/codec.h"

namespace displif_cts::fuzz {
namespace {

// Texts that nodes may hold.
constexpr std::string_view kTexts[] = {"0",
                                       "1",
                                       "2",
                                       "4",
                                       "",
                                       "640x480",
                                       "64x16",
                                       "800x600",
                                       "1x1",
                                       "0x0",
                                       "-1x-1",
                                       "4096x2048",
                                       "640",
                                       "x",
                                       "640x",
                                       "2147483648x1",
                                       "99999999999x9",
                                       "-1",
                                       "4294967295",
                                       "1,2",
                                       "abc"};

// Read once: the engines make a mutator for every input.
const Input& idiom_actions(const Idiom& idiom) {
  static const std::vector<Input> read = [] {
    std::vector<Input> all;
    for (const Idiom& each : idioms()) {
      all.push_back(parse("displif-cts fuzz input " + std::to_string(kFormatVersion) + "\n" +
                          std::string(each.text)));
    }
    return all;
  }();
  return read[static_cast<std::size_t>(&idiom - idioms().data())];
}

}  // namespace

std::uint64_t Random::next() {
  state_ += 0x9e3779b97f4a7c15ULL;
  std::uint64_t z = state_;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

Mutator::Mutator(unsigned roles, std::uint64_t seed) : roles_(roles), random_(seed) {
  for (const KindSpec& spec : kinds()) {
    if ((spec.roles & roles) == 0) continue;
    // What messages, directories and programs say comes more often than what happens around them.
    const bool common = spec.kind == Kind::client || spec.kind == Kind::response ||
                        spec.kind == Kind::event || spec.kind == Kind::request ||
                        spec.kind == Kind::directory || spec.kind == Kind::interleave;
    kinds_.insert(kinds_.end(), common ? 4 : 1, spec.kind);
  }
  for (const Idiom& idiom : idioms()) {
    if ((idiom.roles & roles) == idiom.roles) idioms_.push_back(&idiom);
  }
}

Action Mutator::any_action() {
  Action action = make(kinds_[random_.below(kinds_.size())]);
  const KindSpec& spec = spec_of(action.kind);
  if (action.kind == Kind::client) action.values[Client::call] = random_.below(17);
  for (std::uint64_t changes = random_.below(3) + 1; changes > 0; --changes) change_field(action);
  if (!spec.text.empty() && action.text.empty())
    action.text = kTexts[random_.below(std::size(kTexts))];
  return action;
}

void Mutator::change_field(Action& action) {
  const KindSpec& spec = spec_of(action.kind);
  if (!spec.text.empty() && random_.one_in(3)) {
    if (action.kind == Kind::fault) {
      if (!idioms_.empty()) action.text = idioms_[random_.below(idioms_.size())]->name;
    } else if (random_.one_in(2) || action.text.empty()) {
      action.text = kTexts[random_.below(std::size(kTexts))];
    } else {
      action.text[random_.below(action.text.size())] = static_cast<char>(random_.next());
    }
    return;
  }
  const std::size_t at = random_.below(spec.fields.size());
  action.values[at] = interesting(spec.fields[at], action.values[at], random_);
}

void Mutator::insert_idiom(Input& input, std::size_t at) {
  if (idioms_.empty()) return;
  const Input& more = idiom_actions(*idioms_[random_.below(idioms_.size())]);
  input.insert(input.begin() + static_cast<std::ptrdiff_t>(at), more.begin(), more.end());
}

void Mutator::change(Input& input) {
  const std::size_t size = input.size();
  const std::size_t at = random_.below(size + 1);
  const auto here = input.begin() + static_cast<std::ptrdiff_t>(at);
  const std::uint64_t what = size == 0 ? random_.below(5) : random_.below(16);
  if (what < 3) {
    input.insert(here, any_action());
  } else if (what < 5) {
    insert_idiom(input, at);
  } else if (what < 6) {  // what follows falls into the middle of what runs
    Action point = make(Kind::interleave);
    point.values[Interleave::points] = random_.below(40);
    if ((spec_of(Kind::interleave).roles & roles_) != 0) input.insert(here, point);
  } else if (what < 11) {
    change_field(input[random_.below(size)]);
  } else if (what < 13) {
    const std::size_t from = random_.below(size);
    const std::size_t count = std::min<std::size_t>(size - from, random_.below(4) + 1);
    input.erase(input.begin() + static_cast<std::ptrdiff_t>(from),
                input.begin() + static_cast<std::ptrdiff_t>(from + count));
  } else if (what < 14) {
    std::swap(input[random_.below(size)], input[random_.below(size)]);
  } else {
    const std::size_t from = random_.below(size);
    const std::size_t count = std::min<std::size_t>(size - from, random_.below(6) + 1);
    const Input copy(input.begin() + static_cast<std::ptrdiff_t>(from),
                     input.begin() + static_cast<std::ptrdiff_t>(from + count));
    input.insert(input.begin() + static_cast<std::ptrdiff_t>(random_.below(size + 1)), copy.begin(),
                 copy.end());
  }
}

Input Mutator::generate() {
  Input input;
  for (const Idiom* idiom : idioms_) {
    if (idiom->name != "connect") continue;
    const Input& more = idiom_actions(*idiom);
    input.insert(input.end(), more.begin(), more.end());
  }
  for (std::uint64_t steps = random_.below(8) + 1; steps > 0; --steps) {
    if (random_.one_in(2)) {
      insert_idiom(input, input.size());
    } else {
      input.push_back(any_action());
    }
  }
  return input;
}

void Mutator::mutate(Input& input, std::size_t most) {
  if (input.empty()) {
    input = generate();
  } else {
    for (std::uint64_t changes = random_.one_in(3) ? random_.below(6) + 1 : 1; changes > 0;
         --changes)
      change(input);
  }
  if (input.size() > most) input.resize(most);
}

Input Mutator::cross(const Input& one, const Input& other, std::size_t most) {
  Input result(one.begin(),
               one.begin() + static_cast<std::ptrdiff_t>(random_.below(one.size() + 1)));
  const std::size_t from = random_.below(other.size() + 1);
  result.insert(result.end(), other.begin() + static_cast<std::ptrdiff_t>(from), other.end());
  if (random_.one_in(4)) {
    const std::size_t again = random_.below(one.size() + 1);
    result.insert(result.end(), one.begin() + static_cast<std::ptrdiff_t>(again), one.end());
  }
  if (result.size() > most) result.resize(most);
  return result;
}

}  // namespace displif_cts::fuzz
