// The arrays and node structures of a cache (domain.md 10.5): sized, allocated with kmalloc, installed all at once.
//
//   for each CPU    array of `limit`
//   for each node   List3, shared array (several CPUs, objects up to a page), an alien array for each other node
//
// Any of these allocations may fail. Nothing is installed before all are there, so that failure is: give back what was
// got. What was in force before (at boot only: one-entry arrays of the image) hands over its contents.
#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

namespace {

constexpr std::uint32_t shared_batches = 8;

}  // namespace

class SlabAllocator::NewArrays {
 public:
  explicit NewArrays(SlabAllocator& slab) : slab_(slab) {}
  ~NewArrays() {
    for (const Address array : cpu) slab_.free_array(array);
    for (const Address list3 : node) slab_.free_list3(list3);
  }
  NewArrays(const NewArrays&) = delete;
  NewArrays& operator=(const NewArrays&) = delete;

  bool allocate(const KmemCache& cache, gfp_t gfp) {
    for (unsigned i = 0; i != slab_.cpus_; ++i) {
      cpu[i] = slab_.new_array(cache.limit, cache.batchcount, array_lock_class, slab_.cpu_node_[i], gfp);
      if (cpu[i] == 0) return false;
    }
    for (unsigned i = 0; i != slab_.nodes_; ++i) {
      node[i] = slab_.new_list3(cache, i, gfp);
      if (node[i] == 0) return false;
    }
    return true;
  }

  Address cpu[machine::cpus_max] = {};
  Address node[machine::nodes_max] = {};

 private:
  SlabAllocator& slab_;
};

bool SlabAllocator::enable_arrays(KmemCache& cache, gfp_t gfp) {
  KmemCache sized = cache;  // the limits in force stay until the arrays are there
  sized.limit = array_limit_for(cache.buffer_size, platform_.page_bytes());
  if (letters_ != 0) sized.limit = std::min(sized.limit, array_limit_debug);
  sized.batchcount = batchcount_for(sized.limit);
  sized.shared = cache.buffer_size <= platform_.page_bytes() && cpus_ > 1 ? shared_batches * sized.batchcount : 0;
  NewArrays fresh(*this);
  if (!fresh.allocate(sized, gfp)) return false;
  cache.limit = sized.limit;
  cache.batchcount = sized.batchcount;
  cache.shared = sized.shared;
  take_over(cache, fresh);
  return true;
}

Address SlabAllocator::new_array(std::uint32_t limit, std::uint32_t batchcount, machine::LockClass lock_class,
                                 unsigned node, gfp_t gfp) {
  const Address address = kmalloc(ArrayCache::bytes_for(limit), gfp, static_cast<int>(node));
  if (address == 0) return 0;
  claim(address);
  new (at(address)) ArrayCache(lock_class, limit, batchcount);
  return address;
}

// 0: something could not be had, and nothing is left of the rest.
Address SlabAllocator::new_list3(const KmemCache& cache, unsigned node, gfp_t gfp) {
  List3 draft;
  const auto part = [&](std::uint32_t limit, machine::LockClass lock_class) {
    return new_array(limit, batchcount_unused, lock_class, node, gfp);
  };
  bool complete = true;
  for (unsigned home = 0; home != nodes_ && complete; ++home) {
    if (home == node) continue;
    draft.alien[home] = part(cache.limit > 1 ? alien_limit : cache.limit, alien_lock_class);
    complete = draft.alien[home] != 0;
  }
  if (complete && cache.shared != 0) {
    draft.shared = part(cache.shared, list_lock_class);
    complete = draft.shared != 0;
  }
  const Address address = complete ? kmalloc(sizeof(List3), gfp, static_cast<int>(node)) : 0;
  if (address == 0) {
    for (const Address alien : draft.alien) free_array(alien);
    free_array(draft.shared);
    return 0;
  }
  claim(address);
  List3& l3 = *new (at(address)) List3;
  std::copy(std::begin(draft.alien), std::end(draft.alien), std::begin(l3.alien));
  l3.shared = draft.shared;
  l3.free_limit = free_limit_for(cache, node);
  l3.next_reap = machine::jiffies_now() + reap_seconds_list3 * machine_.shape().hz;
  return address;
}

std::uint32_t SlabAllocator::free_limit_for(const KmemCache& cache, unsigned node) const {
  const auto cpus = static_cast<std::uint32_t>(std::count(cpu_node_, cpu_node_ + cpus_, node));
  return (1 + cpus) * cache.batchcount + cache.num;
}

// Both wipe what they give back: the lock in it knows a host address.
void SlabAllocator::free_array(Address address) {
  if (address == 0) return;
  std::memset(at(address), 0, sizeof(ArrayCache));
  kfree(address);
}

void SlabAllocator::free_list3(Address address) {
  if (address == 0) return;
  List3& l3 = *reinterpret_cast<List3*>(at(address));
  for (const Address alien : l3.alien) free_array(alien);
  free_array(l3.shared);
  std::memset(at(address), 0, sizeof(List3));
  kfree(address);
}

// A new cache has nothing to hand over. At boot this runs alone; what was in force belongs to the image and is left.
void SlabAllocator::take_over(KmemCache& cache, NewArrays& fresh) {
  for (unsigned cpu = 0; cpu != cpus_; ++cpu) {
    const Address before = cache.array()[cpu];
    if (before != 0) array_at(fresh.cpu[cpu]).take_from(array_at(before), array_at(before).avail);
    cache.array()[cpu] = std::exchange(fresh.cpu[cpu], 0);
  }
  for (unsigned node = 0; node != nodes_; ++node) {
    List3& l3 = *reinterpret_cast<List3*>(at(fresh.node[node]));
    if (cache.nodelists[node] != 0) {
      const List3& before = list3(cache, node);
      l3.partial = before.partial;
      l3.full = before.full;
      l3.free = before.free;
      l3.free_objects = before.free_objects;
      l3.colour_next = before.colour_next;
    }
    cache.nodelists[node] = std::exchange(fresh.node[node], 0);
  }
}

}  // namespace memtorture::slab
