// struct page: one descriptor per frame (domain.md 2.2), 32 bytes, two to a cache line.
//
// Links are frame numbers, so that a descriptor means the same in every process and lists need no host pointers. A page
// is on one list at a time: buddy, per-CPU, or its owner's.
//
//   free head of a block    pg_buddy, private = order, next/prev = free list
//   inside of a free block  all zero
//   allocated               count >= 1 in the first page only; a compound block has pg_head, then pg_tail pages
//                           whose `next` is the head; the first tail's `prev` is the order
//   of a slab             pg_slab in every page; next/prev = page->cache, private/mapping = page->slab, each a
//                         simulated address as low and high half
//
// Fields that somebody may read while another writes without a common lock (count: get_page/put_page; flags and
// private: the merge looks at a neighbour that its owner is preparing) go through relaxed atomic accessors. The others
// belong to whoever owns the page or holds the lock of its list.
#pragma once

#include <atomic>
#include <cstdint>

#include "allocator/machine/types.h"
#include "allocator/subject/pages.h"

namespace memtorture::page {

using machine::no_pfn;
using machine::Pfn;
using subject::gfp_t;

// Bits of Page::flags beyond subject::PageFlag; not shown to the harness.
inline constexpr std::uint32_t pg_poisoned = 1u << 16;    // free and filled with poison_byte
inline constexpr std::uint32_t pg_pcp = 1u << 17;         // on a per-CPU list
inline constexpr std::uint32_t pg_referenced = 1u << 18;  // used since reclaim last looked
inline constexpr std::uint32_t pg_active = 1u << 19;      // on an active list
inline constexpr std::uint32_t pg_internal = pg_poisoned | pg_pcp | pg_referenced | pg_active;

struct Page {
  std::uint32_t generation;  // the run that this descriptor is valid for (mem_map.h)
  std::uint32_t flags_;
  std::int32_t count_;    // 0 = free (ruling D1)
  std::int32_t mapcount;  // 0 = not mapped
  std::uint32_t private_;
  Pfn next, prev;
  std::uint32_t mapping;  // 0 = NULL

  std::uint32_t flags() { return std::atomic_ref(flags_).load(std::memory_order_relaxed); }
  void set_flags(std::uint32_t flags) { std::atomic_ref(flags_).store(flags, std::memory_order_relaxed); }
  std::uint32_t order() { return std::atomic_ref(private_).load(std::memory_order_relaxed); }
  void set_private(std::uint32_t value) { std::atomic_ref(private_).store(value, std::memory_order_relaxed); }
  int count() { return std::atomic_ref(count_).load(std::memory_order_relaxed); }
  std::uint64_t slab_cache() const { return next | std::uint64_t{prev} << 32; }
  std::uint64_t slab_descriptor() { return order() | std::uint64_t{mapping} << 32; }
  void set_count(int count) { std::atomic_ref(count_).store(count, std::memory_order_relaxed); }
};
static_assert(sizeof(Page) == 32);

}  // namespace memtorture::page
