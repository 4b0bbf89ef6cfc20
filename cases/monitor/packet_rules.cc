#include "cases/monitor/packet_rules.h"

#include <fmt/format.h>

#include <map>
#include <set>

#include "cases/requirements.gen.h"

namespace displif_cts::cases::monitor {
namespace {

using displif::Operation;

// The version with the fewest reserved octets: what it uses is not held against an older one.
constexpr unsigned kNewestProtocol = 2;

bool is(const RequestSeen& request, Operation operation) {
  return request.request.operation == raw(operation);
}

// The reserved octets that are not 0, as "octet 4 = 0xea".
std::string nonzero_reserved(const displif::Request& request) {
  const auto ranges = displif::reserved_bytes(request.operation, kNewestProtocol);
  std::string found;
  for (const std::size_t at : displif::nonzero_bytes(request.packet, ranges))
    found += fmt::format("{}octet {} = {:#04x}", found.empty() ? "" : ", ", at,
                         std::to_integer<unsigned>(request.packet[at]));
  return found;
}

class ReservedZero : public Rule {
 public:
  void on_request(const RequestSeen& request) override {
    const std::string found = nonzero_reserved(request.request);
    tally_.judge(found.empty(), fmt::format("{}: {}", describe(request), found));
  }
  void report(trace::Recorder& recorder) const override {
    tally_.report(recorder, "frontend.monitor.reserved-zero");
  }

 private:
  Tally tally_{req::packet_reserved_zero, "all reserved octets 0"};
};

class OperationCodes : public Rule {
 public:
  void on_connection() override { version_ = 1; }
  void on_version(unsigned chosen) override { version_ = chosen; }
  void on_request(const RequestSeen& request) override {
    known_.judge(displif::is_known(request.request.operation), describe(request));
    in_version_.judge(!is(request, Operation::get_edid) || version_ >= 2,
                      fmt::format("{} under version {}", describe(request), version_));
  }
  void report(trace::Recorder& recorder) const override {
    known_.report(recorder, "frontend.monitor.operation-codes");
    in_version_.report(recorder, "frontend.monitor.operation-codes");
  }

 private:
  unsigned version_ = 1;
  Tally known_{req::packet_operation_known, "a code from 0x10 to 0x16"};
  Tally in_version_{req::packet_operation_in_version, "an operation of the connection's version"};
};

class RingOfRequest : public Rule {
 public:
  void on_request(const RequestSeen& request) override {
    if (displif::is_connector_zero_only(request.request.operation))
      tally_.judge(request.connector == 0, describe(request));
  }
  void report(trace::Recorder& recorder) const override {
    tally_.report(recorder, "frontend.monitor.ring-of-request");
  }

 private:
  Tally tally_{req::ring_control_requests_on_connector_0, "on the ring of connector 0"};
};

class Notifications : public Rule {
 public:
  void on_request(const RequestSeen& request) override {
    tally_.judge(request.notified, describe(request));
  }
  void report(trace::Recorder& recorder) const override {
    tally_.report(recorder, "frontend.monitor.notifications");
  }

 private:
  Tally tally_{req::ring_notifies, "announced on the ring's channel"};
};

class RequestIds : public Rule {
 public:
  void on_connection() override { outstanding_.clear(); }
  void on_request(const RequestSeen& request) override {
    auto& ids = outstanding_[request.connector];
    tally_.judge(ids.insert(request.request.id).second, describe(request));
  }
  void on_response(const ResponseSeen& response) override {
    outstanding_[response.connector].erase(response.response.id);
  }
  void report(trace::Recorder& recorder) const override {
    tally_.report(recorder, "frontend.monitor.request-ids");
  }

 private:
  std::map<unsigned, std::set<std::uint16_t>> outstanding_;
  Tally tally_{req::ring_ids_distinguish_outstanding, "an id of no other unanswered request"};
};

class Cookies : public Rule {
 public:
  void on_request(const RequestSeen& seen) override {
    const displif::Request& request = seen.request;
    if (const auto* create = request.as<displif::DbufCreate>())
      judge(dbuf_, create->dbuf_cookie, seen);
    if (const auto* destroy = request.as<displif::DbufDestroy>())
      judge(dbuf_, destroy->dbuf_cookie, seen);
    if (const auto* attach = request.as<displif::FbAttach>()) {
      judge(dbuf_, attach->dbuf_cookie, seen);
      judge(fb_, attach->fb_cookie, seen);
    }
    if (const auto* detach = request.as<displif::FbDetach>()) judge(fb_, detach->fb_cookie, seen);
    if (const auto* flip = request.as<displif::PgFlip>()) judge(fb_, flip->fb_cookie, seen);
    if (const auto* config = request.as<displif::SetConfig>(); config && !config->is_reset())
      judge(fb_, config->fb_cookie, seen);
  }
  void report(trace::Recorder& recorder) const override {
    dbuf_.report(recorder, "frontend.monitor.cookies");
    fb_.report(recorder, "frontend.monitor.cookies");
  }

