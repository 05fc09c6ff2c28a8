// References and freeing (domain.md 2.4-2.6, 4.4).
//
// A block is freed by whoever drops its last reference; dropping is one atomic step, so exactly one caller frees.
// A descriptor in a bad state stops the free: the block is reported, marked pg_bad and kept out of circulation for
// ever. What can be told apart from a bad state of the caller's own block (a double free, a free with too large an
// order, a free of somebody else's tail) changes nothing beyond the caller's own reference, so that the rest of the
// machine stays sound (P-PAGE-11, P-DEBUG-3).
//
// Not detected: a free with too small an order; nothing in the machine knows the true one (4.5).
#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::BadPageReason;
using machine::Held;
using machine::Masked;
using machine::point;
using machine::report;
using machine::ReportKind;

namespace {

using subject::pg_head;
using subject::pg_tail;

machine::Report bad_page(Pfn pfn, unsigned order, BadPageReason why) {
  return {.kind = ReportKind::bad_page, .why = why, .order = static_cast<std::uint8_t>(order), .pfn = pfn};
}

inline BadPageReason why_bad(Page& page) {
  if (page.mapcount != 0) return BadPageReason::mapcount;
  if (page.mapping != 0) return BadPageReason::mapping;
  if (page.count() != 0) return BadPageReason::refcount;
  if (page.flags() != 0) return BadPageReason::flags;
  return BadPageReason::none;
}

// An inside page that is in use, listed or part of something else belongs to another block: the order was too large.
bool is_foreign(Page& page) {
  constexpr std::uint32_t elsewhere =
      subject::pg_buddy | subject::pg_reserved | pg_head | pg_tail | subject::pg_bad | pg_pcp | pg_poisoned;
  return page.count() != 0 || (page.flags() & elsewhere) != 0;
}

}  // namespace

Pfn PageAllocator::compound_head(Pfn pfn) {
  Page& page = map_[pfn];
  return (page.flags() & pg_tail) != 0 ? page.next : pfn;
}

// True: that was the last reference. A count of 0 is reported and left alone.
bool PageAllocator::put_page_testzero(Pfn pfn, unsigned order) {
  point("page.put");
  Page& page = map_[pfn];
  std::atomic_ref count(page.count_);
  int before = count.load(std::memory_order_relaxed);
  for (;;) {
    if (before <= 0) {
      report(bad_page(pfn, order, BadPageReason::refcount));
      return false;
    }
    if (!shared_) {  // one host thread: no locked instruction needed
      count.store(before - 1, std::memory_order_relaxed);
      break;
    }
    if (count.compare_exchange_weak(before, before - 1, std::memory_order_acq_rel, std::memory_order_relaxed)) break;
  }
  return before == 1;
}

void PageAllocator::free_pages_of(Pfn pfn, unsigned order) {
  if (reject_nmi(0, order, pfn)) return;
  if (pfn >= map_.memory().all.end) return report({.kind = ReportKind::bad_address, .pfn = pfn});
  const std::uint32_t flags = map_[pfn].flags();
  if ((flags & subject::pg_reserved) != 0) return report(bad_page(pfn, order, BadPageReason::reserved));
  if ((flags & pg_tail) != 0) return report(bad_page(pfn, order, BadPageReason::compound));
  if (put_page_testzero(pfn, order)) free_block(pfn, order);
}

void PageAllocator::get_page(Pfn pfn) {
  if (reject_nmi(0, 0, pfn)) return;
  if (pfn >= map_.memory().all.end) return report({.kind = ReportKind::bad_address, .pfn = pfn});
  point("page.get");
  pfn = compound_head(pfn);
  std::atomic_ref count(map_[pfn].count_);
  int before = count.load(std::memory_order_relaxed);
  do {
    if (before <= 0) return report(bad_page(pfn, 0, BadPageReason::refcount));
  } while (!count.compare_exchange_weak(before, before + 1, std::memory_order_relaxed));
}

void PageAllocator::put_page(Pfn pfn) {
  if (reject_nmi(0, 0, pfn)) return;
  if (pfn >= map_.memory().all.end) return report({.kind = ReportKind::bad_address, .pfn = pfn});
  pfn = compound_head(pfn);
  const std::uint32_t flags = map_[pfn].flags();
  if ((flags & subject::pg_reserved) != 0) return report(bad_page(pfn, 0, BadPageReason::reserved));
  const unsigned order = (flags & pg_head) != 0 ? compound_order(pfn) : 0;
  if (put_page_testzero(pfn, order)) free_block(pfn, order);
}

