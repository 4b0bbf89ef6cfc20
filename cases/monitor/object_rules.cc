#include "cases/monitor/object_rules.h"

#include <fmt/format.h>

#include <map>
#include <optional>

#include "cases/requirements.gen.h"

namespace displif_cts::cases::monitor {
namespace {

constexpr std::string_view kMonitor = "frontend.monitor.object-lifetime";
// Apart from the others, so that what a driver is known for does not hide the rest.
constexpr std::string_view kDestroyedBuffers = "frontend.monitor.destroyed-buffers";
constexpr std::string_view kFlippedConnectors = "frontend.monitor.flipped-connectors";
constexpr std::string_view kCookies = "frontend.monitor.cookies";

// Where an object stands, as far as requests and answers tell. An answer that never comes leaves it
// in `creating` or `ending`; an error leaves an object that was to end in `unsure`. Only what is
// certain is judged.
enum class Life { absent, creating, live, ending, unsure };

struct Object {
  Life life = Life::absent;
  std::uint64_t parent = 0;  // a framebuffer's display buffer
};

class Objects {
 public:
  Life life(std::uint64_t cookie) const {
    const auto it = objects_.find(cookie);
    return it == objects_.end() ? Life::absent : it->second.life;
  }
  // A request may build on an object whose creation is still under way: rings keep the order.
  bool usable(std::uint64_t cookie) const {
    const Life now = life(cookie);
    return now == Life::creating || now == Life::live || now == Life::unsure;
  }
  // After a creation that was never answered nobody knows.
  bool taken(std::uint64_t cookie) const { return life(cookie) == Life::live; }
  void begin(std::uint64_t cookie, std::uint64_t parent = 0) {
    objects_[cookie] = {Life::creating, parent};
  }
  void end(std::uint64_t cookie) {
    if (const auto it = objects_.find(cookie); it != objects_.end()) it->second.life = Life::ending;
  }
  void created(std::uint64_t cookie, bool ok) {
    if (life(cookie) == Life::creating) objects_[cookie].life = ok ? Life::live : Life::absent;
  }
  // Answered by neither success nor failure.
  void doubted(std::uint64_t cookie) {
    if (life(cookie) == Life::creating) objects_[cookie].life = Life::unsure;
  }
  void ended(std::uint64_t cookie, bool ok) {
    if (life(cookie) == Life::ending) objects_[cookie].life = ok ? Life::absent : Life::unsure;
  }
  bool has_live_child(std::uint64_t parent) const {
    for (const auto& [cookie, object] : objects_)
      if (object.life == Life::live && object.parent == parent) return true;
    return false;
  }
  void clear() { objects_.clear(); }

 private:
  std::map<std::uint64_t, Object> objects_;
};

enum class Lit { no, yes, unsure };

struct Display {
  Lit configured = Lit::no;
  Lit before = Lit::no;                // the request under way
  std::optional<std::uint64_t> shown;  // the framebuffer on screen, if that is certain
};

class Lifetime : public Rule {
 public:
  void on_connection() override {
    buffers_.clear();
    framebuffers_.clear();
    displays_.clear();
    outstanding_.clear();
  }

  void on_request(const RequestSeen& seen) override {
    const displif::Request& request = seen.request;
    outstanding_[{seen.connector, request.id}] = request;
    if (const auto* op = request.as<displif::DbufCreate>()) create(seen, raw(op->dbuf_cookie));
    if (const auto* op = request.as<displif::DbufDestroy>()) destroy(seen, raw(op->dbuf_cookie));
    if (const auto* op = request.as<displif::FbAttach>())
      attach(seen, raw(op->dbuf_cookie), raw(op->fb_cookie));
    if (const auto* op = request.as<displif::FbDetach>()) detach(seen, raw(op->fb_cookie));
    if (const auto* op = request.as<displif::SetConfig>()) configure(seen, raw(op->fb_cookie));
    if (const auto* op = request.as<displif::PgFlip>()) flip(seen, raw(op->fb_cookie));
  }

  void on_response(const ResponseSeen& seen) override {
    const auto it = outstanding_.find({seen.connector, seen.response.id});
    if (it == outstanding_.end()) return;
    const displif::Request request = it->second;
    outstanding_.erase(it);
    // Above 0 is neither success nor failure: nothing is held against what follows.
    if (seen.response.status > 0) {
      if (const auto* op = request.as<displif::DbufCreate>())
        buffers_.doubted(raw(op->dbuf_cookie));
      if (const auto* op = request.as<displif::FbAttach>())
        framebuffers_.doubted(raw(op->fb_cookie));
    }
    answered(seen.connector, request, seen.response.status >= 0);
  }

  void report(trace::Recorder& recorder) const override {
    for (const Tally* tally : {&dbuf_unique_, &fb_unique_}) tally->report(recorder, kCookies);
    for (const Tally* tally : {&destroy_after_detach_, &attach_buffer_, &detach_attached_,
                               &config_attached_, &flip_attached_, &displayed_kept_})
      tally->report(recorder, kMonitor);
    destroy_existing_.report(recorder, kDestroyedBuffers);
    flip_configured_.report(recorder, kFlippedConnectors);
  }

