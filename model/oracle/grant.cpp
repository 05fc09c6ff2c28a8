// What a request for pages got: was the block, or the refusal, legal (domain.md 3.4, 5.5, 9.4)?
#include <fmt/core.h>

#include <algorithm>

#include "model/oracle/state.h"

namespace memtorture::oracle {

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
  if (f.mems != machine::all_nodes && (f.gfp & subject::gfp_thisnode) == 0 && (reach(f).most & zone_bit(z)) == 0) {
    return broken(
        "gfp.cpuset", first,
        fmt::format("a frame of node {} for gfp {:#x} and a task with nodes {:#x}", zone.node, f.gfp, f.mems));
  }
  if (f.unjudged) return Ruling::fine;
  if (f.disturbed) {
    if ((f.ever & zone_bit(z)) != 0) return Ruling::fine;
  } else {
    for (const Stage& stage : f.stages) {
      if ((stage.may & zone_bit(z)) != 0 && (geometry.before(z, f.node) & stage.must) == 0) return Ruling::fine;
      if (stage.must != 0) break;
    }
    if (f.stages[0].must != 0 && (reach(f, 0).most & zone_bit(z)) == 0) {
      return broken("gfp.cpuset", first,
                    fmt::format("served by node {} although one of nodes {:#x} passes", zone.node, f.mems));
    }
    if ((f.ever & zone_bit(z)) != 0 || f.stages[0].must != 0) {
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
