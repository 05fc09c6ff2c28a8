// A zone: frames of one kind on one node, their free lists, marks and per-CPU lists (domain.md 3.3).
//
// Lock order: Pcp::lock > Zone::lock. Both are taken with interrupts off; Zone::lock is a leaf: nothing is taken
// inside.
//   Zone::lock   area, runs, orders_free, and changes of nr_free_pages and nr_free
//   Pcp::lock    one CPU's list of one zone
// Counters are written under their lock and read without (watermark checks), hence relaxed atomics.
//
// The top order keeps most of a fresh zone as `runs`: frames that are free blocks of maximal order by their number
// alone (the idea of deferred struct page init). They are counted in nr_free, sit logically behind the explicit list,
// and become real when the list is empty. A merge never needs them: it stops below the top order, and the buddy of a
// smaller block lies in the same maximal block, which is real or the smaller block would not exist.
#pragma once

#include <atomic>
#include <cstdint>

#include "allocator/boot/memory_map.h"
#include "allocator/machine/lock.h"
#include "allocator/page/mem_map.h"

namespace memtorture::page {

using boot::Span;
using boot::zones_max;
using machine::orders_max;
using machine::zone_kinds;
using machine::ZoneKind;

class Counter {
 public:
  std::uint64_t get() const { return value_.load(std::memory_order_relaxed); }
  void set(std::uint64_t value) { value_.store(value, std::memory_order_relaxed); }
  void add(std::uint64_t delta) { set(get() + delta); }  // the caller holds the lock; wraps for negative deltas
  void sub(std::uint64_t delta) { set(get() - delta); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

struct FreeArea {
  Pfn first = no_pfn;  // linked by Page::next and prev; no tail: nobody takes from the end
  Counter nr_free;     // blocks, implicit ones included
};

struct NumaStat {  // domain.md 3.5; one set per zone and CPU, written with interrupts off
  Counter hit, miss, foreign, local, other;
};

inline constexpr machine::LockClass pcp_lock_class{"pcp"};
inline constexpr machine::LockClass zone_lock_class{"zone"};

// Pages of order 0 that one CPU keeps. The kernel of K26 protects the list by masking interrupts alone, because a drain
// visits the CPU by IPI. Our drain reaches over from another CPU, and on the thread engine that is another host thread;
// so the list has a lock (as K61's has), taken with interrupts off: the owner never waits for anything but a drain.
struct alignas(64) Pcp {
  machine::SpinLock lock{pcp_lock_class};
  PfnList list;
  Counter count;
  std::uint32_t high = 0;   // 0: pass-through, the list is not used
  std::uint32_t batch = 1;  // effective: >= 1
  NumaStat numa;
};

// Pages of one kind that reclaim may take: those that were not used lately, those that were, and those that are being
// written. The oldest are at the back.
struct Lru {
  PfnList inactive, active, writeback;
  Counter inactive_pages, active_pages, writeback_pages;
  std::uint64_t written_at = 0;  // jiffies: when the device is done with all that are being written
};

enum class Mark : std::uint8_t { min, low, high };

struct Zone {
  std::uint8_t index = 0, node = 0;
  ZoneKind kind = ZoneKind::normal;
  std::uint8_t orders = orders_max;
  Span span;
  std::uint64_t present = 0, managed = 0;

  machine::SpinLock lock{zone_lock_class};
  Counter nr_free_pages;
  std::uint32_t orders_free = 0;  // bit o: area[o] has a block
  FreeArea area[orders_max];
  Span runs[3];  // implicit free blocks of the top order; empty ones are skipped

  Counter mark[3];  // by Mark
  Counter lowmem_reserve[zone_kinds];
  Pcp* pcp = nullptr;  // by CPU
  Lru lru[3];          // reclaimable pages by subject::ClientKind; protected by the clients' lock

  unsigned order_top() const { return orders - 1u; }
};

}  // namespace memtorture::page
