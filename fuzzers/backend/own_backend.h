// The suite's own backend as the one under attack, without a thread of its own.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>

#include "fake_backend/fake_backend.h"
#include "fuzzers/backend/machine.h"

namespace displif_cts::fuzz_backend {

class OwnBackend final : public Machine {
 public:
  // `fault`: the backend's, by id; empty: the reference. Throws std::exception.
  explicit OwnBackend(const std::string& fault);
  ~OwnBackend() override;

  void connect() override;
  bool disconnect() override;
  bool connected() const override { return backend_->connected(); }
  unsigned connections() const override { return backend_->connections(); }
  std::string trouble() const override;
  void run(Waiting& waiting) override;
  bool await(Waiting& waiting) override;
  void hear_of(std::string_view node) override;
  void forget() override { backend_->forget(); }
  bool runs_when_told() const override { return true; }
  fake_backend::ModelOptions model_options() const override;

 private:
  void run();
  // The same, and it may wait for XenStore's news that long.
  void run_for(std::chrono::milliseconds most);
  bool await_connection(bool connected);
  void make_backend();

  std::string fault_;
  trace::Recorder recorder_{nullptr};
  std::unique_ptr<fake_backend::FakeBackend> backend_;
};

}  // namespace displif_cts::fuzz_backend
