// displif-zero-copy: what a backend on an auto-translated dom0 relies on when it neither copies nor
// maps a buffer: dma-bufs of a guest's grant references, and references to the pages of a dma-buf.
//
// Runs in dom0, beside displif-xen-contract in a guest (--role far). Wants gntdev's dma-buf calls,
// vgem and displif_dmabuf_peek. The last test ends the guest.
#include <fcntl.h>
#include <fnmatch.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <thread>
#include <vector>

#include "harness/loopback/contract/side.h"
#include "harness/loopback/contract/words.h"
#include "lab/zero_copy/buffers.h"

namespace {

using displif_cts::contract::Answer;
using displif_cts::contract::check;
using displif_cts::contract::equal;
using displif_cts::contract::eventually;
using displif_cts::contract::Failure;
using displif_cts::contract::Far;
using displif_cts::contract::Mapper;
using displif_cts::contract::Near;
using displif_cts::contract::Pages;
using displif_cts::zero_copy::File;
using displif_cts::zero_copy::Gntdev;
using displif_cts::zero_copy::Held;
using displif_cts::zero_copy::peek_export;
using displif_cts::zero_copy::VgemBuffer;

constexpr long kPage = 4096;
constexpr long kPages = 5;
constexpr long kWrite = PROT_READ | PROT_WRITE;
constexpr long kOtherDomain = 0;        // not the guest: references to it are not for the guest
constexpr long kNoDomain = 32000;       // an id that nobody has
constexpr long kNoRef = 0x7ffffff0;     // beyond every table
constexpr std::uint32_t kShort = 300;   // ms that a buffer is waited for which is not released
constexpr std::uint32_t kLong = 20000;  // ms that a buffer is waited for which is

// The guest, and a process of dom0 that stands for dom0 where the guest's side wants a peer.
struct World {
  Far& guest;
  Near& dom0;

