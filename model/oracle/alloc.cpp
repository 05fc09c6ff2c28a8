// Requests for pages: what they are entitled to (domain.md 3.4, 5.5, 5.6, 9.1). Whether what they got was legal is
// grant.cpp's.
//
// Not checked: which of several free blocks is given, hot or cold, which half of a split is kept (all legal); the order
// of remote nodes; for preemptible tasks of machines with several nodes and CPUs the zone preference, because the node
// that counts as local is the one of the moment of the call.
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

namespace {

constexpr std::uint32_t thisnode_composite = subject::GFP_THISNODE;

}  // namespace

Ruling Oracle::State::call_alloc(const Event&, Flight& f) {
  const Request& request = f.request;
  f.gfp = request.gfp;
  f.order = request.order;
  Ruling ruling = Ruling::fine;
  const bool client = request.act == Act::client_add;
  const unsigned least = client && request.number == 0 ? 0 : 1;
  const unsigned most = client ? many : 1;
  if (request.act == Act::alloc_exact) {
    const std::uint64_t pages = request.number / shape.page_bytes() + (request.number % shape.page_bytes() != 0);
    f.order = static_cast<std::uint8_t>(pages == 0 ? 64 : std::bit_width(pages - 1));
    if ((f.gfp & subject::gfp_comp) != 0) {
      ruling = crime("compound-exact", machine::no_pfn, "__GFP_COMP to alloc_pages_exact, which splits its block");
      f.owe(ReportKind::compound_exact, 1, 1);
      f.gfp &= ~subject::gfp_comp;
    }
  }
  if (request.by_address && (f.gfp & subject::gfp_highmem) != 0) {
    ruling = crime("highmem-address", machine::no_pfn, "__GFP_HIGHMEM to a function that returns an address");
    f.owe(ReportKind::highmem_address, 1, 1);
    f.gfp &= ~subject::gfp_highmem;
  }
  const bool wait = may_sleep(f.gfp);
  if (wait && !sleepable_at(f)) {
    f.atomic_crime = true;
    ruling = crime("sleep-in-atomic", machine::no_pfn, "a blocking request in atomic context");
    f.owe(ReportKind::sleeping, least, many);
    f.owe(ReportKind::scheduling, 0, many);
  }
  const auto high = geometry.highest_kind(f.gfp);
  if (!high) {
    ruling = crime("zone-bits", machine::no_pfn, fmt::format("zone modifiers {:#x} do not combine", f.gfp & 0xf));
    f.owe(ReportKind::zone_bits, least, most);
    if (f.atomic_crime) f.owe(ReportKind::sleeping, 0, many);  // which check comes first is not said
    f.must_be_refused = true;
  }
  constexpr std::uint32_t both = subject::gfp_movable | subject::gfp_reclaimable;
  if ((f.gfp & both) == both) {
    ruling = crime("mobility-bits", machine::no_pfn, "MOVABLE and RECLAIMABLE together");
    const bool early = f.must_be_refused || f.order >= ledger.orders();
    f.owe(ReportKind::mobility_bits, early ? 0 : least, most);
  }
  if ((f.gfp & subject::gfp_nofail) != 0 && !wait) {
    ruling = crime("nofail-atomic", machine::no_pfn, "__GFP_NOFAIL without __GFP_WAIT");
    f.owe(ReportKind::nofail_atomic, 0, most);
  }
  if (f.order >= ledger.orders()) {
    f.must_be_refused = true;
    const bool warns = (f.gfp & subject::gfp_nowarn) == 0;
    // An empty zonelist is refused before the order is looked at.
    const bool somewhere =
        high && geometry.zonelist(0, *high).allowed != 0 && !(shape.nodes > 1 && (f.gfp & subject::gfp_thisnode) != 0);
    const bool due = somewhere && request.node < shape.nodes && (request.act == Act::alloc || request.number != 0);
    if (warns) f.owe(ReportKind::order_too_big, due ? 1 : 0, 1);
  }
  if (f.must_be_refused) return ruling;

  f.high = static_cast<std::uint8_t>(*high);
  const bool pinned = !sleepable_at(f) || shape.cpus == 1;
  if (request.node >= 0) {
    f.node = static_cast<std::uint8_t>(std::min<unsigned>(request.node, shape.nodes - 1u));
    if (request.node >= shape.nodes)
      f.unjudged = f.may_be_refused = true;  // not online: the reference says only that it is a bug
  } else {
    f.node = static_cast<std::uint8_t>(f.cpu % shape.nodes);
    if (shape.nodes > 1 && !pinned) {
      f.unjudged = true;
      // On a node that has none of the zones the request is refused at once.
      const auto has_none = [&](unsigned node) { return geometry.zonelist(node, f.high).local == 0; };
      for (unsigned node = 0; (f.gfp & subject::gfp_thisnode) != 0 && node != shape.nodes; ++node)
        if (has_none(node)) f.may_be_refused = true;
    }
  }
  f.rights = rights_of(f.gfp, f.preempt_count, f.task_flags);
  f.only_fast = shape.nodes > 1 && (f.gfp & thisnode_composite) == thisnode_composite;
  open_request(f);
  return ruling;
}

