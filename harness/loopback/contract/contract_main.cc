// displif-xen-contract: what this suite relies on in Xen's C ABI for event channels and grants.
// Runs on real Xen and on loopback alike, as one program or as two halves in two domains. What it
// shows is the interface seen by user space on Linux; nothing of the death of whole domains.
//
// Each test says what must hold. Where Linux does a thing later than the call that caused it, the
// test waits for it, with a limit.
#include <fnmatch.h>
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <memory>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "harness/loopback/contract/side.h"
#include "harness/loopback/contract/words.h"

extern "C" {
#include <xen/xen.h>
// in this order
#include <xen/grant_table.h>
#include <xenstore.h>
}

namespace {

using displif_cts::contract::Answer;
using displif_cts::contract::check;
using displif_cts::contract::equal;
using displif_cts::contract::eventually;
using displif_cts::contract::Failure;
using displif_cts::contract::Far;
using displif_cts::contract::Mapper;
using displif_cts::contract::Near;
using displif_cts::contract::ok;
using displif_cts::contract::Pages;
using displif_cts::contract::refused;
using displif_cts::contract::Side;

constexpr long kSoon = 3000;  // ms that an event may take
constexpr long kQuiet = 50;   // ms after which no event means that none comes
constexpr long kNone = -1;    // no offset, no port
constexpr long kRead = PROT_READ;
constexpr long kWrite = PROT_READ | PROT_WRITE;
constexpr long kNoDomain = 32000;  // an id that nobody has
constexpr long kNoRef = 0x7ffffff0;

// --- words of the tests

// An event channel handle of a side, and a port of it.
struct Channel {
  Side& side;
  long handle = 0;
  long port = 0;

  explicit Channel(Side& its_side) : side(its_side), handle(ok(side("ev-open"), "opening")) {}
  void offer(const Side& peer) {
    port = ok(side("unbound", {handle, peer.domain()}), "bind_unbound_port");
  }
  void connect(const Channel& peer) {
    port = ok(side("interdomain", {handle, peer.side.domain(), peer.port}), "bind_interdomain");
  }
  void notify() const { ok(side("notify", {handle, port}), "notify"); }
  void unmask() const { ok(side("unmask", {handle, port}), "unmask"); }
  bool fires(long milliseconds = kSoon) const {
    return side("readable", {handle, milliseconds}).value == 1;
  }
  void take(long wanted) const {
    check(fires(), "no event within the limit");
    equal(side("pending", {handle}).value, wanted, "pending");
  }
  void take() const { take(port); }
  void silent() const { check(!fires(kQuiet), "an event that nobody sent"); }
};

// Two ends, connected, with the first event of the connecting end taken.
struct Pair {
  Channel offered;
  Channel connected;

