// A pool's life and an element's way out and back. The argument is in mempool.h.
//
// Differences from K26: BUG is a report and a refusal. destroy asks whether elements are out instead of whether the
// stock is complete: the same but for a pool that resize could not fill, which K26 could never destroy, and for
// elements that are out beyond the stock, which K26 forgets. Filling after resize wakes waiters. NOFAIL is not passed
// on: NORETRY contradicts it, and the pool's own guarantee takes its place.
#include "allocator/slab/mempool.h"

#include <cstring>
#include <new>
#include <utility>

#include "allocator/slab/layer_pages.h"

namespace memtorture::slab {

using machine::Held;
using machine::Masked;
using machine::report;
using machine::ReportKind;
using subject::PoolKind;

namespace {

bool reject_nmi(gfp_t gfp) {
  if (!machine::in_nmi()) [[likely]]
    return false;
  report({.kind = ReportKind::nmi_entry, .gfp = gfp});
  return true;
}

// A page of a slab; one whose owner set PG_slab by mistake has no back pointers.
bool holds_objects(page::Page& page) {
  return (page.flags() & subject::pg_slab) != 0 && page.mapping >= machine::Ram::linear_base >> 32;
}

// For whoever is about to sleep, at entry: told once when it may not, and then treated as one who said so.
gfp_t sleepable_flags(gfp_t gfp) {
  machine::might_sleep();
  return machine::preemptible() ? gfp : gfp & ~subject::gfp_wait;
}

}  // namespace

// --- what a handle is good for --------------------------------------------------------------------------------------

MemPool* PoolAllocator::known(PoolHandle handle) {
  const Pfn pfn = machine_.ram().pfn_of(handle);
  if (pfn != no_pfn && handle % alignof(MemPool) == 0 && holds_objects(pages_.map()[pfn]) &&
      pool_at(handle).self == handle) {
    return &pool_at(handle);
  }
  report({.kind = ReportKind::bad_pool});
  return nullptr;
}

bool PoolAllocator::admissible(const subject::PoolSpec& spec) const {
  if (!slab_.is_up() || spec.min_nr < 0) return false;  // kmalloc would have no place for it to lie
  switch (spec.backend.kind) {
    case PoolKind::slab: return spec.backend.what != subject::no_cache;
    case PoolKind::kmalloc: return spec.backend.what != 0;  // ZERO_SIZE_PTR is no element
    case PoolKind::pages: return spec.backend.what < machine_.shape().orders;
  }
  return false;
}

// Elements are named by address, which a page of high memory has none of; the other backends say so themselves.
gfp_t PoolAllocator::fitting(const MemPool& pool, gfp_t gfp) {
  if (pool.backend.kind != PoolKind::pages || (gfp & subject::gfp_highmem) == 0) return gfp;
  report({.kind = ReportKind::highmem_address, .order = static_cast<std::uint8_t>(pool.backend.what), .gfp = gfp});
  return gfp & ~subject::gfp_highmem;
}

// --- the backend: alloc_fn and free_fn, no lock held ----------------------------------------------------------------

Address PoolAllocator::obtain(const MemPool& pool, gfp_t gfp) {
  switch (pool.backend.kind) {
    case PoolKind::slab: return slab_.kmem_cache_alloc(pool.backend.what, gfp);
    case PoolKind::kmalloc: return slab_.kmalloc(pool.backend.what, gfp);
    case PoolKind::pages: break;
  }
  const Pfn first = request_pages(pages_, machine_.ram(), gfp, static_cast<unsigned>(pool.backend.what));
  return first != no_pfn ? machine_.ram().address_of(first) : 0;
}

void PoolAllocator::give_back(const MemPool& pool, Address element) {
  switch (pool.backend.kind) {
    case PoolKind::slab: return slab_.kmem_cache_free(pool.backend.what, element);
    case PoolKind::kmalloc: return slab_.kfree(element);
    case PoolKind::pages: break;
  }
  const Pfn first = machine_.ram().pfn_of(element);
  if (first == no_pfn) return report({.kind = ReportKind::bad_object});
  release_pages(pages_, first, static_cast<unsigned>(pool.backend.what));
}

// --- the stock ------------------------------------------------------------------------------------------------------

// False: there are enough. elements_of has room: capacity is never below min_nr.
bool PoolAllocator::keep(MemPool& pool, Address element, const Held&) {
  if (pool.stock() >= pool.min_nr) return false;
  elements_of(pool)[pool.stock()] = element;
  pool.curr_nr.store(pool.stock() + 1, std::memory_order_relaxed);
  return true;
}

Address PoolAllocator::take(MemPool& pool, const Held&) {
  if (pool.stock() == 0) return 0;
  pool.curr_nr.store(pool.stock() - 1, std::memory_order_relaxed);
  return elements_of(pool)[pool.stock()];
}

Address PoolAllocator::take(MemPool& pool) {
  Masked masked;
  Held held(pool.lock, masked, "mempool.lock", "mempool.unlock");
  return take(pool, held);
}

// Until the stock is complete. Others may take and return meanwhile; an element too many goes back.
PoolAllocator::Filled PoolAllocator::fill(MemPool& pool, gfp_t gfp) {
  for (;;) {
    {
      Masked masked;
      Held held(pool.lock, masked, "mempool.lock", "mempool.unlock");
      if (pool.stock() >= pool.min_nr) return Filled::yes;
    }
    const Address element = obtain(pool, gfp);
    if (element == 0) return Filled::no;
    bool kept;
    {
      Masked masked;
      Held held(pool.lock, masked, "mempool.lock", "mempool.unlock");
      kept = keep(pool, element, held);
    }
    if (!kept) {
      give_back(pool, element);
      return Filled::yes;
    }
    pool.wait.wake_all();
  }
}

// --- elements -------------------------------------------------------------------------------------------------------

// First without sleeping, then from the stock; a caller that may wait tries with all its flags only when it has waited
// for an element (P-POOL-6).
Address PoolAllocator::mempool_alloc(PoolHandle handle, gfp_t gfp) {
  if (reject_nmi(gfp)) return 0;
  MemPool* const pool = known(handle);
  if (pool == nullptr) return 0;
  gfp = fitting(*pool, gfp) & ~subject::gfp_nofail;
  if ((gfp & subject::gfp_wait) != 0) gfp = sleepable_flags(gfp);
  gfp |= subject::gfp_nomemalloc | subject::gfp_noretry | subject::gfp_nowarn;

  gfp_t attempt = gfp & ~(subject::gfp_wait | subject::gfp_io);
  for (;;) {
    Address element = obtain(*pool, attempt);
    if (element == 0) element = take(*pool);
    if (element != 0) {
      pool->out.fetch_add(1, std::memory_order_relaxed);
      return element;
    }
    if ((gfp & subject::gfp_wait) == 0) return 0;
    attempt = gfp;
    pool->wait.wait_timeout(machine::Jiffies{mempool_wait_seconds} * machine_.shape().hz,
                            [pool] { return pool->stock() != 0; });
  }
}

void PoolAllocator::mempool_free(Address element, PoolHandle handle) {
  if (element == 0) return;
  if (reject_nmi(0)) return;
  MemPool* const pool = known(handle);
  if (pool == nullptr) return;
  bool expected, kept = false;
  {
    Masked masked;
    Held held(pool->lock, masked, "mempool.lock", "mempool.unlock");
    expected = pool->outside() != 0;
    if (expected) {
      pool->out.fetch_sub(1, std::memory_order_relaxed);
      kept = keep(*pool, element, held);
    }
  }
  if (!expected) return report({.kind = ReportKind::bad_object, .pfn = machine_.ram().pfn_of(element)});
  if (kept) {
    pool->wait.wake_all();
  } else {
    give_back(*pool, element);
  }
}

// --- a pool's life --------------------------------------------------------------------------------------------------

PoolHandle PoolAllocator::mempool_create(const subject::PoolSpec& spec) {
  if (reject_nmi(0)) return subject::no_pool;
  if (!admissible(spec)) {
    report({.kind = ReportKind::bad_pool});
    return subject::no_pool;
  }
  const gfp_t gfp = sleepable_flags(subject::GFP_KERNEL);
  const PoolHandle handle = slab_.kmalloc(sizeof(MemPool), gfp);
  if (handle == 0) return subject::no_pool;
  MemPool& pool = *new (slab_.at(handle)) MemPool(handle, spec.backend);
  pool.elements = slab_.kmalloc_array(static_cast<std::uint32_t>(spec.min_nr), sizeof(Address), gfp);
  if (pool.elements != 0) pool.min_nr = pool.capacity = static_cast<std::uint32_t>(spec.min_nr);
  if (pool.elements != 0 && fill(pool, gfp) == Filled::yes) return handle;
  release(pool);
  return subject::no_pool;
}

int PoolAllocator::mempool_destroy(PoolHandle handle) {
  if (reject_nmi(0)) return -subject::einval;
  machine::might_sleep();
  MemPool* const pool = known(handle);
  if (pool == nullptr) return -subject::einval;
  if (pool->outside() != 0) {
    report({.kind = ReportKind::pool_busy});
    return -subject::ebusy;
  }
  release(*pool);
  return 0;
}

// The lock and the queue hold host pointers and counts of the engine: wiped before somebody else gets the memory.
void PoolAllocator::release(MemPool& pool) {
  const PoolHandle handle = pool.self;
  while (const Address element = take(pool)) give_back(pool, element);
  slab_.kfree(pool.elements);
  std::memset(static_cast<void*>(&pool), 0, sizeof pool);
  slab_.kfree(handle);
}

// The flags are the caller's as they are: resize may sleep and warn like any request.
int PoolAllocator::mempool_resize(PoolHandle handle, int new_min_nr, gfp_t gfp) {
  if (reject_nmi(gfp)) return -subject::einval;
  gfp = sleepable_flags(gfp);
  MemPool* const pool = known(handle);
  if (pool == nullptr) return -subject::einval;
  if (new_min_nr < 1) {
    report({.kind = ReportKind::bad_pool});
    return -subject::einval;
  }
  const auto wanted = static_cast<std::uint32_t>(new_min_nr);
  bool lowered;
  {
    Masked masked;
    Held held(pool->lock, masked, "mempool.lock", "mempool.unlock");
    lowered = wanted <= pool->min_nr;
    if (lowered) pool->min_nr = wanted;  // at once: what comes back meanwhile must not fill what is being emptied
  }
  if (!lowered) return grow(*pool, wanted, fitting(*pool, gfp));
  while (const Address element = take_surplus(*pool)) give_back(*pool, element);
  return 0;
}

Address PoolAllocator::take_surplus(MemPool& pool) {
  Masked masked;
  Held held(pool.lock, masked, "mempool.lock", "mempool.unlock");
  return pool.stock() > pool.min_nr ? take(pool, held) : 0;
}

int PoolAllocator::grow(MemPool& pool, std::uint32_t new_min_nr, gfp_t gfp) {
  Address array = slab_.kmalloc_array(new_min_nr, sizeof(Address), gfp);
  if (array == 0) return -subject::enomem;
  bool grown;
  {
    Masked masked;
    Held held(pool.lock, masked, "mempool.lock", "mempool.unlock");
    grown = new_min_nr > pool.min_nr;  // or another resize was faster, and does the work
    if (grown) pool.min_nr = new_min_nr;
    // A resize that lowers may be at work: there is as much stock then as it has not yet taken, and room for all of it
    // in the old array only. That one is large enough for us as well.
    if (grown && new_min_nr > pool.capacity) {
      if (pool.stock() != 0) std::memcpy(slab_.at(array), elements_of(pool), pool.stock() * sizeof(Address));
      std::swap(pool.elements, array);
      pool.capacity = new_min_nr;
    }
  }
  slab_.kfree(array);
  if (grown) fill(pool, gfp);  // as far as memory goes: later returns complete the stock
  return 0;
}

}  // namespace memtorture::slab
