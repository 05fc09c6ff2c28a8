// Allocation: the checks at entry, one pass over a zonelist, and what makes a block of the free lists the caller's.
//
// Order of the entry checks: NMI, might_sleep (before anything that could fail, domain.md 1.6), the flags themselves,
// the injected fault (before any free list is looked at, 8.3), an empty zonelist. Only then memory is touched.
#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::BadPageReason;
using machine::Held;
using machine::Masked;
using machine::point;
using machine::report;
using machine::ReportKind;

namespace {

// Scope flags of the current task (domain.md 7.5).
gfp_t scope_mask(gfp_t gfp) {
  const std::uint32_t flags = machine::current().flags;
  if ((flags & machine::pf_noio) != 0) gfp &= ~(subject::gfp_io | subject::gfp_fs);
  if ((flags & machine::pf_nofs) != 0) gfp &= ~subject::gfp_fs;
  return gfp;
}

constexpr machine::Report complaint(ReportKind kind, unsigned order, gfp_t gfp) {
  return {.kind = kind, .order = static_cast<std::uint8_t>(order < 255 ? order : 255), .gfp = gfp};
}

// Combinations of domain.md 7.6 that are reported and then go on.
void check_flags(gfp_t gfp, unsigned order) {
  constexpr gfp_t mobility = subject::gfp_movable | subject::gfp_reclaimable;
  if ((gfp & mobility) == mobility) report(complaint(ReportKind::mobility_bits, order, gfp));
  constexpr gfp_t nofail = subject::gfp_nofail | subject::gfp_wait;
  if ((gfp & nofail) == subject::gfp_nofail) report(complaint(ReportKind::nofail_atomic, order, gfp));
}

inline bool is_clean(Page& page) {  // PAGE_FLAGS_CHECK_AT_PREP: every flag
  return (page.flags() & ~pg_poisoned) == 0 && page.mapcount == 0 && page.mapping == 0 && page.count() == 0;
}

BadPageReason why_unclean(Page& page) {
  if (page.mapcount != 0) return BadPageReason::mapcount;
  if (page.mapping != 0) return BadPageReason::mapping;
  return page.count() != 0 ? BadPageReason::refcount : BadPageReason::flags;
}

}  // namespace

Pfn PageAllocator::alloc_pages(gfp_t gfp, unsigned order) { return alloc_pages_node(-1, gfp, order); }

Pfn PageAllocator::alloc_pages_node(int nid, gfp_t gfp, unsigned order) {
  if (reject_nmi(gfp, order, no_pfn)) return no_pfn;
  if ((gfp & subject::gfp_wait) != 0) machine::might_sleep();
  Request request{.gfp = scope_mask(gfp),
                  .given = gfp,
                  .order = order,
                  .classzone = ZoneKind::normal,
                  .zonelist = nullptr,
                  .home = nullptr};
  if (!admit(request, nid)) return no_pfn;
  if (order >= orders_) [[unlikely]] {
    if ((gfp & subject::gfp_nowarn) == 0) report(complaint(ReportKind::order_too_big, order, gfp));
    return no_pfn;
  }
  if (machine::current().mems_allowed != machine::all_nodes) [[unlikely]]
    return alloc_confined(request);
  const Pfn pfn = get_page_from_freelist(request, *request.zonelist, Mark::low, 0);
  return pfn != no_pfn ? pfn : alloc_pages_slowpath(request);
}

// The same for who has a cpuset, which binds no interrupt: what comes there is not the task's.
Pfn PageAllocator::alloc_confined(Request& request) {
  Zonelist home;
  if (!machine::in_interrupt()) {
    home = on_nodes(*request.zonelist, zones(), machine::current().mems_allowed);
    request.home = &home;
  }
  const Pfn pfn = get_page_from_freelist(request, request.hardwall(), Mark::low, 0);
  return pfn != no_pfn ? pfn : alloc_pages_slowpath(request);
}

bool PageAllocator::set_mems_allowed(machine::NodeSet nodes) {
  const auto existing = static_cast<machine::NodeSet>((1u << nodes_) - 1);
  if ((nodes & existing) == 0) return false;
  // With all of them it is as if there was no cpuset, which costs nothing.
  machine::current().mems_allowed = (nodes & existing) == existing ? machine::all_nodes : nodes;
  return true;
}

// Settles where the request may be served; false: nowhere, or a fault was injected.
bool PageAllocator::admit(Request& request, int nid) {
  const gfp_t gfp = request.gfp;
  check_flags(request.given, request.order);
  if (!zone_table_.is_legal(gfp)) [[unlikely]] {
    report(complaint(ReportKind::zone_bits, request.order, request.given));
    return false;
  }
  const std::uint64_t pages = request.order < 32 ? std::uint64_t{1} << request.order : ~std::uint64_t{0};
  if (faults_->should_fail("page.alloc", pages, gfp, request.order)) return false;
  const unsigned node = nid < 0 ? numa_node_id() : static_cast<unsigned>(nid);
  if (node >= nodes_) return false;  // not online: no zone could serve it
  const bool bound = (gfp & subject::gfp_thisnode) != 0;
  request.zonelist = &zonelists_.of(node, zone_table_.highest(gfp), bound ? Fallback::this_node : Fallback::all_nodes);
  request.home = request.zonelist;
  if (request.zonelist->count == 0) return false;
  request.classzone = zones_[request.zonelist->zones[0]].kind;
  return true;
}

