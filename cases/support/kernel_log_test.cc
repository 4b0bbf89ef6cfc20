#include "cases/support/kernel_log.h"

#include <gtest/gtest.h>

#include <utility>

namespace displif_cts::cases {
namespace {

TEST(KernelLog, an_ordinary_driver_message_is_no_trouble) {
  EXPECT_EQ(
      judge_log("[drm] Initialized xendrm-du 1.0.0\n[drm:xen] *ERROR* Failed to create\n").worst,
      LogTrouble::none);
}

TEST(KernelLog, a_warning_is_a_complaint_and_its_line_is_kept) {
  const LogFinding finding = judge_log("a\n[1.0] WARNING: CPU: 0 PID: 1 at mm/memory.c:3\nb\n");
  EXPECT_EQ(finding.worst, LogTrouble::complaint);
  ASSERT_EQ(finding.lines.size(), 1U);
  EXPECT_EQ(finding.lines[0], "[1.0] WARNING: CPU: 0 PID: 1 at mm/memory.c:3");
}

TEST(KernelLog, an_oops_outweighs_what_follows_it) {
  EXPECT_EQ(judge_log("BUG: unable to handle page fault\nINFO: task x:1 blocked for more than 3 "
                      "seconds.\n")
                .worst,
            LogTrouble::crash);
}

TEST(KernelLog, a_hung_task_is_a_hang) {
  EXPECT_EQ(judge_log("INFO: task kms:80 blocked for more than 3 seconds.\nCall Trace:\n").worst,
            LogTrouble::hang);
}

TEST(KernelLog, a_flood_is_bounded) {
  std::string flood;
  for (int i = 0; i < 1000; ++i) flood += "WARNING: again\n";
  EXPECT_EQ(judge_log(flood).lines.size(), 32U);
}

// A line of each sort of report that a kernel for debugging makes, in its own words.
class DebugReport : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(DebugReport, is_a_complaint) {
  const std::string log = "[   12.3] " + std::string(GetParam().second) + "\n";
  EXPECT_EQ(judge_log(log).worst, LogTrouble::complaint);
  EXPECT_EQ(judge_log("[   12.2] quiet\n" + log).lines.size(), 1U);
}

INSTANTIATE_TEST_SUITE_P(
    KernelLog, DebugReport,
    testing::Values(
        std::pair{"lock_order", "WARNING: possible circular locking dependency detected"},
        std::pair{"recursion", "WARNING: possible recursive locking detected"},
        std::pair{"irq_inversion", "WARNING: possible irq lock inversion dependency detected"},
        std::pair{"lock_state", "WARNING: inconsistent lock state"},
        std::pair{"lock_held", "WARNING: lock held when returning to user space!"},
        std::pair{"freed_lock", "WARNING: held lock freed!"},
        std::pair{"rcu", "WARNING: suspicious RCU usage"},
        std::pair{"atomic_sleep",
                  "BUG: sleeping function called from invalid context at mm/slab.h:1"},
        std::pair{"atomic_schedule", "BUG: scheduling while atomic: kms/80/0x00000002"},
        std::pair{"ubsan_shift", "UBSAN: shift-out-of-bounds in drivers/gpu/drm/xen/a.c:1:2"},
        std::pair{"ubsan_bounds", "UBSAN: array-index-out-of-bounds in drivers/a.c:1:2"},
        std::pair{"list_add", "list_add corruption. prev->next should be next (1), but was 2."},
        std::pair{"list_del", "list_del corruption, 1->next is LIST_POISON1 (2)"},
        std::pair{"refcount", "refcount_t: addition on 0; use-after-free."},
        std::pair{"object", "ODEBUG: free active (active state 0) object type: timer_list hint: x"},
        std::pair{"red_zone", "BUG kmalloc-64 (Not tainted): Right Redzone overwritten"},
        std::pair{"poison", "BUG kmalloc-64 (Not tainted): Poison overwritten"},
        std::pair{"kasan", "BUG: KASAN: use-after-free in xen_drm_front_x+0x1/0x2"},
        std::pair{"kmemleak",
                  "kmemleak: 3 new suspected memory leaks (see /sys/kernel/debug/kmemleak)"}),
    [](const auto& row) { return std::string(row.param.first); });

constexpr std::string_view kKnown =
    "------------[ cut here ]------------\nWARNING: at lib/refcount.c:25\n known_function+0x1\n"
    "---[ end trace 0 ]---\n";
constexpr std::string_view kOther =
    "------------[ cut here ]------------\nWARNING: at mm/memory.c:3\n other_function+0x1\n"
    "---[ end trace 0 ]---\n";

TEST(SiftKnown, takes_out_the_known_complaint_and_nothing_else) {
  const std::string text = "a\n" + std::string(kKnown) + "b\n" + std::string(kOther) + "c\n";
  const SiftedLog sifted = sift_known(text, {"known_function"});
  ASSERT_EQ(sifted.known.size(), 1U);
  EXPECT_EQ(sifted.known[0], "WARNING: at lib/refcount.c:25");
  EXPECT_EQ(sifted.rest.find("known_function"), std::string::npos);
  EXPECT_NE(sifted.rest.find("other_function"), std::string::npos);
  EXPECT_EQ(judge_log(sifted.rest).worst, LogTrouble::complaint);
}

TEST(SiftKnown, never_takes_out_a_crash) {
  const std::string text =
      "[ cut here ]\nkernel BUG at mm/slub.c:1\n known_function+0x1\n[ end trace 0 ]\n";
  EXPECT_TRUE(sift_known(text, {"known_function"}).known.empty());
  EXPECT_EQ(sift_known(text, {"known_function"}).rest, text);
}

TEST(SiftKnown, leaves_a_complaint_without_end_alone) {
  const std::string text = "[ cut here ]\nWARNING: x known_function\n";
  EXPECT_EQ(sift_known(text, {"known_function"}).rest, text);
}

}  // namespace
}  // namespace displif_cts::cases
