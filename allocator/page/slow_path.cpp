// The slow path of K26 (domain.md 9.1, steps 2-10): what an allocation does when the first pass found nothing.
//
//   restart:    wake kswapd
//   pass MIN -> [entitled: pass without marks] -> [may not block: nopage] -> reclaim -> pass -> OOM | wait -> again
//
// Two departures from K26's text, both towards the contract of 9.4 and neither able to refuse more: the pass at MIN is
// repeated after every wait (K26 looks again only after progress of its own, so a NOIO request would miss what others
// freed), and a request of order > 0 looks again after its drain even when reclaim freed nothing (P-RECLAIM-1).
//
// A request that may block but was made where sleeping is not allowed has been reported at entry; from there it is
// treated as one that may not block, so that a crime in the caller does not become a sleep in atomic context here.
//
// Every retry passes a wait of at least one jiffy, so a run that can never succeed is a livelock by the step budget.
#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::report;
using machine::ReportKind;

namespace {

// domain.md 5.6 with the ruling on GFP_NOWAIT: without __GFP_HIGH there is no reserve.
unsigned gfp_to_alloc_flags(gfp_t gfp) {
  const std::uint32_t task = machine::current().flags;
  unsigned flags = 0;
  if ((gfp & subject::gfp_high) != 0) flags |= alloc_high;
  if ((gfp & subject::gfp_wait) == 0) {
    if ((gfp & subject::gfp_high) != 0) flags |= alloc_harder;
  } else if ((task & machine::pf_realtime) != 0 && !machine::in_interrupt()) {
    flags |= alloc_harder;
  }
  const bool privileged = (task & (machine::pf_memalloc | machine::tif_memdie)) != 0 && !machine::in_interrupt();
  if (privileged && (gfp & subject::gfp_nomemalloc) == 0) flags |= alloc_no_watermarks;
  return flags;
}

bool may_block(gfp_t gfp) {
  const machine::Context& me = machine::current();
  return (gfp & subject::gfp_wait) != 0 && machine::sleepable(me.preempt_count, me.irqs);
}

// The zones for passes at MIN (domain.md 5.6, 9.1). Without __GFP_HARDWALL the nearest enclosing cpuset counts, which
// is the root and has all nodes; who cannot wait rather takes from elsewhere than nothing, and a victim may go
// anywhere.
const Zonelist& within_reach(const Request& request) {
  const bool victim = (machine::current().flags & machine::tif_memdie) != 0;
  const bool walled = (request.gfp & subject::gfp_hardwall) != 0 && may_block(request.gfp) && !victim;
  return walled ? request.hardwall() : *request.zonelist;
}

// NOFAIL wins over NORETRY (ruling in 7.6). Asked only of requests that may block. A large REPEAT request ends when a
// round frees nothing (9.4, P-RECLAIM-9): K26's text would have a NOFS one loop for ever with nothing to wait for.
bool should_alloc_retry(gfp_t gfp, unsigned order, std::uint32_t freed, std::uint64_t reclaimed_total) {
  if ((gfp & subject::gfp_nofail) != 0) return true;
  if ((gfp & subject::gfp_noretry) != 0) return false;
  if (order <= costly_order) return true;
  return (gfp & subject::gfp_repeat) != 0 && freed != 0 && reclaimed_total < std::uint64_t{1} << order;
}

}  // namespace