 private:
  void create(const RequestSeen& request, std::uint64_t cookie) {
    dbuf_unique_.judge(!buffers_.taken(cookie), describe_with(request, cookie));
    buffers_.begin(cookie);
  }

  void destroy(const RequestSeen& request, std::uint64_t cookie) {
    destroy_existing_.judge(buffers_.usable(cookie), describe_with(request, cookie));
    destroy_after_detach_.judge(!framebuffers_.has_live_child(cookie),
                                describe_with(request, cookie));
    buffers_.end(cookie);
  }

  void attach(const RequestSeen& request, std::uint64_t buffer, std::uint64_t cookie) {
    attach_buffer_.judge(buffers_.usable(buffer), describe_with(request, buffer));
    fb_unique_.judge(!framebuffers_.taken(cookie), describe_with(request, cookie));
    framebuffers_.begin(cookie, buffer);
  }

  void detach(const RequestSeen& request, std::uint64_t cookie) {
    detach_attached_.judge(framebuffers_.usable(cookie), describe_with(request, cookie));
    bool displayed = false;
    for (const auto& [connector, display] : displays_) displayed |= display.shown == cookie;
    displayed_kept_.judge(!displayed, describe_with(request, cookie));
    framebuffers_.end(cookie);
  }

  void configure(const RequestSeen& request, std::uint64_t cookie) {
    if (cookie != 0)
      config_attached_.judge(framebuffers_.usable(cookie), describe_with(request, cookie));
    Display& display = displays_[request.connector];
    display.before = display.configured;
    display.configured = Lit::unsure;
    display.shown.reset();
  }

  void flip(const RequestSeen& request, std::uint64_t cookie) {
    flip_attached_.judge(framebuffers_.usable(cookie), describe_with(request, cookie));
    Display& display = displays_[request.connector];
    flip_configured_.judge(display.configured != Lit::no, describe(request));
    display.shown.reset();
  }

  void answered(unsigned connector, const displif::Request& request, bool ok) {
    if (const auto* op = request.as<displif::DbufCreate>())
      buffers_.created(raw(op->dbuf_cookie), ok);
    if (const auto* op = request.as<displif::DbufDestroy>())
      buffers_.ended(raw(op->dbuf_cookie), ok);
    if (const auto* op = request.as<displif::FbAttach>())
      framebuffers_.created(raw(op->fb_cookie), ok);
    if (const auto* op = request.as<displif::FbDetach>())
      framebuffers_.ended(raw(op->fb_cookie), ok);
    if (const auto* op = request.as<displif::SetConfig>())
      configured(displays_[connector], raw(op->fb_cookie), ok);
    if (const auto* op = request.as<displif::PgFlip>(); op && ok)
      displays_[connector].shown = raw(op->fb_cookie);
  }

  static void configured(Display& display, std::uint64_t fb_cookie, bool ok) {
    if (!ok) {
      // What was off is off still; what was on may show anything.
      if (display.before == Lit::no) display.configured = Lit::no;
    } else if (fb_cookie == 0) {
      display.configured = Lit::no;
    } else {
      display.configured = Lit::yes;
      display.shown = fb_cookie;
    }
  }

  static std::string describe_with(const RequestSeen& request, std::uint64_t cookie) {
    return fmt::format("{} names {:#x}", describe(request), cookie);
  }

  Objects buffers_;
  Objects framebuffers_;
  std::map<unsigned, Display> displays_;
  std::map<std::pair<unsigned, std::uint16_t>, displif::Request> outstanding_;

  Tally dbuf_unique_{req::dbuf_create_cookie_unique, "a cookie of no living display buffer"};
  Tally fb_unique_{req::fb_attach_cookie_unique, "a cookie of no living framebuffer"};
  Tally destroy_existing_{req::dbuf_destroy_only_existing, "a buffer that was created and lives"};
  Tally destroy_after_detach_{req::dbuf_destroy_after_detach,
                              "no attached framebuffer is left on the buffer"};
  Tally attach_buffer_{req::fb_attach_dbuf_cookie, "a buffer that was created and lives"};
  Tally detach_attached_{req::fb_detach_only_attached, "a framebuffer that is attached"};
  Tally config_attached_{req::set_config_cookie, "a framebuffer that is attached"};
  Tally flip_attached_{req::pg_flip_cookie, "a framebuffer that is attached"};
  Tally displayed_kept_{req::order_displayed_framebuffer_kept,
                        "a framebuffer that no connector displays"};
  Tally flip_configured_{req::order_flip_when_configured, "a connector that was configured"};
};

}  // namespace

std::vector<std::unique_ptr<Rule>> object_rules() {
  std::vector<std::unique_ptr<Rule>> rules;
  rules.push_back(std::make_unique<Lifetime>());
  return rules;
}

}  // namespace displif_cts::cases::monitor