// The stages as of now: the state in which the subject's first look at the free lists will find memory, if quiet.
void Oracle::State::open_request(Flight& f) {
  f.stages = {};
  f.ever = f.always = 0;
  f.disturbed = false;
  f.nodes_due = 0;
  // Which node a request prefers whose task may migrate is not known, and matters to one that is for a node.
  const bool known = !f.unjudged || (f.gfp & subject::gfp_thisnode) == 0;
  f.impossible_zone = reach(f).most == 0 && (known || geometry.zonelist(f.node, f.high).allowed == 0);
  if (mark_changers != 0) f.unjudged = true;
  if (f.unjudged || f.impossible_zone) return;
  if (mutators != 1) return disturb(f);
  if (shape.nodes == 1) {  // the zonelist is the zones from the top: the first that passes decides
    const ZoneSet allowed = zones_of(f);
    for (unsigned z = geometry.count(); z-- != 0;) {
      if ((allowed & zone_bit(z)) == 0 || !passes(f, z, geometry.zone(z).mark_low, 0)) continue;
      f.stages[0] = {zone_bit(z), zone_bit(z)};
      f.ever = zone_bit(z);
      return;
    }
  } else {
    f.stages[0] = stage_now(f, 0);
  }
  if (f.stages[0].must == 0 && !f.only_fast) {
    f.stages[1] = stage_now(f, 1);
    if ((f.rights.may & right_no_watermarks) != 0) f.stages[2] = stage_now(f, 2);
    if (f.stages[0].may == 0) f.nodes_due = kswapds_due(f);
  }
  for (const Stage& stage : f.stages) f.ever |= stage.may;
}

Stage Oracle::State::stage_now(const Flight& f, unsigned stage) const {
  const Reach zones = reach(f, stage);
  Stage now;
  for_each_zone(zones.most, [&](unsigned z) {
    const Zone& zone = geometry.zone(z);
    bool must = false, may = false;
    if (stage == 0) {
      must = passes(f, z, zone.mark_low, 0);
      may = passes_at_best(f, z, zone.mark_low, 0);
    }
    if (stage == 1) {
      must = passes(f, z, zone.mark_min, f.rights.must);
      may = passes_at_best(f, z, zone.mark_min, f.rights.may);
    }
    if (stage == 2) {
      must = has_block(f, z, false);
      may = has_block(f, z, true);
    }
    if (must) now.must |= zones.least & zone_bit(z);
    if (may) now.may |= zone_bit(z);
  });
  return now;
}

// Against the most that the zone may keep from the request, and against the least.
bool Oracle::State::passes(const Flight& f, unsigned z, std::uint64_t mark, std::uint8_t rights) const {
  return passes_against(f, z, effective_mark(mark, rights), geometry.zonelist(f.node, f.high).classzone_most);
}
bool Oracle::State::passes_at_best(const Flight& f, unsigned z, std::uint64_t mark, std::uint8_t rights) const {
  return passes_against(f, z, effective_mark(mark, rights), geometry.zonelist(f.node, f.high).classzone_least);
}
bool Oracle::State::passes_against(const Flight& f, unsigned z, std::uint64_t mark, unsigned classzone) const {
  const ZoneState& now = ledger.zone(z);
  return watermark_ok(now.free, now.nr_free, f.order, mark, geometry.zone(z).reserve[classzone]);
}

