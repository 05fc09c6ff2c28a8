// Forms of the page API that deal in addresses or in exact sizes, and what changes a descriptor by hand (domain.md 4.6,
// 8).
//
// An address is a simulated linear one (Ram::address_of); high memory has none, so __GFP_HIGHMEM is reported and
// cleared here (7.2), and an address that no low frame has is refused with a report. An exact block is split, which a
// compound page cannot be: so is __GFP_COMP (4.6).
#include <bit>

#include "allocator/page/page_alloc.h"

namespace memtorture::page {

using machine::report;
using machine::ReportKind;
using subject::Blemish;

namespace {

// Smallest order whose block holds `bytes`; a request of 0 bytes is as impossible as one of 2^64 (domain.md 4.6).
unsigned get_order(std::uint64_t bytes, unsigned page_shift) {
  const std::uint64_t last = (bytes - 1) >> page_shift;
  return static_cast<unsigned>(std::bit_width(last));
}

// A flag that makes no sense for the function: it is told so, and served without.
gfp_t without(gfp_t flag, ReportKind complaint, gfp_t gfp, unsigned order) {
  if ((gfp & flag) != 0) report({.kind = complaint, .order = static_cast<std::uint8_t>(order), .gfp = gfp});
  return gfp & ~flag;
}

}  // namespace

std::uint64_t PageAllocator::get_free_pages(gfp_t gfp, unsigned order) {
  if (reject_nmi(gfp, order, no_pfn)) return 0;
  gfp = without(subject::gfp_highmem, ReportKind::highmem_address, gfp, order);
  const Pfn pfn = alloc_pages(gfp, order);
  return pfn == no_pfn ? 0 : machine_->ram().address_of(pfn);
}

std::uint64_t PageAllocator::alloc_pages_exact(std::uint64_t bytes, gfp_t gfp) {
  const unsigned page_shift = machine_->shape().page_shift;
  const unsigned order = get_order(bytes, page_shift);
  if (reject_nmi(gfp, order, no_pfn)) return 0;
  const std::uint64_t address =
      get_free_pages(without(subject::gfp_comp, ReportKind::compound_exact, gfp, order), order);
  if (address == 0) return 0;
  const Pfn pfn = machine_->ram().pfn_of(address);
  split_page(pfn, order);
  const Pfn used = static_cast<Pfn>(((bytes - 1) >> page_shift) + 1);
  for (Pfn i = used; i != Pfn{1} << order; ++i) free_pages_of(pfn + i, 0);
  return address;
}

void PageAllocator::free_pages_exact(std::uint64_t address, std::uint64_t bytes) {
  if (address == 0 || bytes == 0) return;
  const unsigned page_shift = machine_->shape().page_shift;
  const std::uint64_t pages = ((bytes - 1) >> page_shift) + 1;
  for (std::uint64_t i = 0; i != pages; ++i) {
    const std::uint64_t at = address + (i << page_shift);
    free_pages(at, 0);
    if (machine_->ram().pfn_of(at) == no_pfn) return;  // reported once, and all that follows is outside too
  }
}

void PageAllocator::free_pages(std::uint64_t address, unsigned order) {
  if (address == 0) return;
  const Pfn pfn = machine_->ram().pfn_of(address);
  if (reject_nmi(0, order, pfn)) return;
  if (pfn == no_pfn || page_address(pfn) == 0)
    return report({.kind = ReportKind::bad_address, .order = static_cast<std::uint8_t>(order), .pfn = pfn});
  free_pages_of(pfn, order);
}

std::uint64_t PageAllocator::page_address(Pfn pfn) {
  if (!exists(pfn) || zone_of(pfn).kind == ZoneKind::highmem) return 0;
  return machine_->ram().address_of(pfn);
}

// domain.md 2.4: each page of a plain block becomes a block of its own.
void PageAllocator::split_page(Pfn pfn, unsigned order) {
  if (reject_nmi(0, order, pfn)) return;
  const std::uint64_t end = std::uint64_t{pfn} + (order < 32 ? std::uint64_t{1} << order : 0);
  bool legal = order < orders_ && end <= map_.memory().all.end && map_[pfn].count() > 0;
  constexpr std::uint32_t compound = subject::pg_head | subject::pg_tail;
  for (std::uint64_t i = pfn; legal && i != end; ++i) {
    Page& page = map_[static_cast<Pfn>(i)];
    legal = (page.flags() & (compound | subject::pg_buddy | pg_pcp)) == 0 && (i == pfn || page.count() == 0);
  }
  if (!legal) return report({.kind = ReportKind::split_misuse, .order = static_cast<std::uint8_t>(order), .pfn = pfn});
  for (std::uint64_t i = pfn + std::uint64_t{1}; i != end; ++i) map_[static_cast<Pfn>(i)].set_count(1);
}

void PageAllocator::blemish(Pfn pfn, Blemish kind) {
  if (!exists(pfn)) return;
  Page& page = map_[pfn];
  switch (kind) {
    case Blemish::locked: return page.set_flags(page.flags() | subject::pg_locked);
    case Blemish::lru: return page.set_flags(page.flags() | subject::pg_lru);
    case Blemish::slab: return page.set_flags(page.flags() | subject::pg_slab);
    case Blemish::mapping: page.mapping = 1; return;
    case Blemish::mapcount: page.mapcount = 1; return;
  }
}

}  // namespace memtorture::page