  Pair(Side& a, Side& b) : offered(a), connected(b) {
    offered.offer(b);
    connected.connect(offered);
    connected.take();
    connected.unmask();
  }
};

// --- event channels ------------------------------------------------------------------------------

void a_new_connection_fires_at_once(Side& a, Side& b) {
  Channel offered(a);
  Channel connected(b);
  offered.offer(b);
  connected.connect(offered);
  connected.take();
  connected.silent();
  offered.silent();
}

void events_go_both_ways(Side& a, Side& b) {
  const Pair pair(a, b);
  pair.connected.notify();
  pair.offered.take();
  pair.offered.unmask();
  pair.offered.notify();
  pair.connected.take();
  pair.connected.unmask();
  pair.offered.silent();
  pair.connected.silent();
}

void a_notification_before_the_connection_is_dropped(Side& a, Side& b) {
  Channel offered(a);
  offered.offer(b);
  offered.notify();
  Channel connected(b);
  connected.connect(offered);
  connected.take();
  connected.unmask();
  connected.silent();
  offered.silent();
}

void a_port_stays_masked_until_unmasked(Side& a, Side& b) {
  const Pair pair(a, b);
  pair.connected.notify();
  pair.offered.take();
  pair.connected.notify();
  pair.connected.notify();
  pair.offered.silent();
  pair.offered.unmask();
  pair.offered.take();  // both in one
  pair.offered.unmask();
  pair.offered.silent();
}

void an_event_that_comes_while_one_is_unread_comes_after_unmask(Side& a, Side& b) {
  const Pair pair(a, b);
  pair.connected.notify();
  check(pair.offered.fires(), "no event");
  pair.connected.notify();
  pair.offered.take();
  pair.offered.silent();
  pair.offered.unmask();
  pair.offered.take();
  pair.offered.unmask();
  pair.offered.silent();
}

void unmask_of_what_is_not_masked_or_not_ours_is_no_error(Side& a, Side& b) {
  const Pair pair(a, b);
  pair.offered.unmask();
  equal(a("unmask", {pair.offered.handle, 4000}).value, 0, "unmask of a strange port");
  pair.offered.silent();
}

void events_come_in_their_order(Side& a, Side& b) {
  Channel offered(a);
  Channel connected(b);
  std::vector<long> mine;
  std::vector<long> theirs;
  for (int i = 0; i < 3; ++i) {
    offered.offer(b);
    mine.push_back(offered.port);
    connected.connect(offered);
    theirs.push_back(connected.port);
    connected.take();
    connected.unmask();
  }
  for (const std::size_t i : {std::size_t{2}, std::size_t{0}, std::size_t{1}}) {
    ok(b("notify", {connected.handle, theirs[i]}), "notify");
    check(offered.fires(), "no event");
    // The next one only when this one has come for certain.
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  for (const std::size_t i : {std::size_t{2}, std::size_t{0}, std::size_t{1}}) {
    offered.take(mine[i]);
  }
}

void pending_without_an_event_is_eagain(Side& a, Side& b) {
  Channel offered(a);
  offered.offer(b);
  refused(a("pending", {offered.handle}), EAGAIN, "pending");
}

void the_lowest_free_port_is_given_out(Side& a, Side& b) {
  Channel channel(a);
  channel.offer(b);
  const long first = channel.port;
  channel.offer(b);
  const long second = channel.port;
  check(second > first, "the second port is not above the first");
  ok(a("unbind", {channel.handle, first}), "unbind");
  channel.offer(b);
  equal(channel.port, first, "the port after an unbind");
}

void binding_to_what_is_not_offered_is_refused(Side& a, Side& b) {
  Channel offered(a);
  Channel connected(b);
  const auto bind = [&](long domain, long port) {
    return b("interdomain", {connected.handle, domain, port});
  };
  refused(bind(kNoDomain, 1), ESRCH, "binding to a domain that does not exist");
  refused(bind(a.domain(), 0), EINVAL, "binding to port 0");
  refused(bind(a.domain(), 100'000), EINVAL, "binding to a port out of range");
  ok(a("unbound", {offered.handle, kNoDomain}), "offering to nobody");
  const long foreign = ok(a("unbound", {offered.handle, kNoDomain}), "offering to nobody");
  refused(bind(a.domain(), foreign), EINVAL, "binding to a port that is another's");
  offered.offer(b);
  connected.connect(offered);
  refused(bind(a.domain(), offered.port), EINVAL, "binding to a port that is bound");
}

void ports_belong_to_their_handle(Side& a, Side& b) {
  Channel one(a);
  const Channel other(a);
  one.offer(b);
  refused(a("notify", {other.handle, one.port}), ENOTCONN, "notify through another handle");
  refused(a("unbind", {other.handle, one.port}), ENOTCONN, "unbind through another handle");
  refused(a("notify", {one.handle, 4000}), ENOTCONN, "notify of a port that is not bound");
  refused(a("unbind", {one.handle, 200'000}), EINVAL, "unbind of a port out of range");
  ok(a("unbind", {one.handle, one.port}), "unbind");
  refused(a("unbind", {one.handle, one.port}), ENOTCONN, "unbind again");
}

void the_other_end_of_a_closed_channel_can_be_bound_again(Side& a, Side& b) {
  const Pair pair(a, b);
  ok(b("unbind", {pair.connected.handle, pair.connected.port}), "unbind");
  pair.offered.silent();  // closing is no event
  pair.offered.notify();  // nor is notifying nobody an error
  Channel again(b);
  again.connect(pair.offered);
  again.take();
  again.unmask();
  again.notify();
  pair.offered.take();
}

void closing_the_handle_closes_its_ports(Side& a, Side& b) {
  Channel offered(a);
  offered.offer(b);
  ok(a("ev-close", {offered.handle}), "close");
  const Channel connected(b);
  refused(b("interdomain", {connected.handle, a.domain(), offered.port}), EINVAL,
          "binding to a port of a closed handle");
}

void death_closes_the_ports(Side& a, Side& b) {
  const Pair pair(a, b);
  Channel free(b);
  free.offer(a);
  b.die();
  const Channel connected(a);
  eventually(
      [&] {
        return a("interdomain", {connected.handle, b.domain(), free.port}).error == EINVAL;
      },
      "the port of a process that has died can still be bound");
  pair.offered.notify();
}

void an_unread_event_outlives_its_port(Side& a, Side& b) {
  Channel offered(a);
  Channel connected(b);
  offered.offer(b);
  connected.connect(offered);
  check(connected.fires(), "no first event");
  ok(b("unbind", {connected.handle, connected.port}), "unbind");
  connected.take();
}

void a_virq_is_bound_once(Side& a, Side&) {
  const Channel channel(a);
  refused(a("virq", {channel.handle, NR_VIRQS}), EINVAL, "binding a VIRQ out of range");
  const long port = ok(a("virq", {channel.handle, VIRQ_ENOMEM}), "bind_virq");
  refused(a("virq", {channel.handle, VIRQ_ENOMEM}), EEXIST, "binding a VIRQ again");
  ok(a("unbind", {channel.handle, port}), "unbind");
  ok(a("virq", {channel.handle, VIRQ_ENOMEM}), "binding a VIRQ after unbind");
}

void a_restricted_handle_reaches_one_domain(Side& a, Side& b) {
  Channel offered(b);
  offered.offer(a);
  const Channel channel(a);
  refused(a("restrict", {channel.handle, 0}), EINVAL, "restricting to domain 0");
  const long domain = b.domain() != 0 ? b.domain() : kNoDomain;
  ok(a("restrict", {channel.handle, domain}), "restrict");
  refused(a("restrict", {channel.handle, domain}), EACCES, "restricting again");
  refused(a("unbound", {channel.handle, b.domain()}), EACCES, "an unbound port");
  refused(a("virq", {channel.handle, VIRQ_ENOMEM}), EACCES, "a VIRQ");
  const Answer bound = a("interdomain", {channel.handle, b.domain(), offered.port});
  if (b.domain() != 0) {
    ok(bound, "binding to the domain");
  } else {
    refused(bound, EACCES, "binding to another domain");
  }
}

// --- grants --------------------------------------------------------------------------------------

void shared_pages_are_zeroed_and_common(Side& a, Side& b) {
  const Pages pages(a, b, 3, true);
  equal(static_cast<long>(std::set<long>(pages.refs.begin(), pages.refs.end()).size()), 3,
        "different references");
  for (const long ref : pages.refs) check(ref >= 8, "a reserved reference: " + std::to_string(ref));
  const Mapper mapper(b);
  const long memory = mapper.map(a, pages.refs, kWrite);
  for (const long offset : {0, 4095, 4096, 3 * 4096 - 1}) {
    equal(mapper.peek(memory, offset), 0, "a fresh octet");
    pages.poke(offset, offset % 251 + 1);
    equal(mapper.peek(memory, offset), offset % 251 + 1, "what the owner wrote");
    mapper.poke(memory, offset, 7);
    equal(pages.peek(offset), 7, "what the mapper wrote");
  }
  mapper.unmap(memory, 3);
}

void pages_lie_in_the_order_of_their_references(Side& a, Side& b) {
  const Pages pages(a, b, 4, true);
  for (long page = 0; page < 4; ++page) pages.poke(page * 4096, page + 1);
  const Mapper mapper(b);
  const long memory =
      mapper.map(a, {pages.refs[3], pages.refs[1], pages.refs[2], pages.refs[0]}, kRead);
  const long wanted[] = {4, 2, 3, 1};
  for (long page = 0; page < 4; ++page) {
    equal(mapper.peek(memory, page * 4096), wanted[page], "page " + std::to_string(page));
  }
}

void a_page_can_be_mapped_twice(Side& a, Side& b) {
  const Pages pages(a, b, 1, true);
  const Mapper mapper(b);
  const long one = mapper.map(a, pages.refs, kWrite);
  const long two = mapper.map(a, pages.refs, kRead);
  mapper.poke(one, 9, 5);
  equal(mapper.peek(two, 9), 5, "what was written through the other mapping");
  mapper.unmap(one);
  equal(mapper.peek(two, 9), 5, "after the other's unmap");
}

void a_read_only_grant_is_not_mapped_writable(Side& a, Side& b) {
  const Pages pages(a, b, 1, false);
  pages.poke(0, 5);  // the owner may
  const Mapper mapper(b);
  refused(mapper.try_map(a, pages.refs, kWrite), EINVAL, "mapping it writable");
  const long memory = mapper.map(a, pages.refs, kRead);
  equal(mapper.peek(memory, 0), 5, "its contents");
}

void a_read_only_mapping_faults_on_write(Side& a, Side& b) {
  const Pages pages(a, b, 1, true);
  const Mapper mapper(b);
  const long memory = mapper.map(a, pages.refs, kRead);
  equal(b("touch", {memory, 0, 0}).value, 0, "the signal of a read");
  check(b("touch", {memory, 0, 1}).value != 0, "a write went through");
}

void grants_are_for_one_domain(Side& a, Side& b) {
  const long sharer = ok(a("gntshr-open"), "gntshr_open");
  const Answer shared = a("share", {sharer, kNoDomain, 1, 1});
  ok(shared, "sharing with a domain that does not exist");
  const Mapper mapper(b);
  refused(mapper.try_map(a, shared.more, kRead), EINVAL, "mapping what is for another domain");
}

void bad_references_are_refused(Side& a, Side& b) {
  const Pages pages(a, b, 2, true);
  const Mapper mapper(b);
  refused(mapper.try_map(a, {kNoRef}, kRead), EINVAL, "a reference beyond the table");
  refused(mapper.try_map(a, {}, kRead), EINVAL, "no reference at all");
  Side& owner = a;
  refused(b("map-several", {mapper.handle, kRead, kNoDomain, pages.refs[0]}), EINVAL,
          "a domain that does not exist");
  refused(mapper.try_map(owner, {pages.refs[0], kNoRef, pages.refs[1]}, kRead), EINVAL,
          "one bad reference among good ones");
  // and nothing of that call stays:
  ok(mapper.try_map(owner, pages.refs, kWrite), "the good ones alone");
}

void unmap_wants_what_was_mapped(Side& a, Side& b) {
  const Pages pages(a, b, 2, true);
  const Mapper mapper(b);
  const long memory = mapper.map(a, pages.refs, kWrite);
  refused(b("unmap", {mapper.handle, memory, 1}), EINVAL, "unmap of a part");
  refused(b("unmap", {mapper.handle, memory, 3}), EINVAL, "unmap of more");
  refused(b("unmap-nothing", {mapper.handle}), EINVAL, "unmap of nothing");
  mapper.unmap(memory, 2);
}

void access_ends_while_mapped_and_the_page_lives_on(Side& a, Side& b) {
  const Pages pages(a, b, 1, true);
  pages.poke(100, 42);
  const Mapper mapper(b);
  const long memory = mapper.map(a, pages.refs, kWrite);
  pages.unshare();
  equal(mapper.peek(memory, 100), 42, "the contents after the end of access");
  mapper.poke(memory, 100, 43);
  // New pages of the owner's are other pages.
  const Pages others(a, b, 8, true);
  for (long page = 0; page < 8; ++page) others.poke(page * 4096 + 100, 99);
  equal(mapper.peek(memory, 100), 43, "the contents beside the owner's new pages");
  mapper.unmap(memory);
  eventually(
      [&] {
        const Answer again = mapper.try_map(a, pages.refs, kRead);
        if (again.value >= 0) mapper.unmap(again.value);
        // The reference may be another page's by now; then it maps, and reads other contents.
        return again.value < 0 || std::find(others.refs.begin(), others.refs.end(),
                                            pages.refs[0]) != others.refs.end();
      },
      "the page can still be mapped after the last unmap");
}

void access_ends_with_unshare(Side& a, Side& b) {
  const Pages pages(a, b, 2, true);
  pages.unshare();
  const Mapper mapper(b);
  for (const long ref : pages.refs) {
    refused(mapper.try_map(a, {ref}, kRead), EINVAL, "mapping after the end of access");
  }
}

void access_ends_with_the_last_page_of_a_share(Side& a, Side& b) {
  const Pages pages(a, b, 2, true);
  ok(a("unshare-part", {pages.handle, pages.memory, 0, 1}), "unshare of the first page");
  const Mapper mapper(b);
  mapper.unmap(mapper.map(a, pages.refs, kRead), 2);
  ok(a("unshare-part", {pages.handle, pages.memory, 1, 1}), "unshare of the second page");
  refused(mapper.try_map(a, {pages.refs[0]}, kRead), EINVAL, "mapping after both");
}

void shared_pages_outlive_their_handle(Side& a, Side& b) {
  const Pages pages(a, b, 1, true);
  ok(a("gntshr-close", {pages.handle}), "gntshr_close");
  pages.poke(0, 8);
  const Mapper mapper(b);
  equal(mapper.peek(mapper.map(a, pages.refs, kRead), 0), 8, "the contents");
}

void mappings_outlive_their_handle(Side& a, Side& b) {
  const Pages pages(a, b, 1, true);
  const Mapper mapper(b);
  const long memory = mapper.map(a, pages.refs, kWrite);
  ok(b("gnttab-close", {mapper.handle}), "gnttab_close");
  pages.poke(0, 8);
  equal(mapper.peek(memory, 0), 8, "the contents");
}

void death_ends_access(Side& a, Side& b) {
  const Pages pages(a, b, 1, true);
  a.die();
  const Mapper mapper(b);
  eventually([&] { return mapper.try_map(a, pages.refs, kRead).value < 0; },
             "pages of a process that has died can still be mapped");
}

void sharing_has_limits(Side& a, Side& b) {
  const long sharer = ok(a("gntshr-open"), "gntshr_open");
  refused(a("share", {sharer, b.domain(), 1 << 20, 1}), ENOSPC, "sharing 4 GiB");
  check(a("share", {sharer, b.domain(), 0, 1}).value < 0, "sharing no page succeeded");
}

// --- notification of an unmap --------------------------------------------------------------------

// A shared page of `a` that `b` has mapped with a notification on offset 5 and a port.
struct Notified {
  Pair ports;
  Pages pages;
  Mapper mapper;
  long memory;

  Notified(Side& a, Side& b) : ports(a, b), pages(a, b, 1, true), mapper(b) {
    memory = ok(b("map-notify",
                  {mapper.handle, a.domain(), kWrite, pages.refs[0], 5, ports.connected.port}),
                "map with notification");
    mapper.poke(memory, 5, 1);
    mapper.poke(memory, 6, 1);
    equal(pages.peek(5), 1, "the octet while mapped");
    ports.offered.silent();
  }
  void has_come() const {
    ports.offered.take();
    equal(pages.peek(5), 0, "the octet after the notification");
    equal(pages.peek(6), 1, "the next octet");
  }
};

void unmap_clears_the_octet_and_notifies(Side& a, Side& b) {
  const Notified mapped(a, b);
  mapped.mapper.unmap(mapped.memory);
  mapped.has_come();
}

void death_of_the_mapper_notifies(Side& a, Side& b) {
  const Notified mapped(a, b);
  b.die();
  mapped.has_come();
}

void a_port_that_a_notification_holds_stays_open(Side& a, Side& b) {
  const Notified mapped(a, b);
  ok(b("unbind", {mapped.ports.connected.handle, mapped.ports.connected.port}), "unbind");
  mapped.mapper.unmap(mapped.memory);
  mapped.has_come();
}

void unshare_clears_the_octet_and_notifies(Side& a, Side& b) {
  const Pair pair(a, b);
  const long sharer = ok(a("gntshr-open"), "gntshr_open");
  const Answer shared = a("share-notify", {sharer, b.domain(), 1, 9, pair.offered.port});
  const long page = ok(shared, "share with notification");
  a("poke", {page, 9, 1});
  const Mapper mapper(b);
  const long memory = mapper.map(a, shared.more, kWrite);
  equal(mapper.peek(memory, 9), 1, "the octet");
  ok(a("unshare", {sharer, page}), "unshare");
  pair.connected.take();
  equal(mapper.peek(memory, 9), 0, "the octet after unshare");
}

void death_of_the_sharer_notifies(Side& a, Side& b) {
  const Pair pair(a, b);
  const long sharer = ok(a("gntshr-open"), "gntshr_open");
  const Answer shared = a("share-notify", {sharer, b.domain(), 1, 9, pair.offered.port});
  a("poke", {ok(shared, "share with notification"), 9, 1});
  const Mapper mapper(b);
  const long memory = mapper.map(a, shared.more, kWrite);
  a.die();
  pair.connected.take();
  equal(mapper.peek(memory, 9), 0, "the octet after the death");
}

void notifications_are_checked(Side& a, Side& b) {
  const Pages pages(a, b, 1, true);
  const Mapper mapper(b);
  const auto map = [&](long protection, long offset, long port) {
    return b("map-notify", {mapper.handle, a.domain(), protection, pages.refs[0], offset, port});
  };
  refused(map(kWrite, kNone, 3000), EINVAL, "a port that nobody has bound");
  refused(map(kRead, 5, kNone), EINVAL, "an octet to clear in a read-only page");
  ok(map(kWrite, 4096, kNone), "an offset beyond the page, which means none");
  ok(map(kWrite, kNone, kNone), "no notification");
}

// --- grant copy ----------------------------------------------------------------------------------

// An own page of `b`'s to copy from and to.
struct Buffer {
  Side& side;
  long memory;

  explicit Buffer(Side& its_side) : side(its_side), memory(side("private", {0, 3}).value) {}
};

void copy_goes_both_ways(Side& a, Side& b) {
  const Pages pages(a, b, 1, true);
  const Mapper mapper(b);
  const Buffer buffer(b);
  b("poke", {buffer.memory, 4094, 1});
  b("poke", {buffer.memory, 4097, 4});
  // Across the border of two pages of the own memory.
  Answer copied =
      b("copy", {mapper.handle, buffer.memory, 4094, a.domain(), pages.refs[0], 100, 4, 1});
  equal(ok(copied, "copy"), 0, "the call");
  equal(copied.more.at(0), GNTST_okay, "the status");
  equal(pages.peek(100), 1, "the first octet");
  equal(pages.peek(103), 4, "the last octet");
  pages.poke(4095, 77);
  copied = b("copy", {mapper.handle, buffer.memory, 10, a.domain(), pages.refs[0], 4095, 1, 0});
  equal(copied.more.at(0), GNTST_okay, "the status");
  equal(b("peek", {buffer.memory, 10}).value, 77, "the octet that was fetched");
}

void copy_reports_each_segment(Side& a, Side& b) {
  const Pages pages(a, b, 1, false);
  pages.poke(0, 9);
  const Mapper mapper(b);
  const Buffer buffer(b);
  const long ref = pages.refs[0];
  const Answer copied = b("copy", {mapper.handle,                                   //
                                   buffer.memory, 0,  a.domain(), kNoRef, 0, 8, 0,  //
                                   buffer.memory, 16, a.domain(), ref,    0, 8, 1,  //
                                   buffer.memory, 32, kNoDomain,  ref,    0, 8, 0,  //
                                   buffer.memory, 48, a.domain(), ref,    0, 8, 0});
  equal(ok(copied, "copy"), 0, "the call");
  equal(copied.more.at(0), GNTST_bad_gntref, "the status of a bad reference");
  equal(copied.more.at(1), GNTST_general_error, "the status of writing to a read-only grant");
  equal(copied.more.at(2), GNTST_bad_domain, "the status of a domain that does not exist");
  equal(copied.more.at(3), GNTST_okay, "the status of the good one");
  equal(b("peek", {buffer.memory, 48}).value, 9, "what the good one fetched");
}

void copy_between_two_grants(Side& a, Side& b) {
  const Pages pages(a, b, 2, true);
  pages.poke(50, 5);
  const Mapper mapper(b);
  const Answer copied = b("copy-between", {mapper.handle, a.domain(), pages.refs[0], 50, a.domain(),
                                           pages.refs[1], 60, 1});
  equal(ok(copied, "copy"), 0, "the call");
  equal(copied.more.at(0), GNTST_okay, "the status");
  equal(pages.peek(4096 + 60), 5, "the octet");
}

void copy_is_checked(Side& a, Side& b) {
  const Pages pages(a, b, 1, true);
  const Mapper mapper(b);
  const Buffer buffer(b);
  refused(b("copy", {mapper.handle, buffer.memory, 0, a.domain(), pages.refs[0], 4090, 7, 1}),
          EINVAL, "a copy beyond the page");
  refused(b("copy-locally", {mapper.handle, buffer.memory}), EINVAL, "a copy without a grant");
}

// --- the list ------------------------------------------------------------------------------------

struct Test {
  const char* name;
  void (*body)(Side& a, Side& b);
};

#define TEST_OF_THE_CONTRACT(name) \
  { #name, name }
constexpr Test kTests[] = {
    TEST_OF_THE_CONTRACT(a_new_connection_fires_at_once),
    TEST_OF_THE_CONTRACT(events_go_both_ways),
    TEST_OF_THE_CONTRACT(a_notification_before_the_connection_is_dropped),
    TEST_OF_THE_CONTRACT(a_port_stays_masked_until_unmasked),
    TEST_OF_THE_CONTRACT(an_event_that_comes_while_one_is_unread_comes_after_unmask),
    TEST_OF_THE_CONTRACT(unmask_of_what_is_not_masked_or_not_ours_is_no_error),
    TEST_OF_THE_CONTRACT(events_come_in_their_order),
    TEST_OF_THE_CONTRACT(pending_without_an_event_is_eagain),
    TEST_OF_THE_CONTRACT(the_lowest_free_port_is_given_out),
    TEST_OF_THE_CONTRACT(binding_to_what_is_not_offered_is_refused),
    TEST_OF_THE_CONTRACT(ports_belong_to_their_handle),
    TEST_OF_THE_CONTRACT(the_other_end_of_a_closed_channel_can_be_bound_again),
    TEST_OF_THE_CONTRACT(closing_the_handle_closes_its_ports),
    TEST_OF_THE_CONTRACT(death_closes_the_ports),
    TEST_OF_THE_CONTRACT(an_unread_event_outlives_its_port),
    TEST_OF_THE_CONTRACT(a_virq_is_bound_once),
    TEST_OF_THE_CONTRACT(a_restricted_handle_reaches_one_domain),
    TEST_OF_THE_CONTRACT(shared_pages_are_zeroed_and_common),
    TEST_OF_THE_CONTRACT(pages_lie_in_the_order_of_their_references),
    TEST_OF_THE_CONTRACT(a_page_can_be_mapped_twice),
    TEST_OF_THE_CONTRACT(a_read_only_grant_is_not_mapped_writable),
    TEST_OF_THE_CONTRACT(a_read_only_mapping_faults_on_write),
    TEST_OF_THE_CONTRACT(grants_are_for_one_domain),
    TEST_OF_THE_CONTRACT(bad_references_are_refused),
    TEST_OF_THE_CONTRACT(unmap_wants_what_was_mapped),
    TEST_OF_THE_CONTRACT(access_ends_while_mapped_and_the_page_lives_on),
    TEST_OF_THE_CONTRACT(access_ends_with_unshare),
    TEST_OF_THE_CONTRACT(access_ends_with_the_last_page_of_a_share),
    TEST_OF_THE_CONTRACT(shared_pages_outlive_their_handle),
    TEST_OF_THE_CONTRACT(mappings_outlive_their_handle),
    TEST_OF_THE_CONTRACT(death_ends_access),
    TEST_OF_THE_CONTRACT(sharing_has_limits),
    TEST_OF_THE_CONTRACT(unmap_clears_the_octet_and_notifies),
    TEST_OF_THE_CONTRACT(death_of_the_mapper_notifies),
    TEST_OF_THE_CONTRACT(a_port_that_a_notification_holds_stays_open),
    TEST_OF_THE_CONTRACT(unshare_clears_the_octet_and_notifies),
    TEST_OF_THE_CONTRACT(death_of_the_sharer_notifies),
    TEST_OF_THE_CONTRACT(notifications_are_checked),
    TEST_OF_THE_CONTRACT(copy_goes_both_ways),
    TEST_OF_THE_CONTRACT(copy_reports_each_segment),
    TEST_OF_THE_CONTRACT(copy_between_two_grants),
    TEST_OF_THE_CONTRACT(copy_is_checked),
};

constexpr const char* kUsage =
    "usage: displif-xen-contract [--role both|near|far] [--peer DOMID] [--control PATH]\n"
    "                            [--test GLOB] [--list]\n"
    "\n"
    "What this suite relies on in Xen's C ABI for event channels and grants, as TAP on stdout.\n"
    "  both   two processes of the own domain (the default)\n"
    "  near   this half judges, and a far half in domain DOMID obeys\n"
    "  far    obeys the near half in domain DOMID; start it first or last\n"
    "The halves talk over XenStore below PATH, which both domains can write; by default\n"
    "/local/domain/N/data/contract, N being the one of the two domains that is not 0.\n"
    "Exit status: 0 all hold, 1 something does not, 2 usage, 3 the test itself could not run.\n";

struct Options {
  std::string role = "both";
  long peer = -1;
  std::string control;
  std::string glob = "*";
  bool list = false;
};

bool parse(int argc, char** argv, Options& options) {
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--list") {
      options.list = true;
      continue;
    }
    if (i + 1 == argc) return false;
    const std::string value = argv[++i];
    if (argument == "--role" && (value == "both" || value == "near" || value == "far")) {
      options.role = value;
    } else if (argument == "--peer") {
      char* end = nullptr;
      options.peer = std::strtol(value.c_str(), &end, 10);
      if (end == value.c_str() || *end != '\0' || options.peer < 0) return false;
    } else if (argument == "--control") {
      options.control = value;
    } else if (argument == "--test") {
      options.glob = value;
    } else {
      return false;
    }
  }
  return options.role == "both" || options.peer >= 0;
}

// XenStore's relative node "domid".
long own_domain() {
  xs_handle* const store = xs_open(0);
  if (store == nullptr) throw std::runtime_error(std::string("xs_open: ") + std::strerror(errno));
  unsigned size = 0;
  char* const text = static_cast<char*>(xs_read(store, XBT_NULL, "domid", &size));
  // dom0 reads its own node by its absolute name, where a tool stack has written it.
  const long domain = text == nullptr ? 0 : std::strtol(text, nullptr, 10);
  std::free(text);
  xs_close(store);
  return domain;
}

struct Count {
  int run = 0;
  int failed = 0;
};

void run_test(const Test& test, Side& a, Side& b, Count& count) {
  ++count.run;
  std::string problem;
  try {
    test.body(a, b);
  } catch (const Failure& failure) {  // whatever else is thrown ends the run
    problem = failure.what();
  }
  a("clear");
  b("clear");
  if (!problem.empty()) ++count.failed;
  std::printf("%s %d - %s.%s-%s\n", problem.empty() ? "ok" : "not ok", count.run, test.name,
              a.name(), b.name());
  if (!problem.empty()) std::printf("# %s\n", problem.c_str());
  std::fflush(stdout);
}

Count run_all(Side& a, Side& b, const std::string& glob) {
  Count count;
  for (const Test& test : kTests) {
    if (fnmatch(glob.c_str(), test.name, 0) != 0) continue;
    run_test(test, a, b, count);
    run_test(test, b, a, count);
  }
  std::printf("1..%d\n", count.run);
  return count;
}

int run(const Options& options) {
  const long own = own_domain();
  std::string control = options.control;
  if (control.empty() && options.peer >= 0) {
    control = "/local/domain/" + std::to_string(own != 0 ? own : options.peer) + "/data/contract";
  }
  if (options.role == "far") return displif_cts::contract::serve(control);
  Near near("near", own);
  Count count;
  if (options.role == "both") {
    Near other("other", own);
    count = run_all(near, other, options.glob);
  } else {
    Far far(control, options.peer);
    count = run_all(near, far, options.glob);
    far.quit();
  }
  if (count.run == 0) {
    std::fprintf(stderr, "displif-xen-contract: no test is called %s\n", options.glob.c_str());
    return 3;
  }
  return count.failed == 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    const bool asked = argc == 2 && std::string(argv[1]) == "--help";
    std::fputs(kUsage, asked ? stdout : stderr);
    return asked ? 0 : 2;
  }
  if (options.list) {
    for (const Test& test : kTests) std::puts(test.name);
    return 0;
  }
  try {
    return run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "displif-xen-contract: %s\n", error.what());
    return 3;
  }
}
