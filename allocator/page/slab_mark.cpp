// Pages of a slab: PG_slab and the back pointers page -> cache and page -> slab (domain.md 10.3).
//
// The fields belong to the block's owner, so nothing here takes a lock. They must be clear when the block is freed: a
// block that still says pg_slab is a bad page (2.6), and the words are those of the free lists.
#include "allocator/page/page_alloc.h"

namespace memtorture::page {

void PageAllocator::mark_slab(Pfn pfn, unsigned order, std::uint64_t cache, std::uint64_t descriptor) {
  for (Pfn i = pfn; i != pfn + (Pfn{1} << order); ++i) {
    Page& page = map_[i];
    page.next = static_cast<std::uint32_t>(cache);
    page.prev = static_cast<std::uint32_t>(cache >> 32);
    page.set_private(static_cast<std::uint32_t>(descriptor));
    page.mapping = static_cast<std::uint32_t>(descriptor >> 32);
    page.set_flags(page.flags() | subject::pg_slab);
  }
}

void PageAllocator::clear_slab(Pfn pfn, unsigned order) {
  for (Pfn i = pfn; i != pfn + (Pfn{1} << order); ++i) {
    Page& page = map_[i];
    page.next = page.prev = page.mapping = 0;
    page.set_private(0);
    page.set_flags(page.flags() & ~std::uint32_t{subject::pg_slab});
  }
}

}  // namespace memtorture::page
