// Requests for pages: what they are entitled to, and whether the block or the refusal that they got was legal
// (domain.md 3.4, 5.5, 5.6, 9.1, 9.4).
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

ZoneSet bit(unsigned zone) { return static_cast<ZoneSet>(1u << zone); }

template <class F>
void for_each_zone(ZoneSet set, F&& f) {
  for (unsigned rest = set; rest != 0; rest &= rest - 1) f(static_cast<unsigned>(std::countr_zero(rest)));
}

}  // namespace

// --- call
// -------------------------------------------------------------------------------------------------------------

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
  const Zonelist& list = geometry.zonelist(f.node, f.high);
  const ZoneSet allowed = (f.gfp & subject::gfp_thisnode) != 0 ? list.local : list.allowed;
  f.impossible_zone = allowed == 0;
  if (mark_changers != 0) f.unjudged = true;
  if (f.unjudged || f.impossible_zone) return;
  if (mutators != 1) return disturb(f);
  if (shape.nodes == 1) {  // the zonelist is the zones from the top: the first that passes decides
    for (unsigned z = geometry.count(); z-- != 0;) {
      if ((allowed & bit(z)) == 0 || !passes(f, z, geometry.zone(z).mark_low, 0)) continue;
      f.stages[0] = {bit(z), bit(z)};
      f.ever = bit(z);
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
  const Zonelist& list = geometry.zonelist(f.node, f.high);
  const ZoneSet allowed = (f.gfp & subject::gfp_thisnode) != 0 ? list.local : list.allowed;
  Stage now;
  for_each_zone(allowed, [&](unsigned z) {
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
    if (must) now.must |= bit(z);
    if (may) now.may |= bit(z);
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
    const Flight& theirs = contexts[other].flight;
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
  const Zonelist& list = geometry.zonelist(f.node, f.high);
  const ZoneSet allowed = (f.gfp & subject::gfp_thisnode) != 0 ? list.local : list.allowed;
  f.disturbed = true;
  f.always = 0;
  for_each_zone(allowed, [&](unsigned z) {
    if (could_pass(f, z)) f.ever |= bit(z);
    if (surely_passes(f, z)) f.always |= bit(z);
  });
}

void Oracle::State::before_change(unsigned except) {
  for (const std::uint8_t index : allocating) {
    if (index != except) disturb(contexts[index].flight);
  }
}

void Oracle::State::after_change() {
  for (const std::uint8_t index : allocating) {
    Flight& f = contexts[index].flight;
    if (!f.disturbed) continue;
    const Zonelist& list = geometry.zonelist(f.node, f.high);
    const ZoneSet allowed = (f.gfp & subject::gfp_thisnode) != 0 ? list.local : list.allowed;
    for_each_zone(static_cast<ZoneSet>(allowed & ~f.ever), [&](unsigned z) {
      if (could_pass(f, z)) f.ever |= bit(z);
    });
    for_each_zone(f.always, [&](unsigned z) {
      if (!surely_passes(f, z)) f.always &= static_cast<ZoneSet>(~bit(z));
    });
  }
}

std::uint8_t Oracle::State::kswapds_due(const Flight& f) const {
  std::uint8_t due = 0;
  const Zonelist& list = geometry.zonelist(f.node, f.high);
  for_each_zone((f.gfp & subject::gfp_thisnode) != 0 ? list.local : list.allowed, [&](unsigned z) {
    const ZoneState& now = ledger.zone(z);
    if (!watermark_ok(now.free, now.nr_free, f.order, geometry.zone(z).mark_low, geometry.zone(z).reserve[0])) {
      due |= static_cast<std::uint8_t>(1u << geometry.zone(z).node);
    }
  });
  return due;
}

// --- result
// -----------------------------------------------------------------------------------------------------------

Ruling Oracle::State::judge_result(const Event& event, Flight& f) {
  if (f.request.act == Act::client_add) return judge_added(event, f);
  const unsigned failures = f.reports_used ? f.seen[static_cast<unsigned>(ReportKind::allocation_failure)] : 0;
  f.cpus_seen |= std::uint64_t{1} << f.cpu | std::uint64_t{1} << event.cpu;
  if (event.pfn == machine::no_pfn) return f.nmi ? Ruling::fine : judge_refusal(f);

  if (f.faulted) return broken("fault.honoured", event.pfn, "a request with an injected failure got a block");
  if (f.must_be_refused) {
    if (f.order >= ledger.orders())
      return broken("page.order", event.pfn, fmt::format("order {} was granted", f.order));
    return broken("zone.bits", event.pfn, fmt::format("granted with zone modifiers {:#x}", f.gfp & 0xf));
  }
  if (failures != 0 && !f.nmi)
    return broken("page.report.spurious", event.pfn, "a failure report, but the request succeeded");
  const bool exact = f.request.act == Act::alloc_exact;
  const std::uint64_t pages = f.request.number / shape.page_bytes() + (f.request.number % shape.page_bytes() != 0);
  const std::uint32_t frames = exact ? static_cast<std::uint32_t>(pages) : 1u << f.order;
  if (const Ruling ruling = judge_grant(f, event.pfn, f.order, frames); ruling != Ruling::fine) return ruling;
  if (f.request.by_address &&
      event.value != machine::Ram::linear_base + (std::uint64_t{event.pfn} << shape.page_shift)) {
    return broken("page.address", event.pfn,
                  fmt::format("address {:#x} is not that of frame {}", event.value, event.pfn));
  }
  if ((f.gfp & subject::gfp_zero) != 0 && event.value2 != ~std::uint64_t{0}) {
    return broken("gfp.zero", event.pfn, fmt::format("byte {} is not zero", event.value2));
  }
  if (f.atomic_crime && !f.disturbed && !f.unjudged && !f.nmi &&
      f.stages[0].must != 0) {  // served at once: one report, no more
    f.owe(ReportKind::sleeping, 1, 1);
    f.owe(ReportKind::scheduling, 0, 0);
  }
  // From here the block is the caller's.
  ++serial;
  Slot filled{.first = event.pfn, .serial = serial, .frames = frames};
  if (exact) {
    for (std::uint32_t i = frames; i-- != 0;) filled.object = ledger.new_object(event.pfn + i, 0, serial, false);
  } else {
    filled.object = ledger.new_object(event.pfn, f.order, serial, (f.gfp & subject::gfp_comp) != 0 && f.order != 0);
  }
  ledger.zone(geometry.zone_of(event.pfn)).live += frames;
  if (f.layer)
    ledger.object(filled.object).layer = true;
  else
    fill_slot(f.request.out, filled);
  return Ruling::fine;
}

bool Oracle::State::must_not_fail(const Flight& f) const {
  const bool nofail = (f.gfp & subject::gfp_nofail) != 0;
  if (!may_sleep(f.gfp) || f.atomic_crime || f.only_fast) return false;
  if ((f.task_flags & machine::pf_memalloc) != 0) return nofail && (f.rights.must & right_no_watermarks) != 0;
  if ((f.task_flags & machine::tif_memdie) != 0 && !nofail) return false;
  return nofail || (f.order <= costly_order && (f.gfp & subject::gfp_noretry) == 0);
}

Ruling Oracle::State::judge_refusal(Flight& f) {
  const unsigned reports = f.reports_used ? f.seen[static_cast<unsigned>(ReportKind::allocation_failure)] : 0;
  if (f.faulted || f.must_be_refused) {
    if (f.faulted) {  // nothing after the injection is reached
      for (const ReportKind kind : {ReportKind::order_too_big, ReportKind::mobility_bits, ReportKind::zone_bits})
        f.least[static_cast<unsigned>(kind)] = 0;
      if (f.reclaims != 0)
        return broken("fault.honoured", machine::no_pfn, "reclaim ran although the failure was injected");
    }
    if (reports != 0)
      return broken("page.report.spurious", machine::no_pfn,
                    f.faulted ? "a failure report for an injected failure"
                              : "a failure report for a request that is refused as such");
    return Ruling::fine;
  }
  if (f.impossible_zone || f.may_be_refused) return Ruling::fine;
  const bool nofail = (f.gfp & subject::gfp_nofail) != 0;
  if (nofail && !may_sleep(f.gfp)) f.owe(ReportKind::nofail_atomic, 1, f.request.act == Act::client_add ? many : 1);
  if (!f.atomic_crime && !f.unjudged) {
    ZoneSet passing = f.always;
    if (!f.disturbed) {
      for (const Stage& stage : f.stages) passing |= stage.must;
    }
    if (passing != 0) {
      const unsigned z = static_cast<unsigned>(std::countr_zero(static_cast<unsigned>(passing)));
      return broken("page.fail.spurious", machine::no_pfn,
                    fmt::format("order {} gfp {:#x} was refused, but zone {} with {} free pages had it", f.order, f.gfp,
                                machine::zone_names[geometry.zone(z).kind], ledger.zone(z).free));
    }
  }
  if (must_not_fail(f) && nofail)
    return broken("gfp.nofail", machine::no_pfn, fmt::format("__GFP_NOFAIL of order {} was refused", f.order));
  if (must_not_fail(f) && promises.strict) {
    return broken("page.fail.small", machine::no_pfn,
                  fmt::format("a blocking request of order {} gfp {:#x} was refused", f.order, f.gfp));
  }
  const bool reclaimer = (f.task_flags & (machine::pf_memalloc | machine::tif_memdie)) != 0;
  if (may_sleep(f.gfp) && !f.atomic_crime && !reclaimer && !f.only_fast) {
    if (f.reclaims == 0) return broken("page.fail.reclaim", machine::no_pfn, "refused before any reclaim");
    const bool repeats = (f.gfp & subject::gfp_repeat) != 0 && (f.gfp & subject::gfp_noretry) == 0;
    if (repeats && f.last_progress != 0 && f.reclaimed < std::uint64_t{1} << f.order) {
      return broken("gfp.repeat", machine::no_pfn, fmt::format("refused after {} pages of progress", f.reclaimed));
    }
    if (f.order != 0 && promises.traces_placement && quiet(f)) {
      for (unsigned z = 0; z != geometry.count(); ++z) {
        if (ledger.zone(z).parked != 0)
          return broken("pcp.drain", machine::no_pfn,
                        "a high-order request was refused after reclaim while pages are on per-CPU lists");
      }
    }
  }
  if (quiet(f) && (f.nodes_due & ~f.nodes_woken) != 0)
    return broken("wmark.kswapd", machine::no_pfn, "refused without waking kswapd");
  if (promises.reports && (f.gfp & subject::gfp_nowarn) == 0 && reports == 0) {
    return broken("page.report.missing", machine::no_pfn,
                  fmt::format("no failure report for order {} gfp {:#x}", f.order, f.gfp));
  }
  return Ruling::fine;
}

// frames: how many of the 2^order stay with the caller (alloc_pages_exact gives the rest back before it returns).
Ruling Oracle::State::judge_grant(Flight& f, Pfn first, unsigned order, std::uint32_t frames) {
  const std::uint64_t last = std::uint64_t{first} + frames - 1;
  if (geometry.absent(first) || last >= geometry.frames() || geometry.absent(static_cast<Pfn>(last))) {
    return broken("page.reserved", first, fmt::format("frames {}..{} are not all there", first, last));
  }
  if ((first & ((1u << order) - 1)) != 0)
    return broken("buddy.align", first, fmt::format("frame {} does not suit order {}", first, order));
  const unsigned z = geometry.zone_of(first);
  if (geometry.zone_of(static_cast<Pfn>(last)) != z)
    return broken("zone.span", first, fmt::format("frames {}..{} cross a zone boundary", first, last));
  if (const Ruling ruling = judge_zone(f, z, first); ruling != Ruling::fine) return ruling;
  if (!flaws.empty() && flaws_in(first, frames) != 0)
    return broken("page.bad", first, "a page in a bad state was handed out");
  if (frames == 1u << order && f.request.act != Act::alloc_exact) {
    if (const Ruling ruling = take(f, first, order, z); ruling != Ruling::fine) return ruling;
  } else {
    for (std::uint32_t i = 0; i != frames; ++i) {
      if (const Ruling ruling = take(f, first + i, 0, z); ruling != Ruling::fine) return ruling;
    }
  }
  if (!corrupt.empty()) {
    if (const Ruling ruling = judge_poison(f, first, frames); ruling != Ruling::fine) return ruling;
  }
  if (f.nodes_due != 0 && quiet(f) && (f.nodes_due & ~f.nodes_woken) != 0)
    return broken("wmark.kswapd", first, "served below the low mark without waking kswapd");
  return Ruling::fine;
}

Ruling Oracle::State::judge_zone(Flight& f, unsigned z, Pfn first) {
  const Zone& zone = geometry.zone(z);
  if (f.nmi) return Ruling::fine;
  if (zone.kind > f.high) {
    return broken("zone.bound", first,
                  fmt::format("a {} frame for a request that ends at {}", machine::zone_names[zone.kind],
                              machine::zone_names[f.high]));
  }
  if ((f.gfp & subject::gfp_thisnode) != 0 && zone.node != f.node && !(f.unjudged && f.request.node < 0) &&
      !f.may_be_refused) {
    return broken("zone.node", first, fmt::format("a frame of node {}, wanted was node {}", zone.node, f.node));
  }
  if (f.unjudged) return Ruling::fine;
  if (f.disturbed) {
    if ((f.ever & bit(z)) != 0) return Ruling::fine;
  } else {
    for (const Stage& stage : f.stages) {
      if ((stage.may & bit(z)) != 0 && (geometry.before(z, f.node) & stage.must) == 0) return Ruling::fine;
      if (stage.must != 0) break;
    }
    if ((f.ever & bit(z)) != 0 || f.stages[0].must != 0) {
      return broken("zone.preference", first,
                    fmt::format("served by node {} {} although another zone comes first", zone.node,
                                machine::zone_names[zone.kind]));
    }
  }
  const std::uint64_t free = ledger.zone(z).free + f.refills;  // as it was when the check was made
  const std::uint64_t need = (std::uint64_t{1} << f.order) - 1;
  const std::uint64_t mark = effective_mark(zone.mark_min, f.rights.may);
  const std::uint64_t reserve = zone.reserve[geometry.zonelist(f.node, f.high).classzone_least];
  const std::string what = fmt::format("order {} gfp {:#x} from {} with {} free: mark {}, reserve {}", f.order, f.gfp,
                                       machine::zone_names[zone.kind], free, mark, reserve);
  if (free <= need + mark) return broken("wmark.min", first, what);
  if (free <= need + mark + reserve) return broken("wmark.reserve", first, what);
  return broken("wmark.order", first, what);
}

// The frames leave the free set or the per-CPU list.
Ruling Oracle::State::take(const Flight& f, Pfn first, unsigned order, unsigned z) {
  ZoneState& zone = ledger.zone(z);
  if (order == 0) {
    const Entry entry = ledger.at(first);
    if (entry.holds() == Holds::parked) {
      const unsigned cpu = entry.payload();
      const bool fixed = !sleepable_at(f) || shape.cpus == 1;  // a task that may migrate may have been anywhere
      if (fixed && cpu != f.cpu)
        return broken("pcp.remote", first,
                      fmt::format("frame {} of cpu {}'s list was handed out on cpu {}", first, cpu, f.cpu));
      ledger.set(first, Entry{});
      --ledger.parked(z, cpu);
      --zone.parked;
      return Ruling::fine;
    }
  }
  const unsigned sufficient = zone.orders_free >> order;
  const bool alone = quiet(f) && f.request.act != Act::alloc_exact;
  auto from = ledger.remove_free(first, order, z);
  if (!from) {
    settle_overlapping(first, order);
    from = ledger.remove_free(first, order, z);
    if (!from) return not_free(first, 1u << order, "was handed out");
  } else if (alone && *from != order + static_cast<unsigned>(std::countr_zero(sufficient))) {
    return broken("buddy.smallest", first,
                  fmt::format("a block of order {} was cut for order {} while one of order {} is free", *from, order,
                              order + std::countr_zero(sufficient)));
  }
  after_change();
  return Ruling::fine;
}

Ruling Oracle::State::not_free(Pfn first, std::uint32_t frames, std::string_view doing) {
  for (std::uint32_t i = 0; i != frames; ++i) {
    const Pfn frame = first + i;
    const std::string what = fmt::format("frame {} {} while {}", frame, doing, whose(frame));
    if (geometry.absent(frame) || geometry.reserved(frame)) return broken("page.reserved", frame, what);
    switch (ledger.find(frame).entry.holds()) {
      case Holds::free: continue;
      case Holds::parked: return broken("pcp.double", frame, what);
      case Holds::bad: return broken("page.bad", frame, what);
      default: return broken("page.overlap", frame, what);
    }
  }
  return broken("page.overlap", first, fmt::format("block {} {} but its frames are not one free block", first, doing));
}

}  // namespace memtorture::oracle