int PageAllocator::page_count(Pfn pfn) { return pfn >= map_.memory().all.end ? 0 : map_[compound_head(pfn)].count(); }

// __free_pages_ok and free_hot_cold_page: no reference is left.
void PageAllocator::free_block(Pfn pfn, unsigned order) {
  point("page.free");
  if (!free_block_check(pfn, order)) return;
  if (poisons_) poison(pfn, order);
  Zone& zone = zone_of(pfn);
  Masked masked;
  if (order == 0 && zone.pcp[masked.cpu()].high != 0) return pcp_free(zone, pfn, masked);
  free_to_buddy(zone, pfn, order, masked);
}

void PageAllocator::free_to_buddy(Zone& zone, Pfn pfn, unsigned order, const Masked& masked) {
  Held held(zone.lock, masked, "zone.lock", "zone.unlock");
  give_block(map_, zone, pfn, order, held);
}

// CHECK_AT_FREE over the whole block. False: reported, and nothing is freed.
bool PageAllocator::free_block_check(Pfn pfn, unsigned order) {
  Page& head = map_[pfn];
  if ((head.flags() & pg_head) != 0 && !dissolve_compound(pfn, order)) return false;
  if (order != 0) [[unlikely]]
    return free_inside_check(pfn, order);
  const BadPageReason why = why_bad(head);
  if (why == BadPageReason::none) [[likely]]
    return true;
  leak(pfn, 0, why);
  return false;
}

bool PageAllocator::free_inside_check(Pfn pfn, unsigned order) {
  if (order >= orders_ || (pfn & ((Pfn{1} << order) - 1)) != 0 ||
      !zone_of(pfn).span.contains(pfn + (Pfn{1} << order) - 1)) {
    leak(pfn, 0, BadPageReason::compound);
    return false;
  }
  BadPageReason why = why_bad(map_[pfn]);
  for (Pfn i = pfn + 1; i != pfn + (Pfn{1} << order); ++i) {
    Page& page = map_[i];
    const BadPageReason bad = why_bad(page);
    if (bad == BadPageReason::none) [[likely]]
      continue;
    if (is_foreign(page)) {
      leak(pfn, 0, bad);
      return false;
    }
    if (why == BadPageReason::none) why = bad;
  }
  if (why == BadPageReason::none) [[likely]]
    return true;
  leak(pfn, order, why);
  return false;
}

// Head and tails become ordinary pages again. False: the block is not what the caller thinks; it leaks as it is.
bool PageAllocator::dissolve_compound(Pfn head, unsigned order) {
  const unsigned true_order = compound_order(head);
  bool consistent = true_order == order;
  for (Pfn i = head + 1; i != head + (Pfn{1} << true_order); ++i) {
    Page& page = map_[i];
    consistent = consistent && page.next == head && (page.flags() & pg_tail) != 0;
  }
  if (!consistent) {
    leak(head, true_order, BadPageReason::compound);
    return false;
  }
  map_[head].set_flags(map_[head].flags() & ~std::uint32_t{pg_head});
  map_[head + 1].prev = 0;
  for (Pfn i = head + 1; i != head + (Pfn{1} << order); ++i) {
    map_[i].next = 0;
    map_[i].set_flags(map_[i].flags() & ~std::uint32_t{pg_tail});
  }
  return true;
}

// Frames [pfn, pfn + 2^order) are lost by design. The fields stay as they are for whoever reads the report; only the
// mapcount word is cleared (domain.md 2.6).
void PageAllocator::leak(Pfn pfn, unsigned order, BadPageReason why) {
  report(bad_page(pfn, order, why));
  for (Pfn i = pfn; i != pfn + (Pfn{1} << order); ++i) {
    Page& page = map_[i];
    page.set_flags(page.flags() | subject::pg_bad);
    page.mapcount = 0;
  }
}

void PageAllocator::poison(Pfn pfn, unsigned order) {
  machine_->ram().fill(pfn, 1u << order, poison_byte);
  for (Pfn i = pfn; i != pfn + (Pfn{1} << order); ++i) map_[i].set_flags(map_[i].flags() | pg_poisoned);
}

}  // namespace memtorture::page
