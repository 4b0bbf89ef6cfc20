#include "harness/agent/footprint.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <system_error>

#include "harness/agent/unique_fd.h"

namespace displif_cts::agent {
namespace {

TEST(Footprint, counts_what_this_process_opens_and_touches) {
  const std::array<pid_t, 1> self{getpid()};
  const Footprint before = footprint_of(self);
  constexpr std::size_t kOctets = 8U << 20;
  const auto memory = std::make_unique<std::byte[]>(kOctets);
  std::memset(memory.get(), 1, kOctets);
  const UniqueFd file(open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Footprint after = footprint_of(self);
  EXPECT_EQ(after.descriptors, before.descriptors + 1);
  EXPECT_GE(after.memory_kib, before.memory_kib + (kOctets >> 10) / 2);
}

TEST(Footprint, finds_the_processes_of_a_group) {
  const auto mine = processes_of_group(getpgrp());
  EXPECT_NE(std::ranges::find(mine, getpid()), mine.end());
  EXPECT_TRUE(processes_of_group(0x7ffffff).empty());
}

class FakeProc : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(root_ / "7" / "fd"); }
  void TearDown() override { std::filesystem::remove_all(root_); }
  void status(const char* text) { std::ofstream(root_ / "7" / "status") << text; }

  const std::filesystem::path root_ =
      std::filesystem::temp_directory_path() / ("footprint-" + std::to_string(getpid()));
};

TEST_F(FakeProc, tells_a_sanitizer_by_its_address_space) {
  std::ofstream(root_ / "7" / "fd" / "0") << "";
  status("Name:\tVmSize: x\nVmSize:\t21474841140 kB\nRssAnon:\t    1500 kB\n");
  const Footprint found = footprint_of(std::array<pid_t, 2>{7, 8}, root_);
  EXPECT_EQ(found.descriptors, 1U);
  EXPECT_EQ(found.memory_kib, 1500U);
  EXPECT_TRUE(found.sanitized);
}

TEST_F(FakeProc, a_process_that_has_ended_is_an_error) {
  EXPECT_THROW(footprint_of(std::array<pid_t, 1>{9}, root_), std::system_error);
}

}  // namespace
}  // namespace displif_cts::agent
