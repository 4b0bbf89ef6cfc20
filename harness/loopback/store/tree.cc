#include "harness/loopback/store/tree.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>

namespace displif_cts::loopback::store {
namespace {

// struct xs_tdb_record_hdr and struct xs_permissions, in which xenstored counts.
constexpr std::size_t kRecordHeader = 24;
constexpr std::size_t kPermissionEntry = 8;

// A number as it stands in an entry: xs_perm_to_string writes it into a buffer this long.
constexpr std::size_t kNumberMax = 10;

// Characters of the "/local/domain/N/" that a path begins with; 0: it does not.
std::size_t domain_prefix(const std::string& path) {
  constexpr std::string_view kDomains = "/local/domain/";
  constexpr std::size_t kNumberWidth = 5;
  if (path.compare(0, kDomains.size(), kDomains) != 0) return 0;
  std::size_t at = kDomains.size();
  const std::size_t end = std::min(path.size(), at + kNumberWidth);
  if (at < end && path[at] == '-') ++at;
  const std::size_t digits = at;
  while (at < end && std::isdigit(static_cast<unsigned char>(path[at])) != 0) ++at;
  return at > digits && at < path.size() && path[at] == '/' ? at + 1 : 0;
}

bool allowed(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '-' || c == '/' || c == '_' ||
         c == '@';
}

}  // namespace

std::size_t Record::size() const {
  return kRecordHeader + permissions.size() * kPermissionEntry + value.size() + children.size();
}

std::string to_word(const Permission& entry) {
  constexpr char kLetters[] = {'n', 'r', 'w', 'b'};
  return kLetters[entry.access & (kRead | kWrite)] +
         std::to_string(static_cast<std::int32_t>(entry.domain)).substr(0, kNumberMax);
}

std::optional<Permission> to_permission(const char* word) {
  Permission entry;
  switch (*word) {
    case 'n':
      entry.access = kNone;
      break;
    case 'r':
      entry.access = kRead;
      break;
    case 'w':
      entry.access = kWrite;
      break;
    case 'b':
      entry.access = kRead | kWrite;
      break;
    default:
      return std::nullopt;
  }
  ++word;
  char* end = nullptr;
  entry.domain = static_cast<DomainId>(std::strtol(word, &end, 0));
  if (*word == '\0' || *end != '\0') return std::nullopt;
  return entry;
}

std::string parent_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == 0 || slash == std::string::npos ? "/" : path.substr(0, slash);
}

std::string_view name_of(std::string_view path) { return path.substr(path.rfind('/') + 1); }

std::string child_of(const std::string& parent, std::string_view name) {
  std::string path = parent == "/" ? "" : parent;
  path += '/';
  path += name;
  return path;
}

bool is_at_or_below(std::string_view path, std::string_view ancestor) {
  if (ancestor == "/") return true;
  return path.starts_with(ancestor) &&
         (path.size() == ancestor.size() || path[ancestor.size()] == '/');
}

bool is_valid_path(const std::string& path, std::size_t longest) {
  if (path.empty() || path.front() != '/') return false;
  if (path.size() > 1 && path.back() == '/') return false;
  if (path.find("//") != std::string::npos) return false;
  if (path.size() > domain_prefix(path) + longest) return false;
  return std::all_of(path.begin(), path.end(), allowed);
}

std::vector<std::string_view> strings_of(std::string_view payload) {
  std::vector<std::string_view> strings;
  for (std::size_t nul; (nul = payload.find('\0')) != std::string_view::npos;) {
    strings.push_back(payload.substr(0, nul));
    payload.remove_prefix(nul + 1);
  }
  return strings;
}

}  // namespace displif_cts::loopback::store
