#include "lab/guest/objects.h"

#include <cerrno>

namespace displif_cts::exerciser {

void Objects::check_free(const std::string& name) const {
  if (name.empty() || name.size() > 64) throw agent::VerbError(EINVAL, "a name has 1 to 64 octets");
  if (objects_.contains(name)) throw agent::VerbError(EEXIST, "the name " + name + " is taken");
  if (objects_.size() >= kMaxObjects) throw agent::VerbError(ENFILE, "too many objects");
}

void Objects::set_mapping(Buffer& buffer, std::shared_ptr<Mapping> mapping) {
  const std::lock_guard lock(mutex_);
  buffer.mapping.swap(mapping);
  // The former one is let go after the lock is.
}

std::shared_ptr<Mapping> Objects::mapping(const Buffer& buffer) {
  const std::lock_guard lock(mutex_);
  return buffer.mapping;
}

// Letting go of a file or a buffer may wait for the driver: never under the lock.
void Objects::remove(const std::string& name) {
  decltype(objects_)::node_type gone;
  const std::lock_guard lock(mutex_);
  gone = objects_.extract(name);
}

void Objects::remove_of(const Card& card) {
  std::vector<Object> gone;
  const std::lock_guard lock(mutex_);
  for (auto it = objects_.begin(); it != objects_.end();) {
    const auto* buffer = std::get_if<std::shared_ptr<Buffer>>(&it->second);
    const auto* fb = std::get_if<std::shared_ptr<Framebuffer>>(&it->second);
    if ((buffer != nullptr && (*buffer)->card.get() == &card) ||
        (fb != nullptr && (*fb)->card.get() == &card)) {
      gone.push_back(std::move(it->second));
      it = objects_.erase(it);
    } else {
      ++it;
    }
  }
}

Objects::Cleared Objects::clear() {
  decltype(objects_) all;
  {
    const std::lock_guard lock(mutex_);
    all.swap(objects_);
  }
  std::vector<std::shared_ptr<Card>> cards;
  for (const auto& [name, object] : all)
    if (const auto* card = std::get_if<std::shared_ptr<Card>>(&object)) cards.push_back(*card);
  all.clear();  // mappings go before their files
  Cleared cleared;
  for (std::shared_ptr<Card>& card : cards) {
    ++(card.use_count() > 1 ? cleared.deferred : cleared.closed);
    card.reset();
  }
  return cleared;
}

Json Objects::list() {
  const std::lock_guard lock(mutex_);
  Json out = Json::array();
  for (const auto& [name, object] : objects_) {
    Json entry{{"name", name}};
    if (const auto* card = std::get_if<std::shared_ptr<Card>>(&object)) {
      entry["kind"] = "file";
      entry["path"] = (*card)->path;
      entry["driver"] = (*card)->driver;
    } else if (const auto* buffer = std::get_if<std::shared_ptr<Buffer>>(&object)) {
      entry["kind"] = "buffer";
      entry["handle"] = (*buffer)->handle;
      entry["size"] = (*buffer)->size;
      entry["mapped"] = (*buffer)->mapping != nullptr;
    } else if (const auto* fb = std::get_if<std::shared_ptr<Framebuffer>>(&object)) {
      entry["kind"] = "framebuffer";
      entry["id"] = (*fb)->id;
    } else {
      entry["kind"] = "dma-buf";
    }
    out.push_back(std::move(entry));
  }
  return out;
}

}  // namespace displif_cts::exerciser
