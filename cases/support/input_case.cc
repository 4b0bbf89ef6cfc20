#include "cases/support/input_case.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <stdexcept>
#include <thread>

#include "cases/requirements.gen.h"
#include "cases/support/judging_case.h"
#include "fuzzers/guest/coverage.h"
#include "fuzzers/guest/session.h"
#include "fuzzers/input/codec.h"

namespace displif_cts::cases {
namespace {

namespace fs = std::filesystem;

// Longer than any session lets time pass, and clients wait, on a busy machine.
constexpr milliseconds kLimit = seconds(90);

std::string joined(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

class InputCase : public JudgingCase {
 public:
  explicit InputCase(std::shared_ptr<const fuzz::Input> input) : input_(std::move(input)) {}

  void TestBody() override {
    const xen::DomId guest{run().domain};
    const auto coverage = fuzz_guest::Coverage::open(guest);
    const fuzz_guest::Hits before = coverage ? coverage->read() : fuzz_guest::Hits{};
    const char* masks = std::getenv("DISPLIF_FUZZ_MASK");
    fuzz_guest::Session session({run().agent_socket, guest, run().first_device, peer().removal},
                                fuzz_guest::Masks(masks == nullptr ? "none" : masks), recorder());
    session.play(*input_);
    check(req::health_clients_served, session.stuck().empty(),
          {"every call returns when the backend serves again"},
          session.stuck().empty() ? "they do" : "still waiting: " + joined(session.stuck()));
    Json record = session.counts();
    record["actions"] = input_->size();
    if (coverage) {
      const fuzz_guest::Hits after = coverage->read();
      record["executed"] = fuzz_guest::difference(before, after);
      if (session.lost()) {  // what it goes on with instead
        std::this_thread::sleep_for(milliseconds(300));
        record["spinning"] = fuzz_guest::difference(after, coverage->read());
      }
    }
    recorder().record("session", std::move(record));
  }

 private:
  std::shared_ptr<const fuzz::Input> input_;
};

std::vector<std::uint8_t> octets_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

bool register_played(const std::string& id, const std::string& title,
                     std::vector<const Requirement*> requirements, fuzz::Input input) {
  auto shared = std::make_shared<const fuzz::Input>(std::move(input));
  return register_case({.id = id,
                        .title = title,
                        .requirements = std::move(requirements),
                        .needs = {"dumb-buffers"},
                        .timeout = kLimit},
                       [shared]() -> testing::Test* { return new InputCase(shared); });
}

}  // namespace

bool register_input(const Regression& regression) {
  try {
    return register_played(regression.id, regression.title, regression.requirements,
                           fuzz::parse(regression.text));
  } catch (const fuzz::InputError& error) {
    std::fprintf(stderr, "%s: %s\n", regression.id, error.what());
    std::abort();
  }
}

void register_inputs(const std::string& folder) {
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().stem().string();
    try {
      register_played("frontend.fuzz." + name, "The frontend survives the input " + name + ".",
                      of(req::health_peer_alive, req::health_kernel_log_clean),
                      fuzz::read_any(octets_of(entry.path())));
    } catch (const fuzz::InputError& error) {
      throw std::runtime_error(fmt::format("{}: {}", entry.path().string(), error.what()));
    }
  }
}

}  // namespace displif_cts::cases
