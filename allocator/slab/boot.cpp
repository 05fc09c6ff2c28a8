// kmem_cache_init: from nothing to general caches (domain.md 10.3, 11.2).
//
//   1. the cache of caches: its struct is a static of the kernel's image (the metadata bank, seen at image_base)
//   2. the general caches, small ones first, so that off-slab caches find the cache of their descriptors; every cache
//      lives on a one-entry array of the boot CPU and on node structures, both of the image
//   3. now that kmalloc works: arrays and node structures from kmalloc for all, as for any later cache
//
// Everything is asked for with GFP_NOWAIT, and no object fault fires: there is no caller yet who could be told. When
// the memory does not suffice, every slab made so far goes back and the machine is one without objects.
#include <charconv>
#include <new>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

namespace {

constexpr gfp_t boot_gfp = subject::GFP_NOWAIT | subject::gfp_nowarn;

struct GeneralName {
  char text[subject::cache_name_bytes_max + 1];
  std::string_view view;

  GeneralName(std::uint32_t bytes, std::string_view suffix) {
    constexpr std::string_view prefix = "size-";
    char* end = std::copy(prefix.begin(), prefix.end(), text);
    end = std::to_chars(end, std::end(text), bytes).ptr;
    end = std::copy(suffix.begin(), suffix.end(), end);
    view = {text, end};
  }
};

}  // namespace

void SlabAllocator::reset() {
  up_ = false;
  kmalloc_max_ = kmalloc_quick_max_ = 0;
  last_ = {};
  chain_ = 0;
  cache_cache_ = nullptr;
  chain_mutex_.reset();
  for (auto& pages : slab_pages_) pages.store(0, std::memory_order_relaxed);
  const machine::Shape& shape = machine_.shape();
  letters_ = shape.slab_debug;
  checks_seen_.store(letters_, std::memory_order_relaxed);
  books_.reset(shape.quarantine_bytes);
}

bool SlabAllocator::boot(boot::Bank& bank) {
  const machine::Shape& shape = machine_.shape();
  platform_ = platform_of(shape);
  nodes_ = shape.nodes;
  cpus_ = shape.cpus;
  thisnode_ = nodes_ > 1 ? subject::GFP_THISNODE : 0;
  concurrent_ = machine::Machine::concurrent();
  linear_to_host_ = reinterpret_cast<std::uint64_t>(ram().at(machine::Ram::linear_base)) - machine::Ram::linear_base;
  for (unsigned cpu = 0; cpu != cpus_; ++cpu) {
    cpu_node_[cpu] = static_cast<std::uint8_t>(page::node_of_cpu(cpu, nodes_));
    reap_node_[cpu] = static_cast<std::uint8_t>((cpu_node_[cpu] + 1) % nodes_);
  }
  boot_cache_cache(bank);
  up_ = boot_general_caches(bank);
  if (!up_) abandon_boot();
  if (up_ && nodes_ == 1 && letters_ == 0) kmalloc_quick_max_ = kmalloc_max_;
  return up_;
}

// NOLEAKTRACE: the only cache whose descriptors must lie on its slabs, because no other exists yet. Of the machine's
// checks it has the one for frees alone: kfree of an address in its slabs is noticed as in any other cache (10.8).
void SlabAllocator::boot_cache_cache(boot::Bank& bank) {
  image_ = bank.take(KmemCache::bytes_for(cpus_), cache_line_bytes);
  cache_cache_ = new (image_) KmemCache;
  const subject::CacheSpec spec{.name = "kmem_cache",
                                .size = KmemCache::bytes_for(cpus_),
                                .flags = subject::SLAB_HWCACHE_ALIGN | subject::SLAB_NOLEAKTRACE};
  describe(*cache_cache_, spec, geometry_for(platform_, static_cast<std::uint32_t>(spec.size), 0, spec.flags).value(),
           image_base);
  if ((letters_ & strict_checks) != 0) cache_cache_->checks = machine::debug_sanity;
  give_boot_arrays(*cache_cache_, bank);
  link(*cache_cache_);
}

