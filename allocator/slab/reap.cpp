// Memory comes back (domain.md 10.5): draining arrays, freeing empty slabs, the periodic reaper, pressure.
//
// The reaper takes a fifth of what nobody used since its last pass; shrinking takes everything that is not in use. All
// of it with the chain locked, so that no cache disappears; objects in use are neither moved nor looked at (P-SLAB-14).
#include <utility>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

using machine::point;

namespace {

// drain_array: how many of an array's buffers the reaper takes.
constexpr std::uint32_t reaped_of(const ArrayCache& array) {
  const std::uint32_t fifth = (array.limit + 4) / 5;
  return fifth > array.avail ? (array.avail + 1) / 2 : fifth;
}

}  // namespace

// Up to slabs_max empty slabs, the coldest first; returns pages.
std::uint64_t SlabAllocator::free_empty_slabs(KmemCache& cache, unsigned node, std::uint64_t slabs_max) {
  std::uint64_t pages = 0;
  for (; slabs_max != 0; --slabs_max) {
    Doomed doomed;
    {
      Masked masked;
      List3& l3 = list3(cache, node);
      Held held(l3.list_lock, masked, "slab.lock", "slab.unlock");
      if (l3.free.empty()) return pages;
      Slab& slab = slab_at(l3.free.last);
      remove(l3.free, slab);
      l3.free_objects -= cache.num;
      slab.next = no_pfn;
      doomed.first = slab.first;
    }
    pages += destroy_slabs(cache, doomed);
  }
  return pages;
}

// --- shrinking ----------------------------------------------------------------------------------------------------

void SlabAllocator::drain_cpu(KmemCache& cache, unsigned cpu, Doomed& doomed) {
  Masked masked;
  const unsigned node = cpu_node_[cpu];
  ArrayCache& array = cpu_array(cache, cpu);
  Held held(array.lock, masked, "slab.lock", "slab.unlock");
  Held list_held(list3(cache, node).list_lock, masked, "slab.lock", "slab.unlock");
  drain_oldest(cache, node, array, array.avail, doomed, list_held);
}

void SlabAllocator::drain_shared(KmemCache& cache, unsigned node, Doomed& doomed) {
  Masked masked;
  List3& l3 = list3(cache, node);
  Held held(l3.list_lock, masked, "slab.lock", "slab.unlock");
  if (l3.shared == 0) return;
  ArrayCache& shared = array_at(l3.shared);
  drain_oldest(cache, node, shared, shared.avail, doomed, held);
}

// The chain is locked. Everything in arrays goes to its slab, every empty slab to the page layer. Shared arrays come
// last: what alien arrays held may have gone there.
SlabAllocator::Shrunk SlabAllocator::shrink(KmemCache& cache) {
  Doomed doomed;
  for (unsigned cpu = 0; cpu != cpus_; ++cpu) drain_cpu(cache, cpu, doomed);
  for (unsigned node = 0; node != nodes_; ++node) {
    for (unsigned home = 0; home != nodes_; ++home) reap_alien(cache, node, home, doomed);
  }
  for (unsigned node = 0; node != nodes_; ++node) drain_shared(cache, node, doomed);
  Shrunk result{.busy = false, .pages = destroy_slabs(cache, doomed)};
  for (unsigned node = 0; node != nodes_; ++node) {
    result.pages += free_empty_slabs(cache, node, ~std::uint64_t{0});
    Masked masked;
    List3& l3 = list3(cache, node);
    Held held(l3.list_lock, masked, "slab.lock", "slab.unlock");
    if (!l3.full.empty() || !l3.partial.empty()) result.busy = true;
  }
  return result;
}

std::uint64_t SlabAllocator::shrink_all() {
  if (reject_nmi(0) || !chain_mutex_.try_lock()) return 0;
  std::uint64_t pages = 0;
  for (CacheHandle i = chain_; i != 0; i = cache_at(i).next) pages += shrink(cache_at(i)).pages;
  chain_mutex_.unlock();
  return pages;
}

// --- the periodic reaper --------------------------------------------------------------------------------------------

void SlabAllocator::reap(unsigned cpu) {
  if (reject_nmi(0) || !chain_mutex_.try_lock()) return;
  for (CacheHandle i = chain_; i != 0; i = cache_at(i).next) {
    point("slab.reap");
    reap_cache(cache_at(i), cpu);
  }
  reap_node_[cpu] = static_cast<std::uint8_t>((reap_node_[cpu] + 1) % nodes_);
  chain_mutex_.unlock();
}

void SlabAllocator::reap_cache(KmemCache& cache, unsigned cpu) {
  const unsigned node = cpu_node_[cpu];
  Doomed doomed;
  reap_alien(cache, node, reap_node_[cpu], doomed);
  std::uint32_t slabs = 0;
  {
    Masked masked;
    ArrayCache& array = cpu_array(cache, cpu);
    Held held(array.lock, masked, "slab.lock", "slab.unlock");
    List3& l3 = list3(cache, node);
    Held list_held(l3.list_lock, masked, "slab.lock", "slab.unlock");
    reap_array(cache, node, array, doomed, list_held);
    const machine::Jiffies now = machine::jiffies_now();
    if (l3.next_reap <= now) {
      l3.next_reap = now + reap_seconds_list3 * machine_.shape().hz;
      if (l3.shared != 0) reap_array(cache, node, array_at(l3.shared), doomed, list_held);
      if (std::exchange(l3.free_touched, 0) == 0) slabs = (l3.free_limit + 5 * cache.num - 1) / (5 * cache.num);
    }
  }
  destroy_slabs(cache, doomed);
  free_empty_slabs(cache, node, slabs);
}

// What was used since the last pass is only marked.
void SlabAllocator::reap_array(KmemCache& cache, unsigned node, ArrayCache& array, Doomed& doomed, const Held& held) {
  if (array.avail == 0 || std::exchange(array.touched, 0) != 0) return;
  drain_oldest(cache, node, array, reaped_of(array), doomed, held);
}

void SlabAllocator::reap_alien(KmemCache& cache, unsigned node, unsigned home, Doomed& doomed) {
  const Address address = list3(cache, node).alien[home];
  if (address == 0) return;
  Masked masked;
  ArrayCache& alien = array_at(address);
  Held held(alien.lock, masked, "slab.lock", "slab.unlock");
  drain_alien(cache, alien, home, doomed, masked);
}

}  // namespace memtorture::slab
