// Caches come and go: kmem_cache_create, destroy, shrink (domain.md 10.2, 10.5).
//
// A cache is made in private and linked last, so a creation that fails half-way has only its own pieces to give back
// (P-SLAB-11). Destruction takes the cache off the chain first, as K26 does, and puts it back when objects live.
//
// In an interrupt these functions are a bug of the caller and change nothing (K26: BUG). In process context that may
// not sleep they are reported, and go on as far as the chain mutex can be had without sleeping.
#include <bit>
#include <cstring>
#include <new>

#include "allocator/slab/slab.h"

namespace memtorture::slab {

using machine::report;
using machine::ReportKind;

class SlabAllocator::ChainLock {
 public:
  explicit ChainLock(machine::Mutex& mutex) : mutex_(mutex) {
    if (machine::preemptible()) {
      mutex_.lock();
      held_ = true;
    } else {
      machine::might_sleep();
      held_ = mutex_.try_lock();
    }
  }
  ~ChainLock() {
    if (held_) mutex_.unlock();
  }
  ChainLock(const ChainLock&) = delete;
  ChainLock& operator=(const ChainLock&) = delete;
  explicit operator bool() const { return held_; }

 private:
  machine::Mutex& mutex_;
  bool held_ = false;
};

// --- create -------------------------------------------------------------------------------------------------------

CacheHandle SlabAllocator::kmem_cache_create(const subject::CacheSpec& spec) {
  if (reject_nmi(0)) return subject::no_cache;
  CacheHandle handle = subject::no_cache;
  if (!up_ || machine::in_interrupt() || !admissible(spec)) {
    report({.kind = ReportKind::bad_cache});
  } else if (ChainLock locked(chain_mutex_); locked) {
    handle = create(spec);
  }
  if (handle == subject::no_cache && (spec.flags & subject::SLAB_PANIC) != 0)
    machine::panic(machine::PanicKind::cache_create);
  return handle;
}

bool SlabAllocator::admissible(const subject::CacheSpec& spec) const {
  if (spec.name.empty() || spec.name.size() > subject::cache_name_bytes_max) return false;
  if (spec.size < platform_.word_bytes || spec.size > platform_.kmalloc_max()) return false;
  if (spec.align > platform_.kmalloc_max() || (spec.align & (spec.align - 1)) != 0) return false;
  constexpr slab_flags_t rcu_poison = subject::SLAB_DESTROY_BY_RCU | subject::SLAB_POISON;
  return (spec.flags & ~subject::slab_flags_known) == 0 && (spec.flags & rcu_poison) != rcu_poison;
}

// The chain is locked.
CacheHandle SlabAllocator::create(const subject::CacheSpec& spec) {
  if (name_taken(spec.name)) {
    report({.kind = ReportKind::duplicate_cache});
    return subject::no_cache;
  }
  subject::CacheSpec checked = spec;
  checked.flags = flags_with(letters_, spec.size, spec.flags);
  const auto geometry = geometry_for(platform_, static_cast<std::uint32_t>(spec.size),
                                     static_cast<std::uint32_t>(spec.align), checked.flags);
  if (!geometry) {
    report({.kind = ReportKind::bad_cache});
    return subject::no_cache;
  }
  const gfp_t gfp = machine::preemptible() ? subject::GFP_KERNEL : subject::GFP_NOWAIT;
  const CacheHandle handle = alloc(*cache_cache_, gfp | subject::gfp_zero, -1, sizeof(KmemCache));
  if (handle == 0) return subject::no_cache;
  KmemCache& cache = *new (at(handle)) KmemCache;
  describe(cache, checked, *geometry, handle);
  check_cache(cache, checked);
  if (!enable_arrays(cache, gfp)) {
    release(cache);
    return subject::no_cache;
  }
  link(cache);
  return handle;
}

bool SlabAllocator::name_taken(std::string_view name) {
  for (CacheHandle i = chain_; i != 0; i = cache_at(i).next) {
    if (name == cache_at(i).name) return true;
  }
  return false;
}

// The memory behind the struct (addresses of the CPUs' arrays) is zero already.
void SlabAllocator::describe(KmemCache& cache, const subject::CacheSpec& spec, const Geometry& geometry,
                             CacheHandle self) {
  cache.self = self;
  cache.gfpflags = (spec.flags & subject::SLAB_CACHE_DMA) != 0 ? subject::gfp_dma : 0;
  cache.object_size = geometry.object_size;
  cache.object_offset = geometry.object_offset;
  cache.buffer_size = geometry.buffer_size;
  cache.reciprocal =
      static_cast<std::uint32_t>(((std::uint64_t{1} << 32) + geometry.buffer_size - 1) / geometry.buffer_size);
  cache.num = geometry.num;
  cache.flags = geometry.flags;
  cache.management_bytes = geometry.management_bytes;
  cache.order = static_cast<std::uint8_t>(geometry.order);
  cache.off_slab = geometry.off_slab;
  cache.align = geometry.align;
  cache.colour = geometry.colour;
  cache.colour_off = geometry.colour_off;
  if (geometry.off_slab) cache.slabp_cache = general_[0][size_class_of(geometry.management_bytes)]->self;
  cache.slack = static_cast<std::uint8_t>(geometry.object_size - spec.size);
  cache.ctor = spec.ctor;
  std::memcpy(cache.name, spec.name.data(), spec.name.size());
}

void SlabAllocator::link(KmemCache& cache) {
  cache.next = chain_;
  chain_ = cache.self;
}

void SlabAllocator::unlink(KmemCache& cache) {
  CacheHandle* link = &chain_;
  while (*link != cache.self) link = &cache_at(*link).next;
  *link = cache.next;
}

// --- what a handle is good for --------------------------------------------------------------------------------------

// Null, and reported: never was a cache of a caller, or is one no more.
KmemCache* SlabAllocator::known(CacheHandle handle) {
  if (up_ && ram().pfn_of(handle) != no_pfn && cache_of_object(handle) == cache_cache_) {
    KmemCache& cache = cache_at(handle);
    if (cache.self == handle) return &cache;
  }
  report({.kind = ReportKind::bad_cache});
  return nullptr;
}

KmemCache* SlabAllocator::may_change(CacheHandle handle) {
  if (reject_nmi(0)) return nullptr;
  if (machine::in_interrupt()) {
    report({.kind = ReportKind::bad_cache});
    return nullptr;
  }
  return known(handle);
}

std::uint64_t SlabAllocator::kmem_cache_size(CacheHandle handle) {
  if (reject_nmi(0)) return 0;
  const KmemCache* const cache = known(handle);
  return cache != nullptr ? cache->object_size : 0;
}

// --- shrink, destroy ------------------------------------------------------------------------------------------------

int SlabAllocator::kmem_cache_shrink(CacheHandle handle) {
  KmemCache* const cache = may_change(handle);
  if (cache == nullptr) return -subject::einval;
  const ChainLock locked(chain_mutex_);
  if (!locked) return 1;
  const bool settled = empty_quarantine(*cache);
  return shrink(*cache).busy || !settled ? 1 : 0;
}

int SlabAllocator::kmem_cache_destroy(CacheHandle handle) {
  KmemCache* const cache = may_change(handle);
  if (cache == nullptr) return -subject::einval;
  const ChainLock locked(chain_mutex_);
  if (!locked) return -subject::ebusy;
  if (known(handle) == nullptr) return -subject::einval;  // another one destroyed it while we waited
  unlink(*cache);
  const bool settled = empty_quarantine(*cache);
  if (shrink(*cache).busy || !settled) {
    report({.kind = ReportKind::cache_busy});
    link(*cache);
    return -subject::ebusy;
  }
  release(*cache);
  return 0;
}

// The cache is on no chain and has no slabs.
void SlabAllocator::release(KmemCache& cache) {
  for (unsigned cpu = 0; cpu != cpus_; ++cpu) free_array(cache.array()[cpu]);
  for (unsigned node = 0; node != nodes_; ++node) free_list3(cache.nodelists[node]);
  const CacheHandle handle = cache.self;
  std::memset(&cache, 0, KmemCache::bytes_for(cpus_));  // host pointers, and `self`
  free_object(*cache_cache_, handle);
}

}  // namespace memtorture::slab