bool SlabAllocator::boot_general_caches(boot::Bank& bank) {
  const std::uint32_t bytes_max = platform_.kmalloc_max();
  for (unsigned i = 0; i != size_classes_max && size_classes[i] <= bytes_max; ++i) {
    if (!boot_general_cache(i, 0, bank) || !boot_general_cache(i, subject::SLAB_CACHE_DMA, bank)) return false;
  }
  kmalloc_max_ = bytes_max;
  for (CacheHandle i = chain_; i != 0; i = cache_at(i).next) {
    if (!enable_arrays(cache_at(i), boot_gfp)) return false;
  }
  return true;
}

bool SlabAllocator::boot_general_cache(unsigned index, slab_flags_t flags, boot::Bank& bank) {
  const CacheHandle handle = alloc(*cache_cache_, boot_gfp | subject::gfp_zero, -1, sizeof(KmemCache));
  if (handle == 0) return false;
  const GeneralName name(size_classes[index], flags != 0 ? "(DMA)" : "");
  const subject::CacheSpec spec{
      .name = name.view,
      .size = size_classes[index],
      .align = kmalloc_align_min,
      .flags = flags_with(letters_, size_classes[index], flags | subject::SLAB_HWCACHE_ALIGN)};
  KmemCache& cache = *new (at(handle)) KmemCache;
  describe(cache, spec, geometry_for(platform_, size_classes[index], kmalloc_align_min, spec.flags).value(), handle);
  check_cache(cache, spec);
  give_boot_arrays(cache, bank);
  link(cache);
  general_[flags != 0 ? 1 : 0][index] = &cache;
  return true;
}

// Only CPU 0 runs until boot is over.
void SlabAllocator::give_boot_arrays(KmemCache& cache, boot::Bank& bank) {
  cache.limit = cache.batchcount = 1;
  std::byte* const array = bank.take(ArrayCache::bytes_for(1), alignof(ArrayCache));
  new (array) ArrayCache(array_lock_class, cache.limit, cache.batchcount);
  cache.array()[0] = image_address(array);
  for (unsigned node = 0; node != nodes_; ++node) {
    std::byte* const list3 = bank.take(sizeof(List3), alignof(List3));
    (new (list3) List3)->free_limit = free_limit_for(cache, node);
    cache.nodelists[node] = image_address(list3);
  }
}

// Nobody uses an object, so every slab may go; but descriptors lie in other slabs. First all slabs are collected, those
// with a descriptor elsewhere in front; then they are given back in that order, each descriptor read before its own
// memory is given up. The structs of the caches go with the slabs, hence no use of them in the second loop.
void SlabAllocator::abandon_boot() {
  Doomed off_slab, on_slab;
  Pfn* end = &off_slab.first;
  for (CacheHandle i = chain_; i != 0; i = cache_at(i).next) {
    for (unsigned node = 0; node != nodes_; ++node) {
      List3& l3 = list3(cache_at(i), node);
      for (SlabList* const list : {&l3.full, &l3.partial, &l3.free}) {
        while (!list->empty()) {
          Slab& slab = slab_at(list->first);
          remove(*list, slab);
          Doomed& doomed = cache_at(i).off_slab ? off_slab : on_slab;
          slab.next = doomed.first;
          doomed.first = slab.first;
          if (cache_at(i).off_slab && slab.next == no_pfn) end = &slab.next;
        }
      }
    }
  }
  *end = on_slab.first;
  while (off_slab.first != no_pfn) {
    const Slab slab = slab_at(off_slab.first);
    off_slab.first = slab.next;
    pages_.clear_slab(slab.first, slab.order);
    ram().fill(slab.first, 1u << slab.order, machine::Ram::power_on_byte);  // no host pointer stays behind
    pages_.trace().layer_releases(slab.first, slab.order);
    pages_.free_pages_of(slab.first, slab.order);
    pages_.trace().layer_released();
  }
  reset();
}

}  // namespace memtorture::slab