 private:
  template <class Cookie>
  static void judge(Tally& tally, Cookie cookie, const RequestSeen& request) {
    tally.judge(raw(cookie) != 0, describe(request));
  }

  Tally dbuf_{req::packet_dbuf_cookie_valid, "a dbuf_cookie other than 0"};
  Tally fb_{req::packet_fb_cookie_valid, "an fb_cookie other than 0"};
};

class Resolution : public Rule {
 public:
  void on_resolution(unsigned connector, std::uint32_t width, std::uint32_t height) override {
    area_[connector] = {width, height};
  }
  void on_request(const RequestSeen& request) override {
    const auto* config = request.request.as<displif::SetConfig>();
    const auto area = area_.find(request.connector);
    if (!config || area == area_.end()) return;
    const auto [width, height] = area->second;
    tally_.judge(config->x <= width && config->width <= width && config->y <= height &&
                     config->height <= height,
                 fmt::format("{}x{}+{}+{} on a connector of {}x{}", config->width, config->height,
                             config->x, config->y, width, height));
  }
  void report(trace::Recorder& recorder) const override {
    tally_.report(recorder, "frontend.monitor.resolution");
  }

 private:
  std::map<unsigned, std::pair<std::uint32_t, std::uint32_t>> area_;
  Tally tally_{req::set_config_within_resolution,
               "x, y, width and height within the connector's resolution"};
};

class Directories : public Rule {
 public:
  void on_directory(const DirectorySeen& directory) override {
    sound_.judge(directory.problems.empty(),
                 fmt::format("buffer {}: {}", directory.cookie,
                             directory.problems.empty() ? "" : directory.problems.front()));
    distinct_.judge(directory.repeated == 0, fmt::format("buffer {}: {} references repeated",
                                                         directory.cookie, directory.repeated));
  }
  void report(trace::Recorder& recorder) const override {
    sound_.report(recorder, "frontend.monitor.directories");
    distinct_.report(recorder, "frontend.monitor.directories");
  }

 private:
  Tally sound_{req::page_directory_covers_buffer, "a directory of the whole buffer"};
  Tally distinct_{req::page_directory_references_distinct, "a reference for each page"};
};

class EdidBuffers : public Rule {
 public:
  void on_request(const RequestSeen& request) override {
    const auto* edid = request.request.as<displif::GetEdid>();
    if (edid == nullptr) return;
    size_.judge(edid->buffer_sz >= XENDISPL_EDID_MAX_SIZE,
                fmt::format("{}: buffer_sz {}", describe(request), edid->buffer_sz));
    directory_.judge(
        raw(edid->gref_directory) != 0,
        fmt::format("{}: gref_directory {}", describe(request), raw(edid->gref_directory)));
  }
  void report(trace::Recorder& recorder) const override {
    size_.report(recorder, "frontend.monitor.edid-buffers");
    directory_.report(recorder, "frontend.monitor.edid-buffers");
  }

 private:
  Tally size_{req::get_edid_buffer_size, "a buffer for the largest EDID"};
  Tally directory_{req::get_edid_directory, "a reference to a directory"};
};

}  // namespace

std::vector<std::unique_ptr<Rule>> packet_rules() {
  std::vector<std::unique_ptr<Rule>> rules;
  rules.push_back(std::make_unique<ReservedZero>());
  rules.push_back(std::make_unique<OperationCodes>());
  rules.push_back(std::make_unique<RingOfRequest>());
  rules.push_back(std::make_unique<Notifications>());
  rules.push_back(std::make_unique<RequestIds>());
  rules.push_back(std::make_unique<Cookies>());
  rules.push_back(std::make_unique<Resolution>());
  rules.push_back(std::make_unique<Directories>());
  rules.push_back(std::make_unique<EdidBuffers>());
  return rules;
}

}  // namespace displif_cts::cases::monitor