// domain.md 9.1: the first zone that passes its check and can give a block wins.
Pfn PageAllocator::get_page_from_freelist(const Request& request, const Zonelist& zonelist, Mark mark,
                                          unsigned alloc_flags) {
  for (const std::uint8_t index : zonelist.all()) {
    Zone& zone = zones_[index];
    if ((alloc_flags & alloc_no_watermarks) == 0) {
      if (!zone_watermark_ok(zone, request.order, mark, request.classzone, alloc_flags)) continue;
      point("page.watermark");
    }
    for (Pfn pfn; (pfn = rmqueue(request, zone)) != no_pfn;) {
      if (prep_new_block(pfn, request.order, request.gfp)) return pfn;
    }
  }
  return no_pfn;
}

Pfn PageAllocator::rmqueue(const Request& request, Zone& zone) {
  Masked masked;
  Pfn pfn;
  if (request.order == 0) {
    pfn = rmqueue_single(zone, request.gfp, masked);
  } else {
    Held held(zone.lock, masked, "zone.lock", "zone.unlock");
    pfn = take_block(map_, zone, request.order, held);
  }
  if (nodes_ > 1 && pfn != no_pfn) zone_statistics(request, zone, masked);
  return pfn;
}

Pfn PageAllocator::rmqueue_single(Zone& zone, gfp_t gfp, const Masked& masked) {
  if (zone.pcp[masked.cpu()].high != 0) return pcp_alloc(zone, gfp, masked);
  Held held(zone.lock, masked, "zone.lock", "zone.unlock");
  return take_block(map_, zone, 0, held);
}

// Each CPU counts on its own set, so nobody else writes it (domain.md 3.5, P-ZONE-9).
void PageAllocator::zone_statistics(const Request& request, Zone& zone, const Masked& masked) {
  Zone& preferred = zones_[request.zonelist->zones[0]];
  NumaStat& stat = zone.pcp[masked.cpu()].numa;
  if (zone.node == preferred.node) {
    stat.hit.add(1);
  } else {
    stat.miss.add(1);
    preferred.pcp[masked.cpu()].numa.foreign.add(1);
  }
  (zone.node == cpu_node_[masked.cpu()] ? stat.local : stat.other).add(1);
}

// The block is on no list and nobody's: nothing else can reach it until this returns. False: it was bad, take another.
bool PageAllocator::prep_new_block(Pfn pfn, unsigned order, gfp_t gfp) {
  point("page.prep");
  if (!check_new_block(pfn, order)) return false;
  if (poisons_) check_poison(pfn, order);
  if ((gfp & subject::gfp_zero) != 0) {
    for (Pfn i = 0; i != Pfn{1} << order; ++i) machine_->ram().clear_frame(pfn + i);
  }
  if ((gfp & subject::gfp_comp) != 0 && order != 0) prep_compound_page(pfn, order);
  map_[pfn].set_count(1);
  return true;
}

// domain.md 2.6, allocation side: a bad page is taken out of circulation, its good neighbours in the block go back.
bool PageAllocator::check_new_block(Pfn pfn, unsigned order) {
  bool good = is_clean(map_[pfn]);
  for (Pfn i = pfn + 1; i != pfn + (Pfn{1} << order); ++i) good &= is_clean(map_[i]);
  if (!good) [[unlikely]]
    remove_bad(pfn, order);
  return good;
}

void PageAllocator::remove_bad(Pfn pfn, unsigned order) {
  const Pfn end = pfn + (Pfn{1} << order);
  for (Pfn i = pfn; i != end; ++i) {
    if (!is_clean(map_[i])) leak(i, 0, why_unclean(map_[i]));
  }
  Masked masked;
  for (Pfn i = pfn; i != end; ++i) {
    if (is_clean(map_[i])) free_to_buddy(zone_of(i), i, 0, masked);
  }
}

void PageAllocator::check_poison(Pfn pfn, unsigned order) {
  for (Pfn i = pfn; i != pfn + (Pfn{1} << order); ++i) {
    Page& page = map_[i];
    if ((page.flags() & pg_poisoned) == 0) continue;  // never freed in this run
    page.set_flags(page.flags() & ~pg_poisoned);
    if (machine_->ram().find_not(i, 1, poison_byte) >= 0) report({.kind = ReportKind::poison, .pfn = i});
  }
}

void PageAllocator::prep_compound_page(Pfn head, unsigned order) {
  map_[head].set_flags(subject::pg_head);
  map_[head + 1].prev = order;
  for (Pfn i = head + 1; i != head + (Pfn{1} << order); ++i) {
    map_[i].next = head;
    map_[i].set_flags(subject::pg_tail);
  }
}

}  // namespace memtorture::page
