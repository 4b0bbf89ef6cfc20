// What a backend may answer, by the reference model (fake_backend/model.h): what was sent has a
// known legal set of outcomes. Accepting what must be refused, and the reverse, are findings as
// good as crashes, and each is known by the requirement that it breaks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "fake_backend/model.h"
#include "fuzzers/backend/guest_memory.h"
#include "harness/displif/wire.h"

namespace displif_cts::fuzz_backend {

// read_only: with pages that the backend must not write into. Whether it maps a buffer for writing
// is left to it (dbuf-create.hostile-directory-survived).
enum class Directory : std::uint8_t { usable, read_only, unusable, changing };

class Oracle {
 public:
  // `strict`: the backend is the reference itself, so that what the header leaves open is decided.
  Oracle(fake_backend::ModelOptions options, bool strict);

  // Can the request's page directory, if it names one, be used? As it stands now.
  static Directory directory_of(const displif::Request& request, const GuestMemory& memory);

  // Judges the answer to a request, and follows it. `directory`: as it stood when the backend came
  // to it. True: a buffer of the backend's own was made, whose references it has written into the
  // directory. Ends the process by finding().
  bool judge(std::size_t connector, const displif::Request& request,
             const displif::Response& response, Directory directory);

  // A new connection has neither buffers nor framebuffers.
  void forget(unsigned protocol) {
    model_.clear();
    model_.set_protocol(protocol);
    unsure_ = false;
  }
  // The backend has done what the model does not: what it has now can only be guessed, and only its
  // answers' form is judged from there on.
  bool unsure() const { return unsure_; }
  const fake_backend::Model& model() const { return model_; }

 private:
  void judge_packet(const displif::Request& request, const displif::Response& response) const;
  void broken(std::string_view requirement, const std::string& text);

  fake_backend::Model model_;
  fake_backend::BackendFaults none_;
  bool strict_;
  bool unsure_ = false;
};

}  // namespace displif_cts::fuzz_backend
