#include "harness/loopback/pages.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <system_error>

namespace displif_cts::loopback {
namespace {
constexpr off_t kPage = 4096;
}

Pages::Pages(PageIndex count)
    : writable_(memfd_create("displif-loopback-domain", MFD_CLOEXEC)), free_count_(count) {
  if (!writable_ || ftruncate(writable_.get(), count * kPage) != 0) {
    throw std::system_error(errno, std::generic_category(), "memory of a domain");
  }
  const std::string path = "/proc/self/fd/" + std::to_string(writable_.get());
  readable_.reset(open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!readable_) throw std::system_error(errno, std::generic_category(), path);
  holes_.emplace(0, count);
}

std::vector<PageIndex> Pages::allocate(std::size_t count) {
  std::vector<PageIndex> pages;
  if (count == 0 || count > free_count_) return pages;
  const auto wanted = static_cast<PageIndex>(count);
  pages.reserve(count);
  const auto take = [&](std::map<PageIndex, PageIndex>::iterator hole, PageIndex size) {
    const auto [first, length] = *hole;
    holes_.erase(hole);
    if (length > size) holes_.emplace(first + size, length - size);
    for (PageIndex i = 0; i < size; ++i) pages.push_back(first + i);
  };
  const auto fits =
      std::ranges::find_if(holes_, [&](const auto& hole) { return hole.second >= wanted; });
  if (fits != holes_.end()) {
    take(fits, wanted);
  } else {
    while (pages.size() < count) {
      const auto hole = holes_.begin();
      take(hole, std::min(hole->second, static_cast<PageIndex>(count - pages.size())));
    }
  }
  free_count_ -= count;
  used_ += count;
  return pages;
}

void Pages::give_back(std::vector<PageIndex>& pages) {
  std::ranges::sort(pages);
  for (std::size_t i = 0; i < pages.size();) {
    std::size_t end = i + 1;
    while (end < pages.size() && pages[end] == pages[end - 1] + 1) ++end;
    free_run(pages[i], static_cast<PageIndex>(end - i));
    i = end;
  }
  free_count_ += pages.size();
  used_ -= pages.size();
}

void Pages::free_run(PageIndex first, PageIndex count) {
  // The next user of the pages gets them zeroed.
  if (fallocate(writable_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, first * kPage,
                count * kPage) != 0) {
    throw std::system_error(errno, std::generic_category(), "freeing pages of a domain");
  }
  auto next = holes_.lower_bound(first);
  if (next != holes_.end() && first + count == next->first) {
    count += next->second;
    next = holes_.erase(next);
  }
  if (next != holes_.begin()) {
    const auto before = std::prev(next);
    if (before->first + before->second == first) {
      before->second += count;
      return;
    }
  }
  holes_.emplace(first, count);
}

void Pages::clear_octet(PageIndex page, std::uint32_t offset) {
  const char zero = 0;
  if (pwrite(writable_.get(), &zero, 1, page * kPage + offset) != 1) {
    throw std::system_error(errno, std::generic_category(), "notifying of an unmap");
  }
}

}  // namespace displif_cts::loopback
