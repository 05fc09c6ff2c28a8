// Memory pools: min_nr elements set aside, so that a request that may wait never fails (domain.md 12.1, K26).
//
//   handle -> | MemPool |  kmalloc'ed        elements -> | a0 | a1 | ... | a(curr_nr - 1) |  ...  |  kmalloc'ed
//                                                         set aside, a stack                 capacity
//
// Why a blocking request comes to an end: every element that is out comes back by mempool_free, which keeps it as long
// as fewer than min_nr are set aside, and wakes all who wait. A waiter looks at the stock after it is on the queue and
// before it sleeps, so a return between its look and its sleep is not missed (WaitQueue::wait_timeout). All are woken
// because a woken one may be served by the backend and leave the element to somebody who would otherwise sleep on. The
// time-out of 5 seconds is for memory that comes back to the backend instead of the pool: that wakes nobody.
//
// Everything lies in simulated memory, so creation can fail at every step and gives back what it had (P-POOL-5). A pool
// counts the elements that are out: that is what destroy asks, and why an element too many coming back is noticed.
//
// Lock order: a pool's lock is innermost, interrupts off; backend, kmalloc and kfree are called without it.
//
// Not checked: that what comes back is an element of this pool. The backend notices when it gets it; kept in the pool,
// it goes to the next caller.
#pragma once

#include <atomic>
#include <cstdint>

#include "allocator/machine/machine.h"
#include "allocator/page/page_alloc.h"
#include "allocator/slab/slab.h"
#include "allocator/subject/mempools.h"

namespace memtorture::slab {

using subject::PoolBackend;
using subject::PoolHandle;

inline constexpr machine::LockClass mempool_lock_class{"mempool"};
inline constexpr unsigned mempool_wait_seconds = 5;

struct MemPool {
  PoolHandle self = 0;  // its own address; 0 in the wiped memory of a pool that was destroyed
  PoolBackend backend;
  machine::SpinLock lock{mempool_lock_class};  // everything below but the queue
  Address elements = 0;                        // capacity addresses
  std::uint32_t min_nr = 0, capacity = 0;
  std::atomic<std::uint32_t> curr_nr{0};  // written under the lock; waiters read it without
  std::atomic<std::uint32_t> out{0};      // lowered under the lock, raised without
  machine::WaitQueue wait;

  explicit MemPool(PoolHandle address, const PoolBackend& b) : self(address), backend(b) {}
  std::uint32_t stock() const { return curr_nr.load(std::memory_order_relaxed); }
  std::uint32_t outside() const { return out.load(std::memory_order_relaxed); }
};

class PoolAllocator {
 public:
  PoolAllocator(machine::Machine& machine, page::PageAllocator& pages, SlabAllocator& slab)
      : machine_(machine), pages_(pages), slab_(slab) {}

  // Contracts: subject/mempools.h. From NMI they report and do nothing. In other atomic context create, resize, destroy
  // and a blocking alloc are reported once, and then go on without sleeping.
  PoolHandle mempool_create(const subject::PoolSpec& spec);
  Address mempool_alloc(PoolHandle handle, gfp_t gfp);
  void mempool_free(Address element, PoolHandle handle);
  int mempool_resize(PoolHandle handle, int new_min_nr, gfp_t gfp);
  int mempool_destroy(PoolHandle handle);

  // White box; `handle` is a pool.
  MemPool& pool_at(PoolHandle handle) { return *reinterpret_cast<MemPool*>(slab_.at(handle)); }
  Address* elements_of(const MemPool& pool) { return reinterpret_cast<Address*>(slab_.at(pool.elements)); }

 private:
  enum class Filled : std::uint8_t { yes, no };

  MemPool* known(PoolHandle handle);
  bool admissible(const subject::PoolSpec& spec) const;
  gfp_t fitting(const MemPool& pool, gfp_t gfp);
  Address obtain(const MemPool& pool, gfp_t gfp);
  void give_back(const MemPool& pool, Address element);
  bool keep(MemPool& pool, Address element, const machine::Held&);
  Address take(MemPool& pool, const machine::Held&);
  Address take(MemPool& pool);
  Filled fill(MemPool& pool, gfp_t gfp);
  int grow(MemPool& pool, std::uint32_t new_min_nr, gfp_t gfp);
  Address take_surplus(MemPool& pool);
  void release(MemPool& pool);

  machine::Machine& machine_;
  page::PageAllocator& pages_;
  SlabAllocator& slab_;
};

}  // namespace memtorture::slab
