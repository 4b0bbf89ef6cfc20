// What XenStore keeps for a node, and the words for its permissions.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "harness/loopback/store/wire.h"

namespace displif_cts::loopback::store {

// Bits of an access (enum xs_perm_type of xenstore_lib.h).
inline constexpr unsigned kNone = 0;
inline constexpr unsigned kRead = 1;
inline constexpr unsigned kWrite = 2;
inline constexpr unsigned kOwner = 4;  // may change the list; never in a list itself

struct Permission {
  DomainId domain = 0;
  unsigned access = kNone;
  // The domain that was meant is no more: a later one of the same number gets nothing by it.
  bool ignored = false;
};
// The first entry names the owner, and what all get that have no entry of their own.
using Permissions = std::vector<Permission>;

struct Record {
  std::uint64_t generation = 0;  // of the store when it was last written; tells conflicts
  Permissions permissions;
  std::string value;
  std::string children;  // names in the order of their creation, each ended by a NUL

  // The octets that xenstored keeps for it: what node-size and memory limit.
  std::size_t size() const;
};
using RecordPointer = std::shared_ptr<const Record>;

// "n0", "r5", "w7", "b7": as XS_GET_PERMS and XS_SET_PERMS carry an entry.
std::string to_word(const Permission& entry);
// The number may be of any form that strtol takes with base 0; nullopt: malformed.
std::optional<Permission> to_permission(const char* word);

// "/a" of "/a/b"; "/" of "/a" and of "/".
std::string parent_of(const std::string& path);
// "b" of "/a/b". Not for "/".
std::string_view name_of(std::string_view path);
std::string child_of(const std::string& parent, std::string_view name);
// `path` is `ancestor` or lies below it.
bool is_at_or_below(std::string_view path, std::string_view ancestor);
// Only characters that a path may have, begins with a slash, none at the end, no two in a row; no
// longer than `longest` after its /local/domain/N/.
bool is_valid_path(const std::string& path, std::size_t longest);

// The NUL-ended strings in a payload. What follows the last NUL is left off.
std::vector<std::string_view> strings_of(std::string_view payload);

}  // namespace displif_cts::loopback::store
