// kmalloc and kfree where nothing is in the way: what a pair costs. Members of SlabAllocator, inline in its caller.
//
// The context is undisturbed (machine/context.h), no fault can fire, there is one node, the cache is not checked. Then
// what the full paths do against interrupts, other CPUs and failures has no effect, and is left out: nobody looks at
// the interrupt flag between two points that pass, and no array is locked, because a lock is held over nothing but
// points. What is left is the reference's fast path, and the points that the full paths would pass, taken from the
// quota in one go. Results, state and count of steps are the same (quick_test.cpp); whatever does not fit is left to
// the full paths, untouched.
//
// kfree of what was just allocated would be one chain of dependent loads, from the object to its page, the cache, the
// array, and through the array's top to the next kmalloc. So the array that the last object came from is remembered:
// if it is the one that the chain leads to, the free goes there at once, and the chain is walked beside it, as a check
// that the processor predicts. A free of anything else costs one comparison more.
#pragma once

#include "allocator/slab/slab.h"

namespace memtorture::slab {

[[gnu::always_inline]] inline Address SlabAllocator::kmalloc_quick(std::uint64_t bytes, gfp_t gfp) {
  constexpr gfp_t never_here =
      subject::gfp_highmem | subject::gfp_dma32 | subject::gfp_dma | subject::gfp_zero | ~subject::gfp_known;
  machine::Context& me = machine::current();
  if (bytes - 1 >= kmalloc_quick_max_ || (gfp & never_here) != 0 || !me.undisturbed(2) || faults_.has_rules())
      [[unlikely]]
    return 0;
  ArrayCache& array = linear_array(*general_[0][size_class_of(bytes)], me.cpu);
  if (array.avail == 0) [[unlikely]]
    return 0;
  me.quota -= (gfp & subject::gfp_wait) != 0 ? 2 : 1;  // might_sleep, interrupts on
  const Address object = array.pop();
  last_ = {.object = object, .array = &array};
  return object;
}

// Null: no slab lies there, or it is one of the cache of caches or of a checked cache.
[[gnu::always_inline]] inline KmemCache* SlabAllocator::unchecked_cache_of(Pfn pfn) {
  page::MemMap& map = pages_.map();
  page::Page& page = map.touched(pfn);
  if (!map.is_touched(pfn) || (page.flags() & subject::pg_slab) == 0 ||
      page.mapping < machine::Ram::linear_base >> 32 || page.slab_cache() >= image_base) [[unlikely]]
    return nullptr;
  KmemCache* const cache = reinterpret_cast<KmemCache*>(page.slab_cache() + linear_to_host_);
  return cache->checks == 0 ? cache : nullptr;
}

// An object of an unchecked cache is its buffer (geometry.cpp): there is no offset to take off.
[[gnu::always_inline]] inline bool SlabAllocator::kfree_quick(Address object) {
  machine::Context& me = machine::current();
  const Pfn pfn = ram().pfn_of(object);
  if (pfn == no_pfn || kmalloc_quick_max_ == 0 || !me.undisturbed(1)) [[unlikely]]
    return false;
  KmemCache* const cache = unchecked_cache_of(pfn);
  if (cache == nullptr) [[unlikely]]
    return false;
  ArrayCache* array = &linear_array(*cache, me.cpu);
  if (object == last_.object) {
    ArrayCache* remembered = last_.array;
    ArrayCache* expected = remembered;
    asm("" : "+r"(expected));  // not known to be the same: else it would use the one that comes late
    if (array == expected) [[likely]] {
      array = remembered;
      asm volatile("" : "+r"(array));  // a jump, which the processor predicts, and no conditional move
    }
  }
  if (array->avail == array->limit) [[unlikely]]
    return false;
  me.quota -= 1;  // interrupts on
  array->push(object);
  return true;
}

}  // namespace memtorture::slab
