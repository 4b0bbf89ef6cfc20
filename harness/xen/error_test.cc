#include "harness/xen/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <sstream>

#include "harness/xen/store.h"
#include "harness/xen/types.h"

namespace displif_cts::xen {
namespace {

TEST(Error, says_call_object_and_errno) {
  const Error error("xs_write", "/local/domain/1/x", EACCES);
  EXPECT_STREQ(error.what(), "xs_write(/local/domain/1/x): EACCES (Permission denied)");
  EXPECT_EQ(error.call(), "xs_write");
  EXPECT_EQ(error.object(), "/local/domain/1/x");
  EXPECT_EQ(error.number(), EACCES);
}

TEST(Error, names_numbers_that_have_no_name) {
  EXPECT_EQ(errno_name(ENOENT), "ENOENT");
  EXPECT_EQ(errno_name(4711), "errno 4711");
  EXPECT_EQ(errno_name(0), "no errno");
}

TEST(Types, print_what_they_are) {
  std::ostringstream out;
  out << DomId{1} << ", " << GrantRef{8} << ", " << Port{15};
  EXPECT_EQ(out.str(), "domain 1, gref 8, port 15");
  EXPECT_EQ(raw(GrantRef{0xffffffff}), 0xffffffffU);
}

TEST(Store, without_a_xenstore_is_an_error_that_says_so) {
  setenv("XENSTORED_PATH", "/nonexistent/socket", 1);
  try {
    Store::open();
    GTEST_SKIP() << "this machine has a XenStore device";
  } catch (const Error& error) {
    EXPECT_EQ(error.call(), "xs_open");
    EXPECT_EQ(error.number(), ENOENT);
  }
}

}  // namespace
}  // namespace displif_cts::xen
