#include <algorithm>
#include <utility>
#include <vector>

#include "harness/loopback/store/server.h"
#include "harness/loopback/store/world.h"

extern "C" {
#include <xen/io/xs_wire.h>
}

namespace displif_cts::loopback::store {
namespace {

class CoreLine : public Line {
 public:
  CoreLine(Server& server, std::shared_ptr<Connection> connection)
      : server_(server), connection_(std::move(connection)) {}
  ~CoreLine() override {
    if (!connection_->closed()) server_.disconnect(*connection_);
  }

  void send(std::string_view octets) override { connection_->receive(octets); }
  std::string take() override { return held_ ? std::string() : std::exchange(ring_, {}); }
  void hold(bool held) override { held_ = held; }
  bool closed() const override { return connection_->closed(); }

  bool fill() {
    const std::size_t room =
        connection_->domain_id() == 0 ? std::string::npos : std::size_t{XENSTORE_RING_SIZE};
    bool moved = false;
    while (connection_->has_output() && ring_.size() < room) {
      const std::string_view octets = connection_->output().substr(0, room - ring_.size());
      ring_ += octets;
      connection_->sent(octets.size());
      moved = true;
    }
    return moved;
  }

 private:
  Server& server_;
  std::shared_ptr<Connection> connection_;
  std::string ring_;
  bool held_ = false;
};

class CoreWorld : public World {
 public:
  explicit CoreWorld(bool whole) : whole_(whole) {}

  bool whole() const override { return whole_; }

  std::unique_ptr<Line> connect(DomainId id) override {
    // The sequence asks for a domain's line after the store has introduced it.
    auto line = std::make_unique<CoreLine>(server_, server_.connect(id));
    lines_.push_back(line.get());
    return std::make_unique<Lent>(*this, std::move(line));
  }
  void create(DomainId id) override { server_.domain_created(id); }
  void shut_down(DomainId id) override { server_.domain_shut_down(id); }
  void destroy(DomainId id) override { server_.domain_died(id); }

  bool work(std::chrono::milliseconds) override {
    bool worked = fill();
    worked |= server_.step();
    worked |= fill();
    return worked;
  }

 private:
  // Tells the world when the line goes.
  class Lent : public Line {
   public:
    Lent(CoreWorld& world, std::unique_ptr<CoreLine> line)
        : world_(world), line_(std::move(line)) {}
    ~Lent() override { std::erase(world_.lines_, line_.get()); }
    void send(std::string_view octets) override { line_->send(octets); }
    std::string take() override { return line_->take(); }
    void hold(bool held) override { line_->hold(held); }
    bool closed() const override { return line_->closed(); }

   private:
    CoreWorld& world_;
    std::unique_ptr<CoreLine> line_;
  };

  bool fill() {
    bool moved = false;
    for (CoreLine* line : lines_) moved |= line->fill();
    return moved;
  }

  bool whole_;
  Server server_;
  std::vector<CoreLine*> lines_;
};

}  // namespace

std::unique_ptr<World> core_world() { return std::make_unique<CoreWorld>(true); }
std::unique_ptr<World> plain_core_world() { return std::make_unique<CoreWorld>(false); }

}  // namespace displif_cts::loopback::store
