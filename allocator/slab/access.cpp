// What a compiler would insert before each access of a program (domain.md 20.1).
//
//   a frame of a slab     its cache has SLAB_KASAN: the shadow decides; otherwise anything goes
//   any other frame       free: use after free; outside of RAM: wild; both when the machine has the letter K
//
// The first byte that is wrong names the crime. Without a lock: what a program may touch is its own, so nobody else
// changes the shadow of it or frees its page meanwhile. Only where an access looks like one of a free page the page
// layer's lists are asked, which on several host threads needs their lock.
#include <algorithm>

#include "allocator/page/buddy.h"
#include "allocator/slab/slab.h"

namespace memtorture::slab {

using debug::Record;
using machine::ReportKind;

bool SlabAllocator::check_access(Address address, std::uint64_t bytes, subject::Access kind) {
  if ((checks_seen_.load(std::memory_order_relaxed) & machine::debug_shadow) == 0) return true;
  const Crime access{.kind = ReportKind::wild_access,
                     .address = address,
                     .check = machine::debug_shadow,
                     .access = kind,
                     .bytes = bytes};
  const std::uint64_t page_bytes = platform_.page_bytes();
  while (bytes != 0) {
    const std::uint64_t n = std::min(bytes, page_bytes - address % page_bytes);
    if (!check_frame(ram().pfn_of(address), address, n, access)) return false;
    address += n;
    bytes -= n;
  }
  return true;
}

bool SlabAllocator::check_frame(Pfn pfn, Address first, std::uint64_t n, Crime access) {
  KmemCache* const cache = cache_of_object(first);
  if (cache != nullptr) return (cache->checks & machine::debug_shadow) == 0 || check_shadow(*cache, first, n, access);
  if ((letters_ & machine::debug_shadow) == 0) return true;
  if (pfn != no_pfn && pages_.exists(pfn)) {
    if (!frame_is_free(pfn)) return true;
    access.kind = ReportKind::use_after_free;
  }
  accuse(access, nullptr, nullptr);
  return false;
}

bool SlabAllocator::check_shadow(KmemCache& cache, Address first, std::uint64_t n, Crime access) {
  const auto bad = books_.shadow.first_bad(first - machine::Ram::linear_base, n);
  if (!bad) return true;
  const Address wrong = machine::Ram::linear_base + bad->offset;
  const Record& record = nearest(cache, wrong);
  access.kind = bad->code == debug::shadow_freed ? ReportKind::use_after_free : ReportKind::out_of_bounds;
  access.offset = static_cast<std::int64_t>(wrong - record.object);
  accuse(access, &cache, &record);
  return false;
}

// The object in whose buffer the address is; of those at the ends of the slab the nearer one.
Record& SlabAllocator::nearest(KmemCache& cache, Address address) {
  const Slab& slab = slab_at(ram().pfn_of(address));
  const Address objects = ram().address_of(slab.first) + slab.s_mem;
  const std::uint64_t index = address < objects ? 0 : (address - objects) / cache.buffer_size;
  return books_.records.of_slab(slab.first)[std::min<std::uint64_t>(index, cache.num - 1)];
}

bool SlabAllocator::frame_is_free(Pfn pfn) {
  page::Page& page = pages_.map()[pfn];
  if (page.count() > 0 || (page.flags() & (subject::pg_reserved | subject::pg_tail)) != 0) return false;
  if ((page.flags() & page::pg_pcp) != 0) return true;
  if (!concurrent_) return in_free_block(pfn);
  Masked masked;
  Held held(pages_.zone_of(pfn).lock, masked, "zone.lock", "zone.unlock");
  return in_free_block(pfn);
}

// The inside of a block says nothing about itself: its head is at one of the places where a block that holds it begins.
bool SlabAllocator::in_free_block(Pfn pfn) {
  const page::Zone& zone = pages_.zone_of(pfn);
  for (unsigned order = 0; order <= zone.order_top(); ++order) {
    const Pfn head = pfn & ~((Pfn{1} << order) - 1);
    if (head < zone.span.first) return false;
    page::Page& page = pages_.map()[head];
    if ((page.flags() & subject::pg_buddy) != 0) return page.order() >= order;
  }
  return page::in_runs(zone, pfn & ~((Pfn{1} << zone.order_top()) - 1));
}

}  // namespace memtorture::slab
