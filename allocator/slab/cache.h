// What the slab layer keeps in simulated memory (domain.md 10.3), as the kernel does:
//
//   KmemCache   an object of the cache of caches; ends in one address for each CPU's ArrayCache
//   ArrayCache  kmalloc'ed; a stack of free buffers
//   List3       kmalloc'ed (struct kmem_list3); the slabs of one cache on one node
//   Slab        at the start of the slab it describes, or kmalloc'ed; its index list (bufctl) follows it
//
// Structures are tied together by simulated addresses, slabs by the number of their first frame, free buffers of a slab
// by index: what a machine does never depends on where its memory is mapped on the host. Host pointers occur in two
// places, the class of a lock and a constructor; both are wiped before the memory goes back to whoever gets it next.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "allocator/machine/lock.h"
#include "allocator/slab/geometry.h"

namespace memtorture::slab {

using machine::no_pfn;
using machine::Pfn;
using subject::CacheHandle;
using subject::gfp_t;
using Address = std::uint64_t;  // simulated; 0 = NULL

// Locks, outermost first. Of each class a context holds at most one.
inline constexpr machine::LockClass array_lock_class{"slab.array"};  // one CPU's array
inline constexpr machine::LockClass alien_lock_class{"slab.alien"};
inline constexpr machine::LockClass list_lock_class{"slab.list"};

inline constexpr std::uint32_t bufctl_end = ~0u, bufctl_active = ~0u - 2;
inline constexpr std::uint32_t alien_limit = 12;
inline constexpr std::uint32_t batchrefill_limit = 16;
inline constexpr unsigned reap_seconds_cpu = 2;    // REAPTIMEOUT_CPUC: between two passes of a CPU's reaper
inline constexpr unsigned reap_skew_jiffies = 3;   // from CPU to CPU
inline constexpr unsigned reap_seconds_list3 = 4;  // REAPTIMEOUT_LIST3: between two looks at shared arrays and slabs
// K26 gives shared and alien arrays a batchcount that is never used.
inline constexpr std::uint32_t batchcount_unused = 0xbaadf00d;

// Free buffers, hottest on top. A CPU's own array is used by that CPU with interrupts off; the lock is for those who
// reach over to drain it (README, "Why an array has a lock"). A shared array is under its node's list_lock, an alien
// array under its own lock.
struct alignas(Address) ArrayCache {
  machine::SpinLock lock;
  std::uint32_t avail = 0, limit, batchcount;
  std::uint32_t touched = 0;  // used since the reaper last looked

