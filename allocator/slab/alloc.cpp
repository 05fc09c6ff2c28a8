// From a request to an object (domain.md 10.5).
//
//   take_fast        this CPU's array, no lock, no scheduling point inside (slab.h)
//   take_local       the same under the array's lock, refilled from the node's shared array and slabs
//   take_from_node   one object straight from a node's slabs
//   alloc_*          the same with growing in between, and which node comes next
//
// Only take_* and refill hold locks, and they never wait for memory: between two of them anything may happen (an
// interrupt, another CPU, a migration), so every round looks at the array of the CPU that it is on then. A request
// whose growth failed looks once more, everywhere: what others gave back meanwhile must not be overlooked (P-SLAB-17).
#include <cstring>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

using machine::point;
using machine::ReportKind;

namespace {

constexpr gfp_t zone_choice = subject::gfp_dma;
// GFP_SLAB_BUG_MASK: objects are reached through the linear map, and 32-bit devices have no caches of their own.
constexpr gfp_t never = subject::gfp_highmem | subject::gfp_dma32 | ~subject::gfp_known;

}  // namespace

Address SlabAllocator::kmem_cache_alloc(CacheHandle handle, gfp_t gfp, int nid) {
  if (reject_nmi(gfp)) return 0;
  KmemCache* const cache = known(handle);
  return cache != nullptr ? alloc(*cache, gfp, nid, cache->object_size - cache->slack) : 0;
}

// The caller has checked for NMI. Order: flags, might_sleep, the injected fault, and only then anything changes (1.6).
Address SlabAllocator::alloc(KmemCache& cache, gfp_t gfp, int nid, std::uint64_t bytes) {
  if (((gfp & (never | zone_choice)) ^ cache.gfpflags) != 0) [[unlikely]]
    gfp = fix_flags(cache, gfp);
  if ((gfp & subject::gfp_wait) != 0 && !machine::might_sleep()) [[unlikely]]
    gfp &= ~subject::gfp_wait;
  if (up_ && &cache != cache_cache_ && faults_.should_fail("slab.alloc", cache.object_size, gfp, 0)) return 0;
  const Address buffer = nid < 0 ? take_fast(cache) : 0;
  if (buffer == 0) [[unlikely]]
    return alloc_late(cache, gfp, nid, bytes);
  return finish(cache, buffer, gfp, bytes);
}

// The array had nothing.
Address SlabAllocator::alloc_late(KmemCache& cache, gfp_t gfp, int nid, std::uint64_t bytes) {
  const Address buffer = alloc_slow(cache, gfp, nid);
  return buffer != 0 ? finish(cache, buffer, gfp, bytes) : 0;
}

Address SlabAllocator::zero(KmemCache& cache, Address object) {
  std::memset(at(object), 0, cache.object_size);
  return object;
}

gfp_t SlabAllocator::fix_flags(const KmemCache& cache, gfp_t gfp) {
  machine::report({.kind = ReportKind::slab_gfp, .gfp = gfp});
  return (gfp & ~(never | zone_choice)) | cache.gfpflags;
}

// K26 lets interrupts in while it grows only if the request may block.
Address SlabAllocator::alloc_slow(KmemCache& cache, gfp_t gfp, int nid) {
  if (nodes_ == 1) nid = -1;
  if (nid >= static_cast<int>(nodes_)) {  // not online
    if ((gfp & subject::gfp_thisnode) != 0) return 0;
    nid = -1;
  }
  if ((gfp & subject::gfp_wait) != 0) return alloc_somewhere(cache, gfp, nid);
  Masked masked;
  return alloc_somewhere(cache, gfp, nid);
}

Address SlabAllocator::alloc_somewhere(KmemCache& cache, gfp_t gfp, int nid) {
  if (nid < 0 || static_cast<unsigned>(nid) == numa_node_id()) {
    const Address buffer = alloc_local(cache, gfp, nid);
    if (buffer != 0 || nodes_ == 1) return buffer;
  }
  return alloc_on_node(cache, gfp, nid < 0 ? numa_node_id() : static_cast<unsigned>(nid));
}

// While it grows a task may come to a CPU of another node. K26 then hands out what that one has; whoever named a node
// (nid >= 0) gets an object of it, or is told that there is none here.
Address SlabAllocator::alloc_local(KmemCache& cache, gfp_t gfp, int nid) {
  for (;;) {
    const unsigned node = numa_node_id();
    if (nid >= 0 && node != static_cast<unsigned>(nid)) return 0;
    const Address buffer = take_local(cache, nid);
    if (buffer != 0) return buffer;
    if (!grow(cache, gfp | thisnode_, node)) return take_local(cache, nid);
  }
}