bool Oracle::State::has_block(const Flight& f, unsigned z, bool parked_too) const {
  const ZoneState& now = ledger.zone(z);
  return (now.orders_free >> f.order) != 0 || (parked_too && f.order == 0 && now.parked != 0);
}

// Could the zone have let the request pass at this moment, whatever operations in flight have done so far?
bool Oracle::State::could_pass(const Flight& f, unsigned z) const {
  const ZoneState& now = ledger.zone(z);
  const std::uint64_t free = now.free + now.limbo;
  const std::uint64_t need = std::uint64_t{1} << f.order;
  if ((f.rights.may & right_no_watermarks) != 0 && !f.only_fast) return free + now.parked >= need;
  const Zone& zone = geometry.zone(z);
  const std::uint64_t mark = f.only_fast ? zone.mark_low : effective_mark(zone.mark_min, f.rights.may);
  return free + 1 > need + mark + zone.reserve[geometry.zonelist(f.node, f.high).classzone_least];
}

// Would the zone have let it pass at this moment for sure? Others may hold blocks that are still free in the ledger.
bool Oracle::State::surely_passes(const Flight& f, unsigned z) const {
  const ZoneState& now = ledger.zone(z);
  const Zone& zone = geometry.zone(z);
  std::uint64_t taken = 0;
  for (const std::uint8_t other : allocating) {
    const Flight& theirs = request_in_flight(other);
    if (&theirs != &f) taken += std::uint64_t{1} << std::min<unsigned>(theirs.order, machine::orders_max);
  }
  if (f.order != 0 && (taken != 0 || mutators > 1)) return false;
  if (taken >= now.free) return false;
  const std::uint64_t mark = f.only_fast ? zone.mark_low : effective_mark(zone.mark_min, f.rights.must);
  return watermark_ok(now.free - taken, now.nr_free, f.order, mark,
                      zone.reserve[geometry.zonelist(f.node, f.high).classzone_most]);
}

void Oracle::State::disturb(Flight& f) {
  if (f.disturbed || f.unjudged || f.impossible_zone || f.must_be_refused) return;
  const Reach zones = reach(f);
  f.disturbed = true;
  f.always = 0;
  for_each_zone(zones.most, [&](unsigned z) {
    if (could_pass(f, z)) f.ever |= zone_bit(z);
    if ((zones.least & zone_bit(z)) != 0 && surely_passes(f, z)) f.always |= zone_bit(z);
  });
}

void Oracle::State::before_change(unsigned except) {
  for (const std::uint8_t index : allocating) {
    if (index != except) disturb(request_in_flight(index));
  }
}

void Oracle::State::after_change() {
  for (const std::uint8_t index : allocating) {
    Flight& f = request_in_flight(index);
    if (!f.disturbed) continue;
    for_each_zone(static_cast<ZoneSet>(reach(f).most & ~f.ever), [&](unsigned z) {
      if (could_pass(f, z)) f.ever |= zone_bit(z);
    });
    for_each_zone(f.always, [&](unsigned z) {
      if (!surely_passes(f, z)) f.always &= static_cast<ZoneSet>(~zone_bit(z));
    });
  }
}

std::uint8_t Oracle::State::kswapds_due(const Flight& f) const {
  std::uint8_t due = 0;
  for_each_zone(zones_of(f) & zones_at_home(f), [&](unsigned z) {
    const ZoneState& now = ledger.zone(z);
    if (!watermark_ok(now.free, now.nr_free, f.order, geometry.zone(z).mark_low, geometry.zone(z).reserve[0])) {
      due |= static_cast<std::uint8_t>(1u << geometry.zone(z).node);
    }
  });
  return due;
}

}  // namespace memtorture::oracle
