// A slab's life: pages, descriptor, colour, constructors, and back (domain.md 10.3 to 10.5).
//
// A slab that is being made is on no list and nobody else's business, so only adding it needs a lock. A descriptor that
// lies elsewhere is an ordinary kmalloc'ed object: to get it may sleep, may fail, and passes its own fault site.
//
// Each request to the page layer and each block given back is announced before and after (PagesTrace::layer_*).
//
// Not modelled: RCU. A cache with SLAB_DESTROY_BY_RCU gives its pages back at once.
#include <new>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

using machine::point;

namespace {

// What of a caller's flags reaches the page layer: how hard to try, and where it may look. Zones are the cache's.
constexpr gfp_t reclaim_mask = subject::gfp_wait | subject::gfp_high | subject::gfp_io | subject::gfp_fs |
                               subject::gfp_nowarn | subject::gfp_repeat | subject::gfp_nofail | subject::gfp_noretry |
                               subject::gfp_nomemalloc;
constexpr gfp_t constraint_mask = subject::gfp_hardwall | subject::gfp_thisnode;

constexpr subject::SlabPages kind_of(const KmemCache& cache) {
  return (cache.flags & subject::SLAB_RECLAIM_ACCOUNT) != 0 ? subject::SlabPages::reclaimable
                                                            : subject::SlabPages::unreclaimable;
}

}  // namespace

// The colour is used up even if nothing comes of it, as in K26.
bool SlabAllocator::grow(KmemCache& cache, gfp_t gfp, unsigned node) {
  point("slab.grow");
  const std::uint32_t offset = next_colour_offset(cache, node);
  const Pfn first = get_pages(cache, gfp, node);
  return first != no_pfn && add_slab(cache, gfp, first, offset);
}

std::uint32_t SlabAllocator::next_colour_offset(KmemCache& cache, unsigned node) {
  Masked masked;
  List3& l3 = list3(cache, node);
  Held held(l3.list_lock, masked, "slab.lock", "slab.unlock");
  const std::uint32_t colour = l3.colour_next++;
  if (l3.colour_next >= cache.colour) l3.colour_next = 0;
  return colour * cache.colour_off;
}

Pfn SlabAllocator::get_pages(KmemCache& cache, gfp_t gfp, unsigned node) {
  gfp = (gfp & (reclaim_mask | constraint_mask)) | cache.gfpflags;
  if (kind_of(cache) == subject::SlabPages::reclaimable) gfp |= subject::gfp_reclaimable;
  pages_.trace().layer_requests(gfp, cache.order, static_cast<int>(node), cache.self);
  const Pfn first = pages_.alloc_pages_node(static_cast<int>(node), gfp, cache.order);
  pages_.trace().layer_granted(first);
  if (first == no_pfn) return no_pfn;
  const std::uint32_t pages = 1u << cache.order;
  for (Pfn i = 0; i != pages; ++i) ram().frame(first + i);  // from here on Ram::at may be used
  slab_pages_[static_cast<unsigned>(kind_of(cache))].fetch_add(pages, std::memory_order_relaxed);
  return first;
}

void SlabAllocator::free_pages(KmemCache& cache, Pfn first) {
  slab_pages_[static_cast<unsigned>(kind_of(cache))].fetch_sub(1u << cache.order, std::memory_order_relaxed);
  machine::current().reclaimed_slab += 1u << cache.order;
  pages_.trace().layer_releases(first, cache.order);
  pages_.free_pages_of(first, cache.order);
  pages_.trace().layer_released();
}