Address SlabAllocator::alloc_on_node(KmemCache& cache, gfp_t gfp, unsigned node) {
  for (;;) {
    const Address buffer = take_from_node(cache, node);
    if (buffer != 0) return buffer;
    if (!grow(cache, gfp | thisnode_, node)) break;
  }
  return (gfp & subject::gfp_thisnode) == 0 ? alloc_on_any_node(cache, gfp) : look_again(cache, static_cast<int>(node));
}

// fallback_alloc: free objects of other nodes first, then pages wherever the page layer finds them.
Address SlabAllocator::alloc_on_any_node(KmemCache& cache, gfp_t gfp) {
  for (;;) {
    if (const Address buffer = take_from_any_node(cache); buffer != 0) return buffer;
    const Pfn first = get_pages(cache, gfp, numa_node_id());
    if (first == no_pfn) return look_again(cache, -1);
    const unsigned node = pages_.zone_of(first).node;
    if (!add_slab(cache, gfp, first, next_colour_offset(cache, node))) return look_again(cache, -1);
    const Address buffer = take_from_node(cache, node);
    if (buffer != 0) return buffer;  // or somebody else was faster
  }
}

// K26 has no such look. What came back to this CPU is in its array, the rest on the nodes; nid >= 0: of that node only.
Address SlabAllocator::look_again(KmemCache& cache, int nid) {
  if (const Address buffer = take_local(cache, nid); buffer != 0) return buffer;
  return nid < 0 ? take_from_any_node(cache) : take_from_node(cache, static_cast<unsigned>(nid));
}

Address SlabAllocator::take_from_any_node(KmemCache& cache) {
  const unsigned local = numa_node_id();
  for (unsigned i = 0; i != nodes_; ++i) {
    const Address buffer = take_from_node(cache, (local + i) % nodes_);
    if (buffer != 0) return buffer;
  }
  return 0;
}

Address SlabAllocator::take_local(KmemCache& cache, int nid) {
  Masked masked;
  if (nid >= 0 && cpu_node_[masked.cpu()] != nid) return 0;
  ArrayCache& array = cpu_array(cache, masked.cpu());
  Held held(array.lock, masked, "slab.lock", "slab.unlock");
  if (array.avail == 0) refill(cache, array, masked);
  return array.avail != 0 ? array.pop() : 0;
}

// The caller holds the lock of the array, which is empty.
void SlabAllocator::refill(KmemCache& cache, ArrayCache& array, const Masked& masked) {
  point("slab.refill");
  std::uint32_t wanted = array.batchcount;
  if (array.touched == 0) wanted = std::min(wanted, batchrefill_limit);  // hardly used: take little
  List3& l3 = list3(cache, cpu_node_[masked.cpu()]);
  Held held(l3.list_lock, masked, "slab.lock", "slab.unlock");
  if (l3.shared != 0) {
    ArrayCache& shared = array_at(l3.shared);
    if (array.take_from(shared, wanted) != 0) {
      shared.touched = 1;
      return;
    }
  }
  array.avail = take_from_slabs(cache, l3, array.entry(), wanted, held);
}

// K26 looks at the node's slabs only; its shared array holds free objects too, and growing beside them would waste.
Address SlabAllocator::take_from_node(KmemCache& cache, unsigned node) {
  Masked masked;
  List3& l3 = list3(cache, node);
  Held held(l3.list_lock, masked, "slab.lock", "slab.unlock");
  Address buffer = 0;
  if (take_from_slabs(cache, l3, &buffer, 1, held) == 0 && l3.shared != 0 && array_at(l3.shared).avail != 0) {
    return array_at(l3.shared).pop();
  }
  return buffer;
}

// Partial slabs before empty ones; returns how many were found.
std::uint32_t SlabAllocator::take_from_slabs(KmemCache& cache, List3& l3, Address* buffers, std::uint32_t wanted,
                                             const Held&) {
  std::uint32_t taken = 0;
  while (taken != wanted) {
    SlabList* list = &l3.partial;
    if (list->empty()) {
      l3.free_touched = 1;
      list = &l3.free;
      if (list->empty()) break;
    }
    Slab& slab = slab_at(list->first);
    remove(*list, slab);
    while (slab.free != bufctl_end && taken != wanted) buffers[taken++] = take_from_slab(cache, slab);
    push_front(slab.free == bufctl_end ? l3.full : l3.partial, slab);
  }
  l3.free_objects -= taken;
  return taken;
}

Address SlabAllocator::take_from_slab(KmemCache& cache, Slab& slab) {
  std::uint32_t* const next = bufctl(slab);
  const std::uint32_t index = slab.free;
  slab.free = next[index];
  next[index] = bufctl_active;
  ++slab.inuse;
  return ram().address_of(slab.first) + slab.s_mem + std::uint64_t{index} * cache.buffer_size;
}

}  // namespace memtorture::slab