  Pages share(long count, bool writable = true) const { return {guest, dom0, count, writable}; }
};

File exported(const Gntdev& gntdev, const World& world, const std::vector<long>& refs) {
  File buffer = gntdev.exported(world.guest.domain(), refs);
  check(static_cast<bool>(buffer),
        std::string("dmabuf_exp_from_refs failed: ") + std::strerror(errno));
  return buffer;
}

Held held(int fd) {
  auto hold = Held::take(fd);
  check(hold.has_value(), std::string("the buffer cannot be attached to: ") + std::strerror(errno));
  return std::move(*hold);
}

std::vector<long> imported(const Gntdev& gntdev, const World& world, int fd, std::size_t pages) {
  const auto refs = gntdev.imported(world.guest.domain(), fd, pages);
  check(refs.has_value(), std::string("dmabuf_imp_to_refs failed: ") + std::strerror(errno));
  return *refs;
}

void refused(int error, const std::string& what) { equal(long{errno}, error, what + ": errno"); }

void not_exported(const Gntdev& gntdev, long domain, const std::vector<long>& refs,
                  const std::string& what) {
  check(!gntdev.exported(domain, refs), "a buffer was made of " + what);
}

void not_mapped(const Mapper& mapper, const World& world, const std::vector<long>& refs,
                const std::string& what) {
  check(mapper.try_map(world.dom0, refs, kWrite).value < 0, "the guest could map " + what);
}

// --- buffers made of the guest's references ------------------------------------------------------

void an_exported_buffer_is_the_guests_pages(const World& world) {
  const Pages pages = world.share(kPages);
  for (long i = 0; i < kPages; ++i) pages.poke(i * kPage + 7 * i, 0x40 + i);
  const Gntdev gntdev;
  const File buffer = exported(gntdev, world, pages.refs);
  const Held hold = held(buffer.get());
  equal(static_cast<long>(hold.pages()), kPages, "pages of the buffer");
  for (long i = 0; i < kPages; ++i)
    equal(hold.peek(static_cast<std::size_t>(i * kPage + 7 * i)), 0x40 + i,
          "an octet of the guest's");
  hold.poke(4 * kPage + 4095, 0x5a);
  equal(pages.peek(4 * kPage + 4095), 0x5a, "an octet written into the buffer, in the guest");
  pages.poke(1, 0x77);
  equal(hold.peek(1), 0x77, "an octet that the guest writes while the buffer is held");
}

void references_may_come_in_any_order(const World& world) {
  const Pages pages = world.share(kPages);
  for (long i = 0; i < kPages; ++i) pages.poke(i * kPage, 0x10 + i);
  const Gntdev gntdev;
  const File buffer = exported(gntdev, world, {pages.refs[3], pages.refs[0], pages.refs[4]});
  const Held hold = held(buffer.get());
  equal(hold.peek(0), 0x13, "the first page");
  equal(hold.peek(kPage), 0x10, "the second page");
  equal(hold.peek(2 * kPage), 0x14, "the third page");
}

void a_programs_own_view_of_an_exported_buffer_is_refused(const World& world) {
  const Pages pages = world.share(1);
  const Gntdev gntdev;
  const File buffer = exported(gntdev, world, pages.refs);
  check(mmap(nullptr, kPage, PROT_READ, MAP_SHARED, buffer.get(), 0) == MAP_FAILED,
        "a program could map the buffer");
}

void a_buffer_in_use_is_waited_for_no_longer_than_told(const World& world) {
  const Pages pages = world.share(kPages);
  const Gntdev gntdev;
  File buffer = exported(gntdev, world, pages.refs);
  const int number = buffer.get();
  Held hold = held(number);
  equal(gntdev.wait_released(number, kShort), -1, "waiting for a buffer that is open");
  refused(ETIMEDOUT, "waiting for a buffer that is open");
  buffer.close();
  equal(gntdev.wait_released(number, kShort), -1, "waiting for a buffer that a device holds");
  refused(ETIMEDOUT, "waiting for a buffer that a device holds");
}

void the_wait_ends_with_the_last_user(const World& world) {
  const Pages pages = world.share(kPages);
  const Gntdev gntdev;
  File buffer = exported(gntdev, world, pages.refs);
  const int number = buffer.get();
  Held hold = held(number);
  buffer.close();
  int result = 1;
  std::thread waiter([&] { result = gntdev.wait_released(number, kLong); });
  std::this_thread::sleep_for(std::chrono::milliseconds(kShort));  // so that it waits
  hold.let_go();
  waiter.join();
  equal(result, 0, "the wait");
  equal(gntdev.wait_released(number, kShort), 0, "waiting for a buffer that is gone");
}

// libxengnttab takes the kernel's ENOENT, which is for what is gone and for what never was, for
// success.
void what_was_never_exported_is_not_waited_for(const World&) {
  const Gntdev gntdev;
  const VgemBuffer other(1);
  for (const int number : {other.fd(), 4000, 0})
    equal(gntdev.wait_released(number, kLong), 0, "waiting for another file");
}

void guessed_references_make_no_buffer(const World& world) {
  const Pages pages = world.share(kPages);
  const Gntdev gntdev;
  const long guest = world.guest.domain();
  std::vector<long> guessed = pages.refs;
  guessed[2] = kNoRef;
  not_exported(gntdev, guest, guessed, "a reference beyond the guest's table");
  // Among the guest's references, one that is not in use: the highest that we were given, and on.
  guessed[2] = *std::max_element(pages.refs.begin(), pages.refs.end()) + 1000;
  not_exported(gntdev, guest, guessed, "a reference that grants nothing");
  not_exported(gntdev, kNoDomain, pages.refs, "references of a domain that does not exist");
  not_exported(gntdev, guest, {}, "no reference at all");
  refused(EINVAL, "no reference at all");
  // None of that kept any of the good ones.
  const File buffer = exported(gntdev, world, pages.refs);
  equal(held(buffer.get()).peek(0), 0, "a page");
}

void references_for_reading_make_no_buffer(const World& world) {
  const Pages pages = world.share(1, false);
  const Gntdev gntdev;
  not_exported(gntdev, world.guest.domain(), pages.refs, "references that allow reading only");
}

void references_that_were_given_back_make_no_buffer(const World& world) {
  const Pages pages = world.share(kPages);
  const Gntdev gntdev;
  {
    const File buffer = exported(gntdev, world, pages.refs);
    const Held hold = held(buffer.get());
  }
  pages.unshare();
  const std::vector<long>& refs = pages.refs;
  eventually([&] { return !gntdev.exported(world.guest.domain(), refs); },
             "a buffer was made of references that the guest has ended");
}

void pages_that_the_guest_gives_back_stay_with_the_holder(const World& world) {
  const Pages pages = world.share(kPages);
  pages.poke(2 * kPage, 0x33);
  const Gntdev gntdev;
  File buffer = exported(gntdev, world, pages.refs);
  Held hold = held(buffer.get());
  pages.unshare();
  // The guest's kernel must keep the pages from others until we let go.
  const Pages others = world.share(64);
  for (long i = 0; i < 64; ++i) others.poke(i * kPage, 0x99);
  equal(hold.peek(2 * kPage), 0x33, "a page that the guest gave back");
  hold.poke(2 * kPage, 0x34);
  for (long i = 0; i < 64; ++i)
    equal(others.peek(i * kPage), 0x99, "a page of the guest's that has nothing to do with it");
}

void a_process_that_dies_lets_go(const World& world) {
  const Pages pages = world.share(kPages);
  int ends[2];
  check(pipe(ends) == 0, "pipe");
  const pid_t child = fork();
  if (child == 0) {
    try {
      const Gntdev gntdev;
      const File buffer = exported(gntdev, world, pages.refs);
      const Held hold = held(buffer.get());
      const char octet = static_cast<char>(hold.peek(0));
      if (write(ends[1], &octet, 1) == 1) pause();
    } catch (const std::exception&) {
    }
    _exit(1);
  }
  char octet = 1;
  close(ends[1]);
  const bool holds = read(ends[0], &octet, 1) == 1;
  close(ends[0]);
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  check(holds, "the child could not hold the buffer");
  // Nobody has the pages now: the guest ends the grants, and then they are no more.
  pages.unshare();
  const Gntdev gntdev;
  const std::vector<long>& refs = pages.refs;
  eventually([&] { return !gntdev.exported(world.guest.domain(), refs); }, "the grants live on");
}

void a_closed_handle_leaves_its_buffers_to_their_users(const World& world) {
  const Pages pages = world.share(kPages);
  pages.poke(0, 0x21);
  Gntdev gntdev;
  File buffer = exported(gntdev, world, pages.refs);
  Held hold = held(buffer.get());
  gntdev.close();
  equal(hold.peek(0), 0x21, "a page of a buffer whose handle is closed");
  buffer.close();
  equal(hold.peek(0), 0x21, "a page of a buffer that only the device holds");
  hold.let_go();
  pages.unshare();
}

void two_buffers_of_the_same_pages_are_two(const World& world) {
  const Pages pages = world.share(kPages);
  const Gntdev gntdev;
  File one = exported(gntdev, world, pages.refs);
  const File other = exported(gntdev, world, pages.refs);
  Held first = held(one.get());
  const Held second = held(other.get());
  first.poke(9, 0x42);
  equal(second.peek(9), 0x42, "the other buffer");
  first.let_go();
  one.close();
  equal(second.peek(9), 0x42, "the other buffer, when the first has gone");
}

void many_buffers_of_many_pages_come_and_go(const World& world) {
  const Pages pages = world.share(256);
  const Gntdev gntdev;
  for (int i = 0; i < 50; ++i) {
    File buffer = exported(gntdev, world, pages.refs);
    const int number = buffer.get();
    const Held hold = held(number);
    hold.poke(255 * kPage, static_cast<unsigned char>(i));
    equal(pages.peek(255 * kPage), i, "the last page");
  }
}

// --- references to the pages of a buffer ---------------------------------------------------------

void an_imported_buffer_is_shared_with_the_guest(const World& world) {
  const VgemBuffer buffer(kPages);
  const Gntdev gntdev;
  const std::vector<long> refs = imported(gntdev, world, buffer.fd(), kPages);
  const Mapper mapper(world.guest);
  const long memory = mapper.map(world.dom0, refs, kWrite);
  for (long i = 0; i < kPages; ++i) {
    buffer.octet(static_cast<std::size_t>(i * kPage + i)) = static_cast<unsigned char>(0x60 + i);
    equal(mapper.peek(memory, i * kPage + i), 0x60 + i, "an octet of the buffer's, in the guest");
  }
  mapper.poke(memory, kPages * kPage - 1, 0x5b);
  equal(buffer.octet(kPages * kPage - 1), 0x5b, "an octet of the guest's, in the buffer");
  mapper.unmap(memory, kPages);
  equal(gntdev.release_import(buffer.fd()), 0, "dmabuf_imp_release");
}

void a_buffer_of_a_kernel_module_is_shared_with_the_guest(const World& world) {
  const File buffer = peek_export(kPages, 0);
  const Held hold = held(buffer.get());
  const Gntdev gntdev;
  const std::vector<long> refs = imported(gntdev, world, buffer.get(), kPages);
  const Mapper mapper(world.guest);
  const long memory = mapper.map(world.dom0, refs, kWrite);
  hold.poke(3 * kPage + 5, 0x71);
  equal(mapper.peek(memory, 3 * kPage + 5), 0x71, "an octet of the module's, in the guest");
  mapper.unmap(memory, kPages);
  equal(gntdev.release_import(buffer.get()), 0, "dmabuf_imp_release");
}

void a_buffer_that_begins_inside_a_page_is_refused(const World& world) {
  // Its first page holds octets that are not the buffer's: the guest would see them.
  const File buffer = peek_export(kPages, 256);
  const Gntdev gntdev;
  check(!gntdev.imported(world.guest.domain(), buffer.get(), kPages),
        "references to a page that is not the buffer's alone");
  refused(EINVAL, "a buffer with an offset");
}

void a_wrong_number_of_pages_is_refused(const World& world) {
  const VgemBuffer buffer(kPages);
  const Gntdev gntdev;
  for (const std::size_t count : {kPages - 1UL, kPages + 1UL}) {
    check(!gntdev.imported(world.guest.domain(), buffer.fd(), count),
          "references to another number of pages than the buffer has");
    refused(EINVAL, "another number of pages");
  }
  imported(gntdev, world, buffer.fd(), kPages);
  equal(gntdev.release_import(buffer.fd()), 0, "dmabuf_imp_release");
}

void what_is_no_buffer_is_not_imported(const World& world) {
  const Gntdev gntdev;
  const File file(open("/dev/null", O_RDWR | O_CLOEXEC));
  check(!gntdev.imported(world.guest.domain(), file.get(), 1), "references to no dma-buf");
  refused(EINVAL, "a file that is no dma-buf");
  check(!gntdev.imported(world.guest.domain(), 4000, 1), "references to no file");
  refused(EBADF, "a number that is no file");
}

void a_release_is_once(const World& world) {
  const VgemBuffer buffer(1);
  const Gntdev gntdev;
  equal(gntdev.release_import(buffer.fd()), -1, "releasing what was not imported");
  refused(ENOENT, "releasing what was not imported");
  imported(gntdev, world, buffer.fd(), 1);
  equal(gntdev.release_import(buffer.fd()), 0, "dmabuf_imp_release");
  equal(gntdev.release_import(buffer.fd()), -1, "releasing again");
  refused(ENOENT, "releasing again");
}

void references_die_with_the_release(const World& world) {
  const VgemBuffer buffer(kPages);
  const Gntdev gntdev;
  const std::vector<long> refs = imported(gntdev, world, buffer.fd(), kPages);
  const Mapper mapper(world.guest);
  mapper.unmap(mapper.map(world.dom0, refs, kWrite), kPages);
  equal(gntdev.release_import(buffer.fd()), 0, "dmabuf_imp_release");
  for (const long ref : refs) not_mapped(mapper, world, {ref}, "a reference after its release");
}

void references_die_with_the_handle(const World& world) {
  const VgemBuffer buffer(kPages);
  Gntdev gntdev;
  const std::vector<long> refs = imported(gntdev, world, buffer.fd(), kPages);
  gntdev.close();
  const Mapper mapper(world.guest);
  for (const long ref : refs)
    not_mapped(mapper, world, {ref}, "a reference after its handle's end");
}

void guessed_references_are_not_mapped(const World& world) {
  const VgemBuffer buffer(1);
  const Gntdev gntdev;
  const std::vector<long> refs = imported(gntdev, world, buffer.fd(), 1);
  const Mapper mapper(world.guest);
  for (const long ref : {refs[0] + 1000, refs[0] + 1001, kNoRef})
    not_mapped(mapper, world, {ref}, "a reference that it was not given");
  // Granted to somebody else.
  const VgemBuffer others(1);
  const auto elsewhere = gntdev.imported(kOtherDomain, others.fd(), 1);
  check(elsewhere.has_value(), "dmabuf_imp_to_refs for dom0 itself");
  not_mapped(mapper, world, *elsewhere, "a reference that was granted to another domain");
}

void a_guest_that_keeps_its_mapping_does_not_hold_the_release_up(const World& world) {
  const Gntdev gntdev;
  const Mapper mapper(world.guest);
  long memory = 0;
  std::vector<long> refs;
  {
    const VgemBuffer buffer(1);
    refs = imported(gntdev, world, buffer.fd(), 1);
    memory = mapper.map(world.dom0, refs, kWrite);
    buffer.octet(0) = 0x11;
    equal(gntdev.release_import(buffer.fd()), 0, "dmabuf_imp_release");
    // Until it lets go, the page is the guest's, too, which is why a backend has to wait for the
    // guest before it uses a buffer again. Linux keeps the page from others and ends the grant
    // later (drivers/xen/grant-table.c, gnttab_add_deferred).
    equal(mapper.peek(memory, 0), 0x11, "the page in the guest's mapping");
  }
  mapper.unmap(memory);
  eventually(
      [&] {
        const Answer answer = mapper.try_map(world.dom0, refs, kWrite);
        if (answer.value >= 0) mapper.unmap(answer.value);
        return answer.value < 0;
      },
      "the reference can be mapped for ever");
}

// --- the end of the guest ------------------------------------------------------------------------

// Whether Xen still has the domain: it stays as long as somebody maps its pages.
bool domain_exists(long domain) {
  const std::string command = "xl list " + std::to_string(domain) + " >/dev/null 2>&1";
  return std::system(command.c_str()) == 0;
}

void a_guest_that_dies_leaves_its_pages_to_the_holder(const World& world) {
  const long domain = world.guest.domain();
  const Pages pages = world.share(kPages);
  for (long i = 0; i < kPages; ++i) pages.poke(i * kPage, 0x50 + i);
  const VgemBuffer ours(1);
  const Gntdev gntdev;
  File buffer = exported(gntdev, world, pages.refs);
  const int number = buffer.get();
  Held hold = held(number);
  const Mapper mapper(world.guest);
  mapper.map(world.dom0, imported(gntdev, world, ours.fd(), 1), kWrite);
  const std::string destroy = "xl destroy " + std::to_string(domain) + " >/dev/null 2>&1";
  equal(std::system(destroy.c_str()), 0, "xl destroy");
  for (long i = 0; i < kPages; ++i) {
    equal(hold.peek(static_cast<std::size_t>(i * kPage)), 0x50 + i,
          "a page of a guest that is gone");
    hold.poke(static_cast<std::size_t>(i * kPage), static_cast<unsigned char>(i));
    equal(hold.peek(static_cast<std::size_t>(i * kPage)), i, "an octet written after its end");
  }
  check(domain_exists(domain), "Xen freed a domain whose pages are mapped");
  equal(gntdev.release_import(ours.fd()), 0, "dmabuf_imp_release after the guest's end");
  buffer.close();
  equal(gntdev.wait_released(number, kShort), -1, "waiting for a buffer that a device holds");
  refused(ETIMEDOUT, "waiting for a buffer that a device holds");
  hold.let_go();
  equal(gntdev.wait_released(number, kLong), 0, "waiting for the buffer of a guest that is gone");
  eventually([&] { return !domain_exists(domain); }, "the dead guest stays for ever");
  not_exported(gntdev, domain, pages.refs, "references of a guest that is gone");
}

struct Test {
  const char* name;
  void (*body)(const World&);
};

#define TEST(name) \
  Test { #name, name }
const Test kTests[] = {
    TEST(an_exported_buffer_is_the_guests_pages),
    TEST(references_may_come_in_any_order),
    TEST(a_programs_own_view_of_an_exported_buffer_is_refused),
    TEST(a_buffer_in_use_is_waited_for_no_longer_than_told),
    TEST(the_wait_ends_with_the_last_user),
    TEST(what_was_never_exported_is_not_waited_for),
    TEST(guessed_references_make_no_buffer),
    TEST(references_for_reading_make_no_buffer),
    TEST(references_that_were_given_back_make_no_buffer),
    TEST(pages_that_the_guest_gives_back_stay_with_the_holder),
    TEST(a_process_that_dies_lets_go),
    TEST(a_closed_handle_leaves_its_buffers_to_their_users),
    TEST(two_buffers_of_the_same_pages_are_two),
    TEST(many_buffers_of_many_pages_come_and_go),
    TEST(an_imported_buffer_is_shared_with_the_guest),
    TEST(a_buffer_of_a_kernel_module_is_shared_with_the_guest),
    TEST(a_buffer_that_begins_inside_a_page_is_refused),
    TEST(a_wrong_number_of_pages_is_refused),
    TEST(what_is_no_buffer_is_not_imported),
    TEST(a_release_is_once),
    TEST(references_die_with_the_release),
    TEST(references_die_with_the_handle),
    TEST(guessed_references_are_not_mapped),
    TEST(a_guest_that_keeps_its_mapping_does_not_hold_the_release_up),
    TEST(a_guest_that_dies_leaves_its_pages_to_the_holder),
};
#undef TEST

bool run_test(const Test& test, int number, World& world) {
  std::string problem;
  try {
    test.body(world);
  } catch (const Failure& failure) {  // whatever else is thrown ends the run
    problem = failure.what();
  }
  const bool last = &test == std::end(kTests) - 1;  // it has no guest any more
  if (!last) world.guest("clear");
  std::printf("%s %d - %s\n", problem.empty() ? "ok" : "not ok", number, test.name);
  if (!problem.empty()) std::printf("# %s\n", problem.c_str());
  std::fflush(stdout);
  return problem.empty();
}

int run(long guest, const std::string& glob) {
  Near dom0("dom0", 0);
  Far far("/local/domain/" + std::to_string(guest) + "/data/contract", guest);
  World world{far, dom0};
  int count = 0;
  int failed = 0;
  for (const Test& test : kTests)
    if (fnmatch(glob.c_str(), test.name, 0) == 0 && !run_test(test, ++count, world)) ++failed;
  std::printf("1..%d\n", count);
  return count == 0 ? 3 : failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  const std::string first = argc > 1 ? argv[1] : "";
  if (first == "--list") {
    for (const Test& test : kTests) std::puts(test.name);
    return 0;
  }
  char* end = nullptr;
  const long guest = std::strtol(first.c_str(), &end, 10);
  if (argc > 3 || argc < 2 || *end != '\0' || guest <= 0) {
    std::fputs("usage: displif-zero-copy GUEST [TEST-GLOB] | --list\n", stderr);
    return 2;
  }
  try {
    return run(guest, argc == 3 ? argv[2] : "*");
  } catch (const std::exception& error) {
    std::fprintf(stderr, "displif-zero-copy: %s\n", error.what());
    return 3;
  }
}
