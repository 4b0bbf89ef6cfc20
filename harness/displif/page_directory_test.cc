#include "harness/displif/page_directory.h"

#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

namespace displif_cts::displif {
namespace {

using xen::GrantRef;

std::vector<GrantRef> sequence(std::uint32_t first, std::size_t count) {
  std::vector<GrantRef> refs(count);
  for (std::size_t i = 0; i < count; ++i) refs[i] = GrantRef{first + static_cast<std::uint32_t>(i)};
  return refs;
}

constexpr std::uint32_t kBufferFirst = 1000000;
constexpr std::uint32_t kDirectoryFirst = 5;

// A directory in "foreign" memory: pages by reference, and a count of how often each was mapped.
struct Memory {
  std::map<GrantRef, DirectoryPage> pages;
  std::map<GrantRef, int> mapped;

  std::optional<std::span<const std::byte>> map(GrantRef ref) {
    ++mapped[ref];
    const auto found = pages.find(ref);
    if (found == pages.end()) return std::nullopt;
    return std::as_bytes(std::span(found->second));
  }
  Directory walk(std::uint32_t buffer_sz, Entries entries = Entries::read,
                 std::uint32_t max_refs = UINT32_MAX) {
    return walk_directory(
        GrantRef{kDirectoryFirst}, buffer_sz, [this](GrantRef ref) { return map(ref); }, entries,
        max_refs);
  }
  std::uint32_t& word(std::uint32_t page, std::size_t index) {
    return pages.at(GrantRef{kDirectoryFirst + page})[index];
  }
};

Memory built(std::uint32_t refs) {
  const auto buffer = sequence(kBufferFirst, refs);
  const auto directory = sequence(kDirectoryFirst, directory_pages(refs));
  Memory memory;
  const auto pages = build_directory(buffer, directory);
  for (std::size_t i = 0; i < pages.size(); ++i) memory.pages[directory[i]] = pages[i];
  return memory;
}

constexpr std::uint32_t octets(std::uint32_t pages) { return pages * 4096; }

std::vector<DirectoryError> errors(const Directory& directory) {
  std::vector<DirectoryError> list;
  for (const DirectoryProblem& problem : directory.problems) list.push_back(problem.error);
  return list;
}
using Errors = std::vector<DirectoryError>;

TEST(BufferPages, rounds_up) {
  EXPECT_EQ(buffer_pages(0), 0U);
  EXPECT_EQ(buffer_pages(1), 1U);
  EXPECT_EQ(buffer_pages(4096), 1U);
  EXPECT_EQ(buffer_pages(4097), 2U);
  EXPECT_EQ(buffer_pages(0xffffffff), 1048576U);
}

TEST(DirectoryPages, hold_1023_references_each) {
  EXPECT_EQ(directory_pages(0), 1U);
  EXPECT_EQ(directory_pages(1), 1U);
  EXPECT_EQ(directory_pages(1023), 1U);
  EXPECT_EQ(directory_pages(1024), 2U);
  EXPECT_EQ(directory_pages(2046), 2U);
  EXPECT_EQ(directory_pages(2047), 3U);
  EXPECT_EQ(directory_pages(1048576), 1026U);
  EXPECT_EQ(directory_pages(0xffffffff), 4198405U);
}

class Sizes : public testing::TestWithParam<std::uint32_t> {};

TEST_P(Sizes, round_trip) {
  const std::uint32_t refs = GetParam();
  Memory memory = built(refs);
  const Directory directory = memory.walk(octets(refs));
  EXPECT_TRUE(directory.ok());
  EXPECT_EQ(directory.refs, sequence(kBufferFirst, refs));
  EXPECT_EQ(directory.pages, sequence(kDirectoryFirst, directory_pages(refs)));
  for (const auto& [ref, times] : memory.mapped) EXPECT_EQ(times, 1) << ref;
}

TEST_P(Sizes, last_page_ends_the_list_and_the_rest_is_zero) {
  const std::uint32_t refs = GetParam();
  Memory memory = built(refs);
  const std::uint32_t last = directory_pages(refs) - 1;
  EXPECT_EQ(memory.word(last, 0), 0U);
  const std::size_t used = refs - last * kRefsPerDirectoryPage;
  EXPECT_EQ(memory.word(last, used), kBufferFirst + refs - 1);
  for (std::size_t i = used + 1; i < 1024; ++i) EXPECT_EQ(memory.word(last, i), 0U);
}

TEST_P(Sizes, backend_fills_an_empty_directory) {
  const std::uint32_t refs = GetParam();
  const auto directory = sequence(kDirectoryFirst, directory_pages(refs));
  auto pages = build_empty_directory(refs, directory);
  Memory memory;
  for (std::size_t i = 0; i < pages.size(); ++i) memory.pages[directory[i]] = pages[i];
  const Directory links = memory.walk(octets(refs), Entries::ignore);
  EXPECT_TRUE(links.ok());
  EXPECT_EQ(links.pages, directory);
  EXPECT_TRUE(links.refs.empty());

  std::vector<std::span<std::byte>> mapped;
  for (const GrantRef ref : links.pages) {
    mapped.push_back(std::as_writable_bytes(std::span(memory.pages[ref])));
  }
  fill_directory(sequence(kBufferFirst, refs), mapped);
  EXPECT_EQ(memory.pages, built(refs).pages);
}

INSTANTIATE_TEST_SUITE_P(PageDirectory, Sizes,
                         testing::Values(1, 2, 1022, 1023, 1024, 1025, 2045, 2046, 2047, 4096, 8100,
                                         32768));

TEST(WalkDirectory, of_an_empty_buffer_maps_its_one_page) {
  Memory memory = built(0);
  const Directory directory = memory.walk(0);
  EXPECT_TRUE(directory.ok());
  EXPECT_TRUE(directory.refs.empty());
  EXPECT_EQ(directory.pages.size(), 1U);
}

TEST(WalkDirectory, of_four_gigabytes_is_bounded) {
  Memory memory = built(1048576);
  const Directory directory = memory.walk(0xffffffff);
  EXPECT_TRUE(directory.ok());
  EXPECT_EQ(directory.refs.size(), 1048576U);
}

TEST(WalkDirectory, refuses_more_than_the_caller_allows_before_mapping) {
  Memory memory = built(1024);
  const Directory directory = memory.walk(octets(1024), Entries::read, 1023);
  EXPECT_EQ(errors(directory), Errors({DirectoryError::too_large}));
  EXPECT_TRUE(memory.mapped.empty());
  EXPECT_TRUE(memory.walk(octets(1024), Entries::read, 1024).ok());
}

TEST(WalkDirectory, finds_a_list_that_ends_early) {
  Memory memory = built(1024);
  memory.word(0, 0) = 0;
  const Directory directory = memory.walk(octets(1024));
  EXPECT_EQ(errors(directory), Errors({DirectoryError::missing_page}));
  EXPECT_EQ(directory.problems[0].page, 1U);
  EXPECT_EQ(directory.refs.size(), 1023U);
  EXPECT_EQ(directory.problems[0].text, "directory page 1 of 2 is missing: the link to it is 0");
}

TEST(WalkDirectory, finds_a_first_page_with_reference_zero) {
  const auto never = [](GrantRef) -> std::optional<std::span<const std::byte>> {
    ADD_FAILURE() << "mapped";
    return std::nullopt;
  };
  EXPECT_EQ(errors(walk_directory(GrantRef{0}, 4096, never)),
            Errors({DirectoryError::missing_page}));
}

TEST(WalkDirectory, finds_cycles) {
  Memory memory = built(5000);
  memory.word(2, 0) = kDirectoryFirst;  // back to the first
  Directory directory = memory.walk(octets(5000));
  EXPECT_EQ(errors(directory), Errors({DirectoryError::repeated_page}));
  EXPECT_EQ(directory.problems[0].page, 3U);

  memory.word(0, 0) = kDirectoryFirst;  // to itself
  directory = memory.walk(octets(5000));
  EXPECT_EQ(errors(directory), Errors({DirectoryError::repeated_page}));
  EXPECT_EQ(directory.problems[0].page, 1U);
}

TEST(WalkDirectory, does_not_follow_a_link_behind_the_last_page) {
  Memory memory = built(1023);
  memory.word(0, 0) = 77;
  const Directory directory = memory.walk(octets(1023));
  EXPECT_EQ(errors(directory), Errors({DirectoryError::trailing_page}));
  EXPECT_EQ(directory.refs.size(), 1023U);
  EXPECT_EQ(memory.mapped.count(GrantRef{77}), 0U);
}

TEST(WalkDirectory, finds_zero_references_and_goes_on) {
  Memory memory = built(1025);
  memory.word(0, 1 + 7) = 0;
  memory.word(1, 1) = 0;
  const Directory directory = memory.walk(octets(1025));
  EXPECT_EQ(errors(directory), Errors({DirectoryError::zero_reference}));
  EXPECT_EQ(directory.problems[0].page, 0U);
  EXPECT_EQ(directory.problems[0].entry, 7U);
  EXPECT_EQ(directory.problems[0].text, "reference 0 for page 7 of the buffer, 2 such in all");
  EXPECT_EQ(directory.refs.size(), 1025U);
}

TEST(WalkDirectory, ignores_entries_behind_the_last_reference) {
  Memory memory = built(2);
  memory.word(0, 3) = 0xdeadbeef;
  const Directory directory = memory.walk(octets(2));
  EXPECT_TRUE(directory.ok());
  EXPECT_EQ(directory.refs.size(), 2U);
}

TEST(WalkDirectory, reports_pages_that_cannot_be_mapped) {
  Memory memory = built(1024);
  memory.pages.erase(GrantRef{kDirectoryFirst + 1});
  const Directory directory = memory.walk(octets(1024));
  EXPECT_EQ(errors(directory), Errors({DirectoryError::unmappable_page}));
  EXPECT_EQ(directory.pages, sequence(kDirectoryFirst, 1));

  const auto too_short = [](GrantRef) -> std::optional<std::span<const std::byte>> {
    static const std::array<std::byte, 8> few{};
    return std::span<const std::byte>(few);
  };
  EXPECT_EQ(errors(walk_directory(GrantRef{1}, 4096, too_short)),
            Errors({DirectoryError::unmappable_page}));
}

TEST(BuildDirectory, wants_just_as_many_pages_as_needed) {
  const auto buffer = sequence(1, 1024);
  EXPECT_THROW(build_directory(buffer, sequence(5000, 1)), std::invalid_argument);
  EXPECT_THROW(build_directory(buffer, sequence(5000, 3)), std::invalid_argument);
  EXPECT_THROW(build_empty_directory(0, {}), std::invalid_argument);
  EXPECT_THROW(fill_directory(buffer, {}), std::invalid_argument);
}

TEST(DirectoryErrors, have_names) {
  EXPECT_EQ(name(DirectoryError::zero_reference), "zero-reference");
  EXPECT_EQ(name(DirectoryError::repeated_page), "repeated-page");
}

}  // namespace
}  // namespace displif_cts::displif