  ArrayCache(machine::LockClass lock_class, std::uint32_t limit_, std::uint32_t batchcount_)
      : lock(lock_class), limit(limit_), batchcount(batchcount_) {}
  Address* entry() { return reinterpret_cast<Address*>(this + 1); }
  void push(Address buffer) { entry()[avail++] = buffer; }
  Address pop() {
    touched = 1;
    return entry()[--avail];
  }
  // Takes up to `wanted` of the hottest of another array, as far as there is room; returns how many.
  std::uint32_t take_from(ArrayCache& other, std::uint32_t wanted) {
    const std::uint32_t n = std::min({other.avail, wanted, limit - avail});
    other.avail -= n;
    std::memcpy(entry() + avail, other.entry() + other.avail, n * sizeof(Address));
    avail += n;
    return n;
  }
  static constexpr std::uint64_t bytes_for(std::uint32_t limit) {
    return sizeof(ArrayCache) + std::uint64_t{limit} * sizeof(Address);
  }
};
static_assert(sizeof(ArrayCache) % alignof(Address) == 0);

struct Slab {
  Pfn next, prev;           // on one of its node's lists
  Pfn first;                // frame
  std::uint32_t s_mem;      // bytes from the slab's start to buffer 0
  std::uint32_t inuse = 0;  // buffers that are not on the free chain: handed out, or in an array
  std::uint32_t free = 0;   // index of the first free buffer
  std::uint16_t nodeid = 0;
  std::uint16_t order = 0;
};
static_assert(sizeof(Slab) <= 28, "fits into the descriptor of a 32-bit kernel: geometry reserves no more");

struct SlabList {
  Pfn first = no_pfn, last = no_pfn;
  bool empty() const { return first == no_pfn; }
};

struct List3 {
  machine::SpinLock list_lock{list_lock_class};  // everything below but next_reap and alien
  SlabList partial, full, free;
  std::uint64_t free_objects = 0;  // buffers on free chains of this node
  std::uint32_t free_limit = 0;    // with more free objects than this an empty slab is given back at once
  std::uint32_t colour_next = 0;
  std::uint32_t free_touched = 0;          // a refill had to use an empty slab since the reaper last looked
  Address shared = 0;                      // ArrayCache, 0: none
  Address alien[machine::nodes_max] = {};  // ArrayCache for buffers of that node, 0: none; fixed after creation
  std::uint64_t next_reap = 0;             // jiffies; under the chain mutex
};

struct KmemCache {
  CacheHandle self = 0;  // its own address; what the wiped memory of a destroyed cache is told by
  gfp_t gfpflags = 0;    // GFP_DMA: where its pages come from
  std::uint32_t object_size = 0, object_offset = 0, buffer_size = 0;
  std::uint32_t reciprocal = 0;  // ceil(2^32 / buffer_size), see index_of
  std::uint32_t num = 0;
  slab_flags_t flags = 0;
  std::uint32_t management_bytes = 0;
  std::uint8_t order = 0;
  bool off_slab = false;
  std::uint8_t checks = 0;  // machine::SlabDebug bits in force (debug.cpp); 0: the fast paths are all there is
  std::uint8_t slack = 0;   // object_size less what was asked for at creation
  std::uint32_t align = 0, colour = 0, colour_off = 0;
  std::uint32_t limit = 0, batchcount = 0;  // of a CPU's array
  std::uint32_t shared = 0;                 // limit of a shared array, 0: none
  std::uint32_t evicting = 0;   // atomic: buffers that have left the quarantine and are being freed by others
  CacheHandle slabp_cache = 0;  // off-slab: the general cache of the descriptors
  CacheHandle next = 0;         // chain
  subject::Ctor ctor;
  char name[subject::cache_name_bytes_max + 1] = {};
  Address nodelists[machine::nodes_max] = {};  // List3

  Address* array() { return reinterpret_cast<Address*>(this + 1); }  // ArrayCache, by CPU
  // Index of the buffer that starts `offset` bytes behind buffer 0; num: none does. Multiplies instead of dividing:
  // with reciprocal * buffer_size = 2^32 + e, e < buffer_size, an offset of i buffers gives i + i * e / 2^32, and i * e
  // is less than the slab's bytes (2^25). Any other offset shows in the check.
  std::uint32_t index_of(std::uint64_t offset) const {
    if (offset >= std::uint64_t{num} * buffer_size) return num;
    const std::uint64_t index = offset * reciprocal >> 32;
    return index * buffer_size == offset ? static_cast<std::uint32_t>(index) : num;
  }
  static constexpr std::uint64_t bytes_for(unsigned cpus) { return sizeof(KmemCache) + cpus * sizeof(Address); }
};

// Limits of a CPU's array by the size of what it holds (10.5).
constexpr std::uint32_t array_limit_for(std::uint32_t buffer_size, std::uint32_t page_bytes) {
  if (buffer_size > 128u << 10) return 1;
  if (buffer_size > page_bytes) return 8;
  if (buffer_size > 1024) return 24;
  return buffer_size > 256 ? 54 : 120;
}
inline constexpr std::uint32_t array_limit_debug = 32;  // ... at most, on a machine whose checks are on
constexpr std::uint32_t batchcount_for(std::uint32_t limit) { return (limit + 1) / 2; }

}  // namespace memtorture::slab