Pfn PageAllocator::alloc_pages_slowpath(const Request& request) {
  const gfp_t gfp = request.gfp;
  if (nodes_ > 1 && (gfp & subject::GFP_THISNODE) == subject::GFP_THISNODE) return nopage(request);
  const Zonelist& reach = within_reach(request);
  std::uint64_t reclaimed_total = 0;
  for (Verdict verdict = Verdict::restart;;) {
    if (verdict == Verdict::restart) wake_all_kswapd(request);
    const unsigned alloc_flags = gfp_to_alloc_flags(gfp);
    Pfn pfn = get_page_from_freelist(request, reach, Mark::min, alloc_flags & ~alloc_no_watermarks);
    if (pfn == no_pfn && (alloc_flags & alloc_no_watermarks) != 0) {  // cpusets do not count either
      pfn = get_page_from_freelist(request, *request.zonelist, Mark::min, alloc_no_watermarks);
    }
    if (pfn != no_pfn) return pfn;
    if (!may_block(gfp)) return nopage(request);
    // The cpuset has none of its zones, and never will (domain.md 9.4, first paragraph).
    if (reach.count == 0 && (alloc_flags & alloc_no_watermarks) == 0) return nopage(request);
    // A reclaimer must not reclaim, and a victim shall die rather than wait; only NOFAIL keeps them here.
    if ((machine::current().flags & (machine::pf_memalloc | machine::tif_memdie)) != 0) {
      if ((gfp & subject::gfp_nofail) == 0) return nopage(request);
      if ((machine::current().flags & machine::pf_memalloc) != 0) {
        machine::sleep_jiffies(machine_->shape().hz / 50);
        verdict = Verdict::retry;
        continue;
      }
    }
    const std::uint32_t freed = try_to_free_pages(request);
    reclaimed_total += freed;
    if (request.order != 0) drain_every_cpu();
    if (freed != 0 || request.order != 0) {
      pfn = get_page_from_freelist(request, reach, Mark::min, alloc_flags & ~alloc_no_watermarks);
      if (pfn != no_pfn) return pfn;
    }
    verdict = after_reclaim(request, freed, reclaimed_total, pfn);
    if (pfn != no_pfn) return pfn;
    if (verdict == Verdict::nopage) return nopage(request);
  }
}

// Steps 8 and 9; waits before it says anything but nopage. An allocation by the OOM path comes back in pfn.
PageAllocator::Verdict PageAllocator::after_reclaim(const Request& request, std::uint32_t freed,
                                                    std::uint64_t reclaimed_total, Pfn& pfn) {
  const bool noretry = (request.gfp & subject::gfp_noretry) != 0;
  if (freed == 0 && (request.gfp & subject::gfp_fs) != 0 && !noretry) return may_oom(request, pfn);
  if (!should_alloc_retry(request.gfp, request.order, freed, reclaimed_total)) return Verdict::nopage;
  machine::sleep_jiffies(machine_->shape().hz / 50);  // congestion_wait
  return Verdict::retry;
}

// domain.md 9.5: one pass at HIGH, because a kill elsewhere may have freed memory meanwhile; then perhaps a kill.
PageAllocator::Verdict PageAllocator::may_oom(const Request& request, Pfn& pfn) {
  const bool nofail = (request.gfp & subject::gfp_nofail) != 0;
  if (!oom_busy_.exchange(true, std::memory_order_acquire)) {
    const bool victim = (machine::current().flags & machine::tif_memdie) != 0;
    pfn = get_page_from_freelist(request, victim ? *request.zonelist : request.hardwall(), Mark::high, 0);
    const bool killing = nofail || (request.order <= costly_order && (request.gfp & subject::gfp_thisnode) == 0);
    if (pfn == no_pfn && killing) out_of_memory(request);
    oom_busy_.store(false, std::memory_order_release);
    if (pfn != no_pfn) return Verdict::restart;
    if (request.order > costly_order && !nofail) return Verdict::nopage;
  }
  machine::sleep_jiffies(1);  // the victim, or whoever else is out of memory, gets its chance
  return Verdict::restart;
}

Pfn PageAllocator::nopage(const Request& request) {
  if ((request.given & subject::gfp_nowarn) == 0) {
    report({.kind = ReportKind::allocation_failure,
            .order = static_cast<std::uint8_t>(request.order),
            .gfp = request.given});
    show_zones();
  }
  return no_pfn;
}

// K26: show_mem.
void PageAllocator::show_zones() {
  for (const Zone& zone : zones()) {
    const auto mark = [&](Mark which) { return zone.mark[static_cast<unsigned>(which)].get(); };
    trace_->zone_shown(zone.index, zone.nr_free_pages.get(), mark(Mark::min), mark(Mark::low), mark(Mark::high));
  }
}

}  // namespace memtorture::page
