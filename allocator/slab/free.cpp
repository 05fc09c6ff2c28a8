// The way back of a buffer (domain.md 10.5): this CPU's array, when full the shared array or the slabs; a buffer of
// another node to the alien array for it.
//
// What is given back is looked at when it reaches its slab: a buffer that is no buffer of the cache, or is free
// already, is reported and dropped there, so that a wrong caller cannot break the chain of a slab. Until then it may
// sit in an array and be handed out again; to notice it at once is the debug layer's business.
#include <cstring>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

using machine::point;

void SlabAllocator::kmem_cache_free(CacheHandle handle, Address object) {
  if (reject_nmi(0)) return;
  KmemCache* const cache = known(handle);
  if (cache == nullptr) return;
  if (ram().pfn_of(object) == no_pfn) return bad_object(object);  // NULL among others: ruling in 10.2
  if (checked_anywhere()) [[unlikely]]
    return free_to_cache(*cache, object);
  free(*cache, object - cache->object_offset);
}

void SlabAllocator::free_slow(KmemCache& cache, Address buffer) {
  const unsigned home = nodes_ == 1 ? 0 : node_of(buffer);
  if (home == machine::nodes_max) return bad_object(buffer);
  Doomed doomed;
  {
    Masked masked;
    if (home != cpu_node_[masked.cpu()]) {
      free_alien(cache, buffer, home, doomed, masked);
    } else {
      ArrayCache& array = cpu_array(cache, masked.cpu());
      Held held(array.lock, masked, "slab.lock", "slab.unlock");
      if (array.avail == array.limit) flush(cache, array, doomed, masked);
      array.push(buffer);
    }
  }
  destroy_slabs(cache, doomed);
}

// Of the slab that the buffer lies in; nodes_max: in none.
unsigned SlabAllocator::node_of(Address buffer) {
  return cache_of_object(buffer) != nullptr ? slab_at(ram().pfn_of(buffer)).nodeid : machine::nodes_max;
}

void SlabAllocator::free_alien(KmemCache& cache, Address buffer, unsigned home, Doomed& doomed, const Masked& masked) {
  const Address address = list3(cache, cpu_node_[masked.cpu()]).alien[home];
  if (address == 0) {  // before the cache's arrays are up
    Held held(list3(cache, home).list_lock, masked, "slab.lock", "slab.unlock");
    return free_to_slab(cache, home, buffer, doomed, held);
  }
  ArrayCache& alien = array_at(address);
  Held held(alien.lock, masked, "slab.lock", "slab.unlock");
  if (alien.avail == alien.limit) drain_alien(cache, alien, home, doomed, masked);
  alien.push(buffer);
}

// The caller holds the alien array's lock. As much as has room goes to the home node's shared array, the hottest first.
void SlabAllocator::drain_alien(KmemCache& cache, ArrayCache& alien, unsigned home, Doomed& doomed,
                                const Masked& masked) {
  if (alien.avail == 0) return;
  List3& l3 = list3(cache, home);
  Held held(l3.list_lock, masked, "slab.lock", "slab.unlock");
  if (l3.shared != 0) array_at(l3.shared).take_from(alien, alien.limit);
  drain_oldest(cache, home, alien, alien.avail, doomed, held);
}

// The array is full and its lock held: the oldest batch leaves it.
void SlabAllocator::flush(KmemCache& cache, ArrayCache& array, Doomed& doomed, const Masked& masked) {
  point("slab.flush");
  const unsigned node = cpu_node_[masked.cpu()];
  List3& l3 = list3(cache, node);
  Held held(l3.list_lock, masked, "slab.lock", "slab.unlock");
  std::uint32_t n = array.batchcount;
  if (l3.shared != 0) {
    ArrayCache& shared = array_at(l3.shared);
    const std::uint32_t room = shared.limit - shared.avail;
    if (room != 0) {
      n = std::min(n, room);
      std::memcpy(shared.entry() + shared.avail, array.entry(), n * sizeof(Address));
      shared.avail += n;
      array.avail -= n;
      std::memmove(array.entry(), array.entry() + n, array.avail * sizeof(Address));
      return;
    }
  }
  drain_oldest(cache, node, array, n, doomed, held);
}

// The n oldest buffers of an array, which the caller holds, go to their slabs. `held`: the node's list_lock.
void SlabAllocator::drain_oldest(KmemCache& cache, unsigned node, ArrayCache& array, std::uint32_t n, Doomed& doomed,
                                 const Held& held) {
  for (std::uint32_t i = 0; i != n; ++i) free_to_slab(cache, node, array.entry()[i], doomed, held);
  array.avail -= n;
  std::memmove(array.entry(), array.entry() + n, array.avail * sizeof(Address));
}

void SlabAllocator::free_to_slab(KmemCache& cache, unsigned node, Address buffer, Doomed& doomed, const Held&) {
  if (cache_of_object(buffer) != &cache) return bad_object(buffer);
  Slab& slab = slab_at(ram().pfn_of(buffer));
  const std::uint32_t index = cache.index_of(buffer - ram().address_of(slab.first) - slab.s_mem);
  std::uint32_t* const next = bufctl(slab);
  if (slab.nodeid != node || index == cache.num || next[index] != bufctl_active) return bad_object(buffer);
  if (strict(cache) && !sound(cache, slab)) return;  // it stays in use: what such a slab gets is lost

  List3& l3 = list3(cache, node);
  remove(list_of(cache, l3, slab), slab);
  next[index] = slab.free;
  slab.free = index;
  --slab.inuse;
  ++l3.free_objects;
  if (slab.inuse != 0) return push_back(l3.partial, slab);
  if (l3.free_objects <= l3.free_limit) return push_front(l3.free, slab);
  l3.free_objects -= cache.num;
  slab.next = doomed.first;
  doomed.first = slab.first;
}

}  // namespace memtorture::slab
