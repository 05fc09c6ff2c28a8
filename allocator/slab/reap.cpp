// Memory comes back (domain.md 10.5): draining arrays, freeing empty slabs, the periodic reaper, pressure.
//
// The reaper takes a fifth of what nobody used since its last pass; shrinking takes everything that is not in use;
// pressure takes empty slabs, and only what they do not yield from arrays. All of it with the chain locked, so that no
// cache disappears; objects in use are neither moved nor looked at (P-SLAB-14).
//
// Reclaim may call from the middle of a request of this very layer. Such a request holds no lock but perhaps the chain
// mutex (a cache is being made), which is then taken and ends the matter; and it finds its way again afterwards,
// because it looks anew at arrays and lists after every call of the page layer (alloc.cpp).
#include <utility>

#include "allocator/machine/cpu_hotplug.h"
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

// As many arrays as there are CPUs that could come stay; what they hold does not. With the last CPU of a node what its
// CPUs shared goes, too: nobody is left who would use it.
void SlabAllocator::cpu_dead(unsigned cpu) {
  if (!up_) return;
  const unsigned node = cpu_node_[cpu];
  bool deserted = true;
  for (unsigned other = 0; other != cpus_; ++other) {
    if (cpu_node_[other] == node && machine::cpu_online(other)) deserted = false;
  }
  chain_mutex_.lock();
  for (CacheHandle i = chain_; i != 0; i = cache_at(i).next) {
    KmemCache& cache = cache_at(i);
    Doomed doomed;
    drain_cpu(cache, cpu, doomed);
    for (unsigned home = 0; home != nodes_ && deserted; ++home) reap_alien(cache, node, home, doomed);
    if (deserted) drain_shared(cache, node, doomed);
    destroy_slabs(cache, doomed);
  }
  chain_mutex_.unlock();
}

// Does any array or list of empty slabs hold something? With one host thread to see it is as good as to hold every lock
// (slab.h, take_fast), so a machine that is short of memory for long does not go through all locks for nothing each
// time. With several, nobody may look without the lock: perhaps.
bool SlabAllocator::has_unused(KmemCache& cache) {
  if (concurrent_) return true;
  for (unsigned cpu = 0; cpu != cpus_; ++cpu) {
    if (cpu_array(cache, cpu).avail != 0) return true;
  }
  for (unsigned node = 0; node != nodes_; ++node) {
    const List3& l3 = list3(cache, node);
    if (!l3.free.empty() || (l3.shared != 0 && array_at(l3.shared).avail != 0)) return true;
    for (const Address alien : l3.alien) {
      if (alien != 0 && array_at(alien).avail != 0) return true;
    }
  }
  return false;
}

// Newest caches first: the descriptors of their slabs are objects of older ones.
void SlabAllocator::shrink(std::uint32_t pages_wanted, gfp_t) {
  if (!chain_mutex_.try_lock()) return;
  const std::uint32_t before = machine::current().reclaimed_slab;
  const auto missing = [&] {
    const std::uint32_t freed = machine::current().reclaimed_slab - before;
    return freed < pages_wanted ? pages_wanted - freed : 0;
  };
  for (CacheHandle i = chain_; i != 0; i = cache_at(i).next) {
    KmemCache& cache = cache_at(i);
    for (unsigned node = 0; node != nodes_ && missing() != 0 && has_unused(cache); ++node)
      free_empty_slabs(cache, node, ((missing() - 1) >> cache.order) + 1);
  }
  for (CacheHandle i = chain_; i != 0 && missing() != 0; i = cache_at(i).next) {
    if (has_unused(cache_at(i))) shrink(cache_at(i));
  }
  chain_mutex_.unlock();
}

std::uint64_t SlabAllocator::shrink_all() {
  if (reject_nmi(0)) return 0;
  const std::uint32_t before = machine::current().reclaimed_slab;
  shrink(~std::uint32_t{0}, subject::GFP_KERNEL);
  return machine::current().reclaimed_slab - before;
}

// --- the periodic reaper --------------------------------------------------------------------------------------------

// The first pass of a CPU is due after a second, those of the CPUs a little apart: they would only find the chain
// locked by one another.
void SlabAllocator::start_cpu_timers() {
  for (unsigned cpu = 0; cpu != cpus_; ++cpu) {
    machine_.add_daemon({.id = static_cast<machine::ContextId>(machine::events_first + cpu),
                         .kind = machine::ContextKind::task,
                         .cpu = static_cast<std::uint8_t>(cpu),
                         .flags = machine::pf_thread_bound,
                         .body = &SlabAllocator::cpu_timer,
                         .arg = this});
  }
}

void SlabAllocator::cpu_timer(void* allocator) {
  SlabAllocator& self = *static_cast<SlabAllocator*>(allocator);
  const unsigned cpu = machine::raw_smp_processor_id();  // bound
  const machine::Jiffies second = self.machine_.shape().hz;
  machine::Jiffies at = machine::jiffies_now() + second + reap_skew_jiffies * cpu;
  for (; self.machine_.daemon_wait_until(at); at = machine::jiffies_now() + reap_seconds_cpu * second) self.reap(cpu);
}

void SlabAllocator::reap(unsigned cpu) {
  if (reject_nmi(0) || !machine::cpu_online(cpu)) return;
  const std::uint32_t before = machine::current().reclaimed_slab;
  pages_.trace().shrink_began(0);
  if (chain_mutex_.try_lock()) {
    for (CacheHandle i = chain_; i != 0; i = cache_at(i).next) {
      point("slab.reap");
      reap_cache(cache_at(i), cpu);
    }
    reap_node_[cpu] = static_cast<std::uint8_t>((reap_node_[cpu] + 1) % nodes_);
    chain_mutex_.unlock();
  }
  pages_.trace().shrink_ended(machine::current().reclaimed_slab - before);
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