// Makes a slab of the pages and puts it on the free list of their node. False: no descriptor, the pages are back.
bool SlabAllocator::add_slab(KmemCache& cache, gfp_t gfp, Pfn first, std::uint32_t offset) {
  const unsigned node = nodes_ == 1 ? 0 : pages_.zone_of(first).node;
  Address descriptor = ram().address_of(first) + offset;
  if (cache.off_slab) {
    KmemCache& management = cache_at(cache.slabp_cache);
    descriptor = alloc(management, gfp & reclaim_mask, static_cast<int>(node), cache.management_bytes);
    if (descriptor == 0) {
      free_pages(cache, first);
      return false;
    }
    claim(descriptor);
  }
  Slab& slab = *new (at(descriptor)) Slab{.next = no_pfn,
                                          .prev = no_pfn,
                                          .first = first,
                                          .s_mem = offset + (cache.off_slab ? 0 : cache.management_bytes),
                                          .nodeid = static_cast<std::uint16_t>(node),
                                          .order = cache.order};
  pages_.mark_slab(first, cache.order, cache.self, descriptor);
  init_objects(cache, slab);

  Masked masked;
  List3& l3 = list3(cache, node);
  Held held(l3.list_lock, masked, "slab.lock", "slab.unlock");
  push_back(l3.free, slab);
  l3.free_objects += cache.num;
  return true;
}

void SlabAllocator::init_objects(KmemCache& cache, Slab& slab) {
  std::uint32_t* const next = bufctl(slab);
  for (std::uint32_t i = 0; i != cache.num; ++i) next[i] = i + 1;
  next[cache.num - 1] = bufctl_end;
  if (cache.checks != 0) check_in(cache, slab);
  if (!cache.ctor || (cache.checks & machine::debug_poison) != 0) return;  // or at each allocation
  const Address objects = ram().address_of(slab.first) + slab.s_mem + cache.object_offset;
  for (std::uint64_t i = 0; i != cache.num; ++i) cache.ctor.run(cache.ctor.arg, objects + i * cache.buffer_size);
}

// The slab is on no list. No lock is held: the descriptor may be an object of another cache.
void SlabAllocator::destroy_slab(KmemCache& cache, Slab& slab) {
  const Pfn first = slab.first;
  const Address descriptor = pages_.map()[first].slab_descriptor();
  if (cache.checks != 0) check_out(cache, slab);
  pages_.clear_slab(first, cache.order);
  free_pages(cache, first);
  if (!cache.off_slab) return;
  KmemCache& management = cache_at(cache.slabp_cache);
  // Not by way of the quarantine: what leaves it for a descriptor could free the next slab, and so on.
  if (management.checks != 0) return give_back(management, descriptor, Route::straight);
  free(management, descriptor);
}

std::uint64_t SlabAllocator::destroy_slabs(KmemCache& cache, Doomed doomed) {
  std::uint64_t pages = 0;
  while (doomed.first != no_pfn) {
    Slab& slab = slab_at(doomed.first);
    doomed.first = slab.next;
    destroy_slab(cache, slab);
    pages += std::uint64_t{1} << cache.order;
  }
  return pages;
}

// --- lists of slabs, under their node's list_lock -----------------------------------------------------------------

void SlabAllocator::push_front(SlabList& list, Slab& slab) {
  slab.prev = no_pfn;
  slab.next = list.first;
  (list.empty() ? list.last : slab_at(list.first).prev) = slab.first;
  list.first = slab.first;
}

void SlabAllocator::push_back(SlabList& list, Slab& slab) {
  slab.next = no_pfn;
  slab.prev = list.last;
  (list.empty() ? list.first : slab_at(list.last).next) = slab.first;
  list.last = slab.first;
}

void SlabAllocator::remove(SlabList& list, Slab& slab) {
  (slab.prev == no_pfn ? list.first : slab_at(slab.prev).next) = slab.next;
  (slab.next == no_pfn ? list.last : slab_at(slab.next).prev) = slab.prev;
}

// Where a slab with these counts is.
SlabList& SlabAllocator::list_of(KmemCache& cache, List3& l3, const Slab& slab) {
  if (slab.inuse == cache.num) return l3.full;
  return slab.inuse == 0 ? l3.free : l3.partial;
}

}  // namespace memtorture::slab
